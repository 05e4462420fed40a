"""The servers and files of one run. Each is made when a row first asks for it, and stopped at the end.

Sources and destinations are written before anything is timed, so that nobody pays for the first touch of a
page or the allocation of a block; where a job makes new files, it does so for all subjects.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ndmpd.san import create
from tests.peers.ndmjob import Agent, find_program
from tests.peers.reference import ReferenceServer
from tests.peers.server import PASSWORD, REPOSITORY, USER, Program, free_port
from tests.peers.tgt import Tgt
from tests.peers.two_networks import NoNamespaces, Site, two_sites
from tests.trees.real import RealTree, find_real_tree

MIB = 1 << 20
SMALL = 2048
"""Bytes of each small file."""
PER_FOLDER = 1000
MEMORY = "/dev/shm"
"""A folder in a tmpfs."""
DRIVES = 4
SESSIONS = 64


@dataclass(frozen=True, slots=True)
class Scale:
    """``size``: bytes of the large file and of each disk. ``files``: how many small ones. ``seconds``: how
    long one round of asking under load takes.
    """

    size: int = 1024 * MIB
    files: int = 100_000
    seconds: float = 3.0


@dataclass(slots=True)
class Server:
    """``ndmpd serve`` on an embedded SAN of four drives and two disks, in a process session of its own."""

    state: Path
    port: int
    program: Program

    @classmethod
    def start(cls, state: Path, disk_size: int, exports: Sequence[Path] = (),
              more: Sequence[str] = ()) -> Server:
        create(state, drives=DRIVES, disks=2, disk_size=disk_size)
        secret, config, port = state / "secret", state / "ndmpd.toml", free_port()
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        lines = [
            f'[server]\nlisten = "tcp:{port}:interface=127.0.0.1"\nstate_dir = "{state}"',
            f"max_sessions = {SESSIONS + 1}",
            f'[[user]]\nname = "{USER}"\nsecret_file = "{secret}"',
            *(f'[filesystem."{export}"]\npath = "{export}"' for export in exports),
            '[datamover.copy0]\ntype = "SCSI"\ndevice = "virtual:copy0"',
            *(f'[drive.tape{number}]\ndevice = "virtual:tape{number}"' for number in range(DRIVES)),
            *(f'[disk.disk{number}]\ndevice = "virtual:disk{number}"\n'
              f'[filesystem."/vol/disk{number}"]\ndisk = "disk{number}"' for number in range(2)),
            *more,
        ]
        config.write_text("\n".join(lines) + "\n")
        command = [sys.executable, "-m", "ndmpd", "serve", "--config", str(config)]
        program = Program.start(command, state.with_name(state.name + ".log"), cwd=REPOSITORY)
        program.wait_for_port(port, 30)
        return cls(state, port, program)

    @property
    def agent(self) -> Agent:
        return Agent(self.port, 4, USER, PASSWORD)

    def disk(self, name: str) -> Path:
        """The backing file of an embedded disk."""
        return self.state / "san" / "disks" / f"{name}.img"

    def processes(self) -> list[int]:
        """Listener, fork server, sessions and data processes."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    if os.getsid(int(entry)) == self.program.process.pid:
                        found.append(int(entry))
        return found


@dataclass(slots=True)
class Node:
    """``ndmpd san serve``: an embedded SAN of one drive and one disk, over iSCSI."""

    state: Path
    port: int
    program: Program

    @classmethod
    def start(cls, state: Path, disk_size: int) -> Node:
        create(state, drives=1, disks=1, disk_size=disk_size)
        port = free_port()
        command = [sys.executable, "-m", "ndmpd", "san", "serve", "--embedded", str(state),
                   "--listen", f"tcp:{port}:interface=127.0.0.1"]
        program = Program.start(command, state.with_name(state.name + ".log"), cwd=REPOSITORY)
        program.wait_for_port(port, 30)
        return cls(state, port, program)

    @property
    def disk(self) -> Path:
        """The backing file of its disk0."""
        return self.state / "san" / "disks" / "disk0.img"

    @staticmethod
    def target(unit: str) -> str:
        return f"iqn.2026-11.io.ndmpd:{unit}"


class Place:
    """Everything is below ``folder``, but for what is restored to ``memory``. A context manager.

    ``memory`` is for many small files that come and go: ext4 passes over the inodes deleted within the last
    minutes one by one, so that files made behind a deletion take ten times as long, whoever makes them.
    """

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.folder = folder
        self.scale = scale
        self._stack = ExitStack()
        self.exports = folder / "exports"
        self.exports.mkdir()
        self.memory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def ours(self) -> Server:
        trees = [self.real.path] if self.real else []
        return self._served(Server.start(self.folder / "state", self.scale.size,
                                         (self.exports, self.memory, *trees)))

    @cached_property
    def tapes(self) -> Server:
        """A second server: its mover has no way to ``ours`` but TCP."""
        return self._served(Server.start(self.folder / "tapes", self.scale.size))

    @cached_property
    def node(self) -> Node:
        node = Node.start(self.folder / "node", self.scale.size)
        self._stack.callback(node.program.stop)
        return node

    @cached_property
    def tgt(self) -> Tgt | None:
        """tgtd with a disk of the scale's size, written from end to end, and a tape drive."""
        if shutil.which("tgtd") is None or os.geteuid() != 0:
            print("tgtd is not installed (apt-get install tgt), or this is not root: measured without it",
                  file=sys.stderr)
            return None
        tgt = Tgt(self.folder / "tgt", lifetime=3600)
        self._stack.callback(tgt.stop)
        tgt.disk(self.scale.size)
        fill(tgt.disks[0], self.scale.size)
        tgt.start()
        tgt.tape(2 * self.scale.size + 64 * MIB)
        return tgt

    @cached_property
    def head(self) -> Server:
        """A server with a drive of ``node``, san0."""
        device = f"iscsi://127.0.0.1:{self.node.port}/{Node.target('tape0')}/0"
        return self._served(Server.start(self.folder / "head", self.scale.size,
                                         more=[f'[drive.san0]\ndevice = "{device}"']))

    @cached_property
    def networks(self) -> Site | None:
        """A head and a node that only a wire joins, with a disk of the scale's size; None without root."""
        place = self.folder / "networks"
        place.mkdir()
        try:
            return self._stack.enter_context(two_sites(place, self.scale.size))
        except NoNamespaces as error:
            print(f"measured without two networks: {error}", file=sys.stderr)
            return None

    def _served(self, server: Server) -> Server:
        self._stack.callback(server.program.stop)
        return server

    @cached_property
    def reference(self) -> ReferenceServer | None:
        program = find_program()
        if program is None:
            print("ndmjob is not installed (apt-get install amanda-common): measured without it",
                  file=sys.stderr)
            return None
        place = self.folder / "ndmjob"
        place.mkdir()
        server = ReferenceServer(program, place, lifetime=3600).start()
        self._stack.callback(server.stop)
        return server

    def disk(self, name: str) -> Path:
        """An embedded disk of ``ours``, written from end to end."""
        return self.fill_disk(self.ours, name)

    def fill_disk(self, server: Server, name: str) -> Path:
        """The same of any server."""
        return self.fill_file(server.disk(name))

    def fill_file(self, path: Path) -> Path:
        """The same of the file behind any disk."""
        if path.stat().st_blocks * 512 < path.stat().st_size:
            fill(path, self.scale.size)
        return path

    @cached_property
    def large(self) -> Path:
        """One large file, alone in its folder."""
        folder = self.exports / "large"
        folder.mkdir()
        fill(folder / "file", self.scale.size)
        return folder / "file"

    @cached_property
    def small(self) -> RealTree:
        return self._files("small", self.scale.files, random.Random(2).randbytes(SMALL))

    @cached_property
    def empty(self) -> RealTree:
        return self._files("empty", self.scale.files, b"")

    def _files(self, name: str, count: int, content: bytes) -> RealTree:
        folder = self.exports / name
        folder.mkdir()
        for number in range(count):
            if number % PER_FOLDER == 0:
                (place := folder / f"{number // PER_FOLDER:03}").mkdir()
            (place / f"file{number:06}").write_bytes(content)
        return RealTree(folder, count, count * len(content))

    @cached_property
    def real(self) -> RealTree | None:
        return find_real_tree()

    def written(self, name: str, size: int) -> Path:
        """A file to write over, with all its blocks."""
        path = self.folder / name
        if not path.exists() or path.stat().st_size < size:
            fill(path, size)
        return path


def fill(path: Path, size: int) -> None:
    """Write ``size`` bytes that do not repeat within a few MiB, and none of which is a hole."""
    block = random.Random(1).randbytes(4 * MIB)
    with path.open("r+b" if path.exists() else "wb") as file:
        for number in range(0, size, len(block)):
            turn = number // len(block) % len(block)
            file.write((block[turn:] + block[:turn])[: size - number])


def blocks_can_be_shared(folder: Path) -> bool:
    """Whether the file system can copy by reference (FICLONE): then a copy in it says nothing about moving
    bytes.
    """
    import fcntl

    ficlone = 0x40049409
    source, target = folder / "source", folder / "target"
    try:
        source.write_bytes(bytes(64 << 10))
        with source.open("rb") as one, target.open("wb") as other:
            fcntl.ioctl(other, ficlone, one.fileno())
    except OSError:
        return False
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
    return True
