"""A mover on drives of an embedded SAN, with both ends of its data connection in the hands of a test.

``Rig`` plays the DMA: it changes cartridges and sets windows at pauses. A cartridge is a SAN of its own, so
that as many as a stream takes can follow each other.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.tape_outcome import Stop
from ndmpd.pieces import Piece
from ndmpd.ports import SourceFault, Transport
from ndmpd.san import Flush, San, create
from ndmpd.san.nexus import Nexus
from ndmpd.services import channel
from ndmpd.services.copying import Run
from ndmpd.services.head_path import HeadPath
from ndmpd.services.hello import Hello, Role, meet
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.lowering import Lowering
from ndmpd.services.mover import MoverService
from ndmpd.services.mover_run import MoverRun
from ndmpd.services.outlets import LocalOutlet, Outlet, RemoteOutlet
from ndmpd.services.tape import TapeService
from ndmpd.services.transfer import Mover, Transfer
from ndmpd.session.effects import MoverContinue, MoverRead, MoverStart
from ndmpd.session.events import Log, MoverHalted, MoverPaused
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import Error, MoverMode, MoverPauseReason, TapeMtioOp, TapeOpenMode, Version
from protocol.ndmp.tape import TapeMtioRequest, TapeOpenRequest

PATIENCE = 20.0
"""Seconds that anything here may take; a test that waits longer fails."""
LONGEST = 1 << 20
DISK = 1 << 20
Happening = MoverPaused | MoverHalted


@dataclass(slots=True)
class Sent:
    """What became of the sender of a backup."""

    faults: list[SourceFault] = field(default_factory=list)
    size: int = 0
    failure: BaseException | None = None
    finished: bool = False
    offloaded: int = 0
    used: str = ""

    def count(self, size: int) -> None:
        self.size += size


class Rig:
    def __init__(self, folder: Path, version: Version = Version.V4, capacity: int = 64 << 20,
                 early_warning: int = 0) -> None:
        self.folder = folder
        self.version = version
        self.sizes = capacity, early_warning
        self.cartridges: list[San] = []
        self.happenings: queue.Queue[Happening] = queue.Queue()
        self.lock = threading.Lock()
        self._stack = ExitStack()
        self._nexus: Nexus | None = None
        self.tape = TapeService(self._device, version)
        self.mover = MoverService(self.tape, self.lock, self.transfer, self._tell)
        self.record_size = 0
        self.asked = Mover.NAS
        """What a local DATA asks for."""
        self.said: list[Log] = []
        self.mount(self.blank())

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        run = self.mover.end()
        assert run is None or run.join(PATIENCE), "the mover's thread does not end"
        self.tape.close()
        self._stack.close()

    # Cartridges, in the only drive there is.

    def blank(self) -> San:
        capacity, early_warning = self.sizes
        san = create(self.folder / str(len(self.cartridges)), capacity=capacity, early_warning=early_warning,
                     cartridges=1, drives=1, disks=1, disk_size=DISK, flush=Flush.NOTHING)
        self.cartridges.append(san)
        return san

    def mount(self, san: San, mode: TapeOpenMode = TapeOpenMode.RDWR) -> None:
        """Change the cartridge, as TAPE_CLOSE, a robot and TAPE_OPEN would; it stands at its beginning."""
        with self.lock:
            self.tape.close()
            self._load(san)
            assert self.tape.perform(TapeOpenRequest("tape0", mode)).error == Error.NO_ERR
        self.mtio(TapeMtioOp.REW)

    def _load(self, san: San) -> None:
        if self._nexus is not None:
            self._nexus.close()
        self._nexus = self._stack.enter_context(Nexus(san.path))
        self._mounted = san

    def mtio(self, operation: TapeMtioOp, count: int = 1) -> None:
        with self.lock:
            assert self.tape.perform(TapeMtioRequest(operation, count)).error == Error.NO_ERR

    def _device(self, name: str) -> Transport:
        assert self._nexus is not None
        return EmbeddedTransport(self._mounted.path, name, self._nexus)

    def transfer(self, asked: Mover, run: Run) -> Transfer:
        return Transfer(asked, HeadPath(self.disk), (), run.say)

    def disk(self, name: str) -> Transport:
        san = self.cartridges[0]
        nexus = self._stack.enter_context(Nexus(san.path))
        return EmbeddedTransport(san.path, name, nexus)

    def records(self, san: San) -> list[bytes]:
        """All records of the first tape file."""
        self.mount(san)
        drive = self.tape.drive
        assert drive is not None
        found = []
        while (record := drive.read(LONGEST)).stop is None:
            assert len(record.data) == record.length
            found.append(record.data)
        assert record.stop in (Stop.FILEMARK, Stop.END_OF_DATA)
        return found

    # The mover.

    def _tell(self, event: Happening | Log, run: MoverRun) -> None:
        if isinstance(event, Log):
            self.said.append(event)
        elif self.mover.hears(run):
            self.happenings.put(event)

    def start(self, end: socket.socket, mode: MoverMode, record_size: int, *, local: bool, offset: int = 0,
              length: int = ALL_ONES) -> None:
        self.record_size = record_size
        self.mover.attach(end, local)
        self.mover.start(MoverStart(mode, record_size, offset, length))

    def go_on(self, offset: int = 0, length: int = ALL_ONES) -> None:
        self.mover.proceed(MoverContinue(offset, length))

    def next(self) -> Happening:
        return self.happenings.get(timeout=PATIENCE)

    def paused(self, reason: MoverPauseReason) -> MoverPaused:
        event = self.next()
        assert isinstance(event, MoverPaused) and event.reason == reason, event
        assert self.lock.acquire(timeout=PATIENCE), "a paused mover keeps the tape"
        self.lock.release()
        return event

    def halted(self) -> MoverHalted:
        event = self.next()
        assert isinstance(event, MoverHalted), event
        return event

    # A backup.

    def send(self, pieces: Sequence[Piece], *, local: bool) -> tuple[socket.socket, Sent, threading.Thread]:
        """A thread that sends ``pieces``; the mover's end of the connection."""
        ours, theirs = channel.pair() if local else tcp_pair()
        sent = Sent()

        def run() -> None:
            outlet: Outlet
            if local:
                outlet = LocalOutlet(ours, sent.faults.append, sent.count)
            else:
                outlet = RemoteOutlet(ours, Lowering(self.disk), sent.faults.append, sent.count)
            with ours:
                try:
                    if local:
                        meet(ours, Hello(Role.DATA_BACKUP, self.asked))
                    for piece in pieces:
                        outlet.send(piece)
                    outlet.finish()
                    sent.offloaded, sent.used = outlet.offloaded, outlet.used
                    sent.finished = True
                except Exception as failure:
                    sent.failure = failure

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return theirs, sent, thread

    def backup(self, pieces: Sequence[Piece], record_size: int, *, local: bool = True,
               windows: Sequence[int] = (), stay: int = 0) -> tuple[list[list[bytes]], Sent]:
        """Records on each cartridge. ``windows``: lengths in records, then without end; each is set as the
        one before it ends, and a cartridge's end cuts one short. So often the DMA will ``stay`` on a
        cartridge that has met its end; every other time it has moved the tape back and forth."""
        theirs, sent, thread = self.send(pieces, local=local)
        lengths = iter([number * record_size for number in windows])
        self.start(theirs, MoverMode.READ, record_size, local=local, length=next(lengths, ALL_ONES))
        used = [self._mounted]
        self.used = used
        while isinstance(event := self.next(), MoverPaused):
            if event.reason == MoverPauseReason.EOM and stay:
                stay -= 1
                for move in (TapeMtioOp.BSR, TapeMtioOp.FSR) if stay % 2 else ():
                    self.mtio(move)
            elif event.reason == MoverPauseReason.EOM:
                used.append(self.blank())
                self.mount(used[-1])
            else:
                assert event.reason == MoverPauseReason.EOW
            self.go_on(self.mover.figures().bytes_moved, next(lengths, ALL_ONES))
        self.ended = event
        thread.join(PATIENCE)
        assert not thread.is_alive(), "DATA was left hanging"
        return [self.records(san) for san in used], sent

    # A recover.

    def recover(self, take: Callable[[LocalInlet | RemoteInlet], None], spans: Sequence[tuple[San, int, int]],
                record_size: int, *, local: bool = True) -> list[Happening]:
        """Run ``take`` with a reader of the stream that lies on ``spans``: (cartridge, offset, length).

        Each is a window; those of one cartridge follow each other from its beginning.
        """
        ours, theirs = channel.pair() if local else tcp_pair()
        asked: queue.Queue[tuple[int, int]] = queue.Queue()
        failures: list[BaseException] = []

        def run() -> None:
            def ask(offset: int, length: int) -> None:
                asked.put((offset, length))
                self.mover.read(MoverRead(offset, length))

            inlet = (LocalInlet(ours, ask, lambda _: None) if local
                     else RemoteInlet(ours, Lowering(self.disk), ask, lambda _: None))
            with ours:
                try:
                    if local:
                        meet(ours, Hello(Role.DATA_RECOVER, self.asked))
                    take(inlet)
                except Exception as failure:
                    failures.append(failure)

        def stand(index: int) -> None:
            self.mount(spans[index][0], TapeOpenMode.READ)
            before = sum(length for san, _, length in spans[:index] if san is spans[index][0])
            if before:
                self.mtio(TapeMtioOp.FSR, before // record_size)

        stand(0)
        self.start(theirs, MoverMode.WRITE, record_size, local=local, offset=spans[0][1], length=spans[0][2])
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        happened: list[Happening] = []
        current: int = 0
        while True:
            event = self.next()
            happened.append(event)
            if isinstance(event, MoverHalted):
                break
            index: int | None
            if event.reason == MoverPauseReason.SEEK:
                wanted = event.seek_position
                index = next((at for at, (_, offset, length) in enumerate(spans)
                              if offset <= wanted < offset + length), None)
            else:
                index = current + 1 if current + 1 < len(spans) else None
            if index is None:
                self.mover.end()
                break
            stand(index)
            current = index
            self.go_on(spans[index][1], spans[index][2])
        thread.join(PATIENCE)
        assert not thread.is_alive(), "DATA was left hanging"
        if failures:
            raise failures[0]
        return happened


def joined(role: Role) -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel; ours has said already that it is ``role``, and hears of a mover next."""
    ours, theirs = channel.pair()
    channel.send(ours, Hello(role, Mover.NAS).put())
    return ours, theirs


def greeted(end: socket.socket) -> Hello:
    """Who is at the other end."""
    frame = channel.receive(end)
    assert frame is not None
    return Hello.take(frame)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


def drop(end: socket.socket) -> None:
    """Close without a goodbye, as the kernel does for a process that was killed."""
    with suppress(OSError):
        end.close()
