"""VPD page 8Fh, by bytes written from SPC-4 7.8.17."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.cscd import COPY_MANAGER, NULL_BLOCK, NULL_STREAM
from protocol.scsi.thirdparty import (
    Command,
    GeneralLimits,
    HeldLimits,
    OtherDescriptor,
    ParameterLimits,
    ThirdPartyCopy,
)
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only
from tests.protocol.scsi.test_copyresults import PARAMETERS

(PAGE,) = read("thirdparty").values()
COMMANDS = (Command(0x83, (0, 0x1C)), Command(0x84, (0, 1, 3, 4)))
VALUE = ThirdPartyCopy(
    COMMANDS, ParameterLimits(8, 64, 8192, 65536), (0, 1, 4, 8, 0x10, 0xE4),
    (NULL_BLOCK, NULL_STREAM, COPY_MANAGER), GeneralLimits(32, 16, 1 << 28, 512, 4), 8 << 20,
    HeldLimits(16384, 4), (OtherDescriptor(0x0106, bytes.fromhex("04000000")),))


def test_the_page_is_put_as_the_standard_draws_it():
    assert VALUE.put().hex() == PAGE.hex()


def test_the_page_is_taken_as_the_standard_draws_it():
    assert ThirdPartyCopy.take(PAGE) == VALUE
    assert ThirdPartyCopy.take(PAGE + bytes(300)) == VALUE


def test_the_page_agrees_with_the_operating_parameters():
    page = ThirdPartyCopy.of(PARAMETERS, COMMANDS, VALUE.cscd_ids, device_type=1)
    assert page == ThirdPartyCopy(COMMANDS, VALUE.parameters, VALUE.types, VALUE.cscd_ids, VALUE.general,
                                  VALUE.max_stream_transfer, HeldLimits(16384, 1), device_type=1)
    assert page.put()[0] == 1


def test_commands_are_looked_up():
    assert VALUE.supports(0x84, 3)
    assert not VALUE.supports(0x84, 5)
    assert not VALUE.supports(0x85, 0)


def test_lists_are_put_in_ascending_order():
    mixed = ThirdPartyCopy((Command(0x84, (4, 3, 1, 0)), Command(0x83, (0x1C, 0))), VALUE.parameters,
                           VALUE.types[::-1], VALUE.cscd_ids[::-1], VALUE.general, VALUE.max_stream_transfer,
                           VALUE.held, VALUE.others)
    assert mixed.put() == PAGE


def test_a_page_without_descriptors_is_empty():
    assert ThirdPartyCopy.take(bytes.fromhex("008f0000")) == ThirdPartyCopy()
    assert ThirdPartyCopy().put() == bytes.fromhex("008f0000")


def test_a_descriptor_that_the_allocation_length_cut_is_left_out():
    assert ThirdPartyCopy.take(PAGE[:-1]).held is None
    assert ThirdPartyCopy.take(PAGE[:-1]).general == VALUE.general


@pytest.mark.parametrize("page", [
    "00 83 0000", "00 8f", "00 8f 0008 0001 0004 05830100", "00 8f 0008 0001 0004 02830200",
    "00 8f 0008 0008 0004 05000102", "00 8f 0008 000c 0004 0004c000", "00 8f 0008 8001 0004 00000001",
    "00 8f 0008 9101 0004 00000001", "00 8f 0008 c001 0004 00000001", "00 8f 0008 0004 0004 00000001",
], ids=["another page", "cut", "commands", "service actions", "types", "ids", "general", "stream", "held",
        "parameters"])
def test_what_is_too_short_for_what_it_says_is_a_wire_error(page):
    with pytest.raises(WireError):
        ThirdPartyCopy.take(bytes.fromhex(page))


def test_damaged_pages_are_wire_errors_or_values():
    raises_wire_error_only(ThirdPartyCopy.take, PAGE, rounds=2000)


@given(st.lists(st.tuples(st.sampled_from([1, 4, 8, 12, 0x106, 0x8001, 0x9101, 0xC001]),
                          st.binary(max_size=36)), max_size=8))
def test_any_descriptors_are_a_page_or_a_wire_error(descriptors):
    body = b"".join(kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data
                    for kind, data in descriptors)
    try:
        page = ThirdPartyCopy.take(b"\x00\x8f" + len(body).to_bytes(2, "big") + body)
    except WireError:
        return
    assert ThirdPartyCopy.take(page.put()).general == page.general
