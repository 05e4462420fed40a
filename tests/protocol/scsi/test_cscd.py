"""CSCD descriptors, by bytes written from SPC-4 6.4.5 and 7.6.3."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.cscd import (
    CSCD_LENGTH,
    Alias,
    BlockDevice,
    CscdType,
    FcPortId,
    FcPortIdAndName,
    FcPortName,
    Identification,
    Ieee1394Target,
    IscsiIpv4,
    IscsiIpv6,
    LuIdType,
    NoDeviceParameters,
    ParallelTarget,
    ProcessorDevice,
    RdmaTarget,
    SasTarget,
    StreamDevice,
    put_cscd,
    take_cscd,
    take_cscds,
)
from protocol.scsi.sense import ParameterError
from protocol.scsi.spc import CodeSet, Designator, DesignatorType, DeviceType
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only

NAA_8 = bytes.fromhex("50014380aabbccdd")
DISK, TAPE = DeviceType.DISK, DeviceType.TAPE
SECTORS = BlockDevice(512)

VALUES = {
    "identification: disk": Identification(
        Designator(DesignatorType.NAA, bytes.fromhex("60014055a1b2c3d4e5f60718293a4b5c")), DISK, SECTORS),
    "identification: tape, variable records, PAD": Identification(
        Designator(DesignatorType.T10, b"NDMPD       TAPE0001", CodeSet.ASCII), TAPE, StreamDevice(pad=True),
        2),
    "identification: tape, fixed blocks, by its port": Identification(
        Designator(DesignatorType.NAA, NAA_8, association=1), TAPE, StreamDevice(1024, fixed=True)),
    "identification: processor, PAD": Identification(
        Designator(DesignatorType.EUI_64, bytes.fromhex("0011223344556677")), DeviceType.PROCESSOR,
        ProcessorDevice(pad=True)),
    "identification: changer": Identification(
        Designator(DesignatorType.NAA, NAA_8), DeviceType.CHANGER, NoDeviceParameters()),
    "FC N_Port_Name": FcPortName(DISK, BlockDevice(4096), 5 << 48, port_name=0x21000024FF123456),
    "FC N_Port_ID": FcPortId(DISK, BlockDevice(512, pad=True), 0x0102030405060708, 0, LuIdType.PROXY_TOKEN,
                             port_id=0x0A1B2C),
    "FC N_Port_ID with name check": FcPortIdAndName(TAPE, StreamDevice(), 0, port_name=0x21000024FF123456,
                                                    port_id=0x0A1B2C),
    "parallel T_L": ParallelTarget(TAPE, StreamDevice(), 1 << 48, vendor=0x7F, target=6),
    "iSCSI IPv4": IscsiIpv4(TAPE, StreamDevice(), 0, address=IPv4Address("192.168.1.10")),
    "alias": Alias(DISK, SECTORS, 0, alias=0xBEEF),
    "RDMA": RdmaTarget(DISK, SECTORS, 0, target_port=0xFE800000_00000000_0002C903_00A1B2C3),
    "IEEE 1394": Ieee1394Target(DISK, SECTORS, 0, eui_64=0x0011223344556677, directory=0x0A0B0C),
    "SAS": SasTarget(TAPE, StreamDevice(), 0, address=0x500A098100000001),
    "iSCSI IPv6": IscsiIpv6(DISK, SECTORS, 7 << 48, address=IPv6Address("2001:db8::1"), port=3261),
}
GOLDEN = read("cscd")


def test_every_descriptor_type_has_golden_bytes():
    assert {data[0] for data in GOLDEN.values()} == set(CscdType)
    assert GOLDEN.keys() == VALUES.keys()


@pytest.mark.parametrize("name", VALUES)
def test_a_descriptor_is_put_as_the_standard_draws_it(name):
    assert put_cscd(VALUES[name]).hex() == GOLDEN[name].hex()
    assert VALUES[name].length == len(GOLDEN[name])


@pytest.mark.parametrize("name", VALUES)
def test_a_descriptor_is_taken_as_the_standard_draws_it(name):
    assert take_cscd(GOLDEN[name]) == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_damaged_descriptors_are_wire_errors_or_values(name):
    raises_wire_error_only(take_cscd, GOLDEN[name])


def test_a_list_is_taken_with_its_extensions():
    assert take_cscds(b"".join(GOLDEN.values())) == tuple(VALUES.values())


def damaged(name: str, at: int, value: int) -> bytes:
    data = bytearray(GOLDEN[name])
    data[at] = value
    return bytes(data)


@pytest.mark.parametrize("data, offset, code", [
    (b"", 0, Asc.UNSUPPORTED_TARGET_TYPE),
    (damaged("identification: disk", 0, 0xFE), 0, Asc.UNSUPPORTED_TARGET_TYPE),
    (damaged("identification: disk", 0, 0xFF), 0, Asc.UNSUPPORTED_TARGET_TYPE),
    (GOLDEN["identification: disk"][:31], 0, Asc.INVALID_FIELD_IN_PARAMETERS),
    (GOLDEN["iSCSI IPv6"][:CSCD_LENGTH], 0, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged("identification: disk", 7, 21), 7, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged("FC N_Port_Name", 1, 0x80), 1, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged("iSCSI IPv6", 32, 0xEA), 32, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged("SAS", 31, 1), 29, Asc.INVALID_FIELD_IN_PARAMETERS),
    (damaged("SAS", 28, 1), 28, Asc.INVALID_FIELD_IN_PARAMETERS),
], ids=["nothing", "ROD", "extension alone", "cut", "extension missing", "designator too long",
        "reserved LU ID TYPE", "not an extension", "block length without FIXED", "FIXED without a length"])
def test_what_is_wrong_is_said_with_its_place_and_code(data, offset, code):
    with pytest.raises(ParameterError) as raised:
        take_cscd(data)
    assert (raised.value.offset, raised.value.code) == (offset, code)


def test_an_error_in_a_list_is_placed_from_the_start_of_the_list():
    with pytest.raises(ParameterError) as raised:
        take_cscds(GOLDEN["iSCSI IPv6"] + GOLDEN["alias"] + damaged("identification: disk", 7, 21))
    assert raised.value.offset == 64 + 32 + 7


def test_a_type_that_this_copy_manager_does_not_take_is_told_apart_from_a_bad_field():
    with pytest.raises(ParameterError) as raised:
        take_cscd(damaged("FC N_Port_Name", 1, 0xC0), {CscdType.IDENTIFICATION})
    assert raised.value.code == Asc.UNSUPPORTED_TARGET_TYPE


@pytest.mark.parametrize("byte_1", [0x40, 0x80, 0xC0, 0x20])
def test_the_kind_of_unit_identifier_is_ignored_where_a_designator_names_the_unit(byte_1):
    name = "identification: disk"
    assert take_cscd(damaged(name, 1, byte_1)) == VALUES[name]


@pytest.mark.parametrize("device_type", [0x04, 0x05, 0x07, 0x0E])
def test_other_block_devices_have_a_block_length(device_type):
    cscd = take_cscd(damaged("identification: disk", 1, device_type))
    assert (cscd.device_type, cscd.parameters) == (device_type, SECTORS)


@pytest.mark.parametrize("cscd", [
    Identification(Designator(3, bytes(21)), DISK, SECTORS),
    Identification(Designator(3, NAA_8), TAPE, StreamDevice(512)),
    Identification(Designator(3, NAA_8), TAPE, StreamDevice(fixed=True)),
    Identification(Designator(3, NAA_8), DISK, BlockDevice(1 << 24)),
    FcPortId(DISK, SECTORS, 0, port_id=1 << 24),
])
def test_a_descriptor_that_cannot_be_put_is_refused(cscd):
    with pytest.raises(ValueError):
        put_cscd(cscd)


def uint(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


BLOCKS = st.builds(BlockDevice, uint(24), st.booleans())
STREAMS = (st.builds(StreamDevice, pad=st.booleans())
           | st.builds(StreamDevice, st.integers(1, 0xFFFFFF), st.just(True), st.booleans()))
DEVICES = (st.tuples(st.sampled_from([0, 4, 5, 7, 14]), BLOCKS) | st.tuples(st.just(1), STREAMS)
           | st.tuples(st.just(3), st.builds(ProcessorDevice, st.booleans()))
           | st.tuples(st.sampled_from([2, 8, 31]), st.just(NoDeviceParameters())))


@given(st.builds(Designator, uint(4), st.binary(max_size=20), uint(4), uint(2)), DEVICES, uint(16))
def test_whatever_names_a_unit_comes_back(designator, device, port):
    cscd = Identification(designator, *device, port)
    assert take_cscd(put_cscd(cscd)) == cscd


@given(st.sampled_from(list(CscdType)), st.binary(min_size=63, max_size=63))
def test_any_bytes_are_a_value_that_puts_itself_the_same_or_a_wire_error(kind, rest):
    try:
        cscd = take_cscd(bytes((kind,)) + rest)
    except WireError:
        return
    assert take_cscd(put_cscd(cscd)) == cscd
