"""Heads and a SAN node as programs of their own, a link between them that can be cut, and what is judged
after a fault: the tape, the disks, the next job.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from ndmpd.client.__main__ import main
from ndmpd.client.agents import TapeAgent
from ndmpd.client.errors import Refused
from ndmpd.client.options import PASSWORD_VARIABLE
from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from ndmpd.devices.libiscsi import NAMES
from ndmpd.san import create
from ndmpd.san.exchange import export_image
from ndmpd.san.folder import San
from ndmpd.san.library import Library
from ndmpd.san.maintenance import at_rest
from protocol.ndmp.codes import TapeOpenMode
from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import url
from tests.peers.server import PASSWORD, REPOSITORY, Program, free_port

MIB = 1 << 20
TARGET = "iqn.2026-11.io.ndmpd"
INITIATOR = "iqn.2026-11.io.ndmpd.tests"
CARTRIDGES = {"tape0": "E01001L8", "tape1": "E01002L8"}
RECORD = 256 << 10


@dataclass(slots=True)
class Node:
    """``ndmpd san serve`` on the embedded SAN of ``folder``. ``settings``: TOML, if there is any."""

    folder: Path
    port: int = field(default_factory=free_port)
    program: Program | None = None
    settings: str = ""

    def make(self, disk: int, capacity: int = 1 << 30, **sizes: int) -> None:
        """``disk`` and the rest: sizes as ``create`` takes them."""
        create(self.folder, capacity=capacity, disk_size=disk, **sizes)
        # Small commands, so that there is a middle of a copy to meet.
        profile = {"max_segments": 3, "max_segment_length": MIB}
        (self.folder / "san" / "profiles.json").write_text(json.dumps({"copy0": profile}))

    @property
    def log_file(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def _socket(self) -> Path:
        return self.folder / "san" / "copymanager.sock"

    @property
    def command(self) -> list[str]:
        words = [sys.executable, "-m", "ndmpd", "san", "serve", "--embedded", str(self.folder),
                 "--listen", f"tcp:{self.port}:interface=127.0.0.1"]  # fmt: skip
        return [*words, "--config", str(self._config)] if self.settings else words

    @property
    def _config(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.toml")

    def start(self) -> Node:
        """It listens, and its copy manager does."""
        self._socket.unlink(missing_ok=True)  # of one that was killed
        self._config.write_text(self.settings)
        self.program = Program.start(self.command, self.log_file, cwd=REPOSITORY)
        self.program.wait_for_port(self.port, 30)
        self.await_copy_manager()
        return self

    def kill(self) -> None:
        """All its processes at once, as power loss ends them; what was written stays."""
        assert self.program is not None
        os.killpg(self.program.process.pid, signal.SIGKILL)
        self.program.process.wait()
        self.program = None

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None

    def disk(self, name: str) -> Path:
        return self.folder / "san" / "disks" / f"{name}.img"

    def tape(self, drive: str) -> bytes:
        """The cartridge in ``drive`` as a SIMH image, whoever uses it meanwhile."""
        san = San.open(self.folder / "san")
        image = self.folder.with_name(f"{drive}.tap")
        with closing(Library(san).open_medium(CARTRIDGES[drive], readonly=True)) as medium:
            export_image(medium, image)
        return image.read_bytes()

    def tape_bytes(self, drive: str) -> int:
        return (self.folder / "san" / "cartridges" / CARTRIDGES[drive] / "data").stat().st_size

    def kill_copy_manager(self) -> None:
        """The process that carries out EXTENDED COPY; the node starts another."""
        self._socket.unlink()
        os.kill(self._copy_manager(), signal.SIGKILL)

    def await_copy_manager(self) -> None:
        await_that(self._socket.exists, 30)

    def _copy_manager(self) -> int:
        assert self.program is not None
        children = Path(f"/proc/{self.program.process.pid}/task").glob("*/children")
        found = [int(pid) for one in children for pid in one.read_text().split()]
        return next(pid for pid in found if b"copymanager" in Path(f"/proc/{pid}/cmdline").read_bytes())


class Link:
    """A TCP path to ``port`` that fails as networks do. It is a thread of this process."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self._to = port
        self._listening: socket.socket | None = self._listen()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._black = False
        self._stopping = False
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="link")
        self._thread.start()

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", self.port), backlog=64)

    def swallow(self) -> None:
        """From now on nothing arrives any more, and nobody is told."""
        with self._lock:
            self._black = True

    def reset(self) -> None:
        """Every connection ends with RST, and new ones are refused."""
        with self._lock:
            if self._listening is not None:
                self._listening.close()
                self._listening = None
            self._reset_all()

    def heal(self) -> None:
        """What waited goes on."""
        with self._lock:
            self._black = False
            while self._listening is None:
                # The thread may look at the former socket for a moment yet.
                with suppress(OSError):
                    self._listening = self._listen()

    def _reset_all(self) -> None:
        for one in list(self._pairs):
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        self._pairs.clear()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join(10)
        with self._lock:
            self._reset_all()
            if self._listening is not None:
                self._listening.close()

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                watched = [] if self._black else list(self._pairs)
                if not self._black and self._listening is not None:
                    watched.append(self._listening)
            ready = select.select(watched, [], [], 0.02)[0] if watched else time.sleep(0.02)
            with self._lock:
                for one in ready or ():
                    if not self._black:
                        self._serve(one)

    def _serve(self, one: socket.socket) -> None:
        if one is self._listening:
            near, _ = one.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=1)
            except OSError:
                near.close()
                return
            far.settimeout(5)
            near.settimeout(5)
            self._pairs |= {near: far, far: near}
        elif one in self._pairs:
            other = self._pairs[one]
            try:
                data = one.recv(MIB)
                if data:
                    other.sendall(data)
                    return
            except OSError:
                pass
            for end in (one, other):
                self._pairs.pop(end, None)
                end.close()


TABLES = """
[drive.tape0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:tape0/0"
[drive.tape1]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:tape1/0"
[changer.mc0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:mc0/0"
[disk.disk0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:disk0/0"
[disk.disk1]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:disk1/0"
[datamover.copy0]
type = "SCSI"
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:{manager}/0"
batchsize = "10MB"
[filesystem."/vol/disk0"]
disk = "disk0"
[filesystem."/vol/disk1"]
disk = "disk1"
"""
QUICK = "login_timeout = 2\nsilence_timeout = 3\n"
"""For a head that does not wait as long as it would by itself."""


@dataclass(slots=True)
class Head(ConfiguredServer):
    """With state of its own; can be killed."""

    def kill(self) -> None:
        """All its processes at once."""
        assert self.program is not None
        os.killpg(self.program.process.pid, signal.SIGKILL)
        self.program.process.wait()
        self.program = None


def head(folder: Path, port: int, initiator: str = QUICK, manager: str = "copy0") -> Head:
    """A head whose devices are behind ``port``, known to targets by the name of ``folder``. Not started.
    ``initiator``: what stands in that table.
    """
    folder.mkdir()
    tables = TABLES.format(port=port, manager=manager)
    return Head(folder, f'{tables}[initiator]\nname = "{INITIATOR}.{folder.name}"\n{initiator}')


@dataclass(frozen=True, slots=True, repr=False)
class Done:
    """A job of ``ndmpc``: exit status, report, everything it printed, seconds."""

    status: int
    report: dict[str, Any]
    output: str
    seconds: float

    @property
    def variables(self) -> dict[str, str]:
        return {one["name"]: one["value"] for one in self.report.get("environment", [])}

    def __repr__(self) -> str:
        """How it ended, when, and what was said."""
        said = "; ".join(one["text"] for one in self.report.get("messages", []))
        return f"exit status {self.status} after {self.seconds:.1f} s: {said or self.report.get('problem')}"

    @property
    def loud(self) -> bool:
        """It failed, and says why."""
        return self.status != 0 and bool(self.report.get("messages") or self.report.get("problem"))


def job(server: ConfiguredServer, command: str, *arguments: str | os.PathLike[str]) -> Done:
    agent = server.agent
    words = [command, url(agent), *map(os.fspath, arguments), "--json"]
    began = time.monotonic()
    done = CliRunner().invoke(main, words, env={PASSWORD_VARIABLE: agent.password})
    seconds = time.monotonic() - began
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {}
    return Done(done.exit_code, report, done.output, seconds)


def asked_for(server: ConfiguredServer, drive: str) -> str:
    """The error that TAPE_OPEN has, asked once; "" where it has none."""
    agent = server.agent
    with closing(Login(ServerUrl.parse(url(agent)), agent.password).open()) as connection:
        try:
            TapeAgent(connection).open(drive, TapeOpenMode.READ)
        except Refused as refusal:
            return getattr(refusal.error, "name", str(refusal.error))
    return ""


def await_that(ready: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.005)


@contextmanager
def meanwhile(due: Callable[[], bool], *strokes: tuple[float, Callable[[], Any]]) -> Iterator[None]:
    """As soon as ``due``, every stroke, so many seconds after the one before it. Fails where it never was."""
    over = threading.Event()

    def strike() -> None:
        while not due():
            assert not over.is_set(), "the job was over before the fault"
            time.sleep(0.0005)
        for pause, stroke in strokes:
            time.sleep(pause)
            stroke()

    with ThreadPoolExecutor(1, "fault") as thread:
        striking = thread.submit(strike)
        try:
            yield
        finally:
            # Strokes that heal come even after the job has ended.
            over.set()
            striking.result(60)


def fill(disk: Path, seed: int) -> None:
    """Noise all over."""
    noise, size = random.Random(seed), disk.stat().st_size
    with disk.open("r+b") as file:
        for _ in range(0, size, 4 * MIB):
            file.write(noise.randbytes(min(4 * MIB, size - file.tell())))
        file.flush()
        os.fsync(file.fileno())


def empty(disk: Path) -> None:
    """Nothing is stored of it any more."""
    size = disk.stat().st_size
    os.truncate(disk, 0)
    os.truncate(disk, size)


def records(tape: bytes) -> bytes:
    """A SIMH image without its end and the filemarks before it."""
    assert tape.endswith(b"\xff" * 4)
    found = tape[:-4]
    while found.endswith(bytes(4)):  # a record ends with its length, which is not 0
        found = found[:-4]
    return found


def beginning_of(tape: bytes, whole: bytes) -> bool:
    """Whether the records on ``tape`` are the first of ``whole``: none twice, none left out."""
    found = records(tape)
    return whole.startswith(found) and len(found) % (RECORD + 8) == 0


def blank(node: Node, drive: str) -> None:
    """Erase the cartridge in ``drive``, which nobody uses."""
    with at_rest(San.open(node.folder / "san"), CARTRIDGES[drive], changing=True) as medium:
        medium.truncate(0)
        medium.forget_tail()


def reset_unit(port: int, unit: str) -> None:
    """LOGICAL UNIT RESET by an initiator of its own."""
    from cffi import FFI

    ffi = FFI()
    ffi.cdef("""
        void *iscsi_create_context(const char *);
        int iscsi_set_targetname(void *, const char *);
        int iscsi_set_session_type(void *, int);
        int iscsi_full_connect_sync(void *, const char *, int);
        int iscsi_task_mgmt_lun_reset_sync(void *, int);
        int iscsi_logout_sync(void *);
        int iscsi_destroy_context(void *);
        const char *iscsi_get_error(void *);
    """)
    lib = ffi.dlopen(NAMES[0])
    context = lib.iscsi_create_context(b"iqn.2026-11.io.ndmpd.tests:third")
    try:
        lib.iscsi_set_targetname(context, f"{TARGET}:{unit}".encode())
        lib.iscsi_set_session_type(context, 2)
        for done in (
            lib.iscsi_full_connect_sync(context, f"127.0.0.1:{port}".encode(), 0),
            lib.iscsi_task_mgmt_lun_reset_sync(context, 0),
        ):
            assert done == 0, ffi.string(lib.iscsi_get_error(context))
        lib.iscsi_logout_sync(context)
    finally:
        lib.iscsi_destroy_context(context)


def keep_secret(file: Path, secret: str) -> None:
    """In a file that only its owner can read."""
    file.write_text(secret + "\n")
    file.chmod(0o600)


def tells_no_secret(text: str, *secrets: str) -> bool:
    return not any(one in text for one in (PASSWORD, *secrets))
