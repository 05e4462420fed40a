"""The virtual changer: elements, moves, exchanges, and what drives and hosts learn of them."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from ndmpd.san.maintenance import add
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import SenseKey
from protocol.scsi.smc import ChangerPage, Element, ElementAddresses, ElementStatus, ElementType
from protocol.scsi.spc import ModeParameters
from tests.san.conftest import MIB, Host, Outcome, TapeHost, refused

DRIVE0, DRIVE1, SLOT0, MAIL0 = 0x100, 0x101, 0x1000, 0x10


def status(changer: Host, kind: ElementType = ElementType.ALL, first: int = 0, count: int = 0xFFFF,
           dvcid: int = 0) -> dict[int, Element]:
    outcome = changer.send(scsi.READ_ELEMENT_STATUS.put(
        voltag=1, type=kind, first=first, elements=count, dvcid=dvcid, allocation=65536), room=65536)
    assert outcome.good, outcome
    return {one.address: one for one in ElementStatus.take(outcome.data).elements}


def move(changer: Host, source: int, destination: int) -> Outcome:
    return changer.send(scsi.MOVE_MEDIUM.put(source=source, destination=destination))


def test_a_new_library_has_its_first_cartridges_in_the_drives_and_their_slots_empty(changer: Host) -> None:
    elements = status(changer)
    assert elements[DRIVE0].barcode == "E01001L8" and elements[DRIVE0].source == SLOT0
    assert elements[DRIVE1].barcode == "E01002L8" and elements[DRIVE1].source == SLOT0 + 1
    assert not elements[SLOT0].full and not elements[SLOT0 + 1].full
    assert [elements[SLOT0 + number].barcode for number in (2, 3)] == ["E01003L8", "E01004L8"]
    assert not elements[MAIL0].full and elements[1].type == ElementType.TRANSPORT


def test_elements_are_chosen_by_type_first_address_and_number(changer: Host) -> None:
    assert set(status(changer, ElementType.DATA_TRANSFER)) == {DRIVE0, DRIVE1}
    assert set(status(changer, ElementType.STORAGE, SLOT0 + 2, 2)) == {SLOT0 + 2, SLOT0 + 3}
    assert refused(changer.send(scsi.READ_ELEMENT_STATUS.put(type=5, elements=1, allocation=99), room=99))
    beyond = scsi.READ_ELEMENT_STATUS.put(first=0xFFFF, elements=1, allocation=99)
    assert refused(changer.send(beyond, room=99), Asc.INVALID_ELEMENT_ADDRESS)


def test_dvcid_names_the_drive_as_the_drive_does(changer: Host, tape: TapeHost) -> None:
    device = status(changer, ElementType.DATA_TRANSFER, dvcid=1)[DRIVE0].device
    assert device is not None
    page = tape.send(scsi.INQUIRY.put(evpd=1, page=0x83, allocation=255), room=255).data
    assert device.identifier in page


def test_an_allocation_length_cuts_the_status_and_still_says_how_long_it_is(changer: Host) -> None:
    outcome = changer.send(scsi.READ_ELEMENT_STATUS.put(voltag=1, elements=100, allocation=8), room=8)
    whole = changer.send(scsi.READ_ELEMENT_STATUS.put(voltag=1, elements=100, allocation=9999), room=9999)
    assert outcome.transferred == 8 and outcome.data == whole.data[:8]


def test_a_cartridge_goes_home_out_of_a_loaded_drive_and_back(changer: Host, tape: TapeHost) -> None:
    tape.write(b"kept")
    assert move(changer, DRIVE0, SLOT0).good
    assert tape.send(scsi.TEST_UNIT_READY.put()).is_check(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
    assert move(changer, SLOT0, DRIVE0).good
    outcome = tape.send(scsi.TEST_UNIT_READY.put())
    assert outcome.is_check(SenseKey.UNIT_ATTENTION, Asc.MEDIUM_MAY_HAVE_CHANGED)
    assert tape.position() == (0, 0)
    assert tape.read(4).data == b"kept"
    assert status(changer)[DRIVE0].source == SLOT0


def test_a_drive_sees_the_other_cartridge(changer: Host, tape: TapeHost) -> None:
    tape.write(b"first")
    move(changer, DRIVE0, SLOT0)
    move(changer, SLOT0 + 2, DRIVE0)
    tape.clear_attentions()
    assert tape.read(5).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    element = status(changer)[DRIVE0]
    assert element.barcode == "E01003L8" and element.source == SLOT0 + 2


def test_a_move_into_a_full_or_from_an_empty_element_changes_nothing(changer: Host) -> None:
    before = status(changer)
    assert refused(move(changer, DRIVE0, SLOT0 + 2), Asc.DESTINATION_FULL)
    assert refused(move(changer, DRIVE0, DRIVE1), Asc.DESTINATION_FULL)
    assert refused(move(changer, SLOT0, SLOT0 + 1), Asc.SOURCE_EMPTY)
    assert move(changer, SLOT0 + 2, SLOT0 + 2).good
    assert status(changer) == before


@pytest.mark.parametrize(("source", "destination"), [
    (0x99, SLOT0), (DRIVE0, 0x2000), (1, SLOT0), (DRIVE0, 1)])
def test_a_move_needs_addresses_that_hold_cartridges(changer: Host, source: int, destination: int) -> None:
    outcome = move(changer, source, destination)
    assert refused(outcome, Asc.INVALID_ELEMENT_ADDRESS)


def test_only_the_one_transport_element_moves_cartridges_upright(changer: Host) -> None:
    assert refused(changer.send(scsi.MOVE_MEDIUM.put(transport=2, source=DRIVE0, destination=SLOT0)),
                   Asc.INVALID_ELEMENT_ADDRESS)
    assert refused(changer.send(scsi.MOVE_MEDIUM.put(source=DRIVE0, destination=SLOT0, invert=1)))
    assert changer.send(scsi.MOVE_MEDIUM.put(transport=1, source=DRIVE0, destination=SLOT0)).good


def test_an_exchange_swaps_a_slot_and_a_drive(changer: Host) -> None:
    assert changer.send(scsi.EXCHANGE_MEDIUM.put(
        source=SLOT0 + 2, first_destination=DRIVE0, second_destination=SLOT0 + 2)).good
    elements = status(changer)
    assert elements[DRIVE0].barcode == "E01003L8" and elements[SLOT0 + 2].barcode == "E01001L8"


def test_an_exchange_may_put_the_displaced_cartridge_elsewhere(changer: Host) -> None:
    assert changer.send(scsi.EXCHANGE_MEDIUM.put(
        source=SLOT0 + 2, first_destination=DRIVE0, second_destination=SLOT0)).good
    elements = status(changer)
    assert elements[SLOT0].barcode == "E01001L8" and not elements[SLOT0 + 2].full
    for source, first, second, code in (
            (SLOT0 + 2, DRIVE0, SLOT0 + 1, Asc.SOURCE_EMPTY), (SLOT0, SLOT0 + 1, SLOT0, Asc.SOURCE_EMPTY),
            (SLOT0, DRIVE0, SLOT0 + 3, Asc.DESTINATION_FULL), (SLOT0, DRIVE0, DRIVE0, Asc.DESTINATION_FULL)):
        assert refused(changer.send(scsi.EXCHANGE_MEDIUM.put(
            source=source, first_destination=first, second_destination=second)), code)


def test_the_robot_leaves_a_drive_alone_that_another_host_owns_or_locked(san: San, changer: Host) -> None:
    owner = TapeHost(san, "tape0")
    assert owner.send(scsi.RESERVE_6.put()).good
    assert refused(move(changer, DRIVE0, SLOT0), Asc.MEDIUM_REMOVAL_PREVENTED)
    assert owner.send(scsi.RELEASE_6.put()).good
    owner.send(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL.put(prevent=1))
    assert refused(move(changer, DRIVE0, SLOT0), Asc.MEDIUM_REMOVAL_PREVENTED)
    owner.send(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL.put(prevent=0))
    owner.send(scsi.RESERVE_6.put())
    owner.close()
    assert move(changer, DRIVE0, SLOT0).good


def test_the_owner_of_a_drive_may_have_its_cartridge_moved(san: San, tape: TapeHost) -> None:
    tape.send(scsi.RESERVE_6.put())
    assert move(Host(san, "mc0", tape.nexus), DRIVE0, SLOT0).good


def test_element_status_is_told_while_another_host_owns_the_changer(san: San, changer: Host) -> None:
    other = Host(san, "mc0")
    changer.send(scsi.RESERVE_6.put())
    assert DRIVE0 in status(other)
    assert move(other, DRIVE0, SLOT0).status == scsi.Status.RESERVATION_CONFLICT


def test_mode_pages_tell_where_the_elements_are(changer: Host) -> None:
    data = changer.send(scsi.MODE_SENSE_6.put(page=0x3F, allocation=255), room=255).data
    modes = ModeParameters.take_6(data)
    assert [one.page for one in modes.pages] == list(ChangerPage)
    page = modes.page(ChangerPage.ELEMENT_ADDRESSES)
    assert page is not None
    assert ElementAddresses.take(page.body) == ElementAddresses((1, 1), (SLOT0, 6), (MAIL0, 2), (DRIVE0, 2))


def test_a_cartridge_put_into_a_mail_slot_is_announced(san: San, changer: Host) -> None:
    add(san, "NEW001L8", MIB)
    outcome = changer.send(scsi.TEST_UNIT_READY.put())
    assert outcome.is_check(SenseKey.UNIT_ATTENTION, Asc.IMPORT_EXPORT_ACCESSED)
    assert status(changer)[MAIL0].barcode == "NEW001L8" and status(changer)[MAIL0].by_operator
    assert move(changer, MAIL0, SLOT0).good and not status(changer)[MAIL0].by_operator


def test_positioning_and_taking_stock_check_their_addresses(changer: Host) -> None:
    assert changer.send(scsi.INITIALIZE_ELEMENT_STATUS.put()).good
    assert changer.send(scsi.INITIALIZE_ELEMENT_STATUS_WITH_RANGE.put(range=1, first=SLOT0, elements=2)).good
    nowhere = scsi.INITIALIZE_ELEMENT_STATUS_WITH_RANGE.put(range=1, first=0x77, elements=2)
    assert refused(changer.send(nowhere), Asc.INVALID_ELEMENT_ADDRESS)
    assert changer.send(scsi.POSITION_TO_ELEMENT.put(destination=SLOT0)).good
    assert refused(changer.send(scsi.POSITION_TO_ELEMENT.put(destination=0x77)), Asc.INVALID_ELEMENT_ADDRESS)
