"""Segment descriptors of EXTENDED COPY: what a copy manager does, step by step. SPC-4 6.4.6.

Those that move data come from ``copysegments.py``; here are those that act on one unit, and the list.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from protocol.bits import Bits, Buffer
from protocol.scsi.asc import Asc
from protocol.scsi.copysegments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    InlineToStream,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
)
from protocol.scsi.segmentform import DESTINATION, HEADER, SOURCE, Descriptor, SegmentType, described
from protocol.scsi.sense import ParameterError

__all__ = [
    "BlockOffsetToBlockOffset",
    "BlockOffsetToStream",
    "BlockToBlock",
    "BlockToStream",
    "EmbeddedToStream",
    "Filemarks",
    "InlineToStream",
    "Locate",
    "RegisterKey",
    "Segment",
    "SegmentType",
    "Space",
    "StreamDiscard",
    "StreamToBlock",
    "StreamToBlockOffset",
    "StreamToStream",
    "TapeImage",
    "ThirdPartyReservation",
    "Verify",
    "count_segments",
    "take_segment",
    "take_segments",
]


@dataclass(frozen=True, slots=True)
class Verify(Descriptor):
    """Is the unit there and, with ``tur``, ready (6.4.6.9)?"""

    base = SegmentType.VERIFY
    layout = described(12, source=SOURCE, tur=Bits(8, 1))

    source: int
    tur: bool = False


@dataclass(frozen=True, slots=True)
class Filemarks(Descriptor):
    """WRITE FILEMARKS; ``immediate``: with IMMED (6.4.6.13)."""

    base = SegmentType.FILEMARKS
    layout = described(12, destination=DESTINATION, immediate=Bits(8, 1), count=Bits(9, 24))

    destination: int
    count: int
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class Space(Descriptor):
    """SPACE by ``count``, negative towards the beginning; ``code`` as in the command (6.4.6.14)."""

    base = SegmentType.SPACE
    layout = described(12, destination=DESTINATION, space_code=Bits(8, 3), count=Bits(9, 24))

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
class Locate(Descriptor):
    """LOCATE to logical object ``position`` of the current partition (6.4.6.15)."""

    base = SegmentType.LOCATE
    layout = described(12, destination=DESTINATION, position=Bits(8, 32))

    destination: int
    position: int


@dataclass(frozen=True, slots=True)
class TapeImage(Descriptor):
    """Tape to tape, records and marks, up to ``count`` filemarks in a row; 0: to the end (6.4.6.16)."""

    base = SegmentType.TAPE_IMAGE
    layout = described(12, source=SOURCE, destination=DESTINATION, count=Bits(8, 32))

    source: int
    destination: int
    count: int


@dataclass(frozen=True, slots=True)
class RegisterKey(Descriptor):
    """PERSISTENT RESERVE OUT, REGISTER (6.4.6.17)."""

    base = SegmentType.REGISTER_KEY
    layout = described(28, destination=DESTINATION, key=Bits(8, 64), service_action_key=Bits(16, 64))

    destination: int
    key: int
    service_action_key: int


@dataclass(frozen=True, slots=True)
class ThirdPartyReservation(Descriptor):
    """PERSISTENT RESERVE OUT, REGISTER AND MOVE, after all other segments (6.4.6.18).

    ``transport_id``: a multiple of 4 bytes; ``relative_port``: the target port that the reservation goes to.
    """

    base = SegmentType.THIRD_PARTY_RESERVATION
    layout = described(32, destination=DESTINATION, key=Bits(8, 64), service_action_key=Bits(16, 64),
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
        return Descriptor.put(self) + self.transport_id

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
    if len(data) - at < HEADER.size:
        raise ParameterError("the segment list ends inside a descriptor", at)
    end = at + HEADER.size + int.from_bytes(data[at + 2:at + 4], "big")
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
