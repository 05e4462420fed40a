"""RECEIVE COPY RESULTS, by bytes written from SPC-4 6.21 to 6.25 and by what real copy managers send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import (
    BLOCKS,
    NO_FAILURE,
    RECEIVE_COPY_DATA,
    RECEIVE_COPY_STATUS,
    RECEIVE_FAILURE_DETAILS,
    RECEIVE_OPERATING_PARAMETERS,
    CopyState,
    CopyStatus,
    FailedSegment,
    HeldData,
    OperatingParameters,
)
from protocol.scsi.sense import CopySense, SegmentPointer
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only

GOLDEN = read("copyresults")
SENSE = bytes.fromhex("70 00 0A 00000000 0A 00000003 0804 00 800030")
VALUES = {
    "status: running": CopyStatus(False, CopyState.RUNNING, 2, 0, 10 << 20),
    "status: done, in mebibytes, held data discarded": CopyStatus(True, CopyState.DONE, 16, 2, 5120),
    "status: failed, in blocks of the destination": CopyStatus(False, CopyState.FAILED, 1, BLOCKS, 128),
    "held data": HeldData(b"Hello", 5),
    "operating parameters": OperatingParameters(
        8, 64, 8192, (0, 1, 4, 8, 0x10, 0xE4), True, 1 << 28, 65536, 16384, 8 << 20, 32, 16, 512, 4, 1),
    "failure details": FailedSegment(2, SENSE),
}
PARAMETERS = VALUES["operating parameters"]


@pytest.mark.parametrize("name", VALUES)
def test_results_are_put_as_the_standard_draws_them(name):
    assert VALUES[name].put().hex() == GOLDEN[name].hex()


@pytest.mark.parametrize("name", VALUES)
def test_results_are_taken_as_the_standard_draws_them_and_what_follows_is_ignored(name):
    take = type(VALUES[name]).take
    assert take(GOLDEN[name]) == VALUES[name]
    assert take(GOLDEN[name] + b"\x5a" * 300) == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_damaged_results_are_wire_errors_or_values(name):
    raises_wire_error_only(type(VALUES[name]).take, GOLDEN[name])


@pytest.mark.parametrize("name, cdb, fields", [
    ("status CDB", RECEIVE_COPY_STATUS, {"list_id": 42, "allocation": 12}),
    ("data CDB", RECEIVE_COPY_DATA, {"list_id": 42, "allocation": 1024}),
    ("operating parameters CDB", RECEIVE_OPERATING_PARAMETERS, {"allocation": 1024}),
    ("failure details CDB", RECEIVE_FAILURE_DETAILS, {"list_id": 42, "allocation": 312}),
])
def test_the_commands(name, cdb, fields):
    assert cdb.put(**fields) == GOLDEN[name]
    assert fields.items() <= cdb.take(GOLDEN[name]).items()
    assert [one for one in (RECEIVE_COPY_STATUS, RECEIVE_COPY_DATA, RECEIVE_OPERATING_PARAMETERS,
                            RECEIVE_FAILURE_DETAILS) if one.matches(GOLDEN[name])] == [cdb]


def test_bytes_moved_are_known_unless_they_are_counted_in_blocks_or_a_unit_unknown():
    moved = [VALUES[name].bytes_moved for name in VALUES if name.startswith("status")]
    assert moved == [10 << 20, 5 << 30, None]
    assert CopyStatus(False, 1, 1, 6, 3).bytes_moved == 3 << 60
    assert CopyStatus(False, 1, 1, 7, 3).bytes_moved is None


@pytest.mark.parametrize("moved, units, count", [
    (0, 0, 0), ((1 << 32) - 1, 0, 0xFFFFFFFF), (1 << 32, 1, 1 << 22), ((1 << 32) + 1023, 1, 1 << 22),
    ((1 << 42) - 1, 1, 0xFFFFFFFF), (1 << 42, 2, 1 << 22)])
def test_a_status_counts_in_the_smallest_unit_that_holds_the_number(moved, units, count):
    status = CopyStatus.of_bytes(CopyState.RUNNING, 1, moved)
    assert (status.units, status.count) == (units, count)
    assert status.put()


def test_a_state_that_the_standard_does_not_name_stays_a_number():
    assert CopyStatus.take(bytes.fromhex("00000008 60 0001 00 00000000")).status == 0x60


def test_held_data_that_the_allocation_length_cut_says_how_much_there_is():
    assert HeldData.take(bytes.fromhex("00100000 0102")) == HeldData(b"\1\2", 1 << 20)


def test_types_are_bounded_by_what_came_and_not_by_what_available_data_says():
    data = bytearray(GOLDEN["operating parameters"])
    data[43] = 255
    assert OperatingParameters.take(data).types == PARAMETERS.types
    data[0:4] = b"\0\0\0\0"
    assert OperatingParameters.take(data).types == PARAMETERS.types
    assert OperatingParameters.take(data[:46]).types == (0, 1)


def test_the_answer_of_lio_is_taken():
    # What the kernel's copy manager builds: two descriptors, one segment, E4 and block to block only.
    data = bytearray(64)
    data[0:4] = (42).to_bytes(4, "big")
    data[4] = 1
    data[8:12] = bytes.fromhex("0002 0001")
    data[12:16] = (1024).to_bytes(4, "big")
    data[16:20] = (1 << 28).to_bytes(4, "big")
    data[34:40] = bytes.fromhex("0001 01 09 00 00")
    data[43:46] = bytes.fromhex("02 02 E4")
    assert OperatingParameters.take(data) == OperatingParameters(
        2, 1, 1024, (2, 0xE4), True, 1 << 28, total_concurrent=1, max_concurrent=1, data_granularity=512)


def test_a_granularity_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        OperatingParameters(1, 1, 1, (), data_granularity=513).put()


def test_failure_details_give_the_sense_data_as_a_value():
    assert VALUES["failure details"].reason == CopySense(
        Asc.UNREACHABLE_COPY_TARGET, 3, pointer=SegmentPointer(0x30))
    assert FailedSegment(2, b"\0").reason is None


def test_no_failure_details_are_none_whatever_follows():
    assert GOLDEN["no failure details"] == NO_FAILURE
    assert FailedSegment.take(NO_FAILURE) is None
    assert FailedSegment.take(NO_FAILURE + bytes(300)) is None


def test_failure_details_that_count_one_byte_too_many_are_taken():
    data = bytearray(GOLDEN["failure details"])
    data[3] += 1
    assert FailedSegment.take(data) == VALUES["failure details"]


def test_failure_details_keep_no_more_sense_data_than_there_can_be():
    data = bytearray(GOLDEN["failure details"] + bytes(70000))
    data[58:60] = b"\xff\xff"
    assert len(FailedSegment.take(data).sense) == 252


@pytest.mark.parametrize("take, data", [
    (CopyStatus.take, bytes(11)), (HeldData.take, bytes(3)), (OperatingParameters.take, bytes(43)),
    (FailedSegment.take, bytes(3)), (FailedSegment.take, b"\0\0\0\x4a" + bytes(55))])
def test_answers_that_end_too_soon_are_wire_errors(take, data):
    with pytest.raises(WireError):
        take(data)


@given(st.binary(max_size=120), st.sampled_from([CopyStatus, HeldData, OperatingParameters, FailedSegment]))
def test_any_bytes_are_a_wire_error_or_a_value_that_puts_itself_the_same(data, kind):
    try:
        value = kind.take(data)
    except WireError:
        return
    if isinstance(value, OperatingParameters):
        assert set(kind.take(value.put()).types) == set(value.types)
    elif value is not None:
        assert kind.take(value.put()) == value
