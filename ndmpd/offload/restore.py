"""Tape to disk: destinations of a range of a backup stream as commands for a copy manager.

Blocks are filled by 09h, or by 01h where that is not offered; what is to be thrown away goes by 06h. A record
that is scattered takes CAT: what a segment leaves of it is the next one's. Memory and files are the head's to
fill, and so is every record with a part that cannot be put so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import gcd

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import DiskEnd, TapeEnd
from ndmpd.offload.packing import DATA, Draft, Packer
from ndmpd.offload.plan import BATCH, Direction, Part, Step
from ndmpd.pieces import Piece, Zeros
from protocol.scsi.segments import (
    Segment,
    SegmentType,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
)

TAPE = 0
"""The tape's descriptor id in every command."""
_DISCARD_LENGTH = 16


def restore_steps(destinations: Iterable[Piece], record_size: int, tape: TapeEnd,
                  disks: Mapping[str, DiskEnd], abilities: Abilities, batch: int = BATCH) -> Iterator[Step]:
    """Steps that read whole records from ``tape`` into ``destinations``, Zeros being thrown away.

    Lazy, in order, bounded in memory. Raises as ``backup_steps``.
    """
    return _Restore(record_size, tape, disks, abilities, batch).steps(destinations)


class _Restore(Packer):
    direction = Direction.RESTORE
    plain = SegmentType.STREAM_TO_BLOCK
    offset = SegmentType.STREAM_TO_BLOCK_OFFSET

    def run_of_other(self, part: Part, records: int) -> None:
        """Records to be thrown away, in as many commands as it takes."""
        piece, start, length = part
        size, granularity = self.record_size, self.abilities.data_granularity
        step = size * (granularity // gcd(granularity, size))
        discards = isinstance(piece, Zeros) and SegmentType.STREAM_DISCARD in self.abilities.types
        done = 0
        while discards and length - done >= step:
            wanted = self.batch_room((length - done) // step * step, step)
            taken = self.draft(DATA, self._discard_end(), wanted, step) if wanted else 0
            if taken:
                self.taken([(piece, start + done, taken)], taken // size)
                done += taken
            elif not self.close_begun():
                break
        if done < length:
            self.host([(piece, start + done, length - done)], (length - done) // size)

    def draft_other(self, parts: list[Part], length: int) -> bool:
        if (SegmentType.STREAM_DISCARD not in self.abilities.types
                or length % self.abilities.data_granularity
                or not all(isinstance(piece, Zeros) for piece, _, _ in parts)):
            return False
        return self.draft(DATA, self._discard_end(), length, length) == length

    def _discard_end(self) -> int:
        """Where the last draft ends: bytes to throw away have no place, so that they continue any others."""
        return self.drafts[-1].end if self.drafts else 0

    def length_of(self, place: int) -> int:
        return _DISCARD_LENGTH if place == DATA else super().length_of(place)

    def segment(self, draft: Draft, cat: bool, at: int) -> Segment:
        size = self.record_size
        if draft.place == DATA:
            return StreamDiscard(TAPE, size, draft.length, cat)
        block = self.room.blocks[draft.place]
        lba, byte = divmod(draft.end - draft.length, block)
        if self.by_bytes:
            return StreamToBlockOffset(TAPE, draft.place, size, draft.length, lba, byte, cat)
        return StreamToBlock(TAPE, draft.place, size, draft.length // block, lba, cat)
