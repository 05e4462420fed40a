"""TAPE on a virtual drive: opening and its refusals, filemarks owed, the end of the tape, pass-through."""

import threading
import time
from dataclasses import replace

import pytest

from ndmpd.san.medium import load_facts, save_facts
from ndmpd.services import tape
from protocol.ndmp.codes import Error, TapeFlags, TapeMtioOp, TapeUnsupported, Version
from protocol.ndmp.tape import TapeExecuteCdbRequest
from protocol.scsi import command
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import Inquiry
from tests.devices.script import CHANGED, NO_MEDIUM, ScriptedDrive, check
from tests.services.tape.dma import MIB, RAW, RDWR, READ, UNKNOWN, Dma

BSF, BSR, EOF, FSF, FSR, OFF, REW, TUR = (
    TapeMtioOp.BSF, TapeMtioOp.BSR, TapeMtioOp.EOF, TapeMtioOp.FSF, TapeMtioOp.FSR, TapeMtioOp.OFF,
    TapeMtioOp.REW, TapeMtioOp.TUR)
KIB = 1024
OK = Error.NO_ERR


def contents(dma) -> list[int | str]:
    """Lengths of the records on the tape, "M" for filemarks, by reading it from its beginning."""
    found: list[int | str] = []
    dma.move(REW)
    while True:
        before = dma.service.drive.position
        error, data = dma.read(MIB)
        if error == OK:
            found.append(len(data))
        elif (error == Error.EOF and dma.service.drive.position != before) or dma.move(FSF) == 0:
            found.append("M")
        else:
            return found


# Opening.


def test_an_empty_drive_opens_in_raw_mode_only(dma):
    dma.open()
    assert dma.move(OFF) == 0
    dma.close()
    assert dma.open(READ) == Error.NO_TAPE_LOADED
    assert dma.open(RDWR) == Error.NO_TAPE_LOADED
    assert dma.open(RAW) == OK
    assert dma.write(b"x") == (Error.NO_TAPE_LOADED, 0)
    assert dma.read(10)[0] == Error.NO_TAPE_LOADED
    assert dma.mtio(REW)[0] == Error.NO_TAPE_LOADED
    assert dma.mtio(FSF, 3) == (Error.NO_TAPE_LOADED, 3)


def test_a_protected_tape_opens_for_reading_and_raw(dma, san):
    folder = san.path / "cartridges" / "E01001L8"
    save_facts(folder, replace(load_facts(folder), protected=True))
    assert dma.open(RDWR) == Error.WRITE_PROTECT
    assert dma.open(RAW) == OK
    assert dma.state().flags & TapeFlags.WR_PROT
    assert dma.write(b"x") == (Error.WRITE_PROTECT, 0)
    assert dma.mtio(EOF)[0] == Error.WRITE_PROTECT
    dma.close()
    assert dma.open(READ) == OK


def test_a_drive_in_use_is_busy_after_the_wait(connection, monkeypatch):
    monkeypatch.setattr(tape, "HOLDER_LEAVES", 0.3)
    first, second = connection(), connection()
    assert first.open() == OK
    started = time.monotonic()
    assert second.open() == Error.DEVICE_BUSY
    assert time.monotonic() - started >= 0.3
    first.service.close()
    assert second.open() == OK


def test_a_holder_that_leaves_in_time_is_waited_for(connection):
    first, second = connection(), connection()
    first.open()
    timer = threading.Timer(0.3, first.service.close)
    timer.start()
    assert second.open() == OK
    timer.join()


def test_a_refused_open_leaves_the_drive_to_others(connection, san):
    folder = san.path / "cartridges" / "E01001L8"
    save_facts(folder, replace(load_facts(folder), protected=True))
    first, second = connection(), connection()
    assert first.open(RDWR) == Error.WRITE_PROTECT
    assert first.service.drive is None
    assert second.open(READ) == OK


def test_the_mover_finds_drive_and_mode(dma):
    assert dma.service.drive is None
    dma.open(READ)
    assert dma.service.drive.loaded
    assert (dma.service.open_mode, dma.service.device) == (READ, "tape0")
    dma.close()
    assert (dma.service.drive, dma.service.open_mode, dma.service.device) == (None, None, None)


# Filemarks owed.


@pytest.mark.parametrize(("operation", "marks"), [(REW, 1), (FSF, 1), (BSF, 1), (BSR, 0), (FSR, 0)])
def test_a_motion_writes_the_filemark_that_is_owed(dma, operation, marks):
    dma.open()
    dma.write(b"x" * KIB)
    dma.mtio(operation)
    assert contents(dma) == [KIB, *["M"] * marks]


def test_closing_writes_the_filemark_that_is_owed(dma):
    dma.open()
    dma.write(b"x" * KIB)
    assert dma.close() == OK
    dma.open()
    assert contents(dma) == [KIB, "M"]


def test_a_lost_connection_writes_the_filemark_and_frees_the_drive(connection):
    first, second = connection(), connection()
    first.open()
    first.write(b"x" * KIB)
    first.service.close()
    first.service.close()
    assert second.open() == OK
    assert contents(second) == [KIB, "M"]


def test_records_of_the_mover_owe_a_filemark_too(dma):
    dma.open()
    dma.service.drive.write(b"x" * KIB)
    dma.close()
    dma.open()
    assert contents(dma) == [KIB, "M"]


def test_no_second_mark_is_owed_behind_one_that_was_written(dma):
    dma.open()
    dma.write(b"x" * KIB)
    dma.move(EOF)
    dma.close()
    dma.open()
    assert contents(dma) == [KIB, "M"]


def test_a_mark_is_never_written_where_it_would_cut_off_records(dma):
    dma.open()
    for _ in range(3):
        dma.write(b"x" * KIB)
    dma.move(BSR, 2)
    dma.close()
    dma.open()
    assert contents(dma) == [KIB] * 3


@pytest.mark.parametrize("operation", [FSF, BSF, FSR, BSR, EOF])
def test_a_count_of_zero_does_nothing(dma, operation):
    dma.open()
    dma.write(b"x" * KIB)
    assert dma.mtio(operation, 0) == (OK, 0)
    assert dma.at() == (0, 1)
    dma.move(EOF)
    assert contents(dma) == [KIB, "M"]


def test_a_close_that_cannot_write_its_mark_fails_once(connection):
    dma = connection()
    dma.open()
    dma.write(b"x")
    drive = dma.service.drive
    drive.write_filemarks = lambda count: drive.must("write a filemark", command.READ_10.put())
    assert dma.close() == Error.ILLEGAL_ARGS
    assert dma.service.drive is drive
    assert dma.close() == OK
    assert dma.service.drive is None


def test_a_request_between_two_closes_makes_the_second_try_again(connection):
    dma = connection()
    dma.open()
    dma.write(b"x")
    drive = dma.service.drive
    drive.write_filemarks = lambda count: drive.must("write a filemark", command.READ_10.put())
    assert dma.close() == Error.ILLEGAL_ARGS
    dma.read(0)
    assert dma.close() == Error.ILLEGAL_ARGS


# Reading and moving, as the versions differ.


def test_a_filemark_is_met_again_and_again_in_version_4(dma4):
    dma4.open()
    dma4.move(EOF)
    dma4.move(REW)
    assert [dma4.read(10)[0] for _ in range(3)] == [Error.EOF] * 3
    assert dma4.move(FSR, 5) == 5
    assert dma4.move(FSF) == 0
    assert dma4.move(BSR, 5) == 5
    assert dma4.at() == (1, 0)


def test_a_filemark_is_crossed_in_version_3(connection):
    dma = connection(Version.V3)
    dma.open()
    dma.move(EOF, 2)
    dma.move(REW)
    assert dma.read(10)[0] == Error.EOF
    assert dma.at() == (1, 0)
    assert dma.move(FSR, 5) == 5
    assert dma.at() == (2, 0)
    assert dma.read(10)[0] == Error.EOF


def test_ready_is_tested_in_version_4_only(connection):
    old, new = connection(Version.V3), connection(Version.V4)
    old.open(RAW, "tape0")
    new.open(RAW, "tape1")
    assert old.mtio(TUR)[0] == Error.ILLEGAL_ARGS
    assert new.mtio(TUR) == (OK, 0)
    new.move(OFF)
    assert new.mtio(TUR)[0] == Error.NO_TAPE_LOADED


@pytest.mark.parametrize("operation", [8, 123, 0xFFFFFFFF])
def test_an_operation_that_does_not_exist_is_an_illegal_argument(dma, operation):
    dma.open()
    assert dma.mtio(operation)[0] == Error.ILLEGAL_ARGS


def test_filemarks_need_a_drive_opened_for_writing(dma):
    dma.open(READ)
    assert dma.mtio(EOF, 2) == (Error.PERMISSION, 2)


def test_a_read_gives_no_more_than_a_record_whatever_it_asks_for(dma):
    dma.open()
    dma.write(b"x" * 100)
    dma.move(REW)
    assert dma.read(0x7FFFFFFF) == (OK, b"x" * 100)


def test_a_record_longer_than_the_drive_can_is_an_illegal_argument(dma):
    dma.open()
    longest = dma.service.drive.limits.longest
    assert dma.write(bytes(longest + 1)) == (Error.ILLEGAL_ARGS, 0)


# The end of the tape.


def test_early_warning_is_told_at_the_next_write_and_once(dma4):
    dma4.open()
    size = 256 * KIB
    replies = [dma4.write(bytes(size)) for _ in range(18)]
    told = replies.index((Error.EOM, 0))
    # Three MiB before the zone: the write that meets it succeeds, the next is refused, later ones succeed.
    assert told in (12, 13)
    assert replies[:told] == [(OK, size)] * told
    after = replies[told + 1:]
    assert after[0] == (OK, size)
    assert Error.EOM not in [error for error, _ in after]
    assert after[-1] == (Error.IO, 0)
    assert dma4.mtio(EOF) == (OK, 0)


def test_a_rewound_tape_tells_its_end_anew(dma4):
    dma4.open()
    size = MIB
    for _ in range(2):
        assert (Error.EOM, 0) in [dma4.write(bytes(size)) for _ in range(5)]
        dma4.move(REW)


def test_what_the_mover_told_is_not_told_again(dma4):
    dma4.open()
    while not dma4.service.drive.write(bytes(256 * KIB)).early_warning:
        pass
    dma4.service.end_told()
    assert [dma4.write(b"trailer")[0] for _ in range(3)] == [OK] * 3


# State.


def test_state_is_answered_without_a_command(dma):
    dma.open()
    dma.write(b"x")
    transport = dma.service.drive.transport
    dma.service.drive.transport = None
    assert dma.at() == (0, 1)
    dma.service.drive.transport = transport


def test_state_tells_sizes_and_modes(dma):
    dma.open()
    state = dma.state()
    assert state.block_size == 0
    assert state.soft_errors == 0
    assert state.total_space == 4 * MIB
    assert state.flags == TapeFlags.NOREWIND
    before = state.space_remain
    dma.write(bytes(MIB))
    assert dma.state().space_remain == before - MIB
    expected = TapeUnsupported.PARTITION if dma.version == Version.V3 else TapeUnsupported(0)
    assert dma.state().unsupported == expected


def test_version_3_marks_unknown_values_as_invalid(connection):
    dma = connection(Version.V3)
    dma.open(RAW)
    dma.move(OFF)
    state = dma.state()
    assert (state.file_num, state.blockno) == (UNKNOWN, UNKNOWN)
    assert state.total_space == state.space_remain == (1 << 64) - 1
    assert state.unsupported == (
        TapeUnsupported.FILE_NUM | TapeUnsupported.BLOCKNO | TapeUnsupported.TOTAL_SPACE
        | TapeUnsupported.SPACE_REMAIN | TapeUnsupported.PARTITION)


# Pass-through.


def test_a_cdb_passes_through_both_ways(dma):
    dma.open()
    reply = dma.cdb(command.INQUIRY.put(allocation=96), data_in=96)
    assert (reply.error, reply.status) == (OK, Status.GOOD)
    assert Inquiry.take(reply.datain).type == 1
    reply = dma.cdb(command.WRITE_6_TAPE.put(length=5), data_out=b"hello")
    assert (reply.error, reply.status, reply.dataout_len) == (OK, Status.GOOD, 5)
    assert dma.at() == (0, 1)


def test_a_refused_cdb_is_a_success_with_sense(dma):
    dma.open()
    reply = dma.cdb(command.READ_10.put())
    assert (reply.error, reply.status) == (OK, Status.CHECK_CONDITION)
    assert Sense.take(reply.ext_sense).key is SenseKey.ILLEGAL_REQUEST


def test_a_tape_moved_by_a_cdb_is_where_the_drive_says(dma):
    dma.open()
    for _ in range(3):
        dma.write(b"x")
    assert dma.cdb(command.REWIND.put()).status == Status.GOOD
    assert dma.at() == (0, 0)
    assert not dma.service.drive.unmarked


def test_a_tape_unloaded_by_a_cdb_is_gone(dma):
    dma.open(RAW)
    assert dma.cdb(command.LOAD_UNLOAD.put()).status == Status.GOOD
    assert dma.at() == (UNKNOWN, UNKNOWN)
    assert dma.mtio(REW)[0] == Error.NO_TAPE_LOADED


@pytest.mark.parametrize("fields", [
    {"cdb": b""}, {"cdb": bytes(17)}, {"flags": 3}, {"flags": 4}, {"flags": 1, "datain_len": 1 << 25},
])
def test_a_pass_through_that_makes_no_sense_is_an_illegal_argument(dma, fields):
    dma.open()
    plain = {"flags": 0, "timeout": 0, "datain_len": 0, "cdb": bytes(6), "dataout": b""}
    request = TapeExecuteCdbRequest(**{**plain, **fields})
    assert dma.service.perform(request).error == Error.ILLEGAL_ARGS


def test_a_unit_attention_that_went_to_the_dma_is_noticed_all_the_same():
    script = ScriptedDrive({Opcode.TEST_UNIT_READY: [NO_MEDIUM]})
    dma = Dma(lambda name: script, Version.V4)
    dma.open(RAW)
    assert not dma.service.drive.loaded
    script.script[Opcode.TEST_UNIT_READY] = [CHANGED]
    assert dma.cdb(command.TEST_UNIT_READY.put()).status == Status.CHECK_CONDITION
    assert dma.service.drive.loaded


def test_a_media_error_shows_in_the_state_until_the_next_operation():
    script = ScriptedDrive()
    dma = Dma(lambda name: script, Version.V4)
    dma.open()
    script.script[Opcode.WRITE_6] = [check(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)]
    assert dma.write(b"x") == (Error.IO, 0)
    assert dma.state().flags & TapeFlags.ERROR
    assert dma.move(REW) == 0
    assert not dma.state().flags & TapeFlags.ERROR


def test_a_fault_of_our_own_is_an_answer_too():
    dma = Dma(lambda name: None, Version.V4)
    assert dma.open() == Error.UNDEFINED
