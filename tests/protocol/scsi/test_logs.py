"""Log pages and medium attributes, by bytes assembled from SPC-4 7.3 and 7.4."""

from protocol.scsi import logs
from protocol.scsi.logs import Attribute, LogData, LogParameter, MediumAttribute
from tests.protocol.scsi.mutation import raises_wire_error_only

WRITE_ERRORS = bytes.fromhex("02 00 0010  0003 00 04 00000007  0006 03 04 00000000")
WRITE_ERRORS_VALUE = LogData(logs.LogPage.WRITE_ERRORS, (
    LogParameter(logs.CORRECTED, b"\0\0\0\7"), LogParameter(6, b"\0\0\0\0", 3)))

ATTRIBUTES = bytes.fromhex("0000001a"
                           "0000 80 0008 0000000000001000"
                           "0001 80 0008 0000000000002000")
ATTRIBUTES_VALUE = (MediumAttribute(Attribute.REMAINING_CAPACITY, bytes.fromhex("0000000000001000")),
                    MediumAttribute(Attribute.MAXIMUM_CAPACITY, bytes.fromhex("0000000000002000")))


def test_log_pages_both_ways():
    assert WRITE_ERRORS_VALUE.put() == WRITE_ERRORS
    assert LogData.take(WRITE_ERRORS) == WRITE_ERRORS_VALUE


def test_log_parameters_are_found_by_code():
    assert WRITE_ERRORS_VALUE.number(logs.CORRECTED) == 7
    assert WRITE_ERRORS_VALUE.number(99) is None


def test_a_log_parameter_cut_off_by_the_allocation_length_is_left_out():
    assert LogData.take(WRITE_ERRORS[:15]).parameters == WRITE_ERRORS_VALUE.parameters[:1]


def test_a_log_subpage_sets_spf():
    assert LogData(0x17, (), subpage=1).put() == bytes.fromhex("57 01 0000")


def test_medium_attributes_both_ways():
    assert logs.put_attributes(ATTRIBUTES_VALUE) == ATTRIBUTES
    taken = logs.take_attributes(ATTRIBUTES)
    assert tuple(taken.values()) == ATTRIBUTES_VALUE
    assert taken[Attribute.MAXIMUM_CAPACITY].number == 0x2000


def test_text_attributes_lose_their_padding():
    barcode = MediumAttribute(Attribute.BARCODE, b"E01001L8".ljust(32), logs.AttributeFormat.ASCII)
    assert barcode.put()[:5] == bytes.fromhex("0806 81 0020")
    assert barcode.text == "E01001L8"


def test_damaged_lists_give_a_value_or_a_wire_error():
    raises_wire_error_only(LogData.take, WRITE_ERRORS)
    raises_wire_error_only(logs.take_attributes, ATTRIBUTES)
