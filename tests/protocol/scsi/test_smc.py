"""Changer parameter data, by bytes assembled from SMC-3 tables."""

import pytest

from protocol.errors import WireError
from protocol.scsi import smc
from protocol.scsi.smc import Element, ElementAddresses, ElementStatus, ElementType
from protocol.scsi.spc import Designator, DesignatorType
from tests.protocol.scsi.mutation import raises_wire_error_only

TAG = b"E01001L8".ljust(32).hex() + "00000000"

# Two storage elements (one full, one with an unreadable label) and a drive loaded from 1001h, with tags.
STATUS = bytes.fromhex(
    "0100 0003 00 0000ac"
    "02 80 0034 00 000068"
    f"1001 09 00 0000 000000 00 0000 {TAG} 00000000"
    f"1002 0d 00 8300 000000 00 0000 {'00' * 36} 00000000"
    "04 80 0034 00 000034"
    f"0100 09 00 0000 000000 80 1001 {TAG} 00000000")
ELEMENTS = (
    Element(ElementType.STORAGE, 0x1001, full=True, barcode="E01001L8"),
    Element(ElementType.STORAGE, 0x1002, full=True, code=0x8300),
    Element(ElementType.DATA_TRANSFER, 0x0100, full=True, source=0x1001, barcode="E01001L8"),
)

# A drive without tag but with its NAA designator (DVCID).
WITH_DEVICE = bytes.fromhex("0100 0001 00 000020  04 00 0018 00 000018"
                            "0100 08 00 0000 000000 00 0000  01 03 00 08 5001405000000001")
DRIVE = Element(ElementType.DATA_TRANSFER, 0x0100,
                device=Designator(DesignatorType.NAA, bytes.fromhex("5001405000000001")))


def test_element_status_with_barcodes_both_ways():
    assert smc.put_element_status(ELEMENTS, voltag=True) == STATUS
    assert ElementStatus.take(STATUS) == ElementStatus(ELEMENTS, len(STATUS))


def test_element_status_with_device_identifiers_both_ways():
    assert smc.put_element_status((DRIVE,), voltag=False, dvcid=True) == WITH_DEVICE
    assert ElementStatus.take(WITH_DEVICE).elements == (DRIVE,)


def test_a_report_cut_by_the_allocation_length_says_how_long_it_is():
    header = ElementStatus.take(STATUS[:8])
    assert header == ElementStatus((), len(STATUS))
    assert ElementStatus.take(STATUS[:100]).elements == ELEMENTS[:1]


def test_an_empty_report_is_a_header():
    assert smc.put_element_status((), voltag=True) == bytes(8)


def test_import_elements_say_who_filled_them():
    data = smc.put_element_status((Element(ElementType.IMPORT_EXPORT, 0x10, full=True, by_operator=True),),
                                  voltag=False)
    assert data[16:20] == bytes.fromhex("0010 3b 00")
    assert ElementStatus.take(data).elements[0].by_operator


@pytest.mark.parametrize("size", [0, 11, 47])
def test_descriptors_too_short_for_what_the_page_says_are_a_wire_error(size):
    with pytest.raises(WireError, match=f"of {size} bytes"):
        ElementStatus.take(bytes.fromhex(f"0001 0001 00 000080 02 80 {size:04x} 00 000078") + bytes(120))


def test_element_addresses_both_ways():
    body = bytes.fromhex("0001 0001 1000 0008 0010 0002 0100 0002 0000")
    value = ElementAddresses((1, 1), (0x1000, 8), (0x10, 2), (0x100, 2))
    assert value.put() == body
    assert ElementAddresses.take(body) == value


def test_capabilities_name_storing_elements_and_moves():
    assert smc.put_capabilities() == bytes.fromhex("0e 00 00 0e 0e 0e") + bytes(12)


def test_damaged_reports_give_a_value_or_a_wire_error():
    raises_wire_error_only(ElementStatus.take, STATUS)
    raises_wire_error_only(ElementStatus.take, WITH_DEVICE)
    raises_wire_error_only(ElementAddresses.take, bytes(18))
