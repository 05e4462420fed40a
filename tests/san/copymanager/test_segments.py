"""Every kind of segment moves the bytes that it says, to where it says. SPC-4 6.4.6."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from ndmpd.san.copymanager import engine, moves, pace, streams
from ndmpd.san.copymanager.blocks import Blocks
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.copyresults import CopyState, CopyStatus, HeldData
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    Locate,
    Segment,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
    TapeImage,
    Verify,
)
from protocol.scsi.sense import CopySense
from tests.san.conftest import Host, TapeHost
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


def test_blocks_become_records(san: San, host: CopyHost, tape: TapeHost) -> None:
    content = fill_disk(san, "disk0")
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, RECORD, 10 * BLOCKS, 3)])
    assert outcome.good, outcome
    data = content[3 * 512:3 * 512 + 10 * RECORD]
    assert records(tape) == [data[at:at + RECORD] for at in range(0, len(data), RECORD)]
    status = CopyStatus.take(host.status().data)
    assert (status.status, status.segments, status.bytes_moved) == (CopyState.DONE, 1, 10 * RECORD)


def test_fixed_blocks_become_records_of_one_block(san: San, host: CopyHost, tape: TapeHost) -> None:
    content = fill_disk(san, "disk0")
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0", fixed=True, block_length=1024)],
                        [BlockToStream(0, 1, 4, 32, 0)])
    assert outcome.good, outcome
    assert records(tape) == [content[at:at + 1024] for at in range(0, 32 * 512, 1024)]


def test_records_become_blocks(san: San, host: CopyHost, tape: TapeHost) -> None:
    data = noise(6 * RECORD)
    for at in range(0, len(data), RECORD):
        assert tape.write(data[at:at + RECORD]).good
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "disk1")],
                        [StreamToBlock(0, 1, RECORD, 6 * BLOCKS, 40)])
    assert outcome.good, outcome
    assert disk_content(san, "disk1")[40 * 512:40 * 512 + len(data)] == data
    assert tape.position() == (6, 0)


@pytest.mark.parametrize("dc", [False, True])
def test_blocks_become_blocks(san: San, host: CopyHost, dc: bool) -> None:
    content = fill_disk(san, "disk0")
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "disk1")],
                        [BlockToBlock(0, 1, 100, 7, 500, dc=dc)])
    assert outcome.good, outcome
    assert disk_content(san, "disk1")[500 * 512:600 * 512] == content[7 * 512:107 * 512]
    assert CopyStatus.take(host.status().data).bytes_moved == 100 * 512


def test_records_are_cut_anew_on_their_way_to_another_tape(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost) -> None:
    data = noise(12 * 1000)
    for at in range(0, len(data), 1000):
        tape.write(data[at:at + 1000])
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "tape1")],
                        [StreamToStream(0, 1, 1000, 3000, 12000)])
    assert outcome.good, outcome
    assert records(tape1) == [data[at:at + 3000] for at in range(0, 12000, 3000)]


def test_inline_and_embedded_data_and_bytes_of_a_disk_join_in_records(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    content, inline = fill_disk(san, "disk0"), noise(1000)
    outcome = host.copy(
        [cscd(san, "disk0"), cscd(san, "tape0", pad=True)],
        [InlineToStream(1, RECORD, 4, 700, cat=True), EmbeddedToStream(1, RECORD, b"embedded", cat=True),
         BlockOffsetToStream(0, 1, RECORD, 9000, 5, 100, cat=True), InlineToStream(1, RECORD, 0, 10)], inline)
    assert outcome.good, outcome
    stream = inline[4:704] + b"embedded" + content[5 * 512 + 100:5 * 512 + 9100] + inline[:10]
    stream += bytes(-len(stream) % RECORD)
    assert records(tape) == [stream[at:at + RECORD] for at in range(0, len(stream), RECORD)]


def test_bytes_of_a_tape_go_between_bytes_of_a_disk(san: San, host: CopyHost, tape: TapeHost) -> None:
    before, data = fill_disk(san, "disk1"), noise(3 * 1000)
    for at in range(0, len(data), 1000):
        tape.write(data[at:at + 1000])
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "disk1")],
                        [StreamToBlockOffset(0, 1, 1000, 100, 2, 30, cat=True),
                         StreamToBlockOffset(0, 1, 1000, 2900, 9, 511)])
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[2 * 512 + 30:2 * 512 + 130] = data[:100]
    expected[9 * 512 + 511:9 * 512 + 511 + 2900] = data[100:]
    assert disk_content(san, "disk1") == expected


def test_bytes_of_a_disk_go_between_bytes_of_a_disk(san: San, host: CopyHost) -> None:
    content, before = fill_disk(san, "disk0"), fill_disk(san, "disk1", seed=2)
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "disk1")],
                        [BlockOffsetToBlockOffset(0, 1, 5000, 1, 20, 17, 33)])
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[20 * 512 + 33:20 * 512 + 33 + 5000] = content[512 + 17:512 + 17 + 5000]
    assert disk_content(san, "disk1") == expected


def test_a_tape_is_spaced_located_and_marked(san: San, host: CopyHost, tape: TapeHost) -> None:
    for number in range(5):
        tape.write(bytes([number]) * 100)
    outcome = host.copy([cscd(san, "tape0")], [Locate(0, 4), Space(0, 0, -1), Filemarks(0, 2)])
    assert outcome.good, outcome
    assert tape.position() == (5, 2)
    assert records(tape) == [bytes([number]) * 100 for number in range(3)] + [b"", b""]


def test_data_of_a_tape_is_discarded_or_held(san: San, host: CopyHost, tape: TapeHost) -> None:
    for number in range(4):
        tape.write(bytes([number]) * 1000)
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0")],
                        [StreamDiscard(0, 1000, 1500, cat=True), StreamDiscard(0, 1000, 1500, held=True)])
    assert outcome.good, outcome
    assert tape.position() == (3, 0)
    assert HeldData.take(host.held().data) == HeldData(bytes([1]) * 500 + bytes([2]) * 1000, 1500)


def test_an_image_of_a_tape_has_its_records_and_marks(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost) -> None:
    written = [noise(size) for size in (10, 10, 10, 5000, 512)]
    for one in written[:3]:
        tape.write(one)
    tape.mark()
    for one in written[3:]:
        tape.write(one)
    tape.mark(2)
    tape.write(b"behind")
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "tape1")], [TapeImage(0, 1, 2)])
    assert outcome.good, outcome
    assert tape.position() == (8, 3)
    assert records(tape1) == [*written[:3], b"", *written[3:], b"", b""]
    assert host.copy([cscd(san, "tape0"), cscd(san, "tape1")], [TapeImage(0, 1, 0)]).good
    assert records(tape1)[-1] == b"behind"


def test_units_are_verified(san: San, host: CopyHost, tape: TapeHost) -> None:
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [Verify(0, tur=True), Verify(1)])
    assert outcome.good, outcome


HELD = [
    (BlockToStream(0, 1, RECORD, 8, 5, held=True), 0x0B),
    (StreamToBlock(2, 3, RECORD, 8, 0, held=True), 0x0C),
    (BlockToBlock(0, 3, 8, 5, 0, held=True), 0x0D),
    (StreamToStream(2, 1, RECORD, RECORD, RECORD, held=True), 0x0E),
    (StreamDiscard(2, RECORD, RECORD, held=True), 0x0F),
]


@pytest.mark.parametrize(("segment", "code"), HELD, ids=[f"{code:02X}h" for _, code in HELD])
def test_what_a_segment_processes_is_held(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost, segment: Segment, code: int) -> None:
    content = fill_disk(san, "disk0")
    data = content[5 * 512:5 * 512 + RECORD]
    tape1.write(data)
    tape1.rewind()
    ends = [cscd(san, "disk0"), cscd(san, "tape0"), cscd(san, "tape1"), cscd(san, "disk1")]
    assert segment.type == code
    assert host.copy(ends, [segment]).good
    assert HeldData.take(host.held().data) == HeldData(data, RECORD)
    if segment.type in (0x0B, 0x0E):
        assert records(tape) == [data]
    elif segment.type in (0x0C, 0x0D):
        assert disk_content(san, "disk1")[:RECORD] == data


@pytest.mark.parametrize("run", [1, 5000, 40000])
def test_one_tape_comes_of_any_number_of_commands(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost, monkeypatch: pytest.MonkeyPatch,
        run: int) -> None:
    """How much a command carries shows neither in the records nor in what a failure says."""
    content = fill_disk(san, "disk0")
    ends = [cscd(san, "disk0"), cscd(san, "tape0"), cscd(san, "tape1"), cscd(san, "disk1")]
    there = [segment for number in range(20) for segment in (
        EmbeddedToStream(1, 1000, bytes([number]) * 77, cat=True),
        BlockOffsetToStream(0, 1, 1000, 4000 + number, number, number, cat=True))]
    stream = b"".join(bytes([number]) * 77 + content[513 * number:513 * number + 4000 + number]
                      for number in range(20))
    whole = len(stream) // 1000
    monkeypatch.setattr(streams, "RUN", run)
    for limit in ("RUN", "MOST"):
        monkeypatch.setattr(pace, limit, run)
    for module in (engine, moves):
        monkeypatch.setattr(module, "RUN", max(512, run))
    confirm = Blocks.confirm
    with Nexus(san.path) as other:
        thief = Host(san, "disk1", other)

        def too_late(disk: Blocks, lba: int, blocks: int) -> None:
            """Another host takes disk1 just before its blocks go to the tape."""
            if disk.end.unit is not None and disk.end.unit.name == "disk1":
                assert thief.send(scsi.RESERVE_6.put()).good
            confirm(disk, lba, blocks)

        monkeypatch.setattr(Blocks, "confirm", too_late)
        outcome = host.copy(ends, [*there, BlockToStream(3, 1, 1000, 20, 0)])
        thief.close()
    assert outcome.sense is not None
    assert CopySense.of(outcome.sense).segment == 40
    assert records(tape) == [stream[at:at + 1000] for at in range(0, whole * 1000, 1000)]
    tape.rewind()
    assert host.copy(ends, [StreamToStream(1, 2, 1000, 3000, whole // 3 * 3000)]).good
    assert records(tape1) == [stream[at:at + 3000] for at in range(0, whole // 3 * 3000, 3000)]
    tape1.rewind()
    assert host.copy(ends, [StreamToBlockOffset(2, 3, 3000, whole // 3 * 3000, 1, 100)]).good
    assert disk_content(san, "disk1")[612:612 + whole // 3 * 3000] == stream[:whole // 3 * 3000]
