"""Servers and DMAs for the tests of commands that ask a running server."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ndmpd.__main__ import main
from ndmpd.management.client import ask
from ndmpd.management.server import SOCKET
from protocol.ndmp.codes import AddrType, MoverMode, TapeMtioOp, TapeOpenMode
from protocol.ndmp.data import Name
from tests.peers.server import PASSWORD, REPOSITORY, USER, EmbeddedServer, NotReady, Program, free_port
from tests.test_server_faults import ALL, RECORD, Dma

DISK = 96 << 20
"""Bytes of disk0 that are not zeros."""
PAUSE = 64 * RECORD
PATIENCE = 15.0


def within(seconds: float, met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def ndmpd(state: Path, command: str, *arguments: str) -> Result:
    """``ndmpd COMMAND --embedded STATE ...``, in this process: only the server is another one."""
    return CliRunner().invoke(main, [command, "--embedded", str(state), *arguments], catch_exceptions=False)


def document(state: Path, command: str, *arguments: str) -> Any:
    done = ndmpd(state, command, "--json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def session_of(state: Path, drive: str) -> dict[str, Any]:
    """The session that holds ``drive``."""
    (found,) = [one for one in document(state, "sessions") if one.get("drive") == drive]
    return dict(found)


def mover(state: Path, name: str) -> dict[str, Any]:
    """The status of one data mover."""
    (found,) = [one for one in document(state, "status")["datamovers"] if one["name"] == name]
    return dict(found)


def at_rest(state: Path) -> None:
    """No session is left, and so no drive is held."""
    within(PATIENCE, lambda: ask(state, {"ask": "status"})["sessions"]["now"] == 0, "sessions are left")


@dataclass
class ImageDma(Dma):
    """A DMA that backs up a disk, or recovers it, with ``drive``; and joins its own two sides, or those of
    two connections to the same server.
    """

    drive: str = "tape0"

    def ready(self, mode: MoverMode, window: int = ALL) -> None:
        self.tape.open(self.drive, TapeOpenMode.RDWR if mode is MoverMode.READ else TapeOpenMode.READ)
        self.tape.mtio(TapeMtioOp.REW)
        self.mover.set_record_size(RECORD)
        self.mover.set_window(0, window)
        kind = AddrType.LOCAL if self.mover_server is None else AddrType.TCP
        self.data.connect(self.mover.listen(mode, kind))

    def save(self, by: str, window: int = ALL, disk: str = "disk0") -> None:
        self.ready(MoverMode.READ, window)
        self.data.start_backup("image", [("FILESYSTEM", f"/vol/{disk}"), ("DATAMOVER", by)])

    def bring_back(self, by: str, window: int = ALL, disk: str = "disk1") -> None:
        self.ready(MoverMode.WRITE, window)
        name = Name(original_path="/vol/disk0", destination_path=f"/vol/{disk}", new_name="", other_name="",
                    node=0, fh_info=ALL)
        self.data.start_recover("image", [("FILESYSTEM", "/vol/disk0"), ("DATAMOVER", by)], [name])


@contextmanager
def embedded(state: Path, *exports: Path) -> Iterator[EmbeddedServer]:
    """A server with ``DISK`` bytes on its disk0."""
    server = EmbeddedServer(state, exports).start()
    try:
        with server.disk("disk0").open("r+b") as disk:
            for _ in range(DISK >> 20):
                disk.write(os.urandom(1 << 20))
        yield server
    finally:
        server.stop()


@dataclass(slots=True)
class ConfiguredServer:
    """A server by a configuration, with metrics; ``port`` is its own."""

    folder: Path
    more: str = ""
    port: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def file(self) -> Path:
        return self.folder / "ndmpd.toml"

    def __enter__(self) -> ConfiguredServer:
        secret = self.folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        self.file.write_text(
            f'[server]\nlisten = "tcp:{self.port}:interface=127.0.0.1"\nstate_dir = "{self.state}"\n'
            f'metrics = "tcp:{self.metrics}"\n{self.more}\n'
            f'[[user]]\nname = "{USER}"\nsecret_file = "{secret}"\n'
            '[drive.tape0]\ndevice = "virtual:tape0"\n[disk.disk0]\ndevice = "virtual:disk0"\n'
            '[filesystem."/vol/disk0"]\ndisk = "disk0"\n'
            '[datamover.gw1]\ntype = "SCSI"\ndevice = "virtual:copy0"\n')
        command = [sys.executable, "-m", "ndmpd", "serve", "--config", str(self.file)]
        self.program = Program.start(command, self.folder / "server.log", cwd=REPOSITORY)
        self.program.wait_for_port(self.port, 30)
        within(30, lambda: (self.state / "run" / SOCKET).exists() or self.program.process.poll() is not None,
               "it takes no questions")
        if self.program.process.poll() is not None:
            raise NotReady(self.program.log_tail())
        with (self.state / "san" / "disks" / "disk0.img").open("r+b") as disk:
            disk.write(os.urandom(4 << 20))
        return self

    def __exit__(self, *_: object) -> None:
        assert self.program is not None
        self.program.stop()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that hangs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGCONT)
