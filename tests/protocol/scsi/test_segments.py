"""Segment descriptors, by bytes written from SPC-4 6.4.6."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.cscd import COPY_MANAGER, NULL_STREAM
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    Locate,
    RegisterKey,
    SegmentType,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
    TapeImage,
    ThirdPartyReservation,
    Verify,
    count_segments,
    take_segment,
    take_segments,
)
from protocol.scsi.sense import ParameterError
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only

SAS = bytes.fromhex("06000000 500A0981 00000001") + bytes(12)
VALUES = {
    "block to stream": BlockToStream(0, 1, 65536, 128, 0x1_23456789, cat=True),
    "block to stream, held": BlockToStream(2, NULL_STREAM, 512, 65535, 0, held=True),
    "stream to block": StreamToBlock(1, 0, 64512, 2, 4096),
    "stream to block, held": StreamToBlock(1, 0, 64512, 2, 4096, cat=True, held=True),
    "block to block": BlockToBlock(0, 1, 32768, 16, 32, dc=True),
    "block to block, held": BlockToBlock(COPY_MANAGER, 0, 1, 0, (1 << 63) - 1, cat=True, held=True),
    "stream to stream": StreamToStream(0, 1, 65536, 131072, 0x0A000000),
    "stream to stream, held": StreamToStream(0, 1, 65536, 131072, 0x0A000000, cat=True, held=True),
    "inline to stream": InlineToStream(1, 1024, 8, 2048),
    "embedded to stream: padded": EmbeddedToStream(1, 5, b"Hello", cat=True),
    "embedded to stream: nothing": EmbeddedToStream(1, 0, b""),
    "stream to discard": StreamDiscard(1, 65536, 196608, cat=True),
    "stream to discard, held": StreamDiscard(NULL_STREAM, 65536, 0, held=True),
    "verify": Verify(3, tur=True),
    "block with offset to stream": BlockOffsetToStream(0, 1, 64512, 1 << 26, 2048, 511, cat=True),
    "stream to block with offset": StreamToBlockOffset(1, 0, 64512, 1, (1 << 64) - 1, 0),
    "block with offset to block with offset": BlockOffsetToBlockOffset(0, 1, 4097, 3, 4, 16, 32, cat=True),
    "filemarks": Filemarks(1, 2, immediate=True),
    "space back over filemarks": Space(1, 1, -2),
    "space to end of data": Space(1, 3, 0),
    "locate": Locate(1, 100000),
    "tape image": TapeImage(1, 2, 2),
    "register key": RegisterKey(1, 0, 0xDEADBEEF),
    "third party reservation": ThirdPartyReservation(1, 0xDEADBEEF, 0xCAFEF00D, SAS, 2, True, True),
}
GOLDEN = read("segments")
BAD_FIELD = Asc.INVALID_FIELD_IN_PARAMETERS


def test_every_segment_type_has_golden_bytes():
    assert {data[0] for data in GOLDEN.values()} == set(SegmentType)
    assert GOLDEN.keys() == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_a_segment_is_put_as_the_standard_draws_it(name):
    assert VALUES[name].put().hex() == GOLDEN[name].hex()
    assert (VALUES[name].type, VALUES[name].length) == (GOLDEN[name][0], len(GOLDEN[name]))


@pytest.mark.parametrize("name", VALUES)
def test_a_segment_is_taken_as_the_standard_draws_it(name):
    assert take_segment(b"\xEE\xEE" + GOLDEN[name] + b"\xEE", 2) == (VALUES[name], 2 + len(GOLDEN[name]))


@pytest.mark.parametrize("name", VALUES)
def test_damaged_segments_are_wire_errors_or_values(name):
    raises_wire_error_only(take_segments, GOLDEN[name] + GOLDEN["filemarks"])


def test_a_list_is_taken_and_counted():
    data = b"".join(GOLDEN.values())
    assert take_segments(data) == list(VALUES.values())
    assert count_segments(data) == len(VALUES)
    assert (take_segments(b""), count_segments(b"")) == ([], 0)


def test_the_same_fields_in_the_other_direction_are_another_segment():
    assert BlockToStream(0, 1, 2, 3, 4) != StreamToBlock(0, 1, 2, 3, 4)
    assert BlockOffsetToStream(0, 1, 2, 3, 4, 5) != StreamToBlockOffset(0, 1, 2, 3, 4, 5)


def damaged(name: str, at: int, value: int) -> bytes:
    data = bytearray(GOLDEN[name])
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize("data, offset, code", [
    (damaged("filemarks", 0, 0x16), 0, Asc.UNSUPPORTED_SEGMENT_TYPE),
    (damaged("filemarks", 0, 0xBE), 0, Asc.UNSUPPORTED_SEGMENT_TYPE),
    (GOLDEN["filemarks"][:3], 0, BAD_FIELD),
    (GOLDEN["filemarks"][:11], 2, BAD_FIELD),
    (damaged("filemarks", 3, 4), 2, BAD_FIELD),
    (damaged("locate", 3, 12) + bytes(4), 2, BAD_FIELD),
    (damaged("inline to stream", 15, 9), 12, BAD_FIELD),
    (damaged("embedded to stream: padded", 13, 9), 12, BAD_FIELD),
    (damaged("embedded to stream: padded", 3, 19), 2, BAD_FIELD),
    (damaged("third party reservation", 31, 20), 28, BAD_FIELD),
    (damaged("third party reservation", 28, 1), 28, BAD_FIELD),
    (damaged("third party reservation", 3, 0x33), 2, BAD_FIELD),
], ids=["block image", "ROD", "header cut", "body cut", "too short for its type", "too long for its type",
        "inline offset odd", "more embedded than there is", "embedded not padded", "TransportID too short",
        "TransportID far too long", "TransportID not whole words"])
def test_what_is_wrong_is_said_with_its_place_and_code(data, offset, code):
    with pytest.raises(ParameterError) as raised:
        take_segments(GOLDEN["locate"] + data)
    assert (raised.value.offset, raised.value.code) == (len(GOLDEN["locate"]) + offset, code)


def test_a_type_that_this_unit_does_not_take_is_told_apart_from_a_bad_field():
    with pytest.raises(ParameterError) as raised:
        take_segments(damaged("stream to stream", 3, 0), {SegmentType.BLOCK_TO_BLOCK})
    assert raised.value.code == Asc.UNSUPPORTED_SEGMENT_TYPE


def test_counting_looks_at_lengths_only_and_fails_where_the_list_ends_in_a_segment():
    assert count_segments(bytes.fromhex("ff000000 99000004 00000000")) == 2
    with pytest.raises(ParameterError) as raised:
        count_segments(GOLDEN["locate"] + GOLDEN["filemarks"][:8])
    assert raised.value.offset == 12 + 2


@pytest.mark.parametrize("segment", [
    Space(1, 1, 1 << 23), Space(1, 1, -(1 << 23) - 1), Space(1, 8, 0), InlineToStream(1, 1, 2, 3),
    EmbeddedToStream(1, 1, bytes(65524)), ThirdPartyReservation(1, 0, 0, bytes(3)),
    BlockToStream(0, 1, 512, 65536, 0), BlockOffsetToStream(0, 1, 1, 1 << 32, 0, 0)])
def test_a_segment_that_cannot_be_put_is_refused(segment):
    with pytest.raises(ValueError):
        segment.put()


def test_the_most_data_that_a_segment_can_embed():
    segment = EmbeddedToStream(1, 65520, bytes(65520))
    assert take_segment(segment.put()) == (segment, 65536)


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


FLAG = st.booleans()
ANY = st.one_of(
    st.builds(BlockToStream, uint(16), uint(16), uint(24), uint(16), uint(64), FLAG, FLAG),
    st.builds(StreamToBlock, uint(16), uint(16), uint(24), uint(16), uint(64), FLAG, FLAG),
    st.builds(BlockToBlock, uint(16), uint(16), uint(16), uint(64), uint(64), FLAG, FLAG, FLAG),
    st.builds(StreamToStream, uint(16), uint(16), uint(24), uint(24), uint(32), FLAG, FLAG),
    st.builds(InlineToStream, uint(16), uint(24), uint(30).map(lambda words: words * 4), uint(32), FLAG),
    st.builds(EmbeddedToStream, uint(16), uint(24), st.binary(max_size=99), FLAG),
    st.builds(StreamDiscard, uint(16), uint(24), uint(32), FLAG, FLAG),
    st.builds(Verify, uint(16), FLAG),
    st.builds(BlockOffsetToStream, uint(16), uint(16), uint(24), uint(32), uint(64), uint(16), FLAG),
    st.builds(StreamToBlockOffset, uint(16), uint(16), uint(24), uint(32), uint(64), uint(16), FLAG),
    st.builds(BlockOffsetToBlockOffset, uint(16), uint(16), uint(32), uint(64), uint(64), uint(16), uint(16),
              FLAG),
    st.builds(Filemarks, uint(16), uint(24), FLAG),
    st.builds(Space, uint(16), uint(3), st.integers(-(1 << 23), (1 << 23) - 1)),
    st.builds(Locate, uint(16), uint(32)),
    st.builds(TapeImage, uint(16), uint(16), uint(32)),
    st.builds(RegisterKey, uint(16), uint(64), uint(64)),
    st.builds(ThirdPartyReservation, uint(16), uint(64), uint(64),
              st.binary(max_size=40).map(lambda data: data + bytes(-len(data) % 4)), uint(16), FLAG, FLAG))


@given(st.lists(ANY, max_size=8))
def test_whatever_segments_are_put_come_back(segments):
    data = b"".join(one.put() for one in segments)
    assert take_segments(data) == segments
    assert len(data) == sum(one.length for one in segments)


@given(st.sampled_from(list(SegmentType)), st.binary(max_size=80))
def test_any_bytes_are_segments_that_put_themselves_the_same_or_a_wire_error(kind, rest):
    try:
        segments = take_segments(bytes((kind,)) + rest)
    except WireError:
        return
    assert take_segments(b"".join(one.put() for one in segments)) == segments
