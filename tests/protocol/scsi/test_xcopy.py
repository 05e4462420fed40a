"""EXTENDED COPY(LID1), by bytes written from SPC-4 6.5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.command import EXTENDED_COPY_LID1, RECEIVE_COPY_RESULTS
from protocol.scsi.cscd import COPY_MANAGER, BlockDevice, CscdType, Identification, StreamDevice
from protocol.scsi.segments import BlockToStream, Filemarks, InlineToStream, SegmentType
from protocol.scsi.sense import ParameterError, SenseKey
from protocol.scsi.spc import Designator
from protocol.scsi.xcopy import (
    COPY_OPERATION_ABORT,
    EXTENDED_COPY,
    ListIdUsage,
    ParameterList,
    cscd_offset,
    take_header,
)
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only
from tests.protocol.scsi.test_cscd import VALUES as CSCDS

GOLDEN = read("xcopy")
DISK = CSCDS["identification: disk"]
TAPE = Identification(Designator(3, bytes.fromhex("50014380aabbccdd")), 1, StreamDevice(pad=True))
VALUES = {
    "disk to tape": ParameterList(
        7, ListIdUsage.HOLD, (DISK, TAPE),
        (BlockToStream(0, 1, 65536, 128, 0x1_23456789, cat=True), InlineToStream(1, 65536, 0, 6),
         Filemarks(1, 1)),
        b"header", sequential=True),
    "nothing, without identifier": ParameterList(0, ListIdUsage.NONE, (), (), priority=0),
    "results may be discarded": ParameterList(255, ListIdUsage.DISCARD, (), (), priority=2),
}
LIST = GOLDEN["disk to tape"]


@pytest.mark.parametrize("name", VALUES)
def test_a_list_is_put_as_the_standard_draws_it(name):
    assert VALUES[name].put().hex() == GOLDEN[name].hex()


@pytest.mark.parametrize("name", VALUES)
def test_a_list_is_taken_as_the_standard_draws_it_and_bytes_after_it_are_ignored(name):
    assert ParameterList.take(GOLDEN[name]) == VALUES[name]
    assert ParameterList.take(memoryview(GOLDEN[name] + bytes(7))) == VALUES[name]


def test_the_commands():
    assert EXTENDED_COPY.put(length=len(LIST)) == GOLDEN["EXTENDED COPY CDB"]
    assert COPY_OPERATION_ABORT.put(list_id=7) == GOLDEN["COPY OPERATION ABORT CDB"]
    assert COPY_OPERATION_ABORT.take(GOLDEN["COPY OPERATION ABORT CDB"])["list_id"] == 7
    assert not EXTENDED_COPY_LID1.matches(GOLDEN["COPY OPERATION ABORT CDB"])
    assert not RECEIVE_COPY_RESULTS.matches(GOLDEN["EXTENDED COPY CDB"])


def test_the_header_gives_lengths_places_and_counts_before_contents_are_looked_at():
    # Both descriptors and the last segment are of types that nobody knows.
    data = bytearray(LIST)
    data[16] = data[48] = 0xDD
    data[80 + 44] = 0x77
    header = take_header(data)
    assert (header.list_id, header.usage, header.priority) == (7, ListIdUsage.HOLD, 1)
    assert (header.cscd_count, header.segment_count(data)) == (2, 3)
    assert (header.descriptors_length, header.inline_length, header.total) == (120, 6, 142)
    assert (header.segments_at, header.inline_at) == (80, 136)


@pytest.mark.parametrize("size, place", [(15, 0), (16, 2), (79, 2), (80, 8), (135, 8), (136, 12), (141, 12)])
def test_a_list_cut_short_is_a_parameter_list_length_error(size, place):
    with pytest.raises(ParameterError) as raised:
        ParameterList.take(LIST[:size])
    assert (raised.value.offset, raised.value.code) == (place, Asc.PARAMETER_LIST_LENGTH)


def test_lengths_that_would_need_gigabytes_are_refused_by_what_came():
    data = bytearray(LIST)
    data[8:16] = b"\xff" * 8
    header = take_header(data)
    assert header.total == 16 + 64 + 2 * 0xFFFFFFFF
    for look in (ParameterList.take, header.segment_count):
        with pytest.raises(ParameterError) as raised:
            look(data)
        assert raised.value.code == Asc.PARAMETER_LIST_LENGTH


def damaged(*changes: tuple[int, int]) -> bytes:
    data = bytearray(LIST)
    for at, value in changes:
        data[at] = value
    return bytes(data)


@pytest.mark.parametrize("data, offset, code", [
    (damaged((1, 0x08)), 1, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged((1, 0x18)), 0, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged((3, 0x3F)), 2, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged((48, 0xDF)), 48, Asc.UNSUPPORTED_TARGET_TYPE),
    (damaged((48 + 7, 21)), 55, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged((104, 0x3F)), 104, Asc.UNSUPPORTED_SEGMENT_TYPE),
    (damaged((104 + 3, 0x11)), 106, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged((48, 0xDF), (104, 0x3F)), 48, Asc.UNSUPPORTED_TARGET_TYPE),
], ids=["reserved usage", "identifier where there is none", "odd descriptor length", "target type",
        "target field", "segment type", "segment length", "targets are judged first"])
def test_what_is_wrong_is_placed_in_the_whole_list(data, offset, code):
    with pytest.raises(ParameterError) as raised:
        ParameterList.take(data)
    assert (raised.value.offset, raised.value.code) == (offset, code)
    sense = raised.value.sense()
    assert (sense.key, sense.code, sense.key_specific) == (SenseKey.ILLEGAL_REQUEST, code, offset)


def test_only_the_types_that_are_supported_are_taken():
    types = {CscdType.IDENTIFICATION, SegmentType.BLOCK_TO_STREAM, SegmentType.INLINE_TO_STREAM}
    with pytest.raises(ParameterError) as raised:
        ParameterList.take(LIST, types)
    assert (raised.value.offset, raised.value.code) == (124, Asc.UNSUPPORTED_SEGMENT_TYPE)
    assert ParameterList.take(LIST, types | {SegmentType.FILEMARKS}) == VALUES["disk to tape"]


def test_ids_count_32_bytes_so_that_a_longer_descriptor_takes_two():
    six = CSCDS["iSCSI IPv6"]
    copy = ParameterList(1, ListIdUsage.HOLD, (DISK, six, TAPE), (Filemarks(3, 1), Filemarks(3, 2)))
    assert [copy.cscd(number) for number in range(5)] == [DISK, six, None, TAPE, None]
    assert copy.cscd(COPY_MANAGER) is None
    data = copy.put()
    assert data[cscd_offset(3):cscd_offset(4)] == TAPE.put()
    assert data[copy.segment_offset(1):] == Filemarks(3, 2).put()


def test_damaged_lists_are_wire_errors_or_values():
    raises_wire_error_only(ParameterList.take, LIST, rounds=2000)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_wire_error_or_a_list(data):
    try:
        copy = ParameterList.take(data)
    except WireError:
        return
    assert ParameterList.take(copy.put()) == copy


@pytest.mark.parametrize("copy", [
    ParameterList(256, ListIdUsage.HOLD, (), ()),
    ParameterList(1, ListIdUsage.HOLD, (DISK,) * 2048, ()),
    ParameterList(1, ListIdUsage.HOLD, (Identification(DISK.designator, 0, BlockDevice(1 << 24)),), ()),
    ParameterList(1, ListIdUsage.HOLD, (), (), priority=8),
])
def test_a_list_that_cannot_be_put_is_refused(copy):
    with pytest.raises(ValueError):
        copy.put()
