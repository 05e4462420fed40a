"""A server that runs from a configuration file, with real devices beside its embedded SAN."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.ndmjob import Agent
from tests.peers.server import PASSWORD, REPOSITORY, USER, Program, free_port


@dataclass(slots=True)
class ConfiguredServer:
    """``tables``: TOML for everything but [server] and [[user]]. Its state is in ``folder``."""

    folder: Path
    tables: str
    port: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def config(self) -> Path:
        return self.folder / "ndmpd.toml"

    @property
    def log_file(self) -> Path:
        return self.folder / "server.log"

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "ndmpd", "serve", "--config", str(self.config)]

    def configure(self) -> None:
        """Write the configuration."""
        secret = self.folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        self.config.write_text(
            f'[server]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\nstate_dir = "{self.folder}/state"\n'
            f'[[user]]\nname = "{USER}"\nsecret_file = "{secret}"\n{self.tables}\n'
        )

    def start(self) -> ConfiguredServer:
        self.configure()
        self.program = Program.start(self.command, self.log_file, cwd=REPOSITORY)
        self.program.wait_for_port(self.port, 30)
        return self

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None

    @property
    def agent(self) -> Agent:
        return Agent(self.port, 4, USER, PASSWORD)
