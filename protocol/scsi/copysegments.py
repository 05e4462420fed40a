"""Segment descriptors that move data: types 00h to 06h and 08h to 0Fh. SPC-4 6.4.6.2 to 6.4.6.12.

``source`` and ``destination`` are ids of CSCD descriptors (``cscd.py``). A transfer length is what one READ
or WRITE of a stream device moves: bytes of a variable record, or blocks where its descriptor says FIXED.
``cat``: what does not fill a whole block or record is kept for the next segment. ``held``: the copy manager
also keeps the data for RECEIVE COPY DATA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from protocol.bits import Bits, Buffer
from protocol.scsi.segmentform import CAT, DESTINATION, SOURCE, Descriptor, SegmentType, described
from protocol.scsi.sense import ParameterError


@dataclass(frozen=True, slots=True)
class _BlocksAndStream(Descriptor):
    """Whole blocks, either way."""

    layout = described(24, cat=CAT, source=SOURCE, destination=DESTINATION, transfer_length=Bits(9, 24),
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
class BlockToBlock(Descriptor):
    """Disk to disk (6.4.6.4). ``blocks`` are the source's, or with ``dc`` the destination's."""

    base = SegmentType.BLOCK_TO_BLOCK
    held_type = SegmentType.BLOCK_TO_BLOCK_HELD
    layout = described(28, dc=Bits(1, 1, 1), cat=CAT, source=SOURCE, destination=DESTINATION,
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
class StreamToStream(Descriptor):
    """``byte_count`` bytes from tape to tape (6.4.6.5)."""

    base = SegmentType.STREAM_TO_STREAM
    held_type = SegmentType.STREAM_TO_STREAM_HELD
    layout = described(20, cat=CAT, source=SOURCE, destination=DESTINATION,
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
class InlineToStream(Descriptor):
    """``byte_count`` bytes at ``inline_offset``, a multiple of 4, of the inline data to a tape (6.4.6.6)."""

    base = SegmentType.INLINE_TO_STREAM
    layout = described(20, cat=CAT, destination=DESTINATION, transfer_length=Bits(9, 24),
                     inline_offset=Bits(12, 32), byte_count=Bits(16, 32))

    destination: int
    transfer_length: int
    inline_offset: int
    byte_count: int
    cat: bool = False

    def put(self) -> bytes:
        if self.inline_offset % 4:
            raise ValueError(f"inline data at {self.inline_offset}, which is no multiple of 4")
        return Descriptor.put(self)

    @classmethod
    def _values(cls, field: dict[str, int]) -> dict[str, Any]:
        if field["inline_offset"] % 4:
            raise ParameterError(f"inline data at {field['inline_offset']}, which is no multiple of 4", 12)
        # Without arguments, super() would look for the class that slots=True has replaced.
        return super(InlineToStream, cls)._values(field)


@dataclass(frozen=True, slots=True)
class EmbeddedToStream(Descriptor):
    """``data``, which the descriptor itself carries, goes to a tape (6.4.6.7). At most 65520 bytes."""

    base = SegmentType.EMBEDDED_TO_STREAM
    layout = described(16, cat=CAT, destination=DESTINATION, transfer_length=Bits(9, 24),
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
        head = Descriptor.put(self)
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
class StreamDiscard(Descriptor):
    """``byte_count`` bytes of a tape are read and, unless ``held``, dropped (6.4.6.8)."""

    base = SegmentType.STREAM_DISCARD
    held_type = SegmentType.STREAM_DISCARD_HELD
    layout = described(16, cat=CAT, source=SOURCE, transfer_length=Bits(9, 24), byte_count=Bits(12, 32))

    source: int
    transfer_length: int
    byte_count: int
    cat: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class _BytesAndStream(Descriptor):
    """Any bytes of a disk, either way."""

    layout = described(28, cat=CAT, source=SOURCE, destination=DESTINATION, transfer_length=Bits(9, 24),
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
class BlockOffsetToBlockOffset(Descriptor):
    """``byte_count`` bytes from disk to disk (6.4.6.12)."""

    base = SegmentType.BLOCK_OFFSET_TO_BLOCK_OFFSET
    layout = described(32, cat=CAT, source=SOURCE, destination=DESTINATION, byte_count=Bits(8, 32),
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
