"""The position that is counted, against a list of what is on the tape, over random operations."""

import random

import pytest

from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Stop
from ndmpd.pieces import Inline
from protocol.scsi.ssc import PositionForm

MARK = -1


class Model:
    """A tape as a list of record lengths and MARKs, and an index into it."""

    def __init__(self) -> None:
        self.items: list[int] = []
        self.place = 0

    def put(self, *items: int) -> None:
        self.items[self.place:] = items
        self.place += len(items)

    def file(self) -> int:
        return self.items[:self.place].count(MARK)

    def block(self) -> int:
        behind = self.items[:self.place]
        return next((n for n, item in enumerate(reversed(behind)) if item == MARK), len(behind))

    def space_records(self, count: int) -> int:
        """As SPACE does: a filemark stops it and is crossed. Returns the records spaced over."""
        step = 1 if count > 0 else -1
        for done in range(abs(count)):
            ahead = self.place if step > 0 else self.place - 1
            if not 0 <= ahead < len(self.items):
                return done
            self.place += step
            if self.items[ahead] == MARK:
                return done
        return abs(count)

    def space_filemarks(self, count: int) -> int:
        step = 1 if count > 0 else -1
        done = 0
        while done < abs(count):
            ahead = self.place if step > 0 else self.place - 1
            if not 0 <= ahead < len(self.items):
                break
            self.place += step
            done += self.items[ahead] == MARK
        return done


def steps(drive: TapeDrive, model: Model, dice: random.Random) -> None:
    """One random operation on both, with equal outcomes."""
    operation = dice.choice(("write", "batch", "mark", "read", "batch read", "records", "marks", "locate",
                             "end", "rewind", "uncross"))
    count = dice.randrange(1, 5)
    size = dice.choice((64, 100))
    match operation:
        case "write":
            drive.write(bytes(size))
            model.put(size)
        case "batch":
            assert drive.write_records([Inline(bytes(size * count))], size, count).records == count
            model.put(*[size] * count)
        case "mark":
            drive.write_filemarks(count)
            model.put(*[MARK] * count)
        case "read":
            record = drive.read(size)
            expected = model.items[model.place] if model.place < len(model.items) else None
            assert (record.length, record.stop) == {
                None: (None, Stop.END_OF_DATA), MARK: (None, Stop.FILEMARK)}.get(expected, (expected, None))
            model.place += expected is not None
        case "batch read":
            outcome = drive.read_records([Inline(bytearray(size * count))], size, count)
            ahead = model.items[model.place:model.place + count]
            same = next((n for n, item in enumerate(ahead) if item != size), len(ahead))
            assert outcome.records == same
            model.place += same + (outcome.stop is Stop.FILEMARK)
        case "records" | "marks":
            signed = dice.choice((count, -count))
            if operation == "records":
                assert drive.space_records(signed).done == model.space_records(signed)
            else:
                assert drive.space_filemarks(signed).done == model.space_filemarks(signed)
        case "locate":
            model.place = dice.randrange(len(model.items) + 1)
            drive.locate(model.place)
        case "end":
            drive.space_to_end()
            model.place = len(model.items)
        case "rewind":
            drive.rewind()
            model.place = 0
        case "uncross":
            before = drive.position
            spaced = drive.space_records(count)
            model.place += spaced.done
            if spaced.stop is Stop.FILEMARK:
                drive.uncross(before.records(spaced.done), backwards=True)


def check(drive: TapeDrive, model: Model) -> None:
    position = drive.position
    assert position.object in (None, model.place)
    assert position.file in (None, model.file())
    assert position.block in (None, model.block())
    assert drive.read_position() == (model.file() if PositionForm.LONG in drive._forms else None, model.place)
    if drive.unmarked:
        assert model.place == len(model.items)
        assert model.items[-1] != MARK


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("short", [False, True], ids=["long form", "short form"])
def test_the_counted_position_is_true_or_unknown(drive, seed, short):
    if short:
        drive._forms.remove(PositionForm.LONG)
    model = Model()
    dice = random.Random(seed)
    for _ in range(150):
        steps(drive, model, dice)
        check(drive, model)


@pytest.mark.parametrize("seed", range(4))
def test_a_drive_that_tells_positions_keeps_file_and_object_known(drive, seed):
    model = Model()
    dice = random.Random(seed + 100)
    for _ in range(100):
        steps(drive, model, dice)
        assert None not in (drive.position.file, drive.position.object)
