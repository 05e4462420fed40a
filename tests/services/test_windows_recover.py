"""Windows of a recover: MOVER_READ at any offset, backwards and across pauses, is as exact by either mover.

After each read and at each pause the counters, the drive's own position and TAPE_GET_STATE are noted; both
movers must have one account of it, and the drive must be where the account says.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from ndmpd.devices import copymanager
from ndmpd.devices.leases import abandoned
from ndmpd.pieces import LunExtent
from ndmpd.ports import Command, Result
from ndmpd.san.tape import TapeDrive as VirtualDrive
from ndmpd.services import channel
from ndmpd.services.hello import Hello, Role, meet
from ndmpd.services.inlets import LocalInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.effects import MoverRead
from ndmpd.session.events import MoverHalted
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import MoverMode, MoverPauseReason, TapeMtioOp
from protocol.ndmp.tape import TapeGetStateReply
from protocol.scsi.command import Opcode
from tests.services.copy_rig import BLOCK, DISK, SEA, CopyRig, Place, Places, content, image, short_runs
from tests.services.rig import PATIENCE
from tests.sweep import verdict
from tests.sweep.offload_case import left_threads, where

EXTENTS = [(0, 90), (96, 3), (101, 1), (200, 120), (330, 40)]
PIECES = image(EXTENTS)
STREAM = content(PIECES)
BEFORE = (700, None, 512, 100, None)
"""What lies on the tape before the backup: records by their size, and filemarks."""


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@dataclass(frozen=True)
class Op:
    """Bytes of the stream to be read; or ``blocks`` of an extent to be put onto disk1."""

    offset: int
    length: int
    blocks: LunExtent | None = None


def ops_of(rng: random.Random, count: int) -> list[Op]:
    """Any ranges in any order: what lies in extents onto the disk, the rest as bytes."""
    places, at = [], 0
    for piece in PIECES:
        if isinstance(piece, LunExtent):
            places.append((at, piece))
        at += piece.length
    found = []
    for _ in range(count):
        if rng.random() < 0.6:
            start, piece = rng.choice(places)
            first = rng.randrange(piece.blocks)
            blocks = rng.randint(1, piece.blocks - first)
            found.append(Op(start + first * BLOCK, blocks * BLOCK,
                            LunExtent("disk1", piece.lba + first, blocks)))
        else:
            offset = rng.randrange(len(STREAM))
            found.append(Op(offset, rng.randint(1, min(len(STREAM) - offset, 20000))))
    return found


@dataclass(frozen=True)
class Step:
    what: str
    bytes_moved: int
    record_num: int
    left: int
    object: int
    state: TapeGetStateReply


@dataclass
class Trace:
    steps: list[Step] = field(default_factory=list)
    disk: bytes = b""
    log: str = field(default="", compare=False)


class Recover:
    """``windows``: lengths in records, by turns; ``before``: see BEFORE."""

    def __init__(self, place: Place, mover: Mover, record: int, windows: Sequence[int],
                 before: Sequence[int | None], batch: int) -> None:
        self.place, self.record, self.before = place, record, before
        self.trace = Trace()
        self.failure: BaseException | None = None
        with CopyRig(place, Mover.NAS) as writer:
            drive = writer.tape.drive
            assert drive is not None
            for size in before:
                if size is None:
                    drive.write_filemarks(1)
                else:
                    drive.write(bytes(size))
            theirs, _, thread = writer.send(PIECES, local=True)
            writer.start(theirs, MoverMode.READ, record, local=True)
            writer.halted()
            thread.join(PATIENCE)
        self.rig = CopyRig(place, mover, batch=batch)
        self.spans: list[tuple[int, int]] = []
        at = 0
        while at < len(STREAM):
            size = windows[len(self.spans) % len(windows)] * record if windows else ALL_ONES - at
            self.spans.append((at, size))
            at += size
        self._position(0)

    def _position(self, wanted: int) -> tuple[int, int]:
        """Bring the tape to the window that has byte ``wanted``."""
        offset, length = next(span for span in self.spans if span[0] <= wanted < sum(span))
        marks = sum(one is None for one in self.before)
        self.rig.mtio(TapeMtioOp.REW)
        if marks:
            self.rig.mtio(TapeMtioOp.FSF, marks)
        self.rig.mtio(TapeMtioOp.FSR, offset // self.record)
        return offset, length

    def note(self, what: str) -> None:
        rig = self.rig
        figures, state = rig.mover.figures(), rig.tape.get_state()
        step = Step(what, figures.bytes_moved, figures.record_num, figures.bytes_left_to_read,
                    where(self.place, rig), state)
        self.trace.steps.append(step)
        drive = rig.tape.drive
        assert drive is not None and drive.position.object == step.object, (what, drive.position, step)
        marks = sum(one is None for one in self.before)
        assert state.file_num == marks and state.blockno == step.object - len(self.before), step
        # Windows begin at their first record, and all of them lie behind each other.
        assert step.record_num == step.object - len(self.before), step

    def take(self, inlet: LocalInlet, ops: Sequence[Op]) -> None:
        for number, op in enumerate(ops):
            inlet.want(op.offset, op.length)
            if op.blocks is None:
                data = inlet.read(op.length)
                assert data == STREAM[op.offset:][:len(data)], op
                if len(data) < op.length:
                    raise EOFError("the mover has closed")
            else:
                inlet.into([op.blocks])
            self.note(f"{number}: {op}")

    def run(self, ops: Sequence[Op]) -> MoverHalted | None:
        """How the mover ended; None where it was ended from outside."""
        rig = self.rig
        ours, theirs = channel.pair()

        def take() -> None:
            inlet = LocalInlet(ours, lambda offset, length: rig.mover.read(MoverRead(offset, length)),
                               lambda _: None)
            with ours:
                try:
                    meet(ours, Hello(Role.DATA_RECOVER, rig.asked))
                    self.take(inlet, ops)
                except BaseException as failure:
                    self.failure = failure

        offset, length = self.spans[0]
        rig.start(theirs, MoverMode.WRITE, self.record, local=True, offset=offset, length=length)
        run = rig.mover._run
        assert run is not None
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        ended = None
        while not (run.join(0.0005) and rig.happenings.empty()):
            if rig.happenings.empty():
                continue
            event = rig.next()
            if isinstance(event, MoverHalted):
                ended = event
                continue
            assert event.reason == MoverPauseReason.SEEK, event
            self.note(f"seek {event.seek_position}")
            rig.go_on(*self._position(event.seek_position))
        thread.join(PATIENCE)
        assert not thread.is_alive()
        self.trace.disk = self.place.san.disk_path("disk1").read_bytes()
        return ended

    def close(self) -> None:
        self.rig.__exit__()


def placed(ops: Sequence[Op]) -> bytes:
    disk = bytearray(DISK)
    for op in ops:
        if op.blocks is not None:
            at = op.blocks.lba * BLOCK
            disk[at:at + op.length] = SEA[at:at + op.length]
    return bytes(disk)


def both(place: Callable[[], Place], record: int, windows: Sequence[int], before: Sequence[int | None],
         batch: int, ops: Sequence[Op]) -> Trace:
    traces = {}
    for mover in (Mover.NAS, Mover.SCSI):
        case = Recover(place(), mover, record, windows, before, batch)
        try:
            ended = case.run(ops)
            if case.failure is not None:
                raise case.failure
            assert ended is not None and ended.reason.name == "CONNECT_CLOSED", ended
            assert case.rig.mover.figures().bytes_moved == sum(op.length for op in ops)
            assert case.trace.disk == placed(ops)
        finally:
            case.close()
        case.trace.log = case.rig.log()
        traces[mover] = case.trace
    for one, other in zip(traces[Mover.SCSI].steps, traces[Mover.NAS].steps, strict=True):
        assert one == other
    left_threads()
    return traces[Mover.SCSI]


@pytest.mark.parametrize("seed", range(40))
def test_reads_at_any_offset_in_any_order_are_exact(places: Places, seed: int) -> None:
    rng = random.Random(f"reads {seed}")
    record = rng.choice((512, 1024, 4000, 10240))
    windows = rng.choice(((), (1,), (rng.randint(1, 4),), (3, 1, 9), (8,), (17,)))
    both(places.get, record, windows, BEFORE if rng.random() < 0.5 else (),
         record * rng.choice((2, 4, 400)), ops_of(rng, 10))


@pytest.mark.parametrize("windows", [(), (1,), (4,), (5, 3)], ids=str)
@pytest.mark.parametrize("record", [512, 4000])
def test_a_read_that_crosses_every_window_pauses_at_each(
        places: Places, record: int, windows: tuple[int, ...]) -> None:
    ops, at = [], 0
    for piece in PIECES:
        blocks = LunExtent("disk1", piece.lba, piece.blocks) if isinstance(piece, LunExtent) else None
        ops.append(Op(at, piece.length, blocks))
        at += piece.length
    trace = both(places.get, record, windows, (), 4 * record, ops)
    # The first record of a window is the head's, which pauses for it.
    assert ("data mover copy0 (SCSI) moves the data" in trace.log) == (windows != (1,))
    pauses = [step for step in trace.steps if step.what.startswith("seek")]
    if not windows:
        assert not pauses
    for step in pauses:
        assert step.bytes_moved == int(step.what.split()[1]), "what came before the pause was counted"
    assert trace.steps[-1].record_num == -(-len(STREAM) // record)


@pytest.mark.parametrize("mover", [Mover.NAS, Mover.SCSI])
@pytest.mark.parametrize("seed", range(12))
def test_an_abort_at_any_moment_leaves_tape_and_counters_exact(
        places: Places, monkeypatch: pytest.MonkeyPatch, mover: Mover, seed: int) -> None:
    rng = random.Random(f"abort {seed}")
    record = rng.choice((512, 1024, 4000))
    place = places.get()
    case = Recover(place, mover, record, rng.choice(((), (7,))), (), record * rng.choice((3, 16, 400)))
    left = rng.randint(0, 12)
    honest = VirtualDrive.execute

    def execute(self: VirtualDrive, nexus: str, command: Command) -> Result:
        nonlocal left
        if command.cdb[0] == Opcode.READ_6:
            left -= 1
            if left == -1:
                case.rig.mover.end()
        return honest(self, nexus, command)

    monkeypatch.setattr(VirtualDrive, "execute", execute)
    monkeypatch.setattr(copymanager, "_LOOK", 0.002)
    short_runs(monkeypatch, 2048)
    try:
        case.run(ops_of(rng, 40))
        assert left < 0 and case.failure is not None
        assert not isinstance(case.failure, AssertionError), case.failure
        figures = case.rig.mover.figures()
        assert figures.bytes_left_to_read >= 0
        case.note("aborted")
        assert not place.server.operations._running and not list(
            abandoned(place.run_dir)), "a list identifier is left in use"
        with case.rig.lock:
            case.rig.tape.close()
        assert verdict.holder(place.san) is None
        padded = STREAM + bytes(-len(STREAM) % record)
        assert verdict.records_of(verdict.objects(place.san, record)) == [
            padded[at:at + record] for at in range(0, len(padded), record)], "an abort has changed the tape"
        left_threads()
    finally:
        monkeypatch.undo()
        case.close()
