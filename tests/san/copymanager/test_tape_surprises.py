"""Ends of cartridges, filemarks, odd records and the end of data in the middle of a copy. SPC-4 5.17.7.4."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from ndmpd.san import San
from ndmpd.san.disk import Disk
from ndmpd.san.library import Library
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import CopyState, CopyStatus, FailedSegment
from protocol.scsi.cscd import Cscd
from protocol.scsi.segments import (
    BlockToStream,
    InlineToStream,
    Segment,
    StreamDiscard,
    StreamToBlock,
    StreamToStream,
    TapeImage,
)
from protocol.scsi.sense import CopySense, Sense, SenseKey
from tests.san.conftest import MIB, Outcome, TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, disk_content, fill_disk, noise, records

WARN_AT = 3 * MIB
"""Early warning of the cartridges of these tests; they end at 4 MiB."""


def reason(outcome: Outcome) -> CopySense:
    assert outcome.sense is not None and outcome.sense.key is SenseKey.COPY_ABORTED, outcome
    found = CopySense.of(outcome.sense)
    assert found.code == Asc.THIRD_PARTY_DEVICE_FAILURE
    return found


def fill_up(tape: TapeHost, size: int) -> None:
    """Records up to ``size`` bytes before early warning."""
    tape.rewind()
    left = WARN_AT - size
    while left:
        step = min(left, 512 * 1024)
        left -= step
        # The record that meets early warning, where there is to be no room before it, says so.
        assert tape.write(bytes(step)).good or left == size == 0


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("room", [0, 1, RECORD, 3 * RECORD, 3 * RECORD + 5, 40 * RECORD])
def test_the_record_that_meets_early_warning_is_the_last(
        san: San, host: CopyHost, tape: TapeHost, room: int, place: int) -> None:
    """It is on tape and counts; the drive's sense comes with the copy's."""
    content = fill_disk(san, "disk0")
    fill_up(tape, room + place * 512)
    start = tape.position()[0]
    before: list[Segment] = [InlineToStream(1, 512, 0, 512)] * place
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")],
                        [*before, BlockToStream(0, 1, RECORD, 128 * 8, 0), BlockToStream(0, 1, RECORD, 8, 0)],
                        bytes(512))
    if room == 0 and place:
        # The last small record brings the tape to early warning.
        assert (reason(outcome).segment, reason(outcome).residue) == (place - 1, 0)
        assert tape.position()[0] == start + place
        return
    done = max(1, -(-room // RECORD))
    found = reason(outcome)
    assert (found.segment, found.residue) == (place, (128 - done) * RECORD)
    assert found.source_sense is None and found.destination_sense is not None
    assert found.destination_sense.status == 2
    # What the drive says of one WRITE of one variable record, which is on tape.
    assert found.destination_sense.data == bytes.fromhex("f0 00 40 00000000 0a 00000000 0002 00 000000")
    assert outcome.sense is not None and outcome.sense.extra[:1] == b"\x02"
    assert tape.position()[0] == start + place + done
    tape.locate(start + place)
    assert [tape.read(RECORD).data for _ in range(done)] == [
        content[at:at + RECORD] for at in range(0, done * RECORD, RECORD)]
    status = CopyStatus.take(host.status().data)
    assert status == CopyStatus(False, CopyState.FAILED, place + 1, 0, place * 512 + done * RECORD)
    details = FailedSegment.take(host.details().data)
    assert details is not None and details.reason == found


def test_the_segment_whose_record_meets_early_warning_is_named(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """Records of several segments go together; one straddles two of them and belongs to the later."""
    fill_up(tape, 5 * 1000)
    segments: list[Segment] = [InlineToStream(0, 1000, 0, 1500, cat=True) for _ in range(8)]
    outcome = host.copy([cscd(san, "tape0")], segments, noise(1500))
    # Segments complete 1, 2, 1, 2 ... records: the fifth record is the first of two of segment 3.
    assert (reason(outcome).segment, reason(outcome).residue) == (3, 1000)
    assert CopyStatus.take(host.status().data) == CopyStatus(False, CopyState.FAILED, 4, 0, 5000)


def test_fixed_blocks_are_counted_as_blocks(san: San, host: CopyHost, tape: TapeHost) -> None:
    fill_up(tape, 1024 * 6)
    start = tape.position()[0]
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0", fixed=True, block_length=1024)],
                        [BlockToStream(0, 1, 4, 40, 0)])
    found = reason(outcome)
    # Twenty blocks; the second write of four ends after its second block.
    assert (found.segment, found.residue) == (0, 14)
    assert found.destination_sense is not None and found.destination_sense.sense is not None
    assert (found.destination_sense.sense.eom, found.destination_sense.sense.residue) == (True, 2)
    assert tape.position()[0] == start + 6


def test_a_full_cartridge_takes_nothing(san: San, host: CopyHost, tape: TapeHost) -> None:
    fill_up(tape, 0)
    for size in (512 * 1024, 512 * 1024):
        tape.write(bytes(size))
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 8, 0)])
    found = reason(outcome)
    assert (found.segment, found.residue) == (0, None)
    assert found.destination_sense is not None and found.destination_sense.sense is not None
    assert found.destination_sense.sense.key is SenseKey.VOLUME_OVERFLOW
    assert outcome.sense is not None and outcome.sense.information is None


def short_tape(tape: TapeHost, san: San, *, marks: bool, last: int = RECORD) -> bytes:
    """Five records, the fifth of ``last`` bytes, and a filemark perhaps."""
    data = noise(4 * RECORD + last)
    for at in range(0, 4 * RECORD, RECORD):
        tape.write(data[at:at + RECORD])
    tape.write(data[4 * RECORD:])
    if marks:
        tape.mark()
    tape.rewind()
    return data


MET = {
    "a filemark": (True, RECORD, "f0 00 80 00001000 0a 00000000 0001 00 000000", (6, 1), 5),
    "the end of data": (False, RECORD, "f0 00 08 00001000 0a 00000000 0005 00 000000", (5, 0), 5),
    "a record too short": (False, RECORD - 1, "f0 00 20 00000001 0a 00000000 0000 00 000000", (5, 0), 4),
    "a record too long": (False, RECORD + 1, "f0 00 20 ffffffff 0a 00000000 0000 00 000000", (5, 0), 4),
}


@pytest.mark.parametrize("met", MET)
def test_what_the_source_meets_ends_the_copy(san: San, host: CopyHost, tape: TapeHost, met: str) -> None:
    """The records before it are on the disk; the drive's sense is that of one READ of one record."""
    marks, last, sense, position, done = MET[met]
    data = short_tape(tape, san, marks=marks, last=last)
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "disk1")],
                        [StreamToBlock(0, 1, RECORD, 16, 0), StreamToBlock(0, 1, RECORD, 64, 16)])
    found = reason(outcome)
    assert (found.segment, found.residue) == (1, 64 - (done - 2) * 8)
    assert found.destination_sense is None and found.source_sense is not None
    assert (found.source_sense.status, found.source_sense.data) == (2, bytes.fromhex(sense))
    assert tape.position() == position
    assert disk_content(san, "disk1")[:done * RECORD] == data[:done * RECORD]
    assert CopyStatus.take(host.status().data).bytes_moved == done * RECORD


def test_nothing_written_leaves_no_residue(san: San, host: CopyHost, tape: TapeHost) -> None:
    tape.rewind()
    outcome = host.copy([cscd(san, "tape0"), cscd(san, "disk1")], [StreamToBlock(0, 1, RECORD, 16, 0)])
    assert reason(outcome).residue is None
    assert outcome.sense is not None and outcome.sense.put()[0] == 0x70


def test_a_tape_to_tape_copy_that_meets_both_ends(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost) -> None:
    data = short_tape(tape, san, marks=True)
    ends: list[Cscd] = [cscd(san, "tape0"), cscd(san, "tape1")]
    found = reason(host.copy(ends, [StreamToStream(0, 1, RECORD, RECORD, 9 * RECORD)]))
    assert (found.segment, found.residue) == (0, 4 * RECORD)
    assert found.source_sense is not None and found.source_sense.sense is not None
    assert found.source_sense.sense.filemark
    assert records(tape1) == [data[at:at + RECORD] for at in range(0, len(data), RECORD)]
    tape.rewind()
    fill_up(tape1, 2 * RECORD)
    found = reason(host.copy(ends, [StreamToStream(0, 1, RECORD, RECORD, 5 * RECORD)]))
    assert (found.segment, found.residue) == (0, 3 * RECORD)
    assert found.destination_sense is not None and found.source_sense is None


def test_an_image_that_meets_early_warning_has_no_residue(
        san: San, host: CopyHost, tape: TapeHost, tape1: TapeHost) -> None:
    short_tape(tape, san, marks=True)
    fill_up(tape1, 2 * RECORD)
    start = tape1.position()[0]
    found = reason(host.copy([cscd(san, "tape0"), cscd(san, "tape1")], [TapeImage(0, 1, 0)]))
    assert (found.segment, found.residue) == (0, None)
    assert tape1.position()[0] == start + 2


def test_discarding_ends_at_a_filemark(san: San, host: CopyHost, tape: TapeHost) -> None:
    short_tape(tape, san, marks=True)
    found = reason(host.copy([cscd(san, "tape0")], [StreamDiscard(0, RECORD, 6 * RECORD)]))
    assert (found.segment, found.residue) == (0, None)
    assert tape.position() == (6, 1)


def test_a_write_protected_cartridge_refuses_every_record(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    library = Library(san)
    cartridge = library.drive(0).cartridge
    assert cartridge is not None
    medium = library.open_medium(cartridge)
    medium.change(protected=True)
    medium.close()
    library.touch(0x100)
    tape.clear_attentions()
    found = reason(host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 8, 0)]))
    assert found.destination_sense is not None
    assert found.destination_sense.sense == Sense(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)


def test_a_disk_whose_file_shrinks_fails_as_a_source(
        san: San, host: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tape is back before the records that have zeros for what cannot be read."""
    content = fill_disk(san, "disk0")
    real = Disk.backing

    def cut(disk: Disk, lba: int, blocks: int) -> object:
        found = real(disk, lba, blocks)
        assert found is not None
        # The last ten records that the file has; the others lie behind its end.
        return found if (lba + blocks) * 512 <= 10 * RECORD else replace(
            found, offset=os.fstat(found.file.fd).st_size - 10 * RECORD)

    monkeypatch.setattr(Disk, "backing", cut)
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 16 * 8, 0)])
    found = reason(outcome)
    assert (found.segment, found.residue) == (0, 6 * RECORD)
    assert found.source_sense is not None and found.source_sense.sense is not None
    assert found.source_sense.sense.key is SenseKey.MEDIUM_ERROR
    assert tape.position() == (10, 0)
    tail = content[-10 * RECORD:]
    assert records(tape)[:10] == [tail[at:at + RECORD] for at in range(0, len(tail), RECORD)]
