"""Copy source and copy destination (CSCD) descriptors of EXTENDED COPY. SPC-4 6.4.5 and 7.6.3.

A descriptor says how a copy manager finds a logical unit, and with which block length. Segment descriptors
name it by its place in the list, counted in units of 32 bytes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any, ClassVar, Self

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.asc import Asc
from protocol.scsi.sense import ParameterError
from protocol.scsi.spc import Designator, DeviceType

CSCD_LENGTH = 32
EXTENSION = 0xFF
"""Type code of the second 32 bytes of a longer descriptor."""

NULL_BLOCK = 0xC000
NULL_STREAM = 0xC001
ROD = 0xF800
COPY_MANAGER = 0xFFFF
"""Ids that name no descriptor (SPC-4 table 148); COPY_MANAGER is the unit that was sent the command."""

MAX_CSCD_ID = 0x07FF
"""Highest id that names a descriptor of the list."""

BLOCK_TYPES = frozenset({0x00, 0x04, 0x05, 0x07, 0x0E})
"""Peripheral device types that are block devices to a copy manager. SPC-4 table 134."""


class CscdType(IntEnum):
    """SPC-4 table 131."""

    FC_N_PORT_NAME = 0xE0
    FC_N_PORT_ID = 0xE1
    FC_ID_AND_NAME = 0xE2
    PARALLEL_T_L = 0xE3
    IDENTIFICATION = 0xE4
    ISCSI_IPV4 = 0xE5
    ALIAS = 0xE6
    RDMA = 0xE7
    IEEE1394 = 0xE8
    SAS = 0xE9
    ISCSI_IPV6 = 0xEA


# Device type specific parameters: bytes 28 to 31 of every descriptor.
_SPECIFIC_AT = 28
_SPECIFIC = Layout(4, pad=Bits(0, 1, 2), fixed=Bits(0, 1), length=Bits(1, 24))


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """SPC-4 6.4.5.3. ``block_length`` 0: the copy manager is to ask the disk.

    ``pad``: what does not fill whole blocks at a segment's end is filled up with zeros (SPC-4 table 116).
    """

    block_length: int = 0
    pad: bool = False

    def put(self) -> bytes:
        return _SPECIFIC.put(pad=self.pad, length=self.block_length)


@dataclass(frozen=True, slots=True)
class StreamDevice:
    """SPC-4 6.4.5.4. Variable records, each of a segment's transfer length in bytes; or with ``fixed`` blocks
    of ``block_length`` bytes, a transfer length of them a command. Nothing else is allowed.
    """

    block_length: int = 0
    fixed: bool = False
    pad: bool = False

    def put(self) -> bytes:
        """ValueError where ``fixed`` comes without a block length, or the other way round."""
        if self.fixed != (self.block_length > 0):
            raise ValueError(f"fixed={self.fixed} with block_length={self.block_length}")
        return _SPECIFIC.put(pad=self.pad, fixed=self.fixed, length=self.block_length)


@dataclass(frozen=True, slots=True)
class ProcessorDevice:
    """SPC-4 6.4.5.5."""

    pad: bool = False

    def put(self) -> bytes:
        return _SPECIFIC.put(pad=self.pad)


@dataclass(frozen=True, slots=True)
class NoDeviceParameters:
    """A device type for which the standard defines none."""

    def put(self) -> bytes:
        return bytes(_SPECIFIC.size)


DeviceParameters = BlockDevice | StreamDevice | ProcessorDevice | NoDeviceParameters


def _take_parameters(device_type: int, data: Buffer) -> DeviceParameters:
    field = _SPECIFIC.take(data, _SPECIFIC_AT)
    pad, fixed, length = bool(field["pad"]), bool(field["fixed"]), field["length"]
    if device_type in BLOCK_TYPES:
        return BlockDevice(length, pad)
    if device_type == DeviceType.PROCESSOR:
        return ProcessorDevice(pad)
    if device_type != DeviceType.TAPE:
        return NoDeviceParameters()
    if fixed != (length > 0):
        raise ParameterError(f"stream block length {length} with FIXED={fixed:d}", _SPECIFIC_AT + (not fixed))
    return StreamDevice(length, fixed, pad)


def _layout(size: int = CSCD_LENGTH, **fields: Bits) -> Layout:
    return Layout(size, code=Bits(0, 8), lu_id_type=Bits(1, 2, 6), device_type=Bits(1, 5),
                  relative_port=Bits(2, 16), **fields)


def _named(device_type: int) -> int:
    return DeviceType(device_type) if device_type in DeviceType._value2member_map_ else device_type


class _Descriptor:
    """What all descriptors share: ``layout`` has the subclass's fields by their names."""

    __slots__ = ()
    type: ClassVar[CscdType]
    layout: ClassVar[Layout]
    device_type: int
    parameters: DeviceParameters
    relative_port: int

    def _fields(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in self.layout.fields if name != "code"}

    @property
    def length(self) -> int:
        """Bytes on the wire."""
        return self.layout.size

    def put(self) -> bytes:
        """32 bytes, or 64 of a type that needs an extension. ValueError for a field that does not fit."""
        data = self.layout.put(code=self.type, **self._fields())
        return data[:_SPECIFIC_AT] + self.parameters.put() + data[CSCD_LENGTH:]


class LuIdType(IntEnum):
    """What the eight bytes are that name the unit within its target. SPC-4 table 133."""

    LUN = 0
    PROXY_TOKEN = 1


@dataclass(frozen=True, slots=True)
class Identification(_Descriptor):
    """The unit that gives this designator, of at most 20 bytes, in VPD page 83h (SPC-4 6.4.5.6)."""

    type = CscdType.IDENTIFICATION
    layout = _layout(code_set=Bits(4, 4), association=Bits(5, 2, 4), designator_type=Bits(5, 4),
                     designator_length=Bits(7, 8), designator=Bits(8, 160))

    designator: Designator
    device_type: int
    parameters: DeviceParameters
    relative_port: int = 0

    def _fields(self) -> dict[str, int]:
        name = self.designator
        if len(name.identifier) > MAX_DESIGNATOR:
            raise ValueError(f"designator {name.text} is longer than {MAX_DESIGNATOR} bytes")
        return {"device_type": self.device_type, "relative_port": self.relative_port,
                "code_set": name.code_set, "association": name.association, "designator_type": name.type,
                "designator_length": len(name.identifier),
                "designator": int.from_bytes(name.identifier.ljust(MAX_DESIGNATOR, b"\0"), "big")}

    @classmethod
    def take(cls, data: Buffer) -> Self:
        field = cls.layout.take(data)
        length = field["designator_length"]
        if length > MAX_DESIGNATOR:
            raise ParameterError(f"designator of {length} bytes, the most is {MAX_DESIGNATOR}", 7)
        # LU ID TYPE is to be ignored here, whatever it is.
        device_type = _named(field["device_type"])
        name = Designator(field["designator_type"], bytes(data[8:8 + length]), field["code_set"],
                          field["association"])
        return cls(name, device_type, _take_parameters(device_type, data), field["relative_port"])


MAX_DESIGNATOR = 20


@dataclass(frozen=True, slots=True)
class _ByUnit(_Descriptor):
    """A target in the terms of its transport, and a unit of it.

    ``lun``: the eight bytes as on the wire, so that unit 5 is 5 << 48; or a proxy token by ``lu_id_type``.
    """

    device_type: int
    parameters: DeviceParameters
    lun: int
    relative_port: int = 0
    lu_id_type: LuIdType = LuIdType.LUN

    @classmethod
    def take(cls, data: Buffer) -> Self:
        field: dict[str, Any] = dict(cls.layout.take(data))
        del field["code"]
        if field["lu_id_type"] > LuIdType.PROXY_TOKEN:
            raise ParameterError(f"LU ID TYPE {field['lu_id_type']} is reserved", 1)
        device_type = _named(field.pop("device_type"))
        return cls(device_type=device_type, parameters=_take_parameters(device_type, data),
                   **cls._converted(field))

    @classmethod
    def _converted(cls, field: dict[str, Any]) -> dict[str, Any]:
        return field | {"lu_id_type": LuIdType(field["lu_id_type"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class FcPortName(_ByUnit):
    """Fibre Channel, by the port's worldwide name (SPC-4 7.6.3.2)."""

    type = CscdType.FC_N_PORT_NAME
    layout = _layout(lun=Bits(4, 64), port_name=Bits(12, 64))

    port_name: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FcPortId(_ByUnit):
    """Fibre Channel, by the port's address (SPC-4 7.6.3.3)."""

    type = CscdType.FC_N_PORT_ID
    layout = _layout(lun=Bits(4, 64), port_id=Bits(21, 24))

    port_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FcPortIdAndName(_ByUnit):
    """Fibre Channel, by the port's address if its worldwide name is right (SPC-4 7.6.3.4)."""

    type = CscdType.FC_ID_AND_NAME
    layout = _layout(lun=Bits(4, 64), port_name=Bits(12, 64), port_id=Bits(21, 24))

    port_name: int
    port_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelTarget(_ByUnit):
    """Parallel SCSI (SPC-4 7.6.3.5)."""

    type = CscdType.PARALLEL_T_L
    layout = _layout(lun=Bits(4, 64), vendor=Bits(12, 8), target=Bits(13, 8))

    target: int
    vendor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(_ByUnit):
    """By an entry of the alias list of the copy manager's unit (SPC-4 6.4.5.7)."""

    type = CscdType.ALIAS
    layout = _layout(lun=Bits(4, 64), alias=Bits(12, 64))

    alias: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RdmaTarget(_ByUnit):
    """SCSI RDMA protocol, by the target port identifier (SPC-4 7.6.3.7)."""

    type = CscdType.RDMA
    layout = _layout(lun=Bits(4, 64), target_port=Bits(12, 128))

    target_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ieee1394Target(_ByUnit):
    """Serial bus protocol, by EUI-64 and directory (SPC-4 7.6.3.6)."""

    type = CscdType.IEEE1394
    layout = _layout(lun=Bits(4, 64), eui_64=Bits(12, 64), directory=Bits(20, 24))

    eui_64: int
    directory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SasTarget(_ByUnit):
    """Serial attached SCSI, by address (SPC-4 7.6.3.10)."""

    type = CscdType.SAS
    layout = _layout(lun=Bits(4, 64), address=Bits(12, 64))

    address: int


TCP = 6
ISCSI_PORT = 3260


@dataclass(frozen=True, slots=True, kw_only=True)
class IscsiIpv4(_ByUnit):
    """iSCSI, by IPv4 address and port (SPC-4 7.6.3.8). ``protocol``: Internet protocol number."""

    type = CscdType.ISCSI_IPV4
    layout = _layout(lun=Bits(4, 64), address=Bits(12, 32), port=Bits(22, 16), protocol=Bits(26, 16))

    address: IPv4Address
    port: int = ISCSI_PORT
    protocol: int = TCP

    @classmethod
    def _converted(cls, field: dict[str, Any]) -> dict[str, Any]:
        return _ByUnit._converted(field) | {"address": IPv4Address(field["address"])}


@dataclass(frozen=True, slots=True, kw_only=True)
class IscsiIpv6(_ByUnit):
    """iSCSI, by IPv6 address and port: 64 bytes (SPC-4 7.6.3.9)."""

    type = CscdType.ISCSI_IPV6
    layout = _layout(2 * CSCD_LENGTH, lun=Bits(4, 64), address=Bits(12, 128), extension=Bits(32, 8),
                     port=Bits(34, 16), protocol=Bits(36, 16))

    address: IPv6Address
    port: int = ISCSI_PORT
    protocol: int = TCP

    @property
    def extension(self) -> int:
        return EXTENSION

    @classmethod
    def _converted(cls, field: dict[str, Any]) -> dict[str, Any]:
        if field.pop("extension") != EXTENSION:
            raise ParameterError("the descriptor lacks its extension", CSCD_LENGTH)
        return _ByUnit._converted(field) | {"address": IPv6Address(field["address"])}


Cscd = (Identification | FcPortName | FcPortId | FcPortIdAndName | ParallelTarget | IscsiIpv4 | Alias
        | RdmaTarget | Ieee1394Target | SasTarget | IscsiIpv6)

_ALL: tuple[type[Cscd], ...] = (
    Identification, FcPortName, FcPortId, FcPortIdAndName, ParallelTarget, IscsiIpv4, Alias, RdmaTarget,
    Ieee1394Target, SasTarget, IscsiIpv6)
_CLASSES: dict[int, type[Cscd]] = {one.type: one for one in _ALL}


def put_cscd(cscd: Cscd) -> bytes:
    """The descriptor: 32 bytes or, of a type with an extension, 64."""
    return cscd.put()


def take_cscd(data: Buffer, types: Collection[int] | None = None) -> Cscd:
    """The descriptor that ``data`` begins with. ``types``: those that are supported; None for all.

    ParameterError (a WireError) with the offset of what is wrong, 26/07 for a type not supported.
    """
    code = data[0] if data else 0
    found = _CLASSES.get(code)
    if found is None or (types is not None and code not in types):
        raise ParameterError(f"CSCD descriptor type {code:02X}h is not supported", 0,
                             Asc.UNSUPPORTED_TARGET_TYPE)
    if len(data) < found.layout.size:
        raise ParameterError(f"{len(data)} bytes for a CSCD descriptor of {found.layout.size}", 0)
    return found.take(data)


def take_cscds(data: Buffer, types: Collection[int] | None = None) -> tuple[Cscd, ...]:
    """A whole descriptor list. Raises as ``take_cscd``, the offset counted from the list's start."""
    found: list[Cscd] = []
    at = 0
    while at < len(data):
        try:
            found.append(take_cscd(data[at:at + 2 * CSCD_LENGTH], types))
        except ParameterError as error:
            raise error.moved(at) from None
        at += found[-1].layout.size
    return tuple(found)
