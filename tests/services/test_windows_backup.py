"""Windows of a backup: what counters, drive and TAPE_GET_STATE say at each pause and end, by either mover.

A step is exact where all of them agree with what must be on the tape, and with the other mover.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from ndmpd.devices import copymanager
from ndmpd.devices.leases import abandoned
from ndmpd.ports import Command, Result
from ndmpd.san.tape import TapeDrive as VirtualDrive
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted, MoverPaused
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import MoverHaltReason, MoverMode, MoverPauseReason, TapeMtioOp
from protocol.ndmp.tape import TapeGetStateReply
from protocol.scsi.command import Opcode
from tests.services.copy_rig import CopyRig, Place, Places, content, image, short_runs
from tests.services.rig import PATIENCE
from tests.sweep import verdict
from tests.sweep.offload_case import left_threads, where

EXTENTS = [(0, 90), (96, 3), (101, 1), (200, 120), (330, 40)]
PIECES = image(EXTENTS)
STREAM = content(PIECES)
BATCH = 4
"""Records of one EXTENDED COPY."""
BEFORE = (700, None, 512, 100)
"""What lies on the tape before the backup begins: records by their size, and a filemark."""


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


def padded(record: int) -> list[bytes]:
    stream = STREAM + bytes(-len(STREAM) % record)
    return [stream[at:at + record] for at in range(0, len(stream), record)]


@dataclass(frozen=True)
class Step:
    """What is said at one pause, or at the end."""

    happening: str
    bytes_moved: int
    record_num: int
    object: int
    """READ POSITION of the drive, asked past the code under test."""
    state: TapeGetStateReply


@dataclass
class Trace:
    steps: list[Step] = field(default_factory=list)
    objects: list[list[bytes | None]] = field(default_factory=list)
    """Of each cartridge, from its beginning on."""
    log: str = field(default="", compare=False)


class Backup:
    """``before``: see BEFORE; ``act``: what the DMA does to the tape at an EOW pause."""

    def __init__(self, place: Place, mover: Mover, record: int, before: Sequence[int | None] = (),
                 act: str = "") -> None:
        self.place, self.record, self.act = place, record, act
        self.rig = CopyRig(place, mover, batch=BATCH * record)
        self.trace = Trace()
        self.tapes = [0]
        self.marks, self.block, self.object = 0, 0, 0
        """Where the tape must stand."""
        drive = self.rig.tape.drive
        assert drive is not None
        for size in before:
            if size is None:
                drive.write_filemarks(1)
                self.stood(marks=1)
            else:
                drive.write(bytes(size))
                self.stood(1)

    def stood(self, records: int = 0, marks: int = 0) -> None:
        self.object += records + marks
        self.marks += marks
        self.block = 0 if marks else self.block + records

    def note(self, event: MoverPaused | MoverHalted, window: int) -> None:
        """``window``: records written since the last note. Everything that is said agrees with them."""
        rig = self.rig
        self.stood(window)
        figures = rig.mover.figures()
        state = rig.tape.get_state()
        step = Step(event.reason.name, figures.bytes_moved, figures.record_num, where(self.place, rig), state)
        self.trace.steps.append(step)
        drive = rig.tape.drive
        assert drive is not None and drive.position.object == step.object == self.object, (step, self.object)
        assert (state.file_num, state.blockno) == (self.marks, self.block), (state, self.marks, self.block)

    def run(self, windows: Sequence[int]) -> Trace:
        """The whole of the stream, in ``windows`` of so many records, then without end."""
        rig, record = self.rig, self.record
        theirs, sent, thread = rig.send(PIECES, local=True)
        lengths = iter([number * record for number in windows])
        length = next(lengths, ALL_ONES)
        rig.start(theirs, MoverMode.READ, record, local=True, length=length)
        done = 0
        while True:
            event = rig.next()
            figures = rig.mover.figures()
            now = -(-figures.bytes_moved // record)
            assert figures.record_num == now
            if isinstance(event, MoverPaused):
                assert figures.bytes_moved == now * record, "a pause in the middle of a record"
                if event.reason == MoverPauseReason.EOW:
                    assert now - done == length // record, "a window of another length"
                self.note(event, now - done)
                done = now
                self._pause(event)
                length = next(lengths, ALL_ONES)
                rig.go_on(figures.bytes_moved, length)
                continue
            run = rig.mover._run
            assert run is not None and run.join(PATIENCE)
            figures = rig.mover.figures()
            assert figures.bytes_moved == len(STREAM)
            self.note(event, -(-len(STREAM) // record) - done)
            break
        thread.join(PATIENCE)
        assert sent.finished and event.reason == MoverHaltReason.CONNECT_CLOSED
        self._read()
        self.trace.log = rig.log()
        return self.trace

    def _pause(self, event: MoverPaused) -> None:
        rig = self.rig
        if event.reason == MoverPauseReason.EOM:
            rig.mount(rig.blank())
            self.tapes.append(len(self.tapes))
            self.marks = self.block = self.object = 0
        elif self.act == "mark":
            rig.mtio(TapeMtioOp.EOF)
            self.stood(marks=1)
        elif self.act == "back and forth":
            rig.mtio(TapeMtioOp.BSR)
            rig.mtio(TapeMtioOp.FSR)

    def _read(self) -> None:
        with self.rig.lock:
            self.rig.tape.close()
        for number in self.tapes:
            self.place.load(number)
            self.trace.objects.append(verdict.objects(self.place.san, max(self.record, 1024)))

    def close(self) -> None:
        self.rig.__exit__()


def both(place: Callable[[], Place], record: int, windows: Sequence[int], before: Sequence[int | None] = (),
         act: str = "") -> Trace:
    """The trace of either mover; they must be one. ``place`` makes a clean one."""
    traces = {}
    for mover in (Mover.NAS, Mover.SCSI):
        case = Backup(place(), mover, record, before, act)
        try:
            traces[mover] = case.run(windows)
        finally:
            case.close()
    for one, other in zip(traces[Mover.SCSI].steps, traces[Mover.NAS].steps, strict=True):
        assert one == other
    assert traces[Mover.SCSI] == traces[Mover.NAS]
    left_threads()
    return traces[Mover.SCSI]


WINDOWS = {
    "one window": (),
    "one record at a time": (1,) * 9,
    "less than a batch": (BATCH - 1,) * 4,
    "a batch": (BATCH,) * 4,
    "a batch and a record": (BATCH + 1,) * 4,
    "less than two batches": (2 * BATCH - 1,) * 3,
    "two batches": (2 * BATCH,) * 2,
    "batches and a record": (3 * BATCH + 1, 1, 5 * BATCH, 2),
    "longer and longer": tuple(range(1, 12)),
}


@pytest.mark.parametrize("record", [512, 4000, 10240])
@pytest.mark.parametrize("name", WINDOWS)
def test_every_pause_at_the_end_of_a_window_is_exact(places: Places, name: str, record: int) -> None:
    trace = both(places.get, record, WINDOWS[name])
    assert "data mover copy0 (SCSI) moves the data" in trace.log
    assert trace.objects == [[*padded(record), None]]
    total = -(-len(STREAM) // record)
    expected, at = [], 0
    for window in WINDOWS[name]:
        at += window
        if at < total:
            expected.append(("EOW", at))
    assert [(step.happening, step.record_num) for step in trace.steps] == [
        *expected, ("CONNECT_CLOSED", total)]


@pytest.mark.parametrize("act", ["mark", "back and forth"])
@pytest.mark.parametrize("name", ["one record at a time", "a batch", "batches and a record"])
def test_a_backup_behind_other_files_whose_dma_uses_the_tape_in_pauses_is_exact(
        places: Places, name: str, act: str) -> None:
    trace = both(places.get, 1024, WINDOWS[name], BEFORE, act)
    expected: list[bytes | None] = [None if size is None else bytes(size) for size in BEFORE]
    records = padded(1024)
    for window in WINDOWS[name]:
        if len(records) > window:
            expected += records[:window]
            records = records[window:]
            expected += [None] if act == "mark" else []
    assert trace.objects == [[*expected, *records, None]]


@pytest.mark.parametrize("windows", [(), (1, 2, 3), (BATCH,) * 6, (13, 1, 14)], ids=str)
@pytest.mark.parametrize("zone", [0, 4096, 16384])
@pytest.mark.parametrize("record", [512, 4000])
def test_every_pause_at_the_end_of_a_cartridge_is_exact(
        places: Places, record: int, zone: int, windows: tuple[int, ...]) -> None:
    trace = both(lambda: places.get(32768, zone, 14), record, windows)
    found = [one for tape in trace.objects for one in tape if one is not None]
    assert found == padded(record)
    assert sum(step.happening == "EOM" for step in trace.steps) == len(trace.objects) - 1 > 3
    most = -(-(32768 - zone) // record) if zone else 32768 // record
    for tape in trace.objects[:-1]:
        assert sum(one is not None for one in tape) == most


# Aborts.

class Moment:
    """``act`` is done before WRITE number ``at`` of the drive, whoever sends it; further ones are slow."""

    def __init__(self, at: int, act: Callable[[], Any]) -> None:
        self.left, self.act = at, act

    @property
    def over(self) -> bool:
        return self.left < 0

    def due(self, opcode: int) -> None:
        if opcode == Opcode.WRITE_6:
            if self.over:
                time.sleep(_SLOW)
            self.left -= 1
            if self.left == -1:
                self.act()


_SLOW = 0.004
SCATTERED = image([(2 * at, 1) for at in range(60)] + [(200, 120)] + [(2 * at, 2) for at in range(200, 230)])
"""Of many segments, each a command to the drive."""


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[Moment]:
    """What is in it happens at its moment."""
    current: list[Moment] = []
    honest = VirtualDrive.execute

    def execute(self: VirtualDrive, nexus: str, command: Command) -> Result:
        for one in current:
            one.due(command.cdb[0])
        return honest(self, nexus, command)

    monkeypatch.setattr(VirtualDrive, "execute", execute)
    monkeypatch.setattr(copymanager, "_LOOK", 0.002)
    short_runs(monkeypatch, 2048)
    return current


@pytest.mark.parametrize("mover", [Mover.NAS, Mover.SCSI])
@pytest.mark.parametrize("seed", range(20))
def test_an_abort_at_any_moment_leaves_a_beginning_of_the_tape_and_says_how_much(
        places: Places, moments: list[Moment], mover: Mover, seed: int) -> None:
    rng = random.Random(f"abort {seed}")
    record = rng.choice((512, 1024, 4000))
    before = BEFORE if rng.random() < 0.5 else ()
    place = places.get()
    case = Backup(place, mover, record, before)
    rig = case.rig
    rig._batch = rng.choice((3, 16, 400)) * record
    moment = Moment(rng.randint(0, 8) if mover is Mover.NAS else rng.randint(0, 40), rig.mover.end)
    moments[:] = [moment]
    stream = content(SCATTERED)
    try:
        theirs, sent, thread = rig.send(SCATTERED, local=True)
        window = rng.choice((ALL_ONES, 7 * record, 31 * record))
        rig.start(theirs, MoverMode.READ, record, local=True, length=window)
        run = rig.mover._run
        assert run is not None
        while not run.join(0.001):
            if not rig.happenings.empty() and isinstance(rig.next(), MoverPaused):
                rig.go_on(rig.mover.figures().bytes_moved, window)
        moments.clear()
        thread.join(PATIENCE)
        assert not thread.is_alive() and sent.finished is not moment.over
        figures = rig.mover.figures()
        whole = -(-figures.bytes_moved // record)
        assert figures.bytes_moved == min(whole * record, len(stream)) and figures.record_num == whole
        case.note(MoverHalted(MoverHaltReason.ABORTED), whole)
        assert not place.server.operations._running and not list(
            abandoned(place.run_dir)), "a list identifier is left in use"
        case._read()
        expected: list[bytes | None] = [None if size is None else bytes(size) for size in before]
        stream += bytes(-len(stream) % record)
        expected += [stream[at:at + record] for at in range(0, whole * record, record)]
        found = case.trace.objects[0]
        assert found == [*expected, None] or (not whole and found == expected)
        assert verdict.holder(place.san) is None
        left_threads()
    finally:
        moments.clear()
        case.close()


def test_copies_are_aborted_in_their_middle(places: Places, moments: list[Moment]) -> None:
    """Else the test above would abort nothing that is under way."""
    place = places.get()
    case = Backup(place, Mover.SCSI, 512)
    case.rig._batch = 1 << 20
    running: list[int] = []

    def abort() -> None:
        running.append(len(place.server.operations._running))
        case.rig.mover.end()

    moments[:] = [Moment(30, abort)]
    try:
        theirs, _, thread = case.rig.send(SCATTERED, local=True)
        case.rig.start(theirs, MoverMode.READ, 512, local=True)
        run = case.rig.mover._run
        assert run is not None and run.join(PATIENCE)
        thread.join(PATIENCE)
        assert running == [1]
        assert 0 < case.rig.mover.figures().record_num < len(content(SCATTERED)) // 512
    finally:
        moments.clear()
        case.close()
