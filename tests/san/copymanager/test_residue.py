"""What does not fill a record or block at a segment's end: CAT and PAD. SPC-4 tables 115, 116 and 117."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from protocol.scsi.asc import Asc
from protocol.scsi.cscd import NULL_STREAM, Cscd
from protocol.scsi.segments import (
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
)
from protocol.scsi.sense import CopySense, SenseKey
from tests.san.conftest import TapeHost
from tests.san.copymanager.conftest import CopyHost, cscd, disk_content, fill_disk, noise, records

SIZE = 1000
"""Of a record that no number of blocks fills before 125."""


def written(tape: TapeHost, data: bytes, size: int) -> None:
    for at in range(0, len(data), size):
        assert tape.write(data[at:at + size]).good
    tape.rewind()


@pytest.mark.parametrize("source_pad", [False, True])
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("cat", [False, True])
def test_what_is_left_after_blocks_to_records(
        san: San, host: CopyHost, tape: TapeHost, cat: bool, pad: bool, source_pad: bool) -> None:
    """Three blocks are a record of 1000 bytes and 536 bytes; the second segment shows what became of them."""
    content = fill_disk(san, "disk0")
    ends: list[Cscd] = [cscd(san, "disk0", pad=source_pad), cscd(san, "tape0", pad=pad)]
    second = InlineToStream(1, SIZE, 0, 464, cat=True)
    outcome = host.copy(ends, [BlockToStream(0, 1, SIZE, 3, 0, cat=cat), second], bytes(464))
    whole, rest = content[:SIZE], content[SIZE:1536]
    if cat:
        assert outcome.good
        assert records(tape) == [whole, rest + bytes(464)]
    elif pad:
        assert outcome.good
        assert records(tape) == [whole, rest + bytes(464)]
        assert tape.position() == (2, 0)
    elif source_pad:
        assert outcome.good
        assert records(tape) == [whole]
    else:
        assert outcome.is_check(SenseKey.COPY_ABORTED, Asc.UNEXPECTED_INEXACT_SEGMENT)
        assert outcome.sense is not None
        assert (CopySense.of(outcome.sense).segment, CopySense.of(outcome.sense).residue) == (0, 0)
        assert records(tape) == [whole]


@pytest.mark.parametrize("source_pad", [False, True])
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("cat", [False, True])
def test_what_is_left_of_a_record_after_records_to_blocks(
        san: San, host: CopyHost, tape: TapeHost, cat: bool, pad: bool, source_pad: bool) -> None:
    """Two blocks take a record of 1000 bytes and 24 of the next, of which 976 are left as source data."""
    data = noise(3 * SIZE)
    written(tape, data, SIZE)
    ends: list[Cscd] = [cscd(san, "tape0", pad=source_pad), cscd(san, "disk1", pad=pad)]
    outcome = host.copy(ends, [StreamToBlock(0, 1, SIZE, 2, 0, cat=cat),
                               StreamToBlockOffset(0, 1, SIZE, 900, 10, 0, cat=True)])
    if not (cat or pad or source_pad):
        assert outcome.is_check(SenseKey.COPY_ABORTED, Asc.UNEXPECTED_INEXACT_SEGMENT)
        return
    assert outcome.good, outcome
    # Source data is kept unless the source pads, which throws it away.
    kept = data[1024:1924] if cat or not source_pad else data[2000:2900]
    assert disk_content(san, "disk1")[:1024] == data[:1024]
    assert disk_content(san, "disk1")[5120:6020] == kept
    tape.rewind()


def test_padding_never_goes_behind_what_a_segment_says(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """Destination data left over by a segment with a count of its own: table 116, note a."""
    ends: list[Cscd] = [cscd(san, "tape0"), cscd(san, "disk1", pad=True), cscd(san, "disk0")]
    before = disk_content(san, "disk1")
    left_over = InlineToStream(0, SIZE, 0, 700, cat=True)
    for segment in (StreamToBlock(0, 1, SIZE, 1, 0), StreamToBlockOffset(0, 1, SIZE, 100, 0, 0),
                    BlockToBlock(2, 1, 1, 0, 0, dc=True)):
        outcome = host.copy(ends, [left_over, segment], b"i" * 700)
        assert outcome.is_check(SenseKey.COPY_ABORTED, Asc.UNEXPECTED_INEXACT_SEGMENT), segment
    assert disk_content(san, "disk1")[:512] != before[:512]
    assert disk_content(san, "disk1")[512:] == before[512:]


def test_blocks_left_over_from_a_stream_are_padded_to_a_block(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    before = fill_disk(san, "disk1", seed=7)
    content = fill_disk(san, "disk0")
    ends: list[Cscd] = [cscd(san, "tape0"), cscd(san, "disk0"), cscd(san, "disk1", pad=True)]
    outcome = host.copy(ends, [InlineToStream(0, SIZE, 0, 100, cat=True), BlockToBlock(1, 2, 2, 0, 4)],
                        b"j" * 100)
    assert outcome.good, outcome
    expected = bytearray(before)
    expected[4 * 512:7 * 512] = b"j" * 100 + content[:1024] + bytes(412)
    assert disk_content(san, "disk1") == expected


def test_residue_passes_by_segments_that_move_nothing(san: San, host: CopyHost, tape: TapeHost) -> None:
    ends: list[Cscd] = [cscd(san, "tape0", pad=True)]
    outcome = host.copy(ends, [EmbeddedToStream(0, 8, b"abcdefghIJ", cat=True), Filemarks(0, 1),
                               EmbeddedToStream(0, 8, b"KL")])
    assert outcome.good, outcome
    assert records(tape) == [b"abcdefgh", b"", b"IJKL\0\0\0\0"]


def test_what_is_left_at_the_end_of_the_list_is_dropped(san: San, host: CopyHost, tape: TapeHost) -> None:
    assert host.copy([cscd(san, "tape0")], [EmbeddedToStream(0, 8, b"abc", cat=True)]).good
    assert records(tape) == []


def test_a_segment_without_bytes_writes_what_was_left(san: San, host: CopyHost, tape: TapeHost) -> None:
    """By another transfer length what waited makes whole records."""
    ends: list[Cscd] = [cscd(san, "disk0"), cscd(san, "tape0")]
    content = fill_disk(san, "disk0")
    outcome = host.copy(ends, [BlockOffsetToStream(0, 1, 8000, 6000, 0, 0, cat=True),
                               BlockToStream(0, 1, 2000, 0, 0)])
    assert outcome.good, outcome
    assert records(tape) == [content[at:at + 2000] for at in range(0, 6000, 2000)]


def test_the_null_stream_throws_residues_away(san: San, host: CopyHost, tape: TapeHost) -> None:
    outcome = host.copy([cscd(san, "tape0", pad=True)],
                        [EmbeddedToStream(0, 8, b"abc", cat=True), StreamDiscard(NULL_STREAM, 1, 0),
                         EmbeddedToStream(0, 8, b"x")])
    assert outcome.good, outcome
    assert records(tape) == [b"x" + bytes(7)]


def test_blocks_overwritten_later_are_copied_as_they_were(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """Blocks wait for their record while one is overwritten: reads and writes keep the list's order."""
    content = fill_disk(san, "disk0")
    ends: list[Cscd] = [cscd(san, "disk0"), cscd(san, "tape0", pad=True)]
    outcome = host.copy(ends, [BlockToStream(0, 1, 4096, 2, 10, cat=True),
                               BlockToBlock(0, 0, 1, 0, 11, dc=True, cat=True),
                               BlockToStream(0, 1, 4096, 1, 20)])
    assert outcome.good, outcome
    assert disk_content(san, "disk0")[11 * 512:12 * 512] == content[10 * 512:11 * 512]
    assert records(tape) == [content[11 * 512:12 * 512] + content[20 * 512:21 * 512] + bytes(3072)]


def test_records_overwritten_later_are_copied_as_they_were(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    data = noise(4 * SIZE)
    written(tape, data, SIZE)
    ends: list[Cscd] = [cscd(san, "tape0", pad=True)]
    outcome = host.copy(ends, [StreamToStream(0, 0, SIZE, 1500, 2000, cat=True)])
    assert outcome.good, outcome
    # Two records were read, one of 1500 bytes was written behind them.
    assert records(tape) == [data[:SIZE], data[SIZE:2 * SIZE], data[:1500]]
