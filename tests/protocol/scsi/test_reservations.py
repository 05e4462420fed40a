"""PERSISTENT RESERVE IN and OUT, by bytes assembled from SPC-4 tables."""

import pytest

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.reservations import (
    RESERVE_IN,
    RESERVE_OUT,
    Capabilities,
    CurrentReservation,
    FullStatus,
    InAction,
    Keys,
    MoveParameters,
    OutAction,
    OutParameters,
    Registrant,
    ReservationType,
)
from protocol.scsi.sense import ParameterError
from protocol.scsi.transportid import IscsiPort, OtherPort, take_transport_id
from tests.protocol.scsi.mutation import raises_wire_error_only

PORT = IscsiPort("iqn.2026-11.org.head:ab", 0x00023D000001)
PORT_BYTES = bytes.fromhex("45 00 002c") + b"iqn.2026-11.org.head:ab,i,0x00023d000001\0" + bytes(3)
NAME_BYTES = bytes.fromhex("05 00 0014") + b"iqn.a\0" + bytes(14)
FC_BYTES = bytes.fromhex("00 00 000000000000 2100001122334455") + bytes(8)

KEYS = bytes.fromhex("00000007 00000010 0000000000000001 6e64000000000002")
RESERVATION = bytes.fromhex("00000007 00000010 6e64000000000002 00000000 00 06 0000")
CAPABILITIES = bytes.fromhex("0008 11 91 ea01 0000")
FULL_STATUS = (bytes.fromhex("00000007 00000060"
                             "6e64000000000002 00000000 01 06 00000000 0001 00000018") + FC_BYTES
               + bytes.fromhex("0000000000000001 00000000 00 00 00000000 0002 00000018") + NAME_BYTES)
PARAMETERS = bytes.fromhex("0000000000000001 0000000000000002 00000000 01 00 0000")
MOVE = bytes.fromhex("0000000000000001 0000000000000002 00 03 0001 00000018") + NAME_BYTES


@pytest.mark.parametrize(("cdb", "data"), [
    (RESERVE_IN[InAction.READ_FULL_STATUS].put(allocation=0x1234), "5e 03 00 00 00 00 00 12 34 00"),
    (RESERVE_OUT[OutAction.PREEMPT_AND_ABORT].put(type=6, length=24), "5f 05 06 00 00 00 00 00 18 00"),
    (RESERVE_OUT[OutAction.REGISTER].put(scope=1, length=24), "5f 00 10 00 00 00 00 00 18 00"),
], ids=["read full status", "preempt and abort", "register"])
def test_cdbs_are_put_as_the_standard_draws_them(cdb, data):
    assert cdb == bytes.fromhex(data)


@pytest.mark.parametrize(("port", "data", "text"), [
    (PORT, PORT_BYTES, "iqn.2026-11.org.head:ab,i,0x00023d000001"),
    (IscsiPort("iqn.a"), NAME_BYTES, "iqn.a"),
    (OtherPort(FC_BYTES), FC_BYTES, "FC 2100001122334455"),
], ids=["name and ISID", "name", "another protocol"])
def test_transport_ids_both_ways(port, data, text):
    assert port.put() == data
    assert take_transport_id(b"\0" + data + b"\0", 1) == (port, 1 + len(data))
    assert port.text == text


@pytest.mark.parametrize("data", [
    PORT_BYTES[:-1], bytes.fromhex("05 00 0010") + b"iqn.a".ljust(20, b"\0"), bytes((0x85,)) + NAME_BYTES[1:],
    NAME_BYTES[:-1] + b"x", bytes.fromhex("05 00 0014") + bytes(20), bytes.fromhex("05 00 0014") + b"x" * 20,
    bytes((0x45,)) + NAME_BYTES[1:], bytes.fromhex("05 00 0014") + b"\xff".ljust(20, b"\0"), FC_BYTES[:-1],
    bytes.fromhex("05 00 0014") + b"iqn.a\n\x1b[2J".ljust(20, b"\0"),
], ids=["cut off", "too short", "reserved format", "bytes after the name", "no name", "no end of the name",
        "no ISID", "no UTF-8", "another protocol cut off", "control characters"])
def test_what_is_no_transport_id_is_a_parameter_error(data):
    with pytest.raises(ParameterError):
        take_transport_id(data)


def test_names_of_ports_are_parsed_whole_or_not_at_all():
    assert IscsiPort.parse(PORT.text) == PORT
    isid = ",i,0x00023d000001"
    for text in ("iqn.a", "iqn.a,i,0x12", isid, PORT.text + "0", "q" * 224 + isid):
        assert IscsiPort.parse(text) is None


@pytest.mark.parametrize(("value", "data"), [
    (Keys(7, (1, 0x6E64000000000002)), KEYS),
    (CurrentReservation(7, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS, 0x6E64000000000002), RESERVATION),
    (CurrentReservation(7), bytes.fromhex("00000007 00000000")),
    (Capabilities(aptpl_active=True), CAPABILITIES),
    (FullStatus(7, (Registrant(0x6E64000000000002, OtherPort(FC_BYTES), 6),
                    Registrant(1, IscsiPort("iqn.a"), relative_port=2))), FULL_STATUS),
    (OutParameters(1, 2, aptpl=True), PARAMETERS),
    (MoveParameters(1, 2, IscsiPort("iqn.a"), unregister=True, aptpl=True), MOVE),
], ids=lambda value: type(value).__name__)
def test_parameter_data_both_ways(value, data):
    assert value.put() == data
    assert type(value).take(data) == value


def test_keys_that_did_not_all_fit_are_taken_as_far_as_they_came():
    assert Keys.take(KEYS[:8]) == Keys(7)
    assert Keys.take(KEYS[:23]) == Keys(7, (1,))


@pytest.mark.parametrize(("data", "code", "offset"), [
    (PARAMETERS[:-1], Asc.PARAMETER_LIST_LENGTH, 0),
    (PARAMETERS + b"\0", Asc.PARAMETER_LIST_LENGTH, 0),
    (PARAMETERS[:20] + b"\x08" + PARAMETERS[21:] + bytes(4), Asc.INVALID_FIELD_IN_PARAMETERS, 20),
    (PARAMETERS[:20] + b"\x04" + PARAMETERS[21:], Asc.INVALID_FIELD_IN_PARAMETERS, 20),
], ids=["short", "long", "other initiator ports", "all target ports"])
def test_parameter_lists_that_are_refused_say_why(data, code, offset):
    with pytest.raises(ParameterError) as caught:
        OutParameters.take(data)
    assert (caught.value.code, caught.value.offset) == (code, offset)


@pytest.mark.parametrize("data", [MOVE[:20], MOVE[:-1], MOVE + bytes(4), MOVE[:23] + b"\x30" + MOVE[24:]
                                  + NAME_BYTES], ids=["no TransportID", "cut off", "too long", "two of them"])
def test_a_move_wants_one_whole_transport_id(data):
    with pytest.raises(ParameterError):
        MoveParameters.take(data)


@pytest.mark.parametrize(("take", "good"), [
    (Keys.take, KEYS), (CurrentReservation.take, RESERVATION), (Capabilities.take, CAPABILITIES),
    (FullStatus.take, FULL_STATUS), (OutParameters.take, PARAMETERS), (MoveParameters.take, MOVE),
    (take_transport_id, PORT_BYTES),
])
def test_damaged_data_gives_a_value_or_a_wire_error(take, good):
    raises_wire_error_only(take, good)


def test_unfinished_status_is_a_wire_error():
    with pytest.raises(WireError):
        FullStatus.take(FULL_STATUS[:-1])
