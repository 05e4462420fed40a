"""Runs ``ndmpc`` in this process: the very command line, without the second that Python takes to start."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ndmpd.client.__main__ import main
from ndmpd.client.options import PASSWORD_VARIABLE, TAPE_PASSWORD_VARIABLE
from tests.peers.ndmjob import Agent


@dataclass(frozen=True, slots=True)
class Ndmpc:
    """``data`` and ``tape`` (None: the same control connection) with the options that every job here has."""

    data: Agent
    tape: Agent | None = None
    options: tuple[str, ...] = ()

    def run(self, command: str, *arguments: str | os.PathLike[str], status: int = 0) -> dict[str, Any]:
        """The command's report. Fails the test where the exit status is not ``status``."""
        report: dict[str, Any] = json.loads(self._done(command, *arguments, status=status).stdout)
        return report

    def complaint(self, command: str, *arguments: str | os.PathLike[str], status: int) -> str:
        """What the command tells people of its failure, on one line."""
        return " ".join(self._done(command, *arguments, status=status).stderr.split())

    def _done(self, command: str, *arguments: str | os.PathLike[str], status: int) -> Result:
        words = [command, url(self.data), *map(os.fspath, arguments), *self.options,
                 "--ndmp-version", str(self.data.version), "--json"]
        passwords = {PASSWORD_VARIABLE: self.data.password}
        if self.tape is not None:
            words += ["--tape", url(self.tape)]
            passwords[TAPE_PASSWORD_VARIABLE] = self.tape.password
        done = CliRunner().invoke(main, words, env=passwords)
        assert done.exit_code == status, f"{' '.join(words)}\n{done.output}"
        return done

    def backup(self, source: str | Path, catalogue: Path, *arguments: str) -> dict[str, Any]:
        report = self.run("backup", source, "-c", catalogue, *arguments)
        assert report["remarks"] == []
        return report

    def restore(self, catalogue: Path, *arguments: str) -> dict[str, Any]:
        report = self.run("restore", *arguments, "-c", catalogue)
        assert report["remarks"] == []
        return report


def url(agent: Agent) -> str:
    return f"ndmp://{agent.user}@{agent.host}:{agent.port}"
