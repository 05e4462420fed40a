"""Data of the commands that every device type has: INQUIRY, vital product data, mode parameters. SPC-4.

Each value has ``put`` and ``take``. Data cut by an allocation length is taken as far as whole structures go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout, padded, text
from protocol.errors import WireError


class DeviceType(IntEnum):
    """Peripheral device types that are met here. SPC-4 table 143."""

    DISK = 0x00
    TAPE = 0x01
    PROCESSOR = 0x03
    CHANGER = 0x08
    CONTROLLER = 0x0C
    UNKNOWN = 0x1F


_INQUIRY = Layout(36, qualifier=Bits(0, 3, 5), type=Bits(0, 5), removable=Bits(1, 1, 7), version=Bits(2, 8),
                  hisup=Bits(3, 1, 4), format=Bits(3, 4), additional=Bits(4, 8), tpgs=Bits(5, 2, 4),
                  third_party_copy=Bits(5, 1, 3), protect=Bits(5, 1), multiport=Bits(6, 1, 4),
                  command_queue=Bits(7, 1, 1))
_VERSIONS_AT = 58
_MAX_VERSIONS = 8


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Standard INQUIRY data (SPC-4 6.6.2). ``type`` is a plain int where this software has no name for it.

    ``versions``: up to eight version descriptors.
    """

    type: int
    vendor: str = ""
    product: str = ""
    revision: str = ""
    qualifier: int = 0
    removable: bool = False
    version: int = 6
    third_party_copy: bool = False
    protect: bool = False
    command_queue: bool = True
    versions: tuple[int, ...] = ()

    def put(self) -> bytes:
        size = _VERSIONS_AT + 2 * _MAX_VERSIONS if self.versions else _INQUIRY.size
        data = bytearray(size)
        data[:36] = _INQUIRY.put(
            qualifier=self.qualifier, type=self.type, removable=self.removable, version=self.version, hisup=1,
            format=2, additional=size - 5, third_party_copy=self.third_party_copy, protect=self.protect,
            command_queue=self.command_queue)
        data[8:36] = padded(self.vendor, 8) + padded(self.product, 16) + padded(self.revision, 4)
        for number, version in enumerate(self.versions[:_MAX_VERSIONS]):
            at = _VERSIONS_AT + 2 * number
            data[at:at + 2] = version.to_bytes(2, "big")
        return bytes(data)

    @classmethod
    def take(cls, data: Buffer) -> Inquiry:
        field = _INQUIRY.take(data)
        found = (int.from_bytes(data[at:at + 2], "big")
                 for at in range(_VERSIONS_AT, min(len(data) - 1, _VERSIONS_AT + 2 * _MAX_VERSIONS), 2))
        return cls(field["type"], text(data[8:16]), text(data[16:32]), text(data[32:36]), field["qualifier"],
                   bool(field["removable"]), field["version"], bool(field["third_party_copy"]),
                   bool(field["protect"]), bool(field["command_queue"]), tuple(one for one in found if one))


class Vpd(IntEnum):
    """Vital product data pages. SPC-4 7.8, SBC-3 6.6, SSC-4 8.6."""

    SUPPORTED = 0x00
    SERIAL_NUMBER = 0x80
    IDENTIFICATION = 0x83
    EXTENDED_INQUIRY = 0x86
    THIRD_PARTY_COPY = 0x8F
    BLOCK_LIMITS = 0xB0
    SEQUENTIAL_CAPABILITIES = 0xB0
    BLOCK_CHARACTERISTICS = 0xB1
    PROVISIONING = 0xB2


_VPD = Layout(4, qualifier=Bits(0, 3, 5), type=Bits(0, 5), page=Bits(1, 8), length=Bits(2, 16))


@dataclass(frozen=True, slots=True)
class VpdPage:
    """One vital product data page: its code and what follows its four-byte header."""

    type: int
    page: int
    body: bytes

    def put(self) -> bytes:
        return _VPD.put(type=self.type, page=self.page, length=len(self.body)) + self.body

    @classmethod
    def take(cls, data: Buffer, page: int | None = None) -> VpdPage:
        """WireError where it is not the ``page`` asked for, or no page at all."""
        field = _VPD.take(data)
        if page is not None and field["page"] != page:
            raise WireError(f"VPD page {field['page']:02X}h came for {page:02X}h")
        return cls(field["type"], field["page"], bytes(data[4:4 + field["length"]]))


class DesignatorType(IntEnum):
    """SPC-4 7.8.6.1; of those that name a logical unit, the later ones here name it better."""

    VENDOR_SPECIFIC = 0x0
    T10 = 0x1
    EUI_64 = 0x2
    NAA = 0x3
    RELATIVE_PORT = 0x4
    PORT_GROUP = 0x5
    UNIT_GROUP = 0x6
    MD5 = 0x7
    NAME = 0x8


class CodeSet(IntEnum):
    BINARY = 1
    ASCII = 2
    UTF_8 = 3


UNIT, PORT, TARGET = range(3)
"""ASSOCIATION of a designator: the logical unit, the target port, the target device."""

_PREFIXES: dict[int, str] = {DesignatorType.T10: "t10.", DesignatorType.EUI_64: "eui.",
                             DesignatorType.NAA: "naa."}
_DESIGNATOR = Layout(4, protocol=Bits(0, 4, 4), code_set=Bits(0, 4), piv=Bits(1, 1, 7),
                     association=Bits(1, 2, 4), type=Bits(1, 4), length=Bits(3, 8))


@dataclass(frozen=True, slots=True)
class Designator:
    """One designation descriptor of VPD page 83h (SPC-4 7.8.6). ``protocol`` only where it names a port."""

    type: int
    identifier: bytes
    code_set: int = CodeSet.BINARY
    association: int = UNIT
    protocol: int | None = None

    def put(self) -> bytes:
        return _DESIGNATOR.put(
            protocol=self.protocol or 0, code_set=self.code_set, piv=self.protocol is not None,
            association=self.association, type=self.type, length=len(self.identifier)) + self.identifier

    @classmethod
    def take_all(cls, body: Buffer) -> tuple[Designator, ...]:
        """The descriptors of a page's body; one that the allocation length cut off is left out."""
        return tuple(cls._each(body))

    @classmethod
    def _each(cls, body: Buffer) -> Iterator[Designator]:
        at = 0
        while at + _DESIGNATOR.size <= len(body):
            field = _DESIGNATOR.take(body, at)
            start, at = at + _DESIGNATOR.size, at + _DESIGNATOR.size + field["length"]
            if at > len(body):
                return
            yield cls(field["type"], bytes(body[start:at]), field["code_set"], field["association"],
                      field["protocol"] if field["piv"] else None)

    @property
    def text(self) -> str:
        """How configurations and logs call a unit: naa.600..., eui.00..., t10.VENDOR... or the bare name."""
        binary = self.code_set == CodeSet.BINARY
        return _PREFIXES.get(self.type, "") + (self.identifier.hex() if binary else text(self.identifier))


def best_designator(designators: tuple[Designator, ...], longest: int = 255) -> Designator | None:
    """The one to know a logical unit by: NAA before EUI-64 before T10, of those at most ``longest`` bytes."""
    fit = [one for one in designators if one.association == UNIT and 0 < len(one.identifier) <= longest
           and DesignatorType.T10 <= one.type <= DesignatorType.NAA]
    return max(fit, key=lambda one: (one.type, len(one.identifier)), default=None)


def put_identification(device_type: int, designators: tuple[Designator, ...]) -> bytes:
    """VPD page 83h."""
    return VpdPage(device_type, Vpd.IDENTIFICATION, b"".join(one.put() for one in designators)).put()


def put_serial(device_type: int, serial: str) -> bytes:
    """VPD page 80h."""
    return VpdPage(device_type, Vpd.SERIAL_NUMBER, serial.encode("ascii", "replace")).put()


def take_serial(data: Buffer) -> str:
    """The serial number of VPD page 80h."""
    return text(VpdPage.take(data, Vpd.SERIAL_NUMBER).body)


class ModeControl(IntEnum):
    """PC of MODE SENSE (and LOG SENSE). SPC-4 table 174."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


ALL_PAGES = 0x3F
ALL_SUBPAGES = 0xFF

_MODE_6 = Layout(4, length=Bits(0, 8), medium_type=Bits(1, 8), specific=Bits(2, 8), descriptors=Bits(3, 8))
_MODE_10 = Layout(8, length=Bits(0, 16), medium_type=Bits(2, 8), specific=Bits(3, 8), long_lba=Bits(4, 1),
                  descriptors=Bits(6, 16))
_BLOCK = Layout(8, density=Bits(0, 8), blocks=Bits(1, 24), length=Bits(5, 24))
_PAGE = Layout(2, saveable=Bits(0, 1, 7), subformat=Bits(0, 1, 6), page=Bits(0, 6), length=Bits(1, 8))
_SUBPAGE = Layout(4, saveable=Bits(0, 1, 7), subformat=Bits(0, 1, 6), page=Bits(0, 6), subpage=Bits(1, 8),
                  length=Bits(2, 16))


@dataclass(frozen=True, slots=True)
class BlockDescriptor:
    """General mode parameter block descriptor (SPC-4 7.5.5): ``length`` 0 on a tape is variable blocks."""

    density: int = 0
    blocks: int = 0
    length: int = 0

    def put(self) -> bytes:
        return _BLOCK.put(density=self.density, blocks=self.blocks, length=self.length)

    @classmethod
    def take(cls, data: Buffer, offset: int = 0) -> BlockDescriptor:
        field = _BLOCK.take(data, offset)
        return cls(field["density"], field["blocks"], field["length"])


@dataclass(frozen=True, slots=True)
class ModePage:
    """A mode page: codes and what follows its header of two (or, with a subpage, four) bytes."""

    page: int
    body: bytes
    subpage: int = 0
    saveable: bool = False

    def put(self) -> bytes:
        if self.subpage:
            return _SUBPAGE.put(saveable=self.saveable, subformat=1, page=self.page, subpage=self.subpage,
                                length=len(self.body)) + self.body
        return _PAGE.put(saveable=self.saveable, page=self.page, length=len(self.body)) + self.body


@dataclass(frozen=True, slots=True)
class ModeParameters:
    """A mode parameter list (SPC-4 7.5), for MODE SENSE and MODE SELECT alike.

    ``specific`` is the device-specific parameter. Only the short form of block descriptor.
    """

    medium_type: int = 0
    specific: int = 0
    descriptors: tuple[BlockDescriptor, ...] = ()
    pages: tuple[ModePage, ...] = ()

    def _body(self) -> tuple[bytes, bytes]:
        return (b"".join(one.put() for one in self.descriptors), b"".join(one.put() for one in self.pages))

    def put_6(self, *, select: bool = False) -> bytes:
        """For the six-byte commands. With ``select`` the length field is reserved: zero."""
        blocks, pages = self._body()
        length = 0 if select else 3 + len(blocks) + len(pages)
        return _MODE_6.put(length=length, medium_type=self.medium_type, specific=self.specific,
                           descriptors=len(blocks)) + blocks + pages

    def put_10(self, *, select: bool = False) -> bytes:
        """For the ten-byte commands."""
        blocks, pages = self._body()
        length = 0 if select else 6 + len(blocks) + len(pages)
        return _MODE_10.put(length=length, medium_type=self.medium_type, specific=self.specific,
                            descriptors=len(blocks)) + blocks + pages

    @classmethod
    def take_6(cls, data: Buffer, *, select: bool = False) -> ModeParameters:
        field = _MODE_6.take(data)
        return cls._take(field, data, 4, len(data) if select else field["length"] + 1)

    @classmethod
    def take_10(cls, data: Buffer, *, select: bool = False) -> ModeParameters:
        field = _MODE_10.take(data)
        if field["long_lba"]:
            raise WireError("mode data with long block descriptors, which were not asked for")
        return cls._take(field, data, 8, len(data) if select else field["length"] + 2)

    @classmethod
    def _take(cls, field: dict[str, int], data: Buffer, start: int, end: int) -> ModeParameters:
        if field["descriptors"] % _BLOCK.size:
            raise WireError(f"{field['descriptors']} bytes of block descriptors of {_BLOCK.size} bytes each")
        end = min(end, len(data))
        pages_at = start + field["descriptors"]
        if pages_at > end:
            raise WireError("mode data ends inside its block descriptors")
        blocks = tuple(BlockDescriptor.take(data, at) for at in range(start, pages_at, _BLOCK.size))
        return cls(field["medium_type"], field["specific"], blocks, tuple(_mode_pages(data[pages_at:end])))

    def page(self, page: int, subpage: int = 0) -> ModePage | None:
        return next((one for one in self.pages if (one.page, one.subpage) == (page, subpage)), None)


def _mode_pages(data: Buffer) -> Iterator[ModePage]:
    """The whole pages in ``data``; an allocation length may have cut the last one off."""
    at = 0
    while at + _PAGE.size <= len(data):
        field = _PAGE.take(data, at)
        head = _PAGE.size
        if field["subformat"]:
            if at + _SUBPAGE.size > len(data):
                return
            field, head = _SUBPAGE.take(data, at), _SUBPAGE.size
        start, at = at + head, at + head + field["length"]
        if at > len(data):
            return
        yield ModePage(field["page"], bytes(data[start:at]), field.get("subpage", 0), bool(field["saveable"]))
