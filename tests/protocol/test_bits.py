"""Layouts: what is put lies where the table says, and is taken from there."""

import pytest

from protocol.bits import Bits, Layout, padded, text
from protocol.errors import WireError

SPACE = Layout(6, opcode=Bits(0, 8), code=Bits(1, 4), count=Bits(2, 24))


def test_fields_lie_where_the_table_says():
    assert SPACE.put(opcode=0x11, code=1, count=0x010203) == bytes.fromhex("11 01 01 02 03 00")


def test_a_field_may_begin_inside_a_byte():
    read_6 = Layout(6, opcode=Bits(0, 8), lba=Bits(1, 21), blocks=Bits(4, 8))
    assert read_6.put(opcode=8, lba=0x1FFFFF, blocks=1) == bytes.fromhex("08 1f ff ff 01 00")
    assert read_6.take(bytes.fromhex("08 ff ff ff 01 00"))["lba"] == 0x1FFFFF


def test_low_names_the_bit_of_the_least_significant_bit():
    byte = Layout(1, high=Bits(0, 2, 6), low=Bits(0, 6))
    assert byte.put(high=2, low=1) == b"\x81"
    assert byte.take(b"\x81") == {"high": 2, "low": 1}


def test_what_has_no_name_is_not_taken_and_is_put_as_zero():
    assert SPACE.take(bytes.fromhex("11 f1 00 00 05 ff")) == {"opcode": 0x11, "code": 1, "count": 5}


@pytest.mark.parametrize("size", range(6))
def test_data_that_ends_early_is_a_wire_error(size):
    with pytest.raises(WireError):
        SPACE.take(bytes(size))


def test_an_offset_past_the_end_is_a_wire_error():
    with pytest.raises(WireError):
        SPACE.take(bytes(6), 7)


def test_a_value_too_wide_is_the_callers_mistake():
    with pytest.raises(ValueError, match="does not fit"):
        SPACE.put(code=16)
    with pytest.raises(ValueError, match="does not fit"):
        SPACE.put(count=-1)


def test_a_declaration_that_overlaps_is_refused():
    with pytest.raises(ValueError, match="overlaps"):
        Layout(2, a=Bits(0, 8), b=Bits(0, 4, 2))


def test_a_declaration_outside_the_structure_is_refused():
    with pytest.raises(ValueError, match="inside"):
        Layout(2, a=Bits(1, 16))


def test_usage_has_a_bit_for_each_bit_in_use():
    assert SPACE.usage() == bytes.fromhex("ff 0f ff ff ff 00")


def test_text_fields_lose_their_padding_and_nothing_else():
    assert text(b"IBM     ") == "IBM"
    assert text(b"E01001L8\0junk") == "E01001L8"
    assert text(b"a\xff") == "a?"
    assert padded("ULT3580", 10) == b"ULT3580   "
    assert padded("toolong", 4) == b"tool"
