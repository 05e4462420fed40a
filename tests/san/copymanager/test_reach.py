"""Disks of other targets as copy sources and destinations. SPC-4 6.4.5.3 and 5.17.7.4."""

from __future__ import annotations

import time

import pytest

from ndmpd.devices.errors import TransportError
from ndmpd.ports import Result
from ndmpd.san import San
from ndmpd.san.copymanager import reach, supply
from protocol.scsi.asc import Asc
from protocol.scsi.cscd import Identification, StreamDevice
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    InlineToStream,
    StreamToBlock,
    StreamToBlockOffset,
)
from protocol.scsi.sense import CopySense, Sense, SenseKey
from tests.san.conftest import TapeHost
from tests.san.copymanager.conftest import (
    BLOCKS,
    RECORD,
    CopyHost,
    cscd,
    disk_content,
    fill_disk,
    noise,
    records,
)
from tests.san.copymanager.far import Far, bad_block

UNREADABLE = Sense(SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR)


@pytest.fixture(params=[16 << 10, 100_000, 4 << 20], ids=["small", "odd", "usual"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(supply, "CHUNK", request.param)
    return request.param


def split(data: bytes, size: int = RECORD) -> list[bytes]:
    return [data[at:at + size] for at in range(0, len(data), size)]


def failed(sense: Sense | None) -> CopySense:
    assert sense is not None
    return CopySense.of(sense)


def test_blocks_of_another_target_become_records(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, chunk: int) -> None:
    content = fill_disk(far.san, "disk0")
    outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, RECORD, 200 * BLOCKS, 3)])
    assert outcome.good, outcome
    assert records(tape) == split(content[3 * 512:3 * 512 + 200 * RECORD])


def test_bytes_of_disks_here_and_there_join_in_records(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, chunk: int) -> None:
    there, here, inline = fill_disk(far.san, "disk0"), fill_disk(san, "disk0", seed=2), noise(700)
    outcome = reaching.copy(
        [cscd(far.san, "disk0"), cscd(san, "disk0"), cscd(san, "tape0", pad=True)],
        [InlineToStream(2, RECORD, 0, 700, cat=True),
         BlockOffsetToStream(0, 2, RECORD, 90_001, 5, 100, cat=True),
         BlockOffsetToStream(1, 2, RECORD, 50_003, 7, 200, cat=True),
         BlockOffsetToStream(0, 2, RECORD, 333, 900, 511, cat=True),
         InlineToStream(2, RECORD, 0, 10)], inline)
    assert outcome.good, outcome
    stream = inline + there[5 * 512 + 100:][:90_001] + here[7 * 512 + 200:][:50_003]
    stream += there[900 * 512 + 511:][:333] + inline[:10]
    assert records(tape) == split(stream + bytes(-len(stream) % RECORD))


def test_records_become_blocks_of_another_target(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, chunk: int) -> None:
    before, data = fill_disk(far.san, "disk1"), noise(60 * RECORD)
    for record in split(data):
        assert tape.write(record).good
    tape.rewind()
    outcome = reaching.copy([cscd(san, "tape0"), cscd(far.san, "disk1")],
                        [StreamToBlock(0, 1, RECORD, 60 * BLOCKS, 40)])
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[40 * 512:40 * 512 + len(data)] = data
    assert disk_content(far.san, "disk1") == expected


def test_bytes_between_blocks_of_another_target_leave_what_is_around_them(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, chunk: int) -> None:
    before, data = fill_disk(far.san, "disk1"), noise(200_000)
    for record in split(data, 1000):
        assert tape.write(record).good
    tape.rewind()
    outcome = reaching.copy([cscd(san, "tape0"), cscd(far.san, "disk1")],
                        [StreamToBlockOffset(0, 1, 1000, 100, 2, 30, cat=True),
                         StreamToBlockOffset(0, 1, 1000, 199_900, 9, 511)])
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[2 * 512 + 30:2 * 512 + 130] = data[:100]
    expected[9 * 512 + 511:9 * 512 + 511 + 199_900] = data[100:]
    assert disk_content(far.san, "disk1") == expected


@pytest.mark.parametrize(("source", "destination"), [("far", "near"), ("near", "far"), ("far", "far")])
def test_blocks_go_between_disks_here_and_there(
        san: San, far: Far, reaching: CopyHost, chunk: int, source: str, destination: str) -> None:
    one, other = ({"far": far.san, "near": san}[name] for name in (source, destination))
    content, before = fill_disk(one, "disk0"), fill_disk(other, "disk1", seed=2)
    outcome = reaching.copy([cscd(one, "disk0"), cscd(other, "disk1")],
                        [BlockToBlock(0, 1, 1000, 7, 500),
                         BlockOffsetToBlockOffset(0, 1, 5000, 1, 20, 17, 33)])
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[500 * 512:1500 * 512] = content[7 * 512:1007 * 512]
    expected[20 * 512 + 33:20 * 512 + 33 + 5000] = content[512 + 17:512 + 17 + 5000]
    assert disk_content(other, "disk1") == expected


def test_a_bad_block_ends_the_copy_behind_the_last_good_record(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, chunk: int) -> None:
    content = fill_disk(far.san, "disk0")
    with bad_block(far, 700, UNREADABLE):
        outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                            [BlockToStream(0, 1, RECORD, 50 * BLOCKS, 0),
                             BlockToStream(0, 1, RECORD, 100 * BLOCKS, 50 * BLOCKS),
                             BlockToStream(0, 1, RECORD, 10 * BLOCKS, 150 * BLOCKS)])
    told = failed(outcome.sense)
    assert told.segment == 1
    assert told.residue == (150 - 87) * RECORD
    assert told.source_sense is not None
    assert told.source_sense.sense is not None
    assert told.source_sense.sense.code == Asc.UNRECOVERED_READ_ERROR
    assert records(tape) == split(content[:87 * RECORD])


def test_a_target_that_is_lost_ends_the_copy_with_what_was_read_on_tape(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply, "CHUNK", 16 << 10)
    content = fill_disk(far.san, "disk0")

    def fault(far: Far, unit: str, cdb: bytes) -> None:
        far.up = far.count("disk0", 0x88) < 10

    far.fault = fault
    outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, RECORD, 200 * BLOCKS, 0)])
    told = failed(outcome.sense)
    assert (told.code, told.segment) == (Asc.COPY_TARGET_NOT_REACHABLE, 0)
    found = records(tape)
    assert 9 * 4 <= len(found) <= 10 * 4
    assert found == split(content[:len(found) * RECORD])
    assert told.residue == (200 - len(found)) * RECORD

    far.up, far.fault = True, lambda *_: None
    tape.rewind()
    outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, RECORD, 200 * BLOCKS, 0)])
    assert outcome.good, outcome
    assert records(tape) == split(content[:200 * RECORD])


def test_a_connection_that_was_lost_once_is_made_again(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost) -> None:
    content = fill_disk(far.san, "disk0")
    lost = Sense(SenseKey.UNIT_ATTENTION, Asc.NEXUS_LOSS).put()

    def fault(far: Far, unit: str, cdb: bytes) -> Result | None:
        match far.count("disk0", 0x88):
            case 2 if cdb[0] == 0x88:
                raise TransportError("the connection was lost")
            case 3 if cdb[0] == 0x88:
                return Result(2, lost)
        return None

    far.fault = fault
    outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, RECORD, 100 * BLOCKS, 0)])
    assert outcome.good, outcome
    assert records(tape) == split(content[:100 * RECORD])


def test_a_disk_that_is_another_after_a_reset_is_not_used(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read must be of the disk that was meant, whatever the target has put in its place."""
    monkeypatch.setattr(supply, "CHUNK", 16 << 10)
    content = fill_disk(far.san, "disk0")
    reset = Sense(SenseKey.UNIT_ATTENTION, Asc.NEXUS_LOSS).put()

    def fault(far: Far, unit: str, cdb: bytes) -> Result | None:
        if unit == "disk0" and cdb[0] == 0x88 and far.count("disk0", 0x88) == 6:
            far.swapped["disk0"] = "disk1"
            return Result(2, reset)
        return None

    far.fault = fault
    outcome = reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                            [BlockToStream(0, 1, RECORD, 100 * BLOCKS, 0)])
    told = failed(outcome.sense)
    assert (told.code, told.residue) == (Asc.COPY_TARGET_NOT_REACHABLE, 80 * RECORD)
    assert records(tape) == split(content[:20 * RECORD])
    assert not reaching.copy([cscd(far.san, "disk0"), cscd(san, "tape0")],
                             [BlockToStream(0, 1, RECORD, 8, 0)]).good


def test_a_disk_that_came_in_the_place_of_another_is_found(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_AFRESH", 0.0)
    monkeypatch.setattr(reach, "_IDLE", 0.0)
    content = fill_disk(far.san, "disk1")
    far.swapped["disk1"] = "disk0"
    order = ([cscd(far.san, "disk1"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 8, 0)])
    assert failed(reaching.copy(*order).sense).code == Asc.COPY_TARGET_NOT_REACHABLE
    del far.swapped["disk1"]
    far.opened.clear()
    assert reaching.copy(*order).good
    assert records(tape) == [content[:RECORD]]
    assert "disk1" in far.opened


def test_a_target_that_is_down_is_not_reachable_and_is_found_later(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_AGAIN", 0.0)
    content = fill_disk(far.san, "disk0")
    order = ([cscd(san, "tape0"), cscd(far.san, "disk0")], [BlockToStream(1, 0, RECORD, 8, 0)])
    far.up = False
    told = failed(reaching.copy(*order).sense)
    assert (told.code, told.segment, told.residue) == (Asc.COPY_TARGET_NOT_REACHABLE, 0, None)
    assert told.pointer is not None
    assert (told.pointer.byte, told.pointer.in_segment) == (16 + 32, False)

    near = fill_disk(san, "disk0", seed=3)
    assert reaching.copy([cscd(san, "tape0"), cscd(san, "disk0")], [BlockToStream(1, 0, RECORD, 8, 0)]).good
    far.up = True
    assert reaching.copy(*order).good
    assert records(tape) == [near[:RECORD], content[:RECORD]]


def test_a_unit_of_another_type_than_stated_is_refused(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost) -> None:
    stated = Identification(cscd(far.san, "disk0").designator, 1, StreamDevice())
    told = failed(reaching.copy([cscd(san, "disk0"), stated], [BlockToStream(0, 1, RECORD, 8, 0)]).sense)
    assert told.code == Asc.INCORRECT_COPY_TARGET_TYPE


def test_paths_are_kept_for_the_next_copy(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost) -> None:
    order = ([cscd(far.san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 8, 0)])
    for _ in range(3):
        assert reaching.copy(*order).good
    assert far.opened.count("disk0") == 1
    assert "disk0" not in far.closed


def test_paths_that_no_copy_uses_are_left(
        san: San, far: Far, reaching: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "_IDLE", 0.05)
    order = ([cscd(far.san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 8, 0)])
    assert reaching.copy(*order).good
    reaching.transport.close()
    deadline = time.monotonic() + 10
    while len(far.closed) < len(far.opened) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(far.closed) == sorted(far.opened)
    assert reaching.copy(*order).good, "and made again"
