"""Starts ``ndmpd san serve`` as a program of its own, on a free loopback port, bounded in time."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.san.copymanager.wire import SOCKET
from tests.peers.server import REPOSITORY, NotReady, Program, free_port

PREFIX = "iqn.2026-11.io.ndmpd:"


@dataclass(slots=True)
class SanNode:
    """An embedded SAN in ``folder`` as iSCSI target. ``arguments`` instead of ``--embedded`` and
    ``--listen``, where given.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    program: Program | None = None

    def start(self, timeout: float = 30) -> SanNode:
        given = self.arguments or ("--embedded", str(self.folder),
                                   "--listen", f"tcp:{self.port}:interface=127.0.0.1")
        self.program = Program.start([sys.executable, "-m", "ndmpd", "san", "serve", *given],
                                     self.folder.with_name(self.folder.name + ".log"), cwd=REPOSITORY)
        self.program.wait_for_port(self.port, timeout)
        deadline = time.monotonic() + timeout
        while not (self.folder / "san" / SOCKET).exists():
            if time.monotonic() > deadline:
                raise NotReady(f"no copy manager after {timeout:.0f} s:\n{self.program.log_tail()}")
            time.sleep(0.01)
        return self

    def stop(self) -> int:
        """The status that it ended with."""
        assert self.program is not None
        return self.program.stop()

    @property
    def portal(self) -> str:
        return f"iscsi://127.0.0.1:{self.port}"

    def url(self, unit: str) -> str:
        return f"{self.portal}/{PREFIX}{unit}/0"
