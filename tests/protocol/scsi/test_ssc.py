"""Tape parameter data, by bytes assembled from SSC-4 tables."""

import pytest

from protocol.scsi import ssc
from protocol.scsi.ssc import (
    BlockLimits,
    Compression,
    Configuration,
    LongPosition,
    ShortPosition,
    TapeSpecific,
)
from tests.protocol.scsi.mutation import raises_wire_error_only

LIMITS = (bytes.fromhex("00 800000 0001"), BlockLimits(1, 0x800000))
SHORT = (bytes.fromhex("00 00 0000 00000105 00000100 00 000005 00050000"),
         ShortPosition(0x105, 0x100, buffered_objects=5, buffered_bytes=0x50000))
SHORT_AT_BOP = (bytes.fromhex("80 00 0000 00000000 00000000 00 000000 00000000"),
                ShortPosition(0, 0, bop=True))
SHORT_UNKNOWN = (bytes.fromhex("34 00 0000 00000000 00000000 00 000000 00000000"),
                 ShortPosition(None, None, buffered_objects=None, buffered_bytes=None))
LONG = (bytes.fromhex("40 000000 00000000 0000000100000002 0000000000000007 0000000000000000"),
        LongPosition(0x100000002, 7, eop=True))
LONG_UNKNOWN = (bytes.fromhex("0c 000000 00000000 0000000000000000 0000000000000000 0000000000000000"),
                LongPosition(None, None))


@pytest.mark.parametrize(("data", "value"), [LIMITS, SHORT, SHORT_AT_BOP, SHORT_UNKNOWN, LONG, LONG_UNKNOWN])
def test_tape_data_both_ways(data, value):
    assert value.put() == data
    assert type(value).take(data) == value


@pytest.mark.parametrize("value", [LIMITS, SHORT, LONG])
def test_damaged_tape_data_gives_a_value_or_a_wire_error(value):
    raises_wire_error_only(type(value[1]).take, value[0])


def test_an_object_number_above_32_bits_does_not_fit_the_short_form():
    data = ShortPosition(1 << 32, 5).put()
    assert data[0] == 0x02
    assert ShortPosition.take(data).first is None


def test_block_limits_decide_which_lengths_may_be_written():
    limits = BlockLimits(4, 1024, granularity=2)
    assert [length for length in (0, 2, 4, 6, 1024, 1028) if limits.allow(length)] == [4, 1024]
    assert BlockLimits(1, 0).allow(1 << 23)
    assert not BlockLimits(0, 0).allow(0)


@pytest.mark.parametrize(("code", "count", "cdb"), [
    (ssc.SpaceCode.FILEMARKS, 2, "11 01 00 00 02 00"),
    (ssc.SpaceCode.BLOCKS, -1, "11 00 ff ff ff 00"),
    (ssc.SpaceCode.BLOCKS, -0x800000, "11 00 80 00 00 00"),
    (ssc.SpaceCode.END_OF_DATA, 0, "11 03 00 00 00 00"),
])
def test_space_counts_are_signed(code, count, cdb):
    assert ssc.put_space(code, count) == bytes.fromhex(cdb)
    assert ssc.take_space(bytes.fromhex(cdb)) == (code, count)


@pytest.mark.parametrize("count", [ssc.MAX_SPACE + 1, -ssc.MAX_SPACE - 2])
def test_a_space_count_of_more_than_24_bits_is_refused(count):
    with pytest.raises(ValueError, match="cannot carry"):
        ssc.put_space(ssc.SpaceCode.BLOCKS, count)


def test_the_device_specific_parameter_carries_write_protection():
    assert TapeSpecific(write_protected=True, buffered=1).put() == 0x90
    assert TapeSpecific.take(0x90) == TapeSpecific(write_protected=True, buffered=1)


def test_compression_page_both_ways():
    body = bytes.fromhex("c0 80 00000001 00000001 00000000")
    assert Compression(capable=True, enabled=True, algorithm=1).put() == body
    assert Compression.take(body) == Compression(capable=True, enabled=True, algorithm=1)


def test_configuration_page_both_ways():
    # Page 10h bytes 2 to 15: write delay 64h in bytes 6-7, LOIS in byte 8, SEW in byte 10, compression in 14.
    body = bytes.fromhex("00 00 00 00 0064 40 00 08 000000 01 00")
    assert Configuration(0, 0x64, True, 1).put() == body
    assert Configuration.take(body) == Configuration(0, 0x64, True, 1)
