"""One backup by a copy manager, or one recover, with trouble on the way; and what must hold afterwards."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from ndmpd.ports import Command
from ndmpd.services import channel
from ndmpd.services.hello import Hello, Role, meet
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.effects import MoverRead
from ndmpd.session.events import MoverHalted, MoverPaused
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import Error, MoverHaltReason, MoverMode, MoverPauseReason, TapeMtioOp, TapeOpenMode
from protocol.ndmp.tape import TapeMtioRequest
from protocol.scsi import command as scsi
from protocol.scsi.ssc import LongPosition, PositionForm
from tests.services.copy_rig import BLOCK, DISK, SEA, CopyRig, Place, content, draw_extents, image
from tests.sweep import verdict
from tests.sweep.jobs import padded
from tests.sweep.offload import Trouble

RECORD_SIZES = (512, 512, 1024, 4000, 10240, 64512)
Halt = MoverHaltReason


@dataclass(frozen=True)
class Work:
    """``windows`` in records, then without end; ``batch``: bytes of one copy at most."""

    record: int
    extents: tuple[tuple[int, int], ...]
    windows: tuple[int, ...]
    batch: int
    mover: Mover

    @cached_property
    def pieces(self) -> list[Piece]:
        return image(self.extents)

    @cached_property
    def records(self) -> list[bytes]:
        return padded(content(self.pieces), self.record)

    @property
    def size(self) -> int:
        return sum(piece.length for piece in self.pieces)

    @cached_property
    def restored(self) -> bytes:
        found = bytearray(DISK)
        for lba, blocks in self.extents:
            found[lba * BLOCK:(lba + blocks) * BLOCK] = SEA[lba * BLOCK:(lba + blocks) * BLOCK]
        return bytes(found)


def draw(rng: random.Random, most_blocks: int = 300) -> Work:
    record = rng.choice(RECORD_SIZES)
    extents = draw_extents(rng, rng.randint(1, most_blocks))
    windows = tuple(rng.randint(1, 12) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    return Work(record, tuple(extents), windows, record * rng.choice((3, 8, 40, 4096)),
                rng.choice((Mover.AUTO, Mover.AUTO, Mover.SCSI)))


@contextmanager
def told(seed: int, work: Work, trouble: Trouble, rig: CopyRig) -> Iterator[None]:
    """A failure names its seed and what happened."""
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"SWEEP_SEED={seed}: {work}\nat {trouble.at}, struck {trouble.struck}\n"
                         + "\n".join(trouble.history[-12:]) + "\n" + rig.log())
        raise


class Backup:
    """``run`` plays the DMA to the end; afterwards ``judge``."""

    def __init__(self, place: Place, work: Work, trouble: Trouble) -> None:
        self.work, self.trouble, self.place = work, trouble, place
        self.rig = CopyRig(place, work.mover, batch=work.batch, wrap=trouble.wrap)
        self.tapes: list[int] = [0]

    def run(self) -> MoverHalted:
        rig, record = self.rig, self.work.record
        theirs, self.sent, thread = rig.send(self.work.pieces, local=True)
        lengths = iter([number * record for number in self.work.windows])
        rig.start(theirs, MoverMode.READ, record, local=True, length=next(lengths, ALL_ONES))
        while isinstance(event := rig.next(), MoverPaused):
            if event.reason == MoverPauseReason.EOM:
                self.tapes.append(len(self.tapes))
                rig.mount(rig.blank())
            rig.go_on(rig.mover.figures().bytes_moved, next(lengths, ALL_ONES))
        run = rig.mover._run
        assert run is not None and run.join(10.0)
        thread.join(10.0)
        assert not thread.is_alive(), "DATA was left hanging"
        self.trouble.wait()
        self.ended = event
        return event

    def judge(self, *, doubt: bool = False) -> None:
        """Whole records, none twice, none missing; counters and position agree; what was lost was told.

        ``doubt``: what is on the tape is more than what was counted, at most.
        """
        work, rig = self.work, self.rig
        figures = rig.mover.figures()
        drive = rig.tape.drive
        assert drive is not None
        believed = drive.position
        truth = where(self.place, rig)
        if believed.object is not None:
            assert believed.object == truth, f"said to stand at {believed.object}, the tape is at {truth}"
        with rig.lock:
            rig.tape.close()
        records: list[bytes] = []
        for number in self.tapes:
            self.place.load(number)
            records += verdict.records_of(verdict.objects(self.place.san, work.record))
        verdict.same_prefix(records, work.records)
        there = min(len(records) * work.record, work.size)
        if doubt:
            assert figures.bytes_moved <= there, f"counted {figures.bytes_moved} bytes, on tape {there}"
        else:
            assert figures.bytes_moved == there, f"counted {figures.bytes_moved} bytes, on tape {there}"
        assert not rig.mover._run or rig.mover._run._under_way == 0
        if self.ended.reason == Halt.CONNECT_CLOSED:
            assert self.sent.finished and len(records) == len(work.records), "success, and not all is there"
            assert self.sent.offloaded <= work.size
        else:
            assert self.ended.reason in (Halt.MEDIA_ERROR, Halt.INTERNAL_ERROR) and self.ended.text
            assert not self.sent.finished and self.sent.failure is not None
        left_threads()

    def close(self) -> None:
        self.trouble.fault = self.trouble.end = None
        self.rig.__exit__()


class Recover:
    """The whole of a tape that was written before, onto disk1."""

    def __init__(self, place: Place, work: Work, trouble: Trouble) -> None:
        self.work, self.trouble, self.place = work, trouble, place
        writer = CopyRig(place, Mover.NAS)
        with writer:
            tapes, _ = writer.backup(work.pieces, work.record)
            assert tapes == [work.records]
        self.rig = CopyRig(place, work.mover, batch=work.batch, wrap=trouble.wrap)
        self.failure: BaseException | None = None

    def _take(self, reader: LocalInlet | RemoteInlet) -> None:
        work = self.work
        reader.want(0, work.size)
        group: list[Piece] = []
        for piece in work.pieces:
            if isinstance(piece, Inline):
                reader.into(group)
                group = []
                data = reader.read(piece.length)
                assert data == piece.data[:len(data)], "what was read is not what was written"
                if len(data) < piece.length:
                    raise EOFError("the stream ended early")
            elif isinstance(piece, LunExtent):
                group.append(LunExtent("disk1", piece.lba, piece.blocks))
            else:
                assert isinstance(piece, Zeros)
                group.append(piece)
            if len(group) > 8:
                reader.into(group)
                group = []
        reader.into(group)

    def run(self) -> MoverHalted:
        record = self.work.record
        at, spans = 0, []
        for number in self.work.windows:
            spans.append((at, number * record))
            at += number * record
        spans.append((at, ALL_ONES - at))
        try:
            self.ended = self._recover(spans)
        finally:
            self.trouble.wait()
        return self.ended

    def _recover(self, spans: list[tuple[int, int]]) -> MoverHalted:
        rig = self.rig
        ours, theirs = channel.pair()

        def take() -> None:
            inlet = LocalInlet(ours, lambda offset, length: rig.mover.read(MoverRead(offset, length)),
                               lambda _: None)
            with ours:
                try:
                    meet(ours, Hello(Role.DATA_RECOVER, self.work.mover))
                    self._take(inlet)
                except Exception as failure:
                    self.failure = failure

        rig.start(theirs, MoverMode.WRITE, self.work.record, local=True, offset=spans[0][0],
                  length=spans[0][1])
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        while isinstance(event := rig.next(), MoverPaused):
            if event.reason != MoverPauseReason.SEEK or not self._position(event.seek_position, spans):
                rig.mover.end()
                event = MoverHalted(Halt.ABORTED, f"{event}")
                break
        run = rig.mover._run
        assert run is not None and run.join(10.0)
        thread.join(10.0)
        assert not thread.is_alive(), "DATA was left hanging"
        return event

    def _position(self, wanted: int, spans: list[tuple[int, int]]) -> bool:
        """Go on with the window that has byte ``wanted``, the tape at its beginning; whether that went well.
        """
        offset, length = next(span for span in spans if span[0] <= wanted < sum(span))
        with self.rig.lock:
            for request in (TapeMtioRequest(TapeMtioOp.REW, 1),
                            TapeMtioRequest(TapeMtioOp.FSR, offset // self.work.record)):
                if self.rig.tape.perform(request).error != Error.NO_ERR:
                    return False
        self.rig.go_on(offset, length)
        return True

    def judge(self) -> None:
        rig = self.rig
        drive = rig.tape.drive
        assert drive is not None
        truth = where(self.place, rig)
        if drive.position.object is not None:
            assert drive.position.object == truth, (drive.position, truth)
        assert not rig.mover._run or rig.mover._run._under_way == 0
        disk = self.place.san.disk_path("disk1").read_bytes()
        if self.failure is None:
            assert disk == self.work.restored, "DATA heard of no failure, and the disk is not right"
            assert self.ended.reason == Halt.CONNECT_CLOSED, self.ended
            assert rig.mover.figures().bytes_moved == self.work.size
        else:
            assert not isinstance(self.failure, AssertionError), self.failure
            assert ((self.ended.reason in (Halt.MEDIA_ERROR, Halt.INTERNAL_ERROR, Halt.ABORTED)
                    and self.ended.text) or isinstance(self.failure, OSError)), self.ended
        with rig.lock:
            rig.tape.close()
        assert self.on_tape() == self.work.records, "a recover has changed the tape"
        left_threads()

    def on_tape(self) -> list[bytes]:
        return verdict.records_of(verdict.objects(self.place.san, self.work.record))

    def close(self) -> None:
        self.trouble.fault = self.trouble.end = None
        self.rig.__exit__()


class SpannedRecover(Recover):
    """The same from as many cartridges as the tape takes, which the DMA changes where the mover asks."""

    def __init__(self, place: Place, work: Work, trouble: Trouble) -> None:
        self.work, self.trouble, self.place = work, trouble, place
        self.failure = None
        with CopyRig(place, Mover.NAS) as writer:
            self.tapes, _ = writer.backup(work.pieces, work.record)
        assert [one for tape in self.tapes for one in tape] == work.records
        self.rig = CopyRig(place, work.mover, batch=work.batch, wrap=trouble.wrap)

    def run(self) -> MoverHalted:
        at, spans = 0, []
        for tape in self.tapes:
            spans.append((at, len(tape) * self.work.record))
            at += len(tape) * self.work.record
        try:
            self.ended = self._recover(spans)
        finally:
            self.trouble.wait()
        return self.ended

    def _position(self, wanted: int, spans: list[tuple[int, int]]) -> bool:
        number = next((at for at, span in enumerate(spans) if span[0] <= wanted < sum(span)), None)
        if number is None:
            return False
        self.rig.mount(self.place.cartridges[number], TapeOpenMode.READ)
        self.rig.go_on(*spans[number])
        return True

    def on_tape(self) -> list[bytes]:
        found: list[bytes] = []
        for number in range(len(self.tapes)):
            self.place.load(number)
            found += verdict.records_of(verdict.objects(self.place.san, self.work.record))
        return found


def where(place: Place, rig: CopyRig) -> int:
    """READ POSITION, past the code under test."""
    buffer = bytearray(32)
    transport = EmbeddedTransport(place.san.path, "tape0", rig._shared)
    for _ in range(8):
        result = transport.execute(Command(scsi.READ_POSITION.put(action=PositionForm.LONG), (),
                                           [Inline(buffer)]))
        if not result.status:
            break
    assert not result.status
    transport.close()
    found = LongPosition.take(bytes(buffer)).object
    assert found is not None
    return found


def left_threads() -> None:
    left = [one.name for one in threading.enumerate() if one.name in ("copy watch", "mover")]
    assert not left, left
