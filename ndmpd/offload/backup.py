"""Disk to tape: a range of a backup stream as commands for a copy manager.

Blocks go by 08h, or by 00h where that is not offered. What is no blocks (headers, maps, small files, padding)
rides along as inline data (04h), or embedded in the segment (05h); a record of several parts takes CAT. The
records on tape are the same whatever is used, since all that cannot be put so is the head's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import DiskEnd, TapeEnd
from ndmpd.offload.packing import DATA, Draft, Packer
from ndmpd.offload.plan import BATCH, Direction, Part, Step
from ndmpd.pieces import FileExtent, Inline, Piece, Zeros
from protocol.scsi.segments import (
    BlockOffsetToStream,
    BlockToStream,
    EmbeddedToStream,
    InlineToStream,
    Segment,
    SegmentType,
)

TAPE = 0
"""The tape's descriptor id in every command."""
MAX_EMBEDDED = 65520
"""What the 16-bit descriptor length leaves for data. SPC-4 6.4.6.7."""
_INLINE_LENGTH = 20
_EMBEDDED_LENGTH = 16


def backup_steps(pieces: Iterable[Piece], record_size: int, tape: TapeEnd, disks: Mapping[str, DiskEnd],
                 abilities: Abilities, batch: int = BATCH) -> Iterator[Step]:
    """Steps that write ``pieces``, whole records together, to ``tape``. Lazy, in order, bounded in memory.

    ``disks``: those that the copy manager can reach, by the name in the pieces; blocks of others are the
    head's. ``batch``: most bytes of a command (but a record at least).

    Raises CannotCopy at once where no record could be copied; the iterator raises ValueError where the pieces
    end inside a record or name blocks of another length than their disk has.
    """
    return _Backup(record_size, tape, disks, abilities, batch).steps(pieces)


class _Backup(Packer):
    direction = Direction.BACKUP
    plain = SegmentType.BLOCK_TO_STREAM
    offset = SegmentType.BLOCK_OFFSET_TO_STREAM

    def run_of_other(self, part: Part, records: int) -> None:
        if not self.draft_unit([part], records):
            self.host([part], records)

    def draft_other(self, parts: list[Part], length: int) -> bool:
        limits = self.abilities
        if any(isinstance(piece, FileExtent) for piece, _, _ in parts):
            return False
        if length + self.filled % self.record_size > limits.longest_segment:
            return False
        return self._inline(parts, length) or self._embedded(parts, length)

    def _inline(self, parts: list[Part], length: int) -> bool:
        limits = self.abilities
        padding = -len(self.inline) % 4
        if (SegmentType.INLINE_TO_STREAM not in limits.types or length % limits.inline_granularity
                or len(self.inline) + padding + length > limits.max_inline_length):
            return False
        end = len(self.inline)
        last = self.drafts[-1] if self.drafts else None
        follows = last is not None and last.place == DATA and last.data is None and last.end == end
        if follows and last is not None and last.pending + last.length + length <= limits.longest_segment:
            last.length += length
            last.end += length
        elif self.room.add_segment(_INLINE_LENGTH):
            self.inline += bytes(padding)
            end += padding
            self.drafts.append(Draft(DATA, end + length, length, self.filled % self.record_size))
        else:
            return False
        self.inline += _bytes(parts)
        self.filled += length
        return True

    def _embedded(self, parts: list[Part], length: int) -> bool:
        if (SegmentType.EMBEDDED_TO_STREAM not in self.abilities.types or length > MAX_EMBEDDED
                or length % self.abilities.data_granularity
                or not self.room.add_segment(_EMBEDDED_LENGTH + length + -length % 4)):
            return False
        self.drafts.append(Draft(DATA, 0, length, self.filled % self.record_size, _bytes(parts)))
        self.filled += length
        return True

    def segment(self, draft: Draft, cat: bool, at: int) -> Segment:
        size = self.record_size
        if draft.data is not None:
            return EmbeddedToStream(TAPE, size, draft.data, cat)
        if draft.place == DATA:
            return InlineToStream(TAPE, size, at, draft.length, cat)
        block = self.room.blocks[draft.place]
        lba, byte = divmod(draft.end - draft.length, block)
        if self.by_bytes:
            return BlockOffsetToStream(draft.place, TAPE, size, draft.length, lba, byte, cat)
        return BlockToStream(draft.place, TAPE, size, draft.length // block, lba, cat)


def _bytes(parts: list[Part]) -> bytes:
    found = bytearray()
    for piece, start, length in parts:
        if isinstance(piece, Inline):
            found += memoryview(piece.data)[start:start + length]
        elif isinstance(piece, Zeros):
            found += bytes(length)
    return bytes(found)
