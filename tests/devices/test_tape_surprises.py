"""What drives do when they are reset, changed, old, busy or broken: played by a script."""

import pytest

from ndmpd.devices.errors import DeviceError, PositionLost
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Record, Spaced, Stop, Written
from ndmpd.devices.tape_position import UNKNOWN, TapePosition
from ndmpd.pieces import Zeros
from ndmpd.ports import Result
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import BlockLimits, PositionForm
from tests.devices.script import CHANGED, GOOD, NO_MEDIUM, REFUSED, RESET, ScriptedDrive, check


def opened(script: ScriptedDrive) -> TapeDrive:
    drive = TapeDrive(script, "st")
    drive.open()
    return drive


def test_unit_attentions_are_cleared_while_opening():
    script = ScriptedDrive({Opcode.RESERVE_6: [RESET], Opcode.TEST_UNIT_READY: [RESET, CHANGED]})
    assert opened(script).loaded
    assert script.times(Opcode.TEST_UNIT_READY) == 3


def test_a_unit_that_never_stops_giving_attentions_is_broken():
    script = ScriptedDrive({Opcode.TEST_UNIT_READY: [CHANGED] * 100})
    with pytest.raises(DeviceError, match="medium may have changed"):
        opened(script)
    assert script.times(Opcode.RELEASE_6) == 1


def test_a_drive_that_knows_no_reserve_opens_all_the_same():
    assert opened(ScriptedDrive({Opcode.RESERVE_6: [REFUSED], Opcode.RELEASE_6: [REFUSED]})).loaded


def test_becoming_ready_is_waited_for():
    becoming = check(SenseKey.NOT_READY, Asc.BECOMING_READY)
    script = ScriptedDrive({Opcode.TEST_UNIT_READY: [becoming, becoming]})
    assert opened(script).loaded


def test_busy_is_waited_out():
    drive = opened(script := ScriptedDrive())
    script.script[Opcode.REWIND] = [Result(Status.BUSY), Result(Status.TASK_SET_FULL), GOOD]
    drive.rewind()
    assert script.times(Opcode.REWIND) == 3


def test_a_write_that_a_reset_interrupted_goes_on_where_the_position_is_the_same():
    drive = opened(script := ScriptedDrive(number=5, file=0))
    script.script[Opcode.WRITE_6] = [RESET]
    assert drive.write(b"x") == Written(1)
    assert drive.position == TapePosition(0, 6, 6)
    assert script.times(Opcode.RESERVE_6) == 2


def test_a_batch_that_a_reset_interrupted_gets_its_block_length_back():
    drive = opened(script := ScriptedDrive(number=5, file=0))
    drive.write_records([Zeros(1024)], 512, 2)
    script.number = 7
    script.block_length = 0
    script.script[Opcode.WRITE_6] = [RESET]
    assert drive.write_records([Zeros(1024)], 512, 2) == Written(2)
    assert script.block_length == 512


def test_nothing_is_written_where_a_reset_moved_the_tape():
    drive = opened(script := ScriptedDrive(number=5, file=0))
    script.number = 0
    script.script[Opcode.WRITE_6] = [RESET]
    with pytest.raises(DeviceError, match="power on"):
        drive.write(b"x")
    assert script.times(Opcode.WRITE_6) == 1
    assert drive.position == TapePosition(0, 0, 0)


def test_a_reset_noticed_while_setting_the_block_length_stops_the_write_too():
    drive = opened(script := ScriptedDrive(number=5, file=0))
    script.number = 0
    script.script[Opcode.MODE_SELECT_6] = [RESET]
    with pytest.raises(DeviceError, match="power on"):
        drive.write_records([Zeros(1024)], 512, 2)
    assert script.times(Opcode.WRITE_6) == 0


@pytest.mark.parametrize("opcode", [Opcode.WRITE_6, Opcode.MODE_SELECT_6])
def test_nothing_is_written_on_a_cartridge_that_was_exchanged(opcode):
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[opcode] = [CHANGED]
    with pytest.raises(DeviceError, match="medium may have changed"):
        drive.write_records([Zeros(1024)], 512, 2)
    assert script.times(Opcode.WRITE_6) == (opcode == Opcode.WRITE_6)


def test_a_cartridge_put_into_an_empty_open_drive_is_taken():
    drive = opened(script := ScriptedDrive({Opcode.TEST_UNIT_READY: [NO_MEDIUM]}))
    assert not drive.loaded
    script.script[Opcode.READ_6] = [CHANGED, Result(Status.GOOD, transferred=4)]
    script.data = b"data"
    assert drive.read(4) == Record(b"data", 4)
    assert drive.loaded


def test_a_rewind_survives_an_exchanged_cartridge():
    drive = opened(script := ScriptedDrive(number=9, file=2, script={}))
    script.number, script.file, script.protected = 0, 0, True
    script.script[Opcode.REWIND] = [CHANGED]
    drive.rewind()
    assert drive.position == TapePosition(0, 0, 0)
    assert drive.write_protected


def test_a_deferred_error_is_never_taken_for_success():
    drive = opened(script := ScriptedDrive(number=3, file=0))
    script.script[Opcode.WRITE_6] = [check(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR, deferred=True)]
    with pytest.raises(DeviceError, match="write error, deferred"):
        drive.write(b"x")


def test_a_write_error_leaves_the_position_that_the_drive_tells():
    drive = opened(script := ScriptedDrive(number=3, file=0))
    script.script[Opcode.WRITE_6] = [check(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)]
    script.number = 2
    with pytest.raises(DeviceError, match="Medium Error, write error"):
        drive.write(b"x")
    assert drive.position == TapePosition(0, 2, 2)
    assert not drive.unmarked


def test_recovered_errors_count_as_soft_and_the_record_as_written():
    drive = opened(script := ScriptedDrive())
    script.script[Opcode.WRITE_6] = [check(SenseKey.RECOVERED_ERROR, 0x1700)]
    script.number = 1
    assert drive.write(b"x") == Written(1)
    assert drive.soft_errors == 1


def early(left: int | None) -> Result:
    return check(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, eom=True, information=left)


def test_the_residue_and_the_position_together_say_how_many_records_went():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.WRITE_6] = [early(3)]
    script.number = 5
    assert drive.write_records([Zeros(8 * 512)], 512, 8) == Written(5, early_warning=True)
    assert drive.position == TapePosition(0, 5, 5)


def test_without_a_residue_the_position_says_how_many_records_went():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.WRITE_6] = [early(None)]
    script.number = 6
    assert drive.write_records([Zeros(8 * 512)], 512, 8) == Written(6, early_warning=True)


def test_without_a_position_the_residue_says_how_many_records_went():
    drive = opened(script := ScriptedDrive(forms=()))
    script.script[Opcode.WRITE_6] = [early(2)]
    assert drive.write_records([Zeros(8 * 512)], 512, 8) == Written(6, early_warning=True)


@pytest.mark.parametrize(("left", "now"), [(3, 6), (None, 9), (None, None), (9, None)])
def test_accounts_that_contradict_each_other_lose_the_position(left, now):
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.WRITE_6] = [early(left)]
    script.number = now
    with pytest.raises(PositionLost, match="verify the tape"):
        drive.write_records([Zeros(8 * 512)], 512, 8)


def test_volume_overflow_takes_no_record():
    drive = opened(script := ScriptedDrive(number=4, file=0))
    full = check(SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM, eom=True, information=1)
    script.script[Opcode.WRITE_6] = [full]
    assert drive.write(b"x") == Written(0, end_of_medium=True)
    assert drive.position == TapePosition(0, 4, 4)


def test_a_drive_that_refuses_block_lengths_gets_records_one_by_one():
    drive = opened(script := ScriptedDrive({Opcode.MODE_SELECT_6: [REFUSED]}))
    assert drive.write_records([Zeros(4 * 512)], 512, 4) == Written(4)
    assert script.times(Opcode.WRITE_6) == 4
    drive.write_records([Zeros(4 * 512)], 512, 4)
    assert script.times(Opcode.MODE_SELECT_6) == 1


def test_a_drive_that_refuses_fixed_transfers_gets_records_one_by_one():
    drive = opened(script := ScriptedDrive({Opcode.WRITE_6: [REFUSED]}))
    assert drive.write_records([Zeros(4 * 512)], 512, 4) == Written(4)
    assert [cdb[1] for cdb in script.cdbs if cdb[0] == Opcode.WRITE_6] == [1, 0, 0, 0, 0]


def test_a_record_size_outside_the_limits_is_not_tried_as_block_length():
    drive = opened(script := ScriptedDrive(limits=BlockLimits(4, 4096, granularity=2)))
    drive.write_records([Zeros(2 * 510)], 510, 2)
    assert script.times(Opcode.MODE_SELECT_6) == 0


def test_reads_fall_back_to_single_records_too():
    drive = opened(script := ScriptedDrive({
        Opcode.MODE_SELECT_6: [REFUSED],
        Opcode.READ_6: [GOOD, GOOD, check(SenseKey.NO_SENSE, 0, ili=True, information=100)]}))
    outcome = drive.read_records([Zeros(4 * 512)], 512, 4)
    assert (outcome.records, outcome.stop) == (2, Stop.WRONG_LENGTH)
    assert script.times(Opcode.SPACE_6) == 1


def test_a_read_error_tells_how_many_records_came_before_it():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.READ_6] = [check(SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR, information=3)]
    with pytest.raises(DeviceError, match="unrecovered read error") as caught:
        drive.read_records([Zeros(8 * 512)], 512, 8)
    assert caught.value.records == 5


def test_a_read_stopped_without_information_is_measured_by_the_position():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.READ_6] = [check(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, filemark=True)]
    script.number, script.file = 4, 1
    outcome = drive.read_records([Zeros(8 * 512)], 512, 8)
    assert (outcome.records, outcome.stop) == (3, Stop.FILEMARK)
    assert drive.position == TapePosition(1, 0, 4)


def test_the_end_of_the_tape_met_while_reading_is_an_end_not_an_error():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.READ_6] = [check(SenseKey.MEDIUM_ERROR, Asc.END_OF_MEDIUM, eom=True)]
    assert drive.read(512).stop is Stop.END_OF_MEDIUM


def test_spacing_without_information_is_measured_by_the_position():
    drive = opened(script := ScriptedDrive(number=0, file=0))
    script.script[Opcode.SPACE_6] = [check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)]
    script.number = 7
    assert drive.space_records(100) == Spaced(7, Stop.END_OF_DATA)


def test_a_drive_that_tells_objects_only_keeps_the_counted_file_number():
    drive = opened(script := ScriptedDrive(forms=(PositionForm.SHORT,)))
    drive.write(b"x")
    drive.write_filemarks(1)
    script.number = 2
    drive.find_position()
    assert drive.position == TapePosition(1, 0, 2)


def test_a_drive_that_cannot_tell_its_position_is_counted_from_the_rewind_on():
    drive = opened(ScriptedDrive(forms=()))
    assert drive.position == UNKNOWN
    drive.rewind()
    drive.write(b"x")
    assert drive.position == TapePosition(0, 1, 1)


def test_locating_elsewhere_than_asked_for_loses_the_position():
    drive = opened(ScriptedDrive(number=3, file=0))
    with pytest.raises(PositionLost, match="located object 5 but stands at 3"):
        drive.locate(5)


def test_large_object_numbers_take_the_long_locate():
    drive = opened(script := ScriptedDrive(number=1 << 32, file=None))
    drive.locate(1 << 32)
    assert script.times(Opcode.LOCATE_16) == 1
    assert drive.position == TapePosition(None, None, 1 << 32)


def test_a_cartridge_that_vanished_leaves_an_empty_drive():
    drive = opened(script := ScriptedDrive(number=3, file=0))
    script.script[Opcode.READ_6] = [NO_MEDIUM]
    with pytest.raises(DeviceError):
        drive.read(512)
    assert not drive.loaded
    assert drive.position == UNKNOWN


def test_sense_data_that_is_nonsense_is_an_error_without_sense():
    drive = opened(script := ScriptedDrive())
    script.script[Opcode.REWIND] = [Result(Status.CHECK_CONDITION, b"\0\0\0")]
    with pytest.raises(DeviceError, match="CHECK CONDITION") as caught:
        drive.rewind()
    assert caught.value.sense is None


def test_the_transport_is_closed_even_where_release_fails():
    drive = opened(script := ScriptedDrive({Opcode.RELEASE_6: [check(SenseKey.HARDWARE_ERROR, 0x4400)]}))
    with pytest.raises(DeviceError):
        drive.close()
    assert script.closed == 1
