"""Log pages and medium auxiliary memory: what a unit counts. SPC-4 7.3 and 7.4, SSC-4 8.3.

Both are lists of numbered values; those that a tape drive gives about space and errors are named here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout, text


class LogPage(IntEnum):
    """Log page codes. SPC-4 7.3.1, SSC-4 8.3.1."""

    SUPPORTED = 0x00
    WRITE_ERRORS = 0x02
    READ_ERRORS = 0x03
    SEQUENTIAL_ACCESS = 0x0C
    TAPE_ALERT = 0x2E


CORRECTED = 0x0003
"""Parameter of the error counter pages: total errors corrected. SPC-4 7.3.7."""

_PAGE = Layout(4, ds=Bits(0, 1, 7), spf=Bits(0, 1, 6), page=Bits(0, 6), subpage=Bits(1, 8),
               length=Bits(2, 16))
_PARAMETER = Layout(4, code=Bits(0, 16), control=Bits(2, 8), length=Bits(3, 8))


@dataclass(frozen=True, slots=True)
class LogParameter:
    """One log parameter. ``control`` is its control byte; 3 says a binary list, 0 a counter."""

    code: int
    value: bytes
    control: int = 0

    @property
    def number(self) -> int:
        return int.from_bytes(self.value, "big")


@dataclass(frozen=True, slots=True)
class LogData:
    """A log page: its codes and its parameters in order."""

    page: int
    parameters: tuple[LogParameter, ...] = ()
    subpage: int = 0

    def put(self) -> bytes:
        body = b"".join(_PARAMETER.put(code=one.code, control=one.control, length=len(one.value)) + one.value
                        for one in self.parameters)
        return _PAGE.put(spf=self.subpage > 0, page=self.page, subpage=self.subpage, length=len(body)) + body

    @classmethod
    def take(cls, data: Buffer) -> LogData:
        """Whole parameters only: an allocation length may have cut the last one off."""
        field = _PAGE.take(data)
        return cls(field["page"], tuple(cls._each(data[_PAGE.size:_PAGE.size + field["length"]])),
                   field["subpage"])

    @staticmethod
    def _each(body: Buffer) -> Iterator[LogParameter]:
        at = 0
        while at + _PARAMETER.size <= len(body):
            field = _PARAMETER.take(body, at)
            start, at = at + _PARAMETER.size, at + _PARAMETER.size + field["length"]
            if at > len(body):
                return
            yield LogParameter(field["code"], bytes(body[start:at]), field["control"])

    def number(self, code: int) -> int | None:
        return next((one.number for one in self.parameters if one.code == code), None)


class Attribute(IntEnum):
    """Medium auxiliary memory attributes. SPC-4 7.4.2; the two capacities count mebibytes."""

    REMAINING_CAPACITY = 0x0000
    MAXIMUM_CAPACITY = 0x0001
    TAPE_ALERT_FLAGS = 0x0002
    LOAD_COUNT = 0x0003
    MEMORY_SPACE_REMAINING = 0x0004
    DENSITY = 0x0006
    MANUFACTURER = 0x0400
    MEDIUM_SERIAL_NUMBER = 0x0401
    BARCODE = 0x0806


class AttributeFormat(IntEnum):
    BINARY = 0
    ASCII = 1
    TEXT = 2


_AVAILABLE = Layout(4, available=Bits(0, 32))
_ATTRIBUTE = Layout(5, id=Bits(0, 16), read_only=Bits(2, 1, 7), format=Bits(2, 2), length=Bits(3, 16))


@dataclass(frozen=True, slots=True)
class MediumAttribute:
    """One attribute as READ ATTRIBUTE returns it."""

    id: int
    value: bytes
    format: int = AttributeFormat.BINARY
    read_only: bool = True

    @property
    def number(self) -> int:
        return int.from_bytes(self.value, "big")

    @property
    def text(self) -> str:
        return text(self.value)

    def put(self) -> bytes:
        return _ATTRIBUTE.put(id=self.id, read_only=self.read_only, format=self.format,
                              length=len(self.value)) + self.value


def put_attributes(attributes: tuple[MediumAttribute, ...]) -> bytes:
    """Parameter data of READ ATTRIBUTE, service action 00h: AVAILABLE DATA and the attributes."""
    body = b"".join(one.put() for one in attributes)
    return len(body).to_bytes(4, "big") + body


def take_attributes(data: Buffer) -> dict[int, MediumAttribute]:
    """The whole attributes in the parameter data, by identifier. WireError where its header is cut."""
    end = min(len(data), 4 + _AVAILABLE.take(data)["available"])
    found = {}
    at = _AVAILABLE.size
    while at + _ATTRIBUTE.size <= end:
        field = _ATTRIBUTE.take(data, at)
        start, at = at + _ATTRIBUTE.size, at + _ATTRIBUTE.size + field["length"]
        if at > end:
            break
        found[field["id"]] = MediumAttribute(field["id"], bytes(data[start:at]), field["format"],
                                             bool(field["read_only"]))
    return found
