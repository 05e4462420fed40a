"""Changer logic on the changer of the embedded SAN."""

import pytest

from ndmpd.devices.changer import Changer
from ndmpd.devices.errors import DeviceError
from ndmpd.devices.tape import TapeDrive
from protocol.scsi.command import Opcode
from protocol.scsi.smc import Element, ElementType, put_element_status
from tests.devices.script import NO_MEDIUM, REFUSED, ScriptedDrive


@pytest.fixture
def changer(connect):
    changer = Changer(connect("mc0"), "mc0")
    changer.open()
    return changer


def of_kind(changer, kind):
    return changer.inventory(kind)


def test_addresses_and_inventory_agree(changer):
    addresses = changer.addresses()
    for kind, (first, count) in ((ElementType.DATA_TRANSFER, addresses.drives),
                                 (ElementType.STORAGE, addresses.storages),
                                 (ElementType.IMPORT_EXPORT, addresses.ports)):
        assert [one.address for one in of_kind(changer, kind)] == list(range(first, first + count))


def test_the_inventory_has_barcodes_and_home_slots(changer):
    drives = of_kind(changer, ElementType.DATA_TRANSFER)
    assert [one.barcode for one in drives] == ["E01001L8", "E01002L8"]
    slots = {one.address: one for one in of_kind(changer, ElementType.STORAGE)}
    assert all(not slots[one.source].full for one in drives)
    assert "E01003L8" in [one.barcode for one in slots.values()]


def test_drives_are_identified_in_their_elements(changer, connect):
    tape = TapeDrive(connect("tape0"), "tape0")
    device = of_kind(changer, ElementType.DATA_TRANSFER)[0].device
    assert device is not None
    assert device.identifier in [one.identifier for one in tape.designators()]


def test_a_move_is_seen_in_the_inventory(changer):
    drive = of_kind(changer, ElementType.DATA_TRANSFER)[0]
    changer.move(drive.address, drive.source)
    assert not of_kind(changer, ElementType.DATA_TRANSFER)[0].full
    home = next(one for one in of_kind(changer, ElementType.STORAGE) if one.address == drive.source)
    assert home.barcode == drive.barcode


def test_a_move_to_a_full_element_says_why_not(changer):
    first, second = of_kind(changer, ElementType.DATA_TRANSFER)
    with pytest.raises(DeviceError, match="destination element full"):
        changer.move(first.address, second.address)


def test_initializing_changes_nothing(changer):
    before = changer.inventory()
    changer.initialize()
    assert changer.inventory() == before


def test_a_changer_that_reads_no_barcodes_is_asked_without():
    elements = (Element(ElementType.STORAGE, 1, full=True),)

    class Plain(ScriptedDrive):
        def _answer(self, cdb):
            if cdb[0] == Opcode.READ_ELEMENT_STATUS:
                return put_element_status(elements, voltag=False) if not cdb[1] & 0x10 else None
            return super()._answer(cdb)

    script = Plain()
    assert Changer(script, "old").inventory() == elements
    assert script.times(Opcode.READ_ELEMENT_STATUS) == 4


def test_a_changer_that_refuses_altogether_says_so():
    script = ScriptedDrive({Opcode.READ_ELEMENT_STATUS: [REFUSED] * 9})
    with pytest.raises(DeviceError, match="read element status"):
        Changer(script, "odd").inventory()


def test_a_changer_without_magazine_does_not_open():
    with pytest.raises(DeviceError, match="no magazine"):
        Changer(ScriptedDrive({Opcode.TEST_UNIT_READY: [NO_MEDIUM]}), "mc").open()
