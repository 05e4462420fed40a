"""Segment descriptors of EXTENDED COPY: what a copy manager does, step by step. SPC-4 6.4.6.

``source`` and ``destination`` are ids of CSCD descriptors (``cscd.py``). A transfer length is what one READ
or WRITE of a stream device moves: bytes of a variable record, or blocks where its descriptor says FIXED.
``cat``: what does not fill a whole block or record is kept for the next segment. ``held``: the copy manager
also keeps the data for RECEIVE COPY DATA.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.asc import Asc
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


_HEADER = Layout(4, code=Bits(0, 8), descriptor_length=Bits(2, 16))
_FLAGS = frozenset({"cat", "dc", "tur", "immediate", "unregister", "aptpl"})
_NOT_FIELDS = frozenset({"code", "descriptor_length"})

_CAT = Bits(1, 1)
_SOURCE = Bits(4, 16)
_DESTINATION = Bits(6, 16)


def _layout(size: int, **fields: Bits) -> Layout:
    return Layout(size, code=Bits(0, 8), descriptor_length=Bits(2, 16), **fields)


class _Segment:
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
        return self.layout.put(code=self.type, descriptor_length=self.length - _HEADER.size, **self._fields())

    def _fields(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in self.layout.fields if name not in _NOT_FIELDS}

    @classmethod
    def take(cls, data: Buffer) -> Self:
        """From exactly the bytes of one descriptor."""
        field = cls.layout.take(data)
        length = cls.layout.size - _HEADER.size
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


@dataclass(frozen=True, slots=True)
class _BlocksAndStream(_Segment):
    """Whole blocks, either way."""

    layout = _layout(24, cat=_CAT, source=_SOURCE, destination=_DESTINATION, transfer_length=Bits(9, 24),
                     blocks=Bits(14, 16), lba=Bits(16, 64))

    source: int
    destination: int
    transfer_length: int
    blocks: int
    lba: int
    cat: bool = False
    held: bool = False


class BlockToStream(_BlocksAndStream):
    """``blocks`` of a disk from ``lba`` on go to a tape (6.4.6.2)."""

    __slots__ = ()
    base = SegmentType.BLOCK_TO_STREAM
    held_type = SegmentType.BLOCK_TO_STREAM_HELD


class StreamToBlock(_BlocksAndStream):
    """``blocks`` of a disk from ``lba`` on are filled from a tape (6.4.6.3)."""

    __slots__ = ()
    base = SegmentType.STREAM_TO_BLOCK
    held_type = SegmentType.STREAM_TO_BLOCK_HELD


@dataclass(frozen=True, slots=True)
class BlockToBlock(_Segment):
    """Disk to disk (6.4.6.4). ``blocks`` are the source's, or with ``dc`` the destination's."""

    base = SegmentType.BLOCK_TO_BLOCK
    held_type = SegmentType.BLOCK_TO_BLOCK_HELD
    layout = _layout(28, dc=Bits(1, 1, 1), cat=_CAT, source=_SOURCE, destination=_DESTINATION,
                     blocks=Bits(10, 16), source_lba=Bits(12, 64), destination_lba=Bits(20, 64))

    source: int
    destination: int
    blocks: int
    source_lba: int
    destination_lba: int
    dc: bool = False
    cat: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class StreamToStream(_Segment):
    """``byte_count`` bytes from tape to tape (6.4.6.5)."""

    base = SegmentType.STREAM_TO_STREAM
    held_type = SegmentType.STREAM_TO_STREAM_HELD
    layout = _layout(20, cat=_CAT, source=_SOURCE, destination=_DESTINATION,
                     source_transfer_length=Bits(9, 24), destination_transfer_length=Bits(13, 24),
                     byte_count=Bits(16, 32))

    source: int
    destination: int
    source_transfer_length: int
    destination_transfer_length: int
    byte_count: int
    cat: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class InlineToStream(_Segment):
    """``byte_count`` bytes at ``inline_offset``, a multiple of 4, of the inline data to a tape (6.4.6.6)."""

    base = SegmentType.INLINE_TO_STREAM
    layout = _layout(20, cat=_CAT, destination=_DESTINATION, transfer_length=Bits(9, 24),
                     inline_offset=Bits(12, 32), byte_count=Bits(16, 32))

    destination: int
    transfer_length: int
    inline_offset: int
    byte_count: int
    cat: bool = False

    def put(self) -> bytes:
        if self.inline_offset % 4:
            raise ValueError(f"inline data at {self.inline_offset}, which is no multiple of 4")
        return _Segment.put(self)

    @classmethod
    def _values(cls, field: dict[str, int]) -> dict[str, Any]:
        if field["inline_offset"] % 4:
            raise ParameterError(f"inline data at {field['inline_offset']}, which is no multiple of 4", 12)
        # Without arguments, super() would look for the class that slots=True has replaced.
        return super(InlineToStream, cls)._values(field)


@dataclass(frozen=True, slots=True)
class EmbeddedToStream(_Segment):
    """``data``, which the descriptor itself carries, goes to a tape (6.4.6.7). At most 65520 bytes."""

    base = SegmentType.EMBEDDED_TO_STREAM
    layout = _layout(16, cat=_CAT, destination=_DESTINATION, transfer_length=Bits(9, 24),
                     data_length=Bits(12, 16))

    destination: int
    transfer_length: int
    data: bytes
    cat: bool = False

    @property
    def length(self) -> int:
        """Bytes on the wire, where the data is filled up to a multiple of 4 with zeros."""
        return self.layout.size + (len(self.data) + 3) // 4 * 4

    @property
    def data_length(self) -> int:
        return len(self.data)

    def put(self) -> bytes:
        head = _Segment.put(self)
        return (head + self.data).ljust(self.length, b"\0")

    @classmethod
    def take(cls, data: Buffer) -> Self:
        field = cls.layout.take(data)
        if len(data) % 4:
            raise ParameterError(f"embedded data of length {field['descriptor_length']}, no multiple of 4", 2)
        if field["data_length"] > len(data) - cls.layout.size:
            raise ParameterError(f"{field['data_length']} bytes of embedded data are more than there are", 12)
        return cls(field["destination"], field["transfer_length"],
                   bytes(data[cls.layout.size:cls.layout.size + field["data_length"]]),
                   bool(field["cat"]))


@dataclass(frozen=True, slots=True)
class StreamDiscard(_Segment):
    """``byte_count`` bytes of a tape are read and, unless ``held``, dropped (6.4.6.8)."""

    base = SegmentType.STREAM_DISCARD
    held_type = SegmentType.STREAM_DISCARD_HELD
    layout = _layout(16, cat=_CAT, source=_SOURCE, transfer_length=Bits(9, 24), byte_count=Bits(12, 32))

    source: int
    transfer_length: int
    byte_count: int
    cat: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Verify(_Segment):
    """Is the unit there and, with ``tur``, ready (6.4.6.9)?"""

    base = SegmentType.VERIFY
    layout = _layout(12, source=_SOURCE, tur=Bits(8, 1))

    source: int
    tur: bool = False


@dataclass(frozen=True, slots=True)
class _BytesAndStream(_Segment):
    """Any bytes of a disk, either way."""

    layout = _layout(28, cat=_CAT, source=_SOURCE, destination=_DESTINATION, transfer_length=Bits(9, 24),
                     byte_count=Bits(12, 32), lba=Bits(16, 64), byte_offset=Bits(26, 16))

    source: int
    destination: int
    transfer_length: int
    byte_count: int
    lba: int
    byte_offset: int
    cat: bool = False


class BlockOffsetToStream(_BytesAndStream):
    """``byte_count`` bytes of a disk, from ``byte_offset`` in block ``lba`` on, go to a tape (6.4.6.10)."""

    __slots__ = ()
    base = SegmentType.BLOCK_OFFSET_TO_STREAM


class StreamToBlockOffset(_BytesAndStream):
    """``byte_count`` bytes of a disk, from ``byte_offset`` in ``lba`` on, come from a tape (6.4.6.11)."""

    __slots__ = ()
    base = SegmentType.STREAM_TO_BLOCK_OFFSET


@dataclass(frozen=True, slots=True)
class BlockOffsetToBlockOffset(_Segment):
    """``byte_count`` bytes from disk to disk (6.4.6.12)."""

    base = SegmentType.BLOCK_OFFSET_TO_BLOCK_OFFSET
    layout = _layout(32, cat=_CAT, source=_SOURCE, destination=_DESTINATION, byte_count=Bits(8, 32),
                     source_lba=Bits(12, 64), destination_lba=Bits(20, 64), source_offset=Bits(28, 16),
                     destination_offset=Bits(30, 16))

    source: int
    destination: int
    byte_count: int
    source_lba: int
    destination_lba: int
    source_offset: int
    destination_offset: int
    cat: bool = False


@dataclass(frozen=True, slots=True)
class Filemarks(_Segment):
    """WRITE FILEMARKS; ``immediate``: with IMMED (6.4.6.13)."""

    base = SegmentType.FILEMARKS
    layout = _layout(12, destination=_DESTINATION, immediate=Bits(8, 1), count=Bits(9, 24))

    destination: int
    count: int
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class Space(_Segment):
    """SPACE by ``count``, negative towards the beginning; ``code`` as in the command (6.4.6.14)."""

    base = SegmentType.SPACE
    layout = _layout(12, destination=_DESTINATION, space_code=Bits(8, 3), count=Bits(9, 24))

    destination: int
    code: int
    count: int

    def _fields(self) -> dict[str, int]:
        if not -1 << 23 <= self.count < 1 << 23:
            raise ValueError(f"count={self.count} does not fit 24 bits")
        return {"destination": self.destination, "space_code": self.code, "count": self.count & 0xFFFFFF}

    @classmethod
    def _values(cls, field: dict[str, int]) -> dict[str, Any]:
        count = field["count"]
        return {"destination": field["destination"], "code": field["space_code"],
                "count": count - (1 << 24) if count >> 23 else count}


@dataclass(frozen=True, slots=True)
class Locate(_Segment):
    """LOCATE to logical object ``position`` of the current partition (6.4.6.15)."""

    base = SegmentType.LOCATE
    layout = _layout(12, destination=_DESTINATION, position=Bits(8, 32))

    destination: int
    position: int


@dataclass(frozen=True, slots=True)
class TapeImage(_Segment):
    """Tape to tape, records and marks, up to ``count`` filemarks in a row; 0: to the end (6.4.6.16)."""

    base = SegmentType.TAPE_IMAGE
    layout = _layout(12, source=_SOURCE, destination=_DESTINATION, count=Bits(8, 32))

    source: int
    destination: int
    count: int


@dataclass(frozen=True, slots=True)
class RegisterKey(_Segment):
    """PERSISTENT RESERVE OUT, REGISTER (6.4.6.17)."""

    base = SegmentType.REGISTER_KEY
    layout = _layout(28, destination=_DESTINATION, key=Bits(8, 64), service_action_key=Bits(16, 64))

    destination: int
    key: int
    service_action_key: int


@dataclass(frozen=True, slots=True)
class ThirdPartyReservation(_Segment):
    """PERSISTENT RESERVE OUT, REGISTER AND MOVE, after all other segments (6.4.6.18).

    ``transport_id``: a multiple of 4 bytes; ``relative_port``: the target port that the reservation goes to.
    """

    base = SegmentType.THIRD_PARTY_RESERVATION
    layout = _layout(32, destination=_DESTINATION, key=Bits(8, 64), service_action_key=Bits(16, 64),
                     unregister=Bits(25, 1, 1), aptpl=Bits(25, 1), relative_port=Bits(26, 16),
                     id_length=Bits(28, 32))

    destination: int
    key: int
    service_action_key: int
    transport_id: bytes
    relative_port: int = 0
    unregister: bool = False
    aptpl: bool = False

    @property
    def length(self) -> int:
        """Bytes on the wire."""
        return self.layout.size + len(self.transport_id)

    @property
    def id_length(self) -> int:
        return len(self.transport_id)

    def put(self) -> bytes:
        if self.id_length % 4:
            raise ValueError(f"TransportID of {self.id_length} bytes, which is no multiple of 4")
        return _Segment.put(self) + self.transport_id

    @classmethod
    def take(cls, data: Buffer) -> Self:
        field = cls.layout.take(data)
        if len(data) % 4:
            raise ParameterError(f"segment of length {field['descriptor_length']}, no multiple of 4", 2)
        if field["id_length"] != len(data) - cls.layout.size:
            raise ParameterError(f"TransportID of {field['id_length']} bytes in a segment of {len(data)}", 28)
        return cls(field["destination"], field["key"], field["service_action_key"],
                   bytes(data[cls.layout.size:]), field["relative_port"], bool(field["unregister"]),
                   bool(field["aptpl"]))


Segment = (BlockToStream | StreamToBlock | BlockToBlock | StreamToStream | InlineToStream | EmbeddedToStream
           | StreamDiscard | Verify | BlockOffsetToStream | StreamToBlockOffset | BlockOffsetToBlockOffset
           | Filemarks | Space | Locate | TapeImage | RegisterKey | ThirdPartyReservation)

_ALL: tuple[type[Segment], ...] = (
    BlockToStream, StreamToBlock, BlockToBlock, StreamToStream, InlineToStream, EmbeddedToStream,
    StreamDiscard, Verify, BlockOffsetToStream, StreamToBlockOffset, BlockOffsetToBlockOffset, Filemarks,
    Space, Locate, TapeImage, RegisterKey, ThirdPartyReservation)
_CLASSES: dict[int, type[Segment]] = {
    code: one for one in _ALL for code in (one.base, one.held_type) if code is not None}


def _end(data: Buffer, at: int) -> int:
    """The byte after the descriptor at ``at``, by its length field."""
    if len(data) - at < _HEADER.size:
        raise ParameterError("the segment list ends inside a descriptor", at)
    end = at + _HEADER.size + int.from_bytes(data[at + 2:at + 4], "big")
    if end > len(data):
        raise ParameterError("the segment list ends inside a descriptor", at + 2)
    return end


def count_segments(data: Buffer) -> int:
    """How many descriptors a list holds, by their length fields. ParameterError where it ends in one."""
    count = at = 0
    while at < len(data):
        at = _end(data, at)
        count += 1
    return count


def take_segment(data: Buffer, at: int = 0, types: Collection[int] | None = None) -> tuple[Segment, int]:
    """The descriptor at ``at``, and where the next one begins. ``types``: those supported; None for all.

    ParameterError (a WireError) with the offset in ``data`` of what is wrong, 26/09 for a type not supported.
    """
    code = data[at] if at < len(data) else 0
    found = _CLASSES.get(code)
    if found is None or (types is not None and code not in types):
        raise ParameterError(f"segment descriptor type {code:02X}h is not supported", at,
                             Asc.UNSUPPORTED_SEGMENT_TYPE)
    end = _end(data, at)
    if end - at < found.layout.size:
        raise ParameterError(f"segment type {code:02X}h of {end - at} bytes is too short", at + 2)
    try:
        return found.take(data[at:end]), end
    except ParameterError as error:
        raise error.moved(at) from None


def take_segments(data: Buffer, types: Collection[int] | None = None) -> list[Segment]:
    """A whole descriptor list. Raises as ``take_segment``."""
    found: list[Segment] = []
    at = 0
    while at < len(data):
        segment, at = take_segment(data, at, types)
        found.append(segment)
    return found
