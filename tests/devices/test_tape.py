"""Tape drive logic on a virtual drive of the embedded SAN."""

import pytest

from ndmpd.devices.errors import DeviceBusy, DeviceError
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import ReadOutcome, Spaced, Stop, Written
from ndmpd.devices.tape_position import BEGINNING, TapePosition
from ndmpd.pieces import Inline, Zeros
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import PositionForm
from tests.devices.conftest import KIB, MIB


def records(count: int, size: int, first: int = 0) -> bytes:
    """``count`` records that all differ."""
    return b"".join(bytes((first + number & 0xFF,)) * size for number in range(count))


def fill(drive: TapeDrive) -> None:
    """Two files: three records of 1 KiB, then two of 2 KiB; then rewind."""
    drive.write_records([Inline(records(3, KIB))], KIB, 3)
    drive.write_filemarks(1)
    drive.write_records([Inline(records(2, 2 * KIB))], 2 * KIB, 2)
    drive.write_filemarks(1)
    drive.rewind()


def test_opening_tells_position_and_what_is_loaded(drive):
    assert drive.loaded
    assert not drive.write_protected
    assert drive.position == BEGINNING
    assert drive.limits.allow(64 * KIB)


def test_opening_a_reserved_drive_is_refused_and_closing_frees_it(drive, connect):
    second = TapeDrive(connect("tape0"), "tape0")
    with pytest.raises(DeviceBusy, match="tape0 is reserved"):
        second.open()
    drive.close()
    second.open()
    assert second.loaded


def test_an_empty_drive_opens_without_a_position(connect):
    first = TapeDrive(connect("tape1"), "tape1")
    first.open()
    first.unload()
    assert not first.loaded
    first.close()
    second = TapeDrive(connect("tape1"), "tape1")
    second.open()
    assert not second.loaded
    assert second.position == TapePosition()


def test_records_written_together_are_read_one_by_one(drive):
    assert drive.write_records([Inline(records(3, KIB))], KIB, 3) == Written(3)
    assert drive.position == TapePosition(0, 3, 3)
    drive.rewind()
    assert [drive.read(KIB).data for _ in range(3)] == [bytes((n,)) * KIB for n in range(3)]
    assert drive.read(KIB).stop is Stop.END_OF_DATA
    assert drive.position == TapePosition(0, 3, 3)


def test_records_written_one_by_one_are_read_together(drive):
    for number in range(3):
        assert drive.write(bytes((number,)) * KIB) == Written(1)
    drive.rewind()
    buffer = bytearray(3 * KIB)
    assert drive.read_records([Inline(buffer)], KIB, 3) == ReadOutcome(3)
    assert buffer == records(3, KIB)


def test_a_batch_larger_than_the_transport_carries_is_cut(connect):
    drive = TapeDrive(connect("tape0"), "tape0", largest_transfer=5 * KIB)
    drive.open()
    data = records(7, 2 * KIB)
    assert drive.write_records([Inline(data[:3000]), Inline(data[3000:])], 2 * KIB, 7) == Written(7)
    drive.rewind()
    buffer = bytearray(len(data))
    assert drive.read_records([Inline(buffer)], 2 * KIB, 7) == ReadOutcome(7)
    assert buffer == data


def test_a_batch_stops_behind_the_filemark_it_meets(drive):
    fill(drive)
    buffer = bytearray(5 * KIB)
    assert drive.read_records([Inline(buffer)], KIB, 5) == ReadOutcome(3, Stop.FILEMARK)
    assert buffer[:3 * KIB] == records(3, KIB)
    assert drive.position == TapePosition(1, 0, 4)


def test_a_batch_stops_at_the_end_of_data(drive):
    drive.write_records([Zeros(2 * KIB)], KIB, 2)
    drive.rewind()
    assert drive.read_records([Zeros(5 * KIB)], KIB, 5) == ReadOutcome(2, Stop.END_OF_DATA)
    assert drive.position == TapePosition(0, 2, 2)


@pytest.mark.parametrize("odd", [100, 3000])
def test_a_batch_stops_before_a_record_of_another_length(drive, odd):
    drive.write_records([Inline(records(2, KIB))], KIB, 2)
    drive.write(bytes(odd))
    drive.rewind()
    assert drive.read_records([Zeros(4 * KIB)], KIB, 4) == ReadOutcome(2, Stop.WRONG_LENGTH)
    assert drive.position == TapePosition(0, 2, 2)
    assert drive.read(4096).length == odd


def test_a_longer_record_is_cut_and_its_length_told(drive):
    drive.write(records(1, KIB, 7))
    drive.write(b"next")
    drive.rewind()
    record = drive.read(100)
    assert (record.data, record.length) == (b"\7" * 100, KIB)
    assert drive.read(100).data == b"next"


def test_a_shorter_record_comes_whole(drive):
    drive.write(b"label")
    drive.rewind()
    record = drive.read(KIB)
    assert (record.data, record.length, record.stop) == (b"label", 5, None)


def test_reading_a_filemark_crosses_it_and_uncross_goes_back(drive):
    fill(drive)
    drive.space_records(3)
    before = drive.position
    assert drive.read(KIB).stop is Stop.FILEMARK
    assert drive.position == TapePosition(1, 0, 4)
    drive.uncross(before, backwards=True)
    assert drive.position == TapePosition(0, 3, 3)
    assert drive.read(KIB).stop is Stop.FILEMARK


def test_spacing_over_records_stops_at_marks_and_ends(drive):
    fill(drive)
    assert drive.space_records(2) == Spaced(2)
    assert drive.space_records(5) == Spaced(1, Stop.FILEMARK)
    assert drive.position == TapePosition(1, 0, 4)
    assert drive.space_records(-9) == Spaced(0, Stop.FILEMARK)
    assert drive.position == TapePosition(0, 3, 3)
    assert drive.space_records(-9) == Spaced(3, Stop.BEGINNING)
    assert drive.position == BEGINNING


def test_spacing_over_filemarks_keeps_file_and_block_numbers_true(drive):
    fill(drive)
    assert drive.space_filemarks(1) == Spaced(1)
    assert drive.position == TapePosition(1, 0, 4)
    assert drive.space_filemarks(9) == Spaced(1, Stop.END_OF_DATA)
    assert (drive.position.file, drive.position.object) == (2, 7)
    assert drive.space_filemarks(-1) == Spaced(1)
    assert drive.position == TapePosition(1, None, 6)
    assert drive.space_filemarks(-9) == Spaced(1, Stop.BEGINNING)
    assert drive.position == BEGINNING


def test_locating_counts_the_block_number_on_in_the_same_file(drive):
    fill(drive)
    drive.space_filemarks(1)
    drive.locate(6)
    assert drive.position == TapePosition(1, 2, 6)
    drive.locate(1)
    assert drive.position == TapePosition(0, 1, 1)
    assert drive.read(KIB).data == b"\1" * KIB


def test_spacing_to_the_end_finds_the_end(drive):
    fill(drive)
    drive.space_to_end()
    assert drive.position == TapePosition(2, None, 7)
    assert drive.read(KIB).stop is Stop.END_OF_DATA


def test_records_owe_a_filemark_until_one_is_written_or_the_tape_moves(drive):
    assert not drive.unmarked
    drive.write(b"x")
    assert drive.unmarked
    assert drive.read(10).stop is Stop.END_OF_DATA
    assert drive.unmarked
    drive.flush()
    assert drive.unmarked
    drive.write_filemarks(1)
    assert not drive.unmarked
    drive.write(b"x")
    drive.space_records(-1)
    assert not drive.unmarked


def test_a_batch_ends_behind_the_first_record_in_the_early_warning_zone(drive):
    size = 64 * KIB
    first = drive.write_records([Zeros(8 * MIB)], size, 128)
    assert first.early_warning
    assert not first.end_of_medium
    # Seven MiB lie before the zone; the first record that touches it is the last one.
    assert first.records in (7 * MIB // size, 7 * MIB // size + 1)
    assert drive.position.object == first.records
    again = drive.write_records([Zeros(2 * size)], size, 2)
    assert (again.records, again.early_warning) == (1, True)
    assert drive.write_filemarks(1) == Written(1, early_warning=True)


def test_a_tape_that_is_opened_in_the_early_warning_zone_ends_with_the_first_record(drive, connect):
    size = 64 * KIB
    drive.write_records([Zeros(8 * MIB)], size, 128)
    drive.close()
    second = TapeDrive(connect("tape0"), "tape0")
    second.open()
    assert second.early_warning
    assert second.write_records([Zeros(3 * size)], size, 3) == Written(1, early_warning=True)
    here = second.position.object
    second.rewind()
    assert not second.early_warning
    second.locate(here)
    assert second.write_records([Zeros(3 * size)], size, 3) == Written(1, early_warning=True)
    for count in (-1, 1):
        second.space_records(count)
    assert second.write_records([Zeros(3 * size)], size, 3) == Written(1, early_warning=True)


@pytest.mark.parametrize("long", [True, False])
def test_the_end_that_a_copy_manager_does_not_tell_of_is_found_by_the_position(drive, connect, long):
    if not long:
        drive._forms.remove(PositionForm.LONG)
    other = TapeDrive(drive.transport, "tape0")
    size = 64 * KIB
    before = drive.position
    assert other.write_records([Zeros(7 * MIB - size)], size, 111) == Written(111)
    assert drive.whereabouts() == 111
    assert not drive.wrote_elsewhere(before, 111, size, early_warning=False)
    before = drive.position
    assert other.write_records([Zeros(2 * size)], size, 2) == Written(1, early_warning=True)
    assert drive.whereabouts() == 112
    assert drive.wrote_elsewhere(before, 1, size, early_warning=False)
    assert drive.early_warning
    before = drive.position
    assert drive.whereabouts() == 112
    assert not drive.wrote_elsewhere(before, 0, size, early_warning=False), "nothing met it"
    assert drive.early_warning, "the next record is written alone"


def test_early_warning_comes_at_the_same_record_written_one_by_one(drive):
    size = 64 * KIB
    together = drive.write_records([Zeros(8 * MIB)], size, 128).records
    drive.rewind()
    singly = 0
    while not drive.write(bytes(size)).early_warning:
        singly += 1
    assert singly + 1 == together


def test_the_physical_end_takes_no_record(drive):
    size = MIB
    outcomes = [drive.write(bytes(size)) for _ in range(9)]
    assert outcomes[-1].end_of_medium
    assert outcomes[-1].records == 0
    assert drive.position.object == sum(one.records for one in outcomes) == 8


def test_space_left_falls_with_what_is_written(drive):
    drive.find_space()
    before = drive.remaining
    assert before is not None
    drive.write(bytes(256 * KIB))
    assert drive.remaining == before - 256 * KIB


def test_an_operation_without_a_cartridge_says_so(drive):
    drive.unload()
    with pytest.raises(DeviceError, match="medium not present") as caught:
        drive.rewind()
    assert caught.value.no_medium
    assert caught.value.key is SenseKey.NOT_READY


def test_closing_leaves_the_block_length_as_it_was(drive, connect):
    fill(drive)
    assert drive.block_length
    drive.close()
    other = TapeDrive(connect("tape0"), "tape0")
    other.open()
    assert other.block_length == 0
