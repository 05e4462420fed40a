"""What all segment descriptors of EXTENDED COPY share: type codes, header, put and take. SPC-4 6.4.6."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar, Self

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.sense import ParameterError


class SegmentType(IntEnum):
    """SPC-4 table 146."""

    BLOCK_TO_STREAM = 0x00
    STREAM_TO_BLOCK = 0x01
    BLOCK_TO_BLOCK = 0x02
    STREAM_TO_STREAM = 0x03
    INLINE_TO_STREAM = 0x04
    EMBEDDED_TO_STREAM = 0x05
    STREAM_DISCARD = 0x06
    VERIFY = 0x07
    BLOCK_OFFSET_TO_STREAM = 0x08
    STREAM_TO_BLOCK_OFFSET = 0x09
    BLOCK_OFFSET_TO_BLOCK_OFFSET = 0x0A
    BLOCK_TO_STREAM_HELD = 0x0B
    STREAM_TO_BLOCK_HELD = 0x0C
    BLOCK_TO_BLOCK_HELD = 0x0D
    STREAM_TO_STREAM_HELD = 0x0E
    STREAM_DISCARD_HELD = 0x0F
    FILEMARKS = 0x10
    SPACE = 0x11
    LOCATE = 0x12
    TAPE_IMAGE = 0x13
    REGISTER_KEY = 0x14
    THIRD_PARTY_RESERVATION = 0x15


HEADER = Layout(4, code=Bits(0, 8), descriptor_length=Bits(2, 16))
_FLAGS = frozenset({"cat", "dc", "tur", "immediate", "unregister", "aptpl"})
_NOT_FIELDS = frozenset(HEADER.fields)

CAT = Bits(1, 1)
SOURCE = Bits(4, 16)
DESTINATION = Bits(6, 16)


def described(size: int, **fields: Bits) -> Layout:
    """A descriptor of ``size`` bytes with these fields behind its header."""
    return Layout(size, **HEADER.fields, **fields)


class Descriptor:
    """What all descriptors share: ``layout`` has the subclass's fields by their names."""

    __slots__ = ()
    base: ClassVar[SegmentType]
    held_type: ClassVar[SegmentType | None] = None
    layout: ClassVar[Layout]

    @property
    def type(self) -> SegmentType:
        if self.held_type is not None and getattr(self, "held", False):
            return self.held_type
        return self.base

    @property
    def length(self) -> int:
        """Bytes on the wire."""
        return self.layout.size

    def put(self) -> bytes:
        """ValueError for a field that does not fit."""
        return self.layout.put(code=self.type, descriptor_length=self.length - HEADER.size, **self._fields())

    def _fields(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in self.layout.fields if name not in _NOT_FIELDS}

    @classmethod
    def take(cls, data: Buffer) -> Self:
        """From exactly the bytes of one descriptor."""
        field = cls.layout.take(data)
        length = cls.layout.size - HEADER.size
        if field["descriptor_length"] != length:
            raise ParameterError(f"segment type {field['code']:02X}h of length {field['descriptor_length']}, "
                                 f"not {length}", 2)
        return cls(**cls._values(field))

    @classmethod
    def _values(cls, field: dict[str, int]) -> dict[str, Any]:
        values: dict[str, Any] = {name: bool(value) if name in _FLAGS else value
                                  for name, value in field.items() if name not in _NOT_FIELDS}
        if cls.held_type is not None:
            values["held"] = field["code"] == cls.held_type
        return values
