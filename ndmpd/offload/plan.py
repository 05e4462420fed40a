"""Steps of a plan: commands for a copy manager, and what the head carries itself.

Steps are carried out in their order, each after the one before has ended, and each covers whole records: no
record is ever begun by one command and finished by another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from ndmpd.pieces import LunExtent, Piece, behind, part
from protocol.scsi.cscd import Cscd
from protocol.scsi.segments import Segment
from protocol.scsi.xcopy import ListIdUsage, ParameterList

BATCH = 80_000_000
"""Bytes of one command unless told: an abort, a fault and a progress report wait for no more than this."""


class Direction(Enum):
    """What a command does, and so what READ POSITION can say of it afterwards."""

    BACKUP = "disk to tape"
    RESTORE = "tape to disk"
    BLOCKS = "disk to disk"
    TAPES = "tape to tape"


@dataclass(frozen=True, slots=True)
class CopyCommand:
    """One EXTENDED COPY of ``records`` whole records of ``record_size`` bytes; ``bytes`` in all.

    ``starts``: of each segment, the records complete before it. ``pieces`` are the stream's bytes that the
    command carries (a restore's destinations), kept until they are known to be carried. Between disks there
    are no records: ``record_size`` is 1, and ``destinations`` is where the pieces go.
    """

    direction: Direction
    cscds: tuple[Cscd, ...]
    segments: tuple[Segment, ...]
    inline: bytes
    records: int
    starts: tuple[int, ...]
    record_size: int
    pieces: tuple[Piece, ...] = ()
    destinations: tuple[LunExtent, ...] = ()

    @property
    def bytes(self) -> int:
        return self.records * self.record_size

    def span(self, segment: int) -> tuple[int, int]:
        """The records complete before and after a segment."""
        after = segment + 1
        return self.starts[segment], self.starts[after] if after < len(self.starts) else self.records

    def parameter_list(self, list_id: int, usage: ListIdUsage = ListIdUsage.HOLD) -> ParameterList:
        return ParameterList(list_id, usage, self.cscds, self.segments, self.inline)

    def rest(self, records: int) -> tuple[Piece, ...]:
        """The pieces behind the first ``records`` records: what is left to do after a fault."""
        return tuple(behind(self.pieces, records * self.record_size))


@dataclass(frozen=True, slots=True)
class HostRecords:
    """``records`` whole records that the head carries: writes them to tape, or on restore reads them and
    puts them into ``pieces``. Without pieces: copies them from the source tape to the destination.
    """

    records: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class HostBlocks:
    """Bytes that the head copies from disk to disk: those of ``sources`` into ``destinations``, in order."""

    sources: tuple[LunExtent, ...]
    destinations: tuple[LunExtent, ...]


Step = CopyCommand | HostRecords
BlockStep = CopyCommand | HostBlocks

Part = tuple[Piece, int, int]
"""Of a piece, the bytes from the second number on, as many as the third."""


def units(pieces: Iterable[Piece], record_size: int) -> Iterator[tuple[list[Part], int]]:
    """The stream as runs of whole records of one piece, and as single records made of several.

    Yields the parts and how many records they are. ValueError where the stream ends inside a record.
    """
    parts: list[Part] = []
    missing = record_size
    for piece in pieces:
        length = piece.length
        if length < missing:
            if length:
                parts.append((piece, 0, length))
                missing -= length
            continue
        at = 0
        if parts:
            parts.append((piece, 0, missing))
            yield parts, 1
            parts, at = [], missing
        records = (length - at) // record_size
        if records:
            yield [(piece, at, records * record_size)], records
            at += records * record_size
        missing = record_size
        if at < length:
            parts.append((piece, at, length - at))
            missing -= length - at
    if parts:
        raise ValueError(f"the stream ends {missing} bytes before the end of a record of {record_size}")


def joined(parts: Iterable[Part]) -> tuple[Piece, ...]:
    """Parts in stream order as pieces; neighbours that were one piece are so again."""
    found: list[Piece] = []
    last: Piece | None = None
    first = end = 0
    for piece, start, length in parts:
        if piece is last and start == end:
            end += length
            continue
        if last is not None:
            found.append(part(last, first, end - first))
        last, first, end = piece, start, start + length
    if last is not None:
        found.append(part(last, first, end - first))
    return tuple(found)
