"""What every unit of the SAN answers: identity, attentions, reservations, modes, logs, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import CommandTimeout, NoSuchDevice
from ndmpd.san import San, create
from ndmpd.san.errors import SanError
from ndmpd.san.nexus import Nexus
from ndmpd.san.statefile import StateFile
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.logs import LogData, LogPage, take_attributes
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import (
    Designator,
    DesignatorType,
    DeviceType,
    Inquiry,
    ModeParameters,
    VpdPage,
    take_serial,
)
from protocol.scsi.ssc import BlockLimits, TapePage
from tests.san.conftest import Host, Outcome, TapeHost, refused

UNITS = {"tape0": DeviceType.TAPE, "mc0": DeviceType.CHANGER, "disk0": DeviceType.DISK}


def vpd(host: Host, page: int) -> VpdPage:
    return VpdPage.take(host.send(scsi.INQUIRY.put(evpd=1, page=page, allocation=255), room=255).data, page)


@pytest.mark.parametrize(("unit", "kind"), UNITS.items())
def test_inquiry_says_what_the_unit_is(san: San, unit: str, kind: DeviceType) -> None:
    host = Host(san, unit, fresh=True)
    found = Inquiry.take(host.send(scsi.INQUIRY.put(allocation=96), room=96).data)
    assert found.type == kind and found.vendor == "NDMPD" and found.version == 6
    assert found.removable is (kind is not DeviceType.DISK)


@pytest.mark.parametrize("unit", UNITS)
def test_identity_is_an_naa_and_a_t10_designator_and_stays(san: San, unit: str) -> None:
    host = Host(san, unit)
    designators = Designator.take_all(vpd(host, 0x83).body)
    assert [one.type for one in designators] == [DesignatorType.NAA, DesignatorType.T10]
    assert len(designators[0].identifier) == 16 and designators[0].identifier[0] >> 4 == 6
    assert designators[1].identifier.startswith(b"NDMPD   ")
    serial = take_serial(host.send(scsi.INQUIRY.put(evpd=1, page=0x80, allocation=255), room=255).data)
    assert designators[1].identifier.endswith(serial.encode())
    again = Host(San.open(san.path), unit)
    assert Designator.take_all(vpd(again, 0x83).body) == designators


def test_no_two_units_of_any_san_have_the_same_identity(san: San, tmp_path: Path) -> None:
    other = create(tmp_path / "other", cartridges=1)
    names = [one.naa(unit) for one in (san, other) for unit in one.units]
    assert len(set(names)) == len(names) == 12


@pytest.mark.parametrize("unit", UNITS)
def test_every_vpd_page_listed_is_there_and_no_other(san: San, unit: str) -> None:
    host = Host(san, unit)
    listed = vpd(host, 0).body
    assert {0x00, 0x80, 0x83} <= set(listed)
    for page in range(256):
        if page in listed:
            vpd(host, page)
        else:
            assert refused(host.send(scsi.INQUIRY.put(evpd=1, page=page, allocation=255), room=255))
    assert refused(host.send(scsi.INQUIRY.put(page=0x80, allocation=255), room=255))


def test_each_nexus_gets_one_power_on_attention(san: San) -> None:
    for _ in range(2):
        host = Host(san, "tape0", fresh=True)
        assert host.send(scsi.INQUIRY.put(allocation=36), room=36).good
        assert host.send(scsi.REPORT_LUNS.put(allocation=16), room=16).data == b"\0\0\0\x08" + bytes(12)
        assert host.send(scsi.TEST_UNIT_READY.put()).is_check(SenseKey.UNIT_ATTENTION, Asc.POWER_ON)
        assert host.send(scsi.TEST_UNIT_READY.put()).good


def test_request_sense_returns_and_clears_the_attention(san: San) -> None:
    host = Host(san, "disk0", fresh=True)
    for desc in (0, 1):
        sense = Sense.take(host.send(scsi.REQUEST_SENSE.put(desc=desc, allocation=252), room=252).data)
        wanted = (SenseKey.NO_SENSE, 0) if desc else (SenseKey.UNIT_ATTENTION, Asc.POWER_ON)
        assert (sense.key, sense.code, sense.wide) == (*wanted, bool(desc))
    assert host.send(scsi.TEST_UNIT_READY.put()).good


def test_a_mode_change_is_told_to_the_other_nexuses_only(san: San, tape: TapeHost) -> None:
    other = TapeHost(san, "tape0")
    assert tape.set_block_length(512).good
    assert tape.send(scsi.TEST_UNIT_READY.put()).good
    assert other.send(scsi.TEST_UNIT_READY.put()).is_check(
        SenseKey.UNIT_ATTENTION, Asc.MODE_PARAMETERS_CHANGED)
    assert tape.set_block_length(512).good
    assert other.send(scsi.TEST_UNIT_READY.put()).good


def test_a_reserved_unit_answers_others_only_what_harms_nobody(san: San, tape: TapeHost) -> None:
    other = TapeHost(san, "tape0")
    assert tape.send(scsi.RESERVE_6.put()).good
    for cdb in (scsi.TEST_UNIT_READY.put(), scsi.INQUIRY.put(), scsi.REQUEST_SENSE.put(),
                scsi.REPORT_LUNS.put(), scsi.RELEASE_6.put()):
        assert other.send(cdb).good
    for outcome in (other.rewind(), other.write(b"x"), other.read(1), other.mark(),
                    other.set_block_length(1), other.send(scsi.RESERVE_6.put()),
                    other.send(scsi.MODE_SENSE_6.put(allocation=9), room=9)):
        assert outcome.status == Status.RESERVATION_CONFLICT
    assert tape.write(b"mine").good
    assert tape.send(scsi.RELEASE_6.put()).good
    assert other.rewind().good


def test_a_reservation_ends_with_its_holder(san: San) -> None:
    holder, other = TapeHost(san, "tape0"), TapeHost(san, "tape0")
    holder.send(scsi.RESERVE_6.put())
    assert other.rewind().status == Status.RESERVATION_CONFLICT
    holder.close()
    assert other.rewind().good and other.send(scsi.RESERVE_6.put()).good


def test_a_named_nexus_is_one_live_nexus(san: San) -> None:
    nexus = Nexus(san.path, "iqn.1998-01.example:host,i,0x1")
    with pytest.raises(SanError, match="in use"):
        Nexus(san.path, nexus.id)
    nexus.close()
    Nexus(san.path, nexus.id).close()
    with pytest.raises(SanError, match="cannot name"):
        Nexus(san.path, "../escape")


@pytest.mark.parametrize("unit", UNITS)
def test_unknown_commands_and_reserved_bits_are_refused(san: San, unit: str) -> None:
    host = Host(san, unit)
    assert refused(host.send(bytes((0xFF, *bytes(15)))), Asc.INVALID_OPCODE)
    assert refused(host.send(bytes((0x00, 0, 0, 1, 0, 0))))
    assert refused(host.send(bytes((0x00, 0, 0, 0, 0, 4))))
    assert refused(host.send(bytes((0xA3, 0x1F, *bytes(10)))))
    assert refused(host.send(b"\x12"))
    assert refused(host.send(b""), Asc.INVALID_OPCODE)


def test_an_invalid_field_is_pointed_at(tape: TapeHost) -> None:
    outcome = tape.send(scsi.LOG_SENSE.put(sp=1, page=0, control=1, allocation=4), room=4)
    assert outcome.sense is not None and outcome.sense.key_specific == 0x400001


@pytest.mark.parametrize("unit", UNITS)
def test_every_operation_reported_is_known_one_by_one(san: San, unit: str) -> None:
    host = Host(san, unit)
    data = host.send(scsi.REPORT_SUPPORTED_OPCODES.put(allocation=9999), room=9999).data
    assert int.from_bytes(data[:4], "big") == len(data) - 4 > 80
    for at in range(4, len(data), 8):
        opcode, action, has_action = data[at], int.from_bytes(data[at + 2:at + 4], "big"), data[at + 5] & 1
        size = int.from_bytes(data[at + 6:at + 8], "big")
        one = host.send(scsi.REPORT_SUPPORTED_OPCODES.put(
            options=2 if has_action else 1, requested_opcode=opcode, requested_action=action, allocation=64),
            room=64).data
        assert one[1] == 3 and int.from_bytes(one[2:4], "big") == size == len(one) - 4
        assert one[4] == opcode
        either = host.send(scsi.REPORT_SUPPORTED_OPCODES.put(
            options=3, requested_opcode=opcode, requested_action=action, allocation=64), room=64)
        assert either.data == one
    unknown = scsi.REPORT_SUPPORTED_OPCODES.put(options=1, requested_opcode=0xFF, allocation=64)
    assert host.send(unknown, room=64).data == b"\0\x01\0\0"
    wrong = scsi.REPORT_SUPPORTED_OPCODES.put(options=1, requested_opcode=0xA3, allocation=64)
    assert refused(host.send(wrong, room=64))


@pytest.mark.parametrize("unit", UNITS)
def test_both_forms_of_mode_sense_tell_the_same(san: San, unit: str) -> None:
    host = Host(san, unit)
    short = host.send(scsi.MODE_SENSE_6.put(page=0x3F, allocation=255), room=255).data
    long = host.send(scsi.MODE_SENSE_10.put(page=0x3F, allocation=512), room=512).data
    assert ModeParameters.take_6(short) == ModeParameters.take_10(long)
    assert short[0] == len(short) - 1 and int.from_bytes(long[:2], "big") == len(long) - 2
    for page in ModeParameters.take_6(short).pages:
        for control in (1, 2):
            cdb = scsi.MODE_SENSE_6.put(page=page.page, control=control, allocation=255)
            data = host.send(cdb, room=255).data
            assert [one.page for one in ModeParameters.take_6(data).pages] == [page.page]
    saved = host.send(scsi.MODE_SENSE_6.put(page=0x3F, control=3, allocation=255), room=255)
    assert refused(saved, Asc.SAVING_NOT_SUPPORTED)
    assert refused(host.send(scsi.MODE_SENSE_6.put(page=0x2A, allocation=255), room=255))


def select(host: Host, data: bytes, *, sp: int = 0, length: int | None = None) -> Outcome:
    size = len(data) if length is None else length
    return host.send(scsi.MODE_SELECT_6.put(pf=1, sp=sp, length=size), data)


def test_mode_select_takes_back_what_mode_sense_gave(tape: TapeHost) -> None:
    modes = ModeParameters.take_6(tape.send(scsi.MODE_SENSE_6.put(page=0x3F, allocation=255), room=255).data)
    assert select(tape, modes.put_6(select=True)).good
    data = modes.put_10(select=True)
    assert tape.send(scsi.MODE_SELECT_10.put(pf=1, length=len(data)), data).good


def test_mode_select_changes_nothing_that_is_fixed(tape: TapeHost) -> None:
    header = bytes((0, 0, 0x10, 0))
    assert refused(select(tape, header + bytes((TapePage.COMPRESSION, 14, 0x80)) + bytes(13)),
                   Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(select(tape, header + bytes((0x3E, 2, 0, 0))), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(select(tape, header + bytes((TapePage.COMPRESSION, 14, 0))), Asc.PARAMETER_LIST_LENGTH)
    assert refused(select(tape, header[:3]), Asc.PARAMETER_LIST_LENGTH)
    assert refused(select(tape, bytes((0, 0, 0x20, 0))), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(select(tape, bytes((0, 0, 0x10, 8, 0x44, 0, 0, 0, 0, 0, 0, 0))),
                   Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(select(tape, bytes((0, 0, 0x10, 16)) + bytes(16)), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(select(tape, header, sp=1))
    assert select(tape, b"", length=0).good


def test_the_block_length_and_buffered_mode_are_kept(tape: TapeHost) -> None:
    assert tape.set_block_length(65536, buffered=0).good
    modes = ModeParameters.take_6(tape.send(scsi.MODE_SENSE_6.put(allocation=12), room=12).data)
    assert modes.descriptors[0].length == 65536 and modes.specific == 0
    dbd = tape.send(scsi.MODE_SENSE_6.put(dbd=1, allocation=12), room=12).data
    assert len(dbd) == 4 and dbd[3] == 0


@pytest.mark.parametrize(("unit", "pages"), [
    ("tape0", {LogPage.WRITE_ERRORS, LogPage.READ_ERRORS, LogPage.SEQUENTIAL_ACCESS, LogPage.TAPE_ALERT,
               0x31}),
    ("mc0", {LogPage.TAPE_ALERT})])
def test_every_log_page_listed_is_there(san: San, unit: str, pages: set[int]) -> None:
    host = Host(san, unit)
    data = host.send(scsi.LOG_SENSE.put(page=0, control=1, allocation=255), room=255).data
    assert set(data[4:]) == {0, *pages} and int.from_bytes(data[2:4], "big") == len(data) - 4
    for page in pages:
        data = host.send(scsi.LOG_SENSE.put(page=page, control=1, allocation=4096), room=4096).data
        assert LogData.take(data).page == page and LogData.take(data).parameters
    assert refused(host.send(scsi.LOG_SENSE.put(page=0x3E, control=1, allocation=255), room=255))


def test_the_drive_counts_bytes_and_tells_what_room_is_left(tape: TapeHost) -> None:
    tape.set_block_length(1 << 20)
    tape.write_fixed(bytes(2 << 20), 2)
    log = LogData.take(tape.send(scsi.LOG_SENSE.put(page=0x0C, control=1, allocation=4096), room=4096).data)
    assert log.number(1) == 2 << 20
    log = LogData.take(tape.send(scsi.LOG_SENSE.put(page=0x31, control=1, allocation=4096), room=4096).data)
    assert (log.number(1), log.number(3)) == (2, 4)
    mam = take_attributes(tape.send(scsi.READ_ATTRIBUTE.put(allocation=4096), room=4096).data)
    assert (mam[0].number, mam[1].number, mam[0x806].text) == (2, 4, "E01001L8")
    some = take_attributes(tape.send(scsi.READ_ATTRIBUTE.put(first=0x401, allocation=4096), room=4096).data)
    assert min(some) == 0x401
    assert refused(tape.send(scsi.READ_ATTRIBUTE.put(first=0x1000, allocation=4096), room=4096))


def test_block_limits_and_densities(tape: TapeHost) -> None:
    limits = BlockLimits.take(tape.send(scsi.READ_BLOCK_LIMITS.put(), room=6).data)
    assert (limits.shortest, limits.longest, limits.granularity) == (1, 0xFFFFFF, 0)
    for media in (0, 1):
        data = tape.send(scsi.REPORT_DENSITY_SUPPORT.put(media=media, allocation=4096), room=4096).data
        assert len(data) == 56 and int.from_bytes(data[:2], "big") == 54 and data[4] == 0x5E


def test_a_unit_that_stays_locked_is_a_timeout_not_a_hang(san: San, tape: TapeHost) -> None:
    holder = StateFile(san.state_path("tape0"))
    holder.file.lock(1)
    with pytest.raises(CommandTimeout, match="locked by another process"):
        tape.send(scsi.TEST_UNIT_READY.put(), timeout=0.05)
    holder.file.unlock()
    assert tape.send(scsi.TEST_UNIT_READY.put()).good


def test_a_unit_that_is_not_there_is_named_with_those_that_are(san: San, tmp_path: Path) -> None:
    nexus = Nexus(san.path)
    with pytest.raises(NoSuchDevice, match="tape0"):
        EmbeddedTransport(san.path, "tape7", nexus)
    with pytest.raises(NoSuchDevice, match="no embedded SAN"):
        EmbeddedTransport(tmp_path / "nothing", "tape0", nexus)
