"""INQUIRY, vital product data and mode parameters, by bytes assembled from SPC-4 and SSC-4 tables."""

import pytest

from protocol.errors import WireError
from protocol.scsi import spc
from protocol.scsi.spc import BlockDescriptor, Designator, Inquiry, ModePage, ModeParameters, VpdPage
from tests.protocol.scsi.mutation import raises_wire_error_only

TAPE_INQUIRY = bytes.fromhex("01 80 06 12 1f 08 00 02") + b"NDMPD   VIRTUAL TAPE    0100"
TAPE = Inquiry(spc.DeviceType.TAPE, "NDMPD", "VIRTUAL TAPE", "0100", removable=True, third_party_copy=True)

# Page 83h of a tape: NAA-6 of the unit (binary), T10 vendor identification (ASCII), iSCSI relative port 1.
DESIGNATORS = bytes.fromhex("01 83 002c"
                            "01 03 00 10 6001405000000001 0000000000000001"
                            "02 01 00 0c") + b"NDMPD   tap0" + bytes.fromhex("51 94 00 04 00000001")
IDENTIFICATION = (
    Designator(spc.DesignatorType.NAA, bytes.fromhex("6001405000000001 0000000000000001")),
    Designator(spc.DesignatorType.T10, b"NDMPD   tap0", spc.CodeSet.ASCII),
    Designator(spc.DesignatorType.RELATIVE_PORT, b"\0\0\0\1", association=spc.PORT, protocol=5),
)

# MODE SENSE(6): 28 bytes follow the length; write protected, buffered; density 60h, variable; page 10h.
MODE_6 = bytes.fromhex("1b 00 90 08  60 000000 00 000000  10 0e 0000000000004000000000000000")
MODE = ModeParameters(0, 0x90, (BlockDescriptor(0x60, 0, 0),),
                      (ModePage(0x10, bytes.fromhex("0000000000004000000000000000")),))


def test_standard_inquiry_data_both_ways():
    assert TAPE.put() == TAPE_INQUIRY
    assert Inquiry.take(TAPE_INQUIRY) == TAPE


def test_version_descriptors_follow_at_byte_58():
    data = Inquiry(spc.DeviceType.DISK, "A", versions=(0x0460, 0x04C0)).put()
    assert len(data) == 74
    assert data[4] == 69
    assert data[58:62] == bytes.fromhex("0460 04c0")
    assert Inquiry.take(data).versions == (0x0460, 0x04C0)


def test_identification_page_both_ways():
    assert spc.put_identification(spc.DeviceType.TAPE, IDENTIFICATION) == DESIGNATORS
    assert Designator.take_all(VpdPage.take(DESIGNATORS, spc.Vpd.IDENTIFICATION).body) == IDENTIFICATION


def test_a_designator_cut_off_by_the_allocation_length_is_left_out():
    assert Designator.take_all(VpdPage.take(DESIGNATORS[:30]).body) == IDENTIFICATION[:1]


def test_the_naa_designator_of_the_unit_is_the_best():
    assert spc.best_designator(IDENTIFICATION) == IDENTIFICATION[0]
    assert spc.best_designator(IDENTIFICATION[1:]) == IDENTIFICATION[1]
    assert spc.best_designator(IDENTIFICATION[2:]) is None
    assert spc.best_designator(IDENTIFICATION, longest=12) == IDENTIFICATION[1]


def test_designators_have_a_text():
    assert [one.text for one in IDENTIFICATION] == [
        "naa.60014050000000010000000000000001", "t10.NDMPD   tap0", "00000001"]


def test_another_vpd_page_than_asked_for_is_a_wire_error():
    with pytest.raises(WireError, match="83h came for 80h"):
        VpdPage.take(DESIGNATORS, spc.Vpd.SERIAL_NUMBER)


def test_serial_number_page_both_ways():
    data = bytes.fromhex("08 80 0006") + b"MC0001"
    assert spc.put_serial(spc.DeviceType.CHANGER, "MC0001") == data
    assert spc.take_serial(data) == "MC0001"


def test_mode_parameters_of_six_byte_commands_both_ways():
    assert MODE.put_6() == MODE_6
    assert ModeParameters.take_6(MODE_6) == MODE
    assert MODE.page(0x10) == MODE.pages[0]
    assert MODE.page(0x0F) is None


def test_mode_parameters_of_ten_byte_commands_both_ways():
    data = bytes.fromhex("001e 00 90 00 00 0008  60 000000 00 000000  10 0e 0000000000004000000000000000")
    assert MODE.put_10() == data
    assert ModeParameters.take_10(data) == MODE


def test_mode_select_leaves_the_length_zero():
    select = ModeParameters(0, 0x10, (BlockDescriptor(0, 0, 65536),))
    data = bytes.fromhex("00 00 10 08  00 000000 00 010000")
    assert select.put_6(select=True) == data
    assert ModeParameters.take_6(data, select=True) == select


def test_subpages_have_a_header_of_four_bytes():
    page = ModePage(0x0A, b"\1\2", subpage=1, saveable=True)
    assert page.put() == bytes.fromhex("ca 01 0002 0102")
    assert ModeParameters.take_6(ModeParameters(pages=(page,)).put_6()).pages == (page,)


def test_a_page_cut_off_by_the_allocation_length_is_left_out():
    assert ModeParameters.take_6(MODE_6[:20]).pages == ()


@pytest.mark.parametrize("data", ["0b 00 00 07 00000000000000", "03 00 00 08", "02 00 00"])
def test_mode_data_that_contradicts_itself_is_a_wire_error(data):
    with pytest.raises(WireError):
        ModeParameters.take_6(bytes.fromhex(data))


@pytest.mark.parametrize(("take", "good"), [
    (Inquiry.take, TAPE_INQUIRY),
    (lambda data: Designator.take_all(VpdPage.take(data).body), DESIGNATORS),
    (ModeParameters.take_6, MODE_6),
    (ModeParameters.take_10, MODE.put_10()),
    (spc.take_serial, bytes.fromhex("08 80 0006") + b"MC0001"),
], ids=["inquiry", "83h", "mode 6", "mode 10", "80h"])
def test_damaged_data_gives_a_value_or_a_wire_error(take, good):
    raises_wire_error_only(take, good)
