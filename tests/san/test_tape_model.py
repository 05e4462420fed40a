"""The drive against a model of SSC: a tape is a list of records and filemarks, and a position in it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ndmpd.san import Flush, create
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import SpaceCode
from tests.san.conftest import Outcome, TapeHost

CAPACITY, ZONE = 4000, 1000
MARK = None

Ending = tuple[SenseKey, int, int | None]
"""Key, additional sense code and residue of a CHECK CONDITION."""


@dataclass
class Model:
    """What SSC says of a tape, done in the plainest way."""

    tape: list[bytes | None] = field(default_factory=list)
    place: int = 0

    @property
    def used(self) -> int:
        return sum(len(one) for one in self.tape if one is not None)

    def cut(self) -> None:
        del self.tape[self.place:]

    def write(self, records: list[bytes], unit: int) -> Ending | None:
        """``unit``: what one record counts in the residue."""
        self.cut()
        for number, record in enumerate(records):
            left = (len(records) - number) * unit
            before = self.used
            if before + len(record) > CAPACITY:
                return SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM, left
            self.tape.append(record)
            self.place += 1
            if before < CAPACITY - ZONE <= self.used:
                return SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, left - unit
        if self.used >= CAPACITY - ZONE:
            return SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, 0
        return None

    def mark(self, count: int) -> Ending | None:
        if count:
            self.cut()
            self.tape += [MARK] * count
            self.place += count
            if self.used >= CAPACITY - ZONE:
                return SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, 0
        return None

    def read(self, count: int, size: int) -> tuple[list[bytes], Ending | None]:
        """``count`` records of ``size`` bytes each, as one fixed-block READ."""
        found: list[bytes] = []
        while len(found) < count:
            left = count - len(found)
            if self.place == len(self.tape):
                return found, (SenseKey.BLANK_CHECK, Asc.END_OF_DATA, left)
            one = self.tape[self.place]
            self.place += 1
            if one is None:
                return found, (SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, left)
            if len(one) != size:
                return found, (SenseKey.NO_SENSE, Asc.NONE, left)
            found.append(one)
        return found, None

    def space(self, count: int, *, marks: bool) -> Ending | None:
        step = 1 if count > 0 else -1
        left = abs(count)
        while left:
            if step > 0 and self.place == len(self.tape):
                return SenseKey.BLANK_CHECK, Asc.END_OF_DATA, left
            if step < 0 and self.place == 0:
                return SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, left
            passed = self.tape[self.place if step > 0 else self.place - 1]
            self.place += step
            if marks:
                left -= passed is None
            elif passed is None:
                return SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, left
            else:
                left -= 1
        return None


def ending(outcome: Outcome) -> Ending | None:
    if outcome.good:
        return None
    assert outcome.sense is not None, outcome
    return outcome.sense.key, outcome.sense.code, outcome.sense.residue


SIZES = st.sampled_from((1, 10, 100, 700))


class TapeMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.san = create(Path(self.folder.name), capacity=CAPACITY, early_warning=ZONE, cartridges=1,
                          drives=1, disks=0, flush=Flush.NOTHING)
        self.host = TapeHost(self.san, "tape0")
        self.model = Model()
        self.block_length = 0
        self.serial = 0

    def teardown(self) -> None:
        self.host.close()
        self.folder.cleanup()

    def records(self, count: int, size: int) -> list[bytes]:
        self.serial += count
        return [bytes((self.serial - number & 0xFF,)) * size for number in range(count)]

    @rule(size=SIZES)
    def write_one(self, size: int) -> None:
        records = self.records(1, size)
        assert ending(self.host.write(records[0])) == self.model.write(records, size)

    @rule(size=SIZES)
    def set_block_length(self, size: int) -> None:
        assert self.host.set_block_length(size).good
        self.block_length = size

    @precondition(lambda self: self.block_length)
    @rule(count=st.integers(1, 8))
    def write_batch(self, count: int) -> None:
        records = self.records(count, self.block_length)
        before = self.model.place
        outcome = self.host.write_fixed(b"".join(records), count)
        assert ending(outcome) == self.model.write(records, 1)
        assert outcome.transferred == (self.model.place - before) * self.block_length

    @precondition(lambda self: self.block_length)
    @rule(count=st.integers(1, 10))
    def read_batch(self, count: int) -> None:
        outcome = self.host.read_fixed(count, self.block_length)
        found, wanted = self.model.read(count, self.block_length)
        assert outcome.data == b"".join(found) and ending(outcome) == wanted

    @rule()
    def read_one(self) -> None:
        at_record = self.model.place < len(self.model.tape) and self.model.tape[self.model.place] is not None
        size = len(self.model.tape[self.model.place] or b"") if at_record else 50
        outcome = self.host.read(size)
        found, wanted = self.model.read(1, size)
        if wanted:
            wanted = (*wanted[:2], size)
        assert outcome.data == b"".join(found) and ending(outcome) == wanted

    @rule(count=st.integers(0, 3))
    def write_filemarks(self, count: int) -> None:
        assert ending(self.host.mark(count)) == self.model.mark(count)

    @rule(count=st.integers(-12, 12), marks=st.booleans())
    def space(self, count: int, marks: bool) -> None:
        code = SpaceCode.FILEMARKS if marks else SpaceCode.BLOCKS
        assert ending(self.host.space(code, count)) == self.model.space(count, marks=marks)

    @rule(place=st.integers(0, 30))
    def locate(self, place: int) -> None:
        outcome = self.host.locate(place)
        assert outcome.good is (place <= len(self.model.tape))
        self.model.place = min(place, len(self.model.tape))

    @rule()
    def rewind(self) -> None:
        assert self.host.rewind().good
        self.model.place = 0

    @rule()
    def erase(self) -> None:
        assert self.host.send(scsi.ERASE_6.put()).good
        self.model.cut()

    @rule()
    def another_process_takes_over(self) -> None:
        self.host.close()
        self.host = TapeHost(self.san, "tape0")

    @invariant()
    def position_is_true(self) -> None:
        marks = sum(one is None for one in self.model.tape[:self.model.place])
        assert self.host.position() == (self.model.place, marks)


TestTape = TapeMachine.TestCase
TestTape.settings = settings(max_examples=60, stateful_step_count=40, deadline=None,
                             suppress_health_check=[HealthCheck.too_slow])
