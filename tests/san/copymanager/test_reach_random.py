"""Segments of every length from disks here and elsewhere, with a bad block and without; aborted copies."""

from __future__ import annotations

import random
import threading
import time

import pytest

from ndmpd.ports import Result
from ndmpd.san import San
from ndmpd.san.copymanager import supply
from ndmpd.san.nexus import Nexus
from protocol.scsi.asc import Asc
from protocol.scsi.segments import BlockOffsetToStream, BlockToStream, InlineToStream, Segment
from protocol.scsi.sense import CopySense, Sense, SenseKey
from tests.san.conftest import TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, fill_disk, noise, records
from tests.san.copymanager.far import Far, bad_block

FAR, FAR1, NEAR, TAPE = range(4)
BAD = 1500
UNREADABLE = Sense(SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR)
READ_16 = 0x88


class Order:
    """Segments whose bytes make one stream of records, the last one filled with zeros."""

    def __init__(self, chance: random.Random, contents: list[bytes], inline: bytes) -> None:
        self.segments: list[Segment] = []
        self.stream = b""
        self.ends: list[int] = []
        self.bad: tuple[int, int] | None = None
        """The first byte of the bad block in the stream, and its segment."""
        number = chance.randrange(1, 12)
        for at in range(number):
            self._add(chance, contents, inline, cat=at < number - 1)
            self.ends.append(len(self.stream))

    def _add(self, chance: random.Random, contents: list[bytes], inline: bytes, *, cat: bool) -> None:
        kind, disk = chance.randrange(4), chance.choice((FAR, FAR, FAR1, NEAR))
        if kind == 0:
            size = chance.randrange(1, len(inline))
            self.segments.append(InlineToStream(TAPE, RECORD, 0, size, cat=cat))
            self.stream += inline[:size]
            return
        lba = chance.randrange(1900)
        if kind == 1:
            blocks = chance.randrange(1, min(900, 2048 - lba))
            start, size = lba * 512, blocks * 512
            self.segments.append(BlockToStream(disk, TAPE, RECORD, blocks, lba, cat=cat))
        else:
            offset = chance.randrange(512)
            start, size = lba * 512 + offset, chance.randrange(1, 60_000)
            self.segments.append(BlockOffsetToStream(disk, TAPE, RECORD, size, lba, offset, cat=cat))
        low, high = max(start, BAD * 512), min(start + size, (BAD + 1) * 512)
        if disk == FAR and self.bad is None and low < high:
            self.bad = len(self.stream) + low - start, len(self.segments) - 1
        self.stream += contents[disk][start:start + size]

    def records(self) -> list[bytes]:
        whole = self.stream + bytes(-len(self.stream) % RECORD)
        return [whole[at:at + RECORD] for at in range(0, len(whole), RECORD)]

    def residue(self, segment: int, done: int) -> int | None:
        """Of a segment, with ``done`` records on tape; None where it has completed none of them."""
        start = self.ends[segment - 1] // RECORD if segment else 0
        last = segment == len(self.ends) - 1
        total = len(self.records()) if last else self.ends[segment] // RECORD
        return (total - done) * RECORD if done > start else None


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("bad", [False, True], ids=["sound", "bad"])
def test_whatever_the_segments_the_tape_has_their_bytes_up_to_a_bad_block(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch, seed: int,
        bad: bool) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(supply, "CHUNK", chance.choice((1000, 20_000, 65_536, 300_000, 4 << 20)))
    contents = [fill_disk(far.san, "disk0"), fill_disk(far.san, "disk1", seed=2),
                fill_disk(san, "disk0", seed=3)]
    inline = noise(9000)
    order = Order(chance, contents, inline)
    while bad and order.bad is None:
        order = Order(chance, contents, inline)
    ends = [cscd(far.san, "disk0"), cscd(far.san, "disk1"), cscd(san, "disk0"), cscd(san, "tape0", pad=True)]
    if order.bad is None or not bad:
        assert reaching.copy(ends, order.segments, inline).good
        assert records(tape) == order.records()
        return
    with bad_block(far, BAD, UNREADABLE):
        outcome = reaching.copy(ends, order.segments, inline)
    assert outcome.sense is not None
    told = CopySense.of(outcome.sense)
    at, segment = order.bad
    done = at // RECORD
    assert records(tape) == order.records()[:done]
    assert (told.code, told.segment) == (Asc.THIRD_PARTY_DEVICE_FAILURE, segment)
    assert told.residue == order.residue(segment, done)
    assert told.source_sense is not None
    assert told.source_sense.sense == UNREADABLE


def test_a_copy_is_aborted_while_its_source_says_nothing(
        san: San, far: Far, reaching: CopyHost, nexus: Nexus, tape: TapeHost,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "CHUNK", 16 << 10)
    content = fill_disk(far.san, "disk0")
    silent, again = threading.Event(), threading.Event()

    def fault(far: Far, unit: str, cdb: bytes) -> Result | None:
        if cdb[0] == READ_16 and far.count(unit, READ_16) > 5:
            silent.set()
            again.wait(20)
        return None

    far.fault = fault
    outcomes = []
    copying = threading.Thread(target=lambda: outcomes.append(reaching.copy(
        [cscd(far.san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 800, 0)])))
    copying.start()
    assert silent.wait(10)
    asking = CopyHost(san, "copy0", nexus)
    began = time.monotonic()
    assert asking.abort().good
    copying.join(5)
    assert time.monotonic() - began < 3
    again.set()
    asking.transport.close()
    assert not outcomes[0].good
    found = records(tape)
    assert found == [content[at:at + RECORD] for at in range(0, len(found) * RECORD, RECORD)]
    assert 0 < len(found) < 100
