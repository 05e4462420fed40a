"""Data of the media changer commands: elements and what they hold. SMC-3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby

from protocol.bits import Bits, Buffer, Layout, padded, text
from protocol.errors import WireError
from protocol.scsi.spc import Designator


class ElementType(IntEnum):
    """ELEMENT TYPE CODE. SMC-3 table 13."""

    ALL = 0
    TRANSPORT = 1
    STORAGE = 2
    IMPORT_EXPORT = 3
    DATA_TRANSFER = 4


class ChangerPage(IntEnum):
    """Mode pages of a changer. SMC-3 table 33."""

    ELEMENT_ADDRESSES = 0x1D
    TRANSPORT_GEOMETRY = 0x1E
    CAPABILITIES = 0x1F


_HEADER = Layout(8, first=Bits(0, 16), elements=Bits(2, 16), length=Bits(5, 24))
_PAGE = Layout(8, type=Bits(0, 8), voltag=Bits(1, 1, 7), alternate=Bits(1, 1, 6), descriptor=Bits(2, 16),
               length=Bits(5, 24))
_ELEMENT = Layout(12, address=Bits(0, 16), import_enabled=Bits(2, 1, 5), export_enabled=Bits(2, 1, 4),
                  access=Bits(2, 1, 3), exception=Bits(2, 1, 2), by_operator=Bits(2, 1, 1), full=Bits(2, 1),
                  code=Bits(4, 16), source_valid=Bits(9, 1, 7), invert=Bits(9, 1, 6), disabled=Bits(9, 1, 3),
                  medium_type=Bits(9, 3), source=Bits(10, 16))
_IDENTIFIER = Layout(4, code_set=Bits(0, 4), type=Bits(1, 4), length=Bits(3, 8))
_TAG = 36
_TAG_NAME = 32


@dataclass(frozen=True, slots=True)
class Element:
    """One element and what is known of its contents (SMC-3 6.11).

    ``source``: storage address where its cartridge came from, None where not valid. ``barcode``: "" where
    none was asked for or read. ``code``: ASC and ASCQ of an abnormal state, None where normal. ``device``:
    the drive in a data transfer element, where asked for. ``by_operator``: import/export, filled by hand.
    """

    type: int
    address: int
    full: bool = False
    access: bool = True
    source: int | None = None
    barcode: str = ""
    code: int | None = None
    by_operator: bool = False
    device: Designator | None = None


def put_element_status(elements: tuple[Element, ...], *, voltag: bool, dvcid: bool = False) -> bytes:
    """Parameter data of READ ELEMENT STATUS for these elements, which come ordered by type."""
    body = b""
    for kind, group in groupby(elements, key=lambda one: one.type):
        descriptors = [_put_element(one, voltag, dvcid) for one in group]
        size = max(len(one) for one in descriptors)
        page = b"".join(one.ljust(size, b"\0") for one in descriptors)
        body += _PAGE.put(type=kind, voltag=voltag, descriptor=size, length=len(page)) + page
    first = min((one.address for one in elements), default=0)
    return _HEADER.put(first=first, elements=len(elements), length=len(body)) + body


def _put_element(element: Element, voltag: bool, dvcid: bool) -> bytes:
    movable = element.type == ElementType.IMPORT_EXPORT
    data = _ELEMENT.put(
        address=element.address, import_enabled=movable, export_enabled=movable, access=element.access,
        exception=element.code is not None, by_operator=element.by_operator, full=element.full,
        code=element.code or 0, source_valid=element.source is not None, source=element.source or 0)
    if voltag:
        data += padded(element.barcode, _TAG_NAME) if element.barcode else bytes(_TAG_NAME)
        data += bytes(_TAG - _TAG_NAME)
    if dvcid and element.device is not None:
        device = element.device
        return data + _IDENTIFIER.put(code_set=device.code_set, type=device.type,
                                      length=len(device.identifier)) + device.identifier
    return data + bytes(_IDENTIFIER.size)


@dataclass(frozen=True, slots=True)
class ElementStatus:
    """Parameter data of READ ELEMENT STATUS. ``length``: bytes of the whole report, however much came."""

    elements: tuple[Element, ...]
    length: int

    @classmethod
    def take(cls, data: Buffer) -> ElementStatus:
        """Whole descriptors only; WireError where one contradicts its page."""
        field = _HEADER.take(data)
        end = min(len(data), _HEADER.size + field["length"])
        return cls(tuple(_take_pages(data, end)), _HEADER.size + field["length"])


def _take_pages(data: Buffer, end: int) -> Iterator[Element]:
    at = _HEADER.size
    while at + _PAGE.size <= end:
        page = _PAGE.take(data, at)
        size = page["descriptor"]
        start, at = at + _PAGE.size, at + _PAGE.size + page["length"]
        if size < _ELEMENT.size + _TAG * (page["voltag"] + page["alternate"]):
            raise WireError(f"element descriptors of {size} bytes")
        for place in range(start, min(at, end) - size + 1, size):
            yield _take_element(page, data[place:place + size])


def _take_element(page: dict[str, int], data: Buffer) -> Element:
    field = _ELEMENT.take(data)
    after = _ELEMENT.size
    barcode = ""
    if page["voltag"]:
        barcode = text(data[after:after + _TAG_NAME])
        after += _TAG
    after += _TAG * page["alternate"]
    device = None
    if after + _IDENTIFIER.size <= len(data):
        named = _IDENTIFIER.take(data, after)
        name = bytes(data[after + _IDENTIFIER.size:after + _IDENTIFIER.size + named["length"]])
        if name and len(name) == named["length"]:
            device = Designator(named["type"], name, named["code_set"])
    return Element(page["type"], field["address"], bool(field["full"]), bool(field["access"]),
                   field["source"] if field["source_valid"] else None, barcode,
                   field["code"] if field["exception"] else None, bool(field["by_operator"]), device)


_ADDRESSES = Layout(18, transport=Bits(0, 16), transports=Bits(2, 16), storage=Bits(4, 16),
                    storages=Bits(6, 16), ports=Bits(8, 16), port_count=Bits(10, 16), drives=Bits(12, 16),
                    drive_count=Bits(14, 16))


@dataclass(frozen=True, slots=True)
class ElementAddresses:
    """Body of mode page 1Dh (SMC-3 7.3.4): per kind, the first address and how many."""

    transports: tuple[int, int]
    storages: tuple[int, int]
    ports: tuple[int, int]
    drives: tuple[int, int]

    def put(self) -> bytes:
        return _ADDRESSES.put(
            transport=self.transports[0], transports=self.transports[1], storage=self.storages[0],
            storages=self.storages[1], ports=self.ports[0], port_count=self.ports[1], drives=self.drives[0],
            drive_count=self.drives[1])

    @classmethod
    def take(cls, body: Buffer) -> ElementAddresses:
        field = _ADDRESSES.take(body)
        return cls((field["transport"], field["transports"]), (field["storage"], field["storages"]),
                   (field["ports"], field["port_count"]), (field["drives"], field["drive_count"]))


_CAPABILITIES = Layout(18, store_drive=Bits(0, 1, 3), store_port=Bits(0, 1, 2), store_slot=Bits(0, 1, 1),
                       store_arm=Bits(0, 1), from_arm=Bits(2, 4), from_slot=Bits(3, 4), from_port=Bits(4, 4),
                       from_drive=Bits(5, 4))
_ANYWHERE = 0xE
"""To a drive, a port or a slot; not to the arm."""


def put_capabilities() -> bytes:
    """Body of mode page 1Fh (SMC-3 7.3.3) of a changer that stores and moves between all but its arm."""
    return _CAPABILITIES.put(store_drive=1, store_port=1, store_slot=1, from_slot=_ANYWHERE,
                             from_port=_ANYWHERE, from_drive=_ANYWHERE)
