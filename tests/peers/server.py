"""Starts the server under test as a program of its own, on a free loopback port, bounded in time.

``EmbeddedServer`` is ``python -m ndmpd serve --embedded``: what a person would type, nothing imported from
the service. Its output goes to a file that a failing test shows.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.san.copymanager.server import PROCESS_NAME
from tests.peers.ndmjob import Agent

REPOSITORY = Path(__file__).resolve().parents[2]
USER = "backup"
PASSWORD = "a secret of 21 bytes."


def free_port() -> int:
    """A loopback TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class NotReady(RuntimeError):
    """A server did not come up; the text has the end of its log."""


@dataclass(slots=True)
class Program:
    """A server process in a process group of its own, so that stopping it stops what it forked, and nothing
    else.
    """

    process: subprocess.Popen[bytes]
    log_file: Path

    @classmethod
    def start(cls, command: Sequence[str], log_file: Path, **options: object) -> Program:
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, **options,
            )  # type: ignore[call-overload]  # fmt: skip
        return cls(process, log_file)

    def wait_for_port(self, port: int, timeout: float) -> None:
        """Return when something accepts connections on ``port``; NotReady if this program ends or time runs
        out.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise NotReady(f"it ended with status {self.process.returncode}:\n{self.log_tail()}")
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise NotReady(f"nothing listens on port {port} after {timeout:.0f} s:\n{self.log_tail()}")

    def stop(self, grace: float = 10) -> int:
        """Ask, then kill; returns the exit status. Idempotent."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the group is its own: start_new_session
        except ProcessLookupError:
            pass
        return self.process.wait()

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-lines:])


def is_copy_manager(pid: int) -> bool:
    """Whether it is the process of the embedded SAN, which stays as long as its server."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == PROCESS_NAME
    except OSError:
        return False


@dataclass(slots=True)
class EmbeddedServer:
    """The server on an embedded SAN in ``state``; exports are volumes of the same name as their path."""

    state: Path
    exports: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def log_file(self) -> Path:
        return self.state.with_name(self.state.name + ".log")

    def start(self, timeout: float = 30) -> EmbeddedServer:
        password_file = self.state.with_name(self.state.name + ".password")
        password_file.write_text(PASSWORD + "\n")
        password_file.chmod(0o600)
        command = [
            sys.executable, "-m", "ndmpd", "serve", "--embedded", str(self.state),
            "--listen", f"tcp:{self.port}:interface=127.0.0.1",
            "--user", USER, "--password-file", str(password_file), *self.options,
        ]  # fmt: skip
        for export in self.exports:
            command += ["--export", str(export)]
        ready = self.state / "san" / "copymanager.sock"
        ready.unlink(missing_ok=True)  # of a server that was killed
        self.program = Program.start(command, self.log_file, cwd=REPOSITORY)
        self.program.wait_for_port(self.port, timeout)
        deadline = time.monotonic() + timeout
        while not ready.exists():
            if time.monotonic() > deadline:
                raise NotReady(f"no copy manager after {timeout:.0f} s:\n{self.program.log_tail()}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None

    def agent(self, version: int) -> Agent:
        return Agent(self.port, version, USER, PASSWORD)

    def disk(self, name: str) -> Path:
        """The backing file of an embedded disk."""
        return self.state / "san" / "disks" / f"{name}.img"

    def tape_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``ndmpd tape --embedded DIR ...``; fails the test, with the output, where the command does."""
        command = [sys.executable, "-m", "ndmpd", "tape", "--embedded", str(self.state), *arguments]
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done
