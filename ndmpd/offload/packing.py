"""Packing a stream into commands that stay within a copy manager's limits.

``Packer`` is what backup and restore share. It takes the stream unit by unit (``plan.units``); a unit that
does not fit the command begun starts a new one, and one that fits no command at all is the head's. So a
record is never cut between commands, and only two commands' worth of pieces is ever held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from math import gcd, lcm

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import CannotCopy, DiskEnd, TapeEnd
from ndmpd.offload.plan import BATCH, CopyCommand, Direction, HostRecords, Part, Step, joined, units
from ndmpd.pieces import LunExtent, Piece
from protocol.scsi.cscd import CSCD_LENGTH, Cscd
from protocol.scsi.segments import Segment, SegmentType
from protocol.scsi.xcopy import HEADER_LENGTH

MAX_BLOCKS = 0xFFFF
"""BLOCK DEVICE NUMBER OF BLOCKS has 16 bits. SPC-4 6.4.6.2."""
MAX_OFFSET = 0xFFFF
"""So has BLOCK DEVICE BYTE OFFSET (6.4.6.10)."""
MAX_BYTES = (1 << 32) - 1
"""NUMBER OF BYTES has 32. SPC-4 6.4.6.10."""

HOST_PIECES = 1024
"""Pieces after which records of the head are handed on, so that a fragmented stream needs no memory."""

DATA = -1
"""Stands for a unit's place in a draft that has none: inline data, or bytes to throw away."""


class Room:
    """Descriptors of one command: which units it names, and how much of the list is left.

    ``blocks``: of each unit, the length of its blocks; 0 of a tape.
    """

    __slots__ = ("_limits", "blocks", "cscds", "length", "places", "segments")

    def __init__(self, limits: Abilities, *cscds: Cscd) -> None:
        self._limits = limits
        self.cscds: list[Cscd] = list(cscds)
        self.blocks = [0] * len(cscds)
        self.places: dict[str, int] = {}
        self.segments = 0
        # The standard counts descriptors only; copy managers that count the header too are not surprised.
        self.length = HEADER_LENGTH + CSCD_LENGTH * len(cscds)

    def place(self, disk: DiskEnd) -> int | None:
        """The disk's descriptor id, adding its descriptor at first; None where there is no room."""
        place = self.places.get(disk.name)
        if place is None:
            if (len(self.cscds) >= self._limits.max_cscds
                    or self.length + CSCD_LENGTH > self._limits.max_list_length):
                return None
            place = self.places[disk.name] = len(self.cscds)
            self.cscds.append(disk.cscd())
            self.blocks.append(disk.block_length)
            self.length += CSCD_LENGTH
        return place

    def add_segment(self, length: int) -> bool:
        """Whether there was room for one more, of ``length`` bytes."""
        if (self.segments >= self._limits.max_segments
                or self.length + length > self._limits.max_list_length):
            return False
        self.segments += 1
        self.length += length
        return True

    def undo(self, cscds: int, segments: int, length: int) -> None:
        """Back to an earlier state."""
        for _ in range(len(self.cscds) - cscds):
            self.places.popitem()
            self.cscds.pop()
            self.blocks.pop()
        self.segments, self.length = segments, length


class Draft:
    """A segment in the making: ``length`` bytes that end at byte ``end`` of the unit at ``place``.

    ``pending``: bytes of an open record that the segments before it leave to it. ``data``: of embedded data.
    """

    __slots__ = ("data", "end", "length", "pending", "place")

    def __init__(self, place: int, end: int, length: int, pending: int, data: bytes | None = None) -> None:
        self.place = place
        self.end = end
        self.length = length
        self.pending = pending
        self.data = data


class Packer(ABC):
    """``steps`` turns pieces into steps, once. Raises CannotCopy at once where no record could go."""

    direction: Direction
    plain: SegmentType
    offset: SegmentType
    _PLAIN_LENGTH = 24
    _OFFSET_LENGTH = 28

    def __init__(self, record_size: int, tape: TapeEnd, disks: Mapping[str, DiskEnd], abilities: Abilities,
                 batch: int = BATCH) -> None:
        self.record_size = record_size
        self.abilities = abilities
        self._tape = tape.cscd()
        self._disks = disks
        self._most_records = max(1, batch // record_size)
        self._most_host = max(batch, record_size)
        self.by_bytes = self.offset in abilities.types
        self._check()
        self._segment_length = self._OFFSET_LENGTH if self.by_bytes else self._PLAIN_LENGTH
        self._longest = abilities.longest_segment
        self._granularity = abilities.data_granularity
        self._ready: list[Step] = []
        self._host: list[Part] = []
        self._host_bytes = 0
        self._begin()

    def _check(self) -> None:
        limits, size = self.abilities, self.record_size
        if not self.by_bytes and self.plain not in limits.types:
            raise CannotCopy(f"the copy manager does not copy from {self.direction.value}: it takes neither "
                             f"segment type {self.plain:02X}h nor {self.offset:02X}h")
        if limits.max_cscds < 2:
            raise CannotCopy("the copy manager takes one unit a command, and a tape and a disk are two")
        if not 0 < size <= limits.longest_transfer:
            raise CannotCopy(f"records of {size} bytes: the copy manager's tape commands move at most "
                             f"{limits.longest_transfer}; use a smaller record size")
        if size > limits.longest_segment:
            raise CannotCopy(f"records of {size} bytes: the copy manager's segments carry at most "
                             f"{limits.longest_segment}; use a smaller record size")

    def _begin(self) -> None:
        self.room = Room(self.abilities, self._tape)
        self.drafts: list[Draft] = []
        self.inline = bytearray()
        self.filled = 0
        self._records = 0
        self._parts: list[Part] = []

    # Hooks: what backup and restore do differently.

    @abstractmethod
    def draft_other(self, parts: list[Part], length: int) -> bool:
        """Draft parts that are no blocks, ``length`` bytes together; False where it cannot be done."""

    @abstractmethod
    def run_of_other(self, part: Part, records: int) -> None:
        """Whole records of one piece that is no blocks."""

    @abstractmethod
    def segment(self, draft: Draft, cat: bool, at: int) -> Segment:
        """The descriptor. ``at``: where the next inline data lie."""

    # The stream, unit by unit.

    def steps(self, pieces: Iterable[Piece]) -> Iterator[Step]:
        for parts, records in units(pieces, self.record_size):
            if len(parts) > 1:
                self._record(parts)
            elif isinstance(parts[0][0], LunExtent):
                self._run(parts[0], records)
            else:
                self.run_of_other(parts[0], records)
            if self._ready:
                yield from self._ready
                self._ready.clear()
        self._close()
        self._close_host()
        yield from self._ready

    def _record(self, parts: list[Part]) -> None:
        if not self.draft_unit(parts, 1):
            self.host(parts, 1)

    def draft_unit(self, parts: list[Part], records: int) -> bool:
        """Put a unit into the command begun, or into a new one; False where it fits neither."""
        if self._records + records <= self._most_records and self._drafted(parts, records):
            return True
        if not self._records:
            # A command that holds nothing yet is as good as a new one, but for the batch.
            return records > self._most_records and self._drafted(parts, records)
        self._close()
        return self._drafted(parts, records)

    def _drafted(self, parts: list[Part], records: int) -> bool:
        drafts, room = self.drafts, self.room
        count, last = len(drafts), drafts[-1] if drafts else None
        length, end = (last.length, last.end) if last else (0, 0)
        before = len(room.cscds), room.segments, room.length
        inline, filled = len(self.inline), self.filled
        if self._draft_parts(parts) and (self.abilities.cat or self._separate(count, records)):
            self.taken(parts, records)
            return True
        del drafts[count:]
        if last:
            last.length, last.end = length, end
        room.undo(*before)
        del self.inline[inline:]
        self.filled = filled
        return False

    def _separate(self, count: int, records: int) -> bool:
        """Whether no segment ends inside a record, which without CAT none may."""
        added = len(self.drafts) - count
        return not added or (added == 1 and self.drafts[-1].length == records * self.record_size)

    def _draft_parts(self, parts: list[Part]) -> bool:
        others: list[Part] = []
        length = 0
        for part in parts:
            piece = part[0]
            if not isinstance(piece, LunExtent):
                others.append(part)
                length += part[2]
                continue
            if others:
                if not self.draft_other(others, length):
                    return False
                others, length = [], 0
            if not self._draft_blocks(piece, part[1], part[2]):
                return False
        return not others or self.draft_other(others, length)

    def _draft_blocks(self, piece: LunExtent, start: int, length: int) -> bool:
        disk = self._disk(piece)
        if disk is None or length % self._granularity:
            return False
        block = disk.block_length
        byte = piece.lba * block + piece.skip + start
        if byte + length > disk.capacity:
            return False
        if (not self.by_bytes or block > MAX_OFFSET) and (byte % block or length % block):
            return False
        place = self.room.place(disk)
        return place is not None and self.draft(place, byte, length, length, block) == length

    def _disk(self, piece: LunExtent) -> DiskEnd | None:
        """None where the copy manager does not know the disk. ValueError where the piece does not fit it."""
        disk = self._disks.get(piece.disk)
        if disk is not None and disk.block_length != piece.block_length:
            raise ValueError(f"{piece.disk}: blocks of {piece.block_length} bytes in the stream, of "
                             f"{disk.block_length} on the disk")
        return disk

    def draft(self, place: int, byte: int, wanted: int, step: int, block: int = 1) -> int:
        """Draft up to ``wanted`` bytes, a multiple of ``step``, from ``byte`` of a unit on: appended to the
        segment before where they are its continuation. Returns how many.
        """
        most = MAX_BYTES if self.by_bytes or place == DATA else MAX_BLOCKS * block
        drafts = self.drafts
        if drafts:
            last = drafts[-1]
            if last.place == place and last.end == byte and last.data is None:
                room = min(most - last.length, self._longest - last.pending - last.length)
                if room >= step:
                    length = min(wanted, room // step * step)
                    last.length += length
                    last.end += length
                    self.filled += length
                    return length
        pending = self.filled % self.record_size
        length = min(wanted, min(most, self._longest - pending) // step * step)
        if not length or not self.room.add_segment(self.length_of(place)):
            return 0
        drafts.append(Draft(place, byte + length, length, pending))
        self.filled += length
        return length

    def length_of(self, place: int) -> int:
        """Bytes of a segment descriptor in the list."""
        return self._segment_length

    def _run(self, part: Part, records: int) -> None:
        """Whole records of one extent: as few segments as the limits allow."""
        piece, start, _ = part
        assert isinstance(piece, LunExtent)
        disk = self._disk(piece)
        size = self.record_size
        if disk is None:
            return self.host([part], records)
        block = disk.block_length
        byte = piece.lba * block + piece.skip + start
        align = 1 if self.by_bytes and block <= MAX_OFFSET else block
        lead, stride = _aligned(byte, size, align, self._granularity)
        inside = (disk.capacity - byte) // size
        count = 0 if lead is None else max(0, min(records, inside) - lead) // stride * stride
        if lead is None or not count:
            return self.host([part], records)
        if lead:
            self.host([(piece, start, lead * size)], lead)
        done = self._run_of_blocks((piece, start + lead * size, count * size), disk, byte + lead * size,
                                   stride * size, block)
        at = lead * size + done
        if at < records * size:
            self.host([(piece, start + at, records * size - at)], records - at // size)
        return None

    def _run_of_blocks(self, part: Part, disk: DiskEnd, byte: int, step: int, block: int) -> int:
        """Draft a run over as many commands as it takes. Returns the bytes drafted: 0 where none fit."""
        piece, start, length = part
        done = 0
        while done < length:
            place = self.room.place(disk)
            wanted = self.batch_room(length - done, step)
            taken = self.draft(place, byte + done, wanted, step, block) if place is not None and wanted else 0
            if taken:
                self.taken([(piece, start + done, taken)], taken // self.record_size)
                done += taken
            elif not self.close_begun():
                break
        return done

    def batch_room(self, wanted: int, step: int) -> int:
        """How much of ``wanted`` bytes the batch still takes, in steps; an empty one takes a step always."""
        room = max(0, self._most_records - self._records) * self.record_size // step * step
        return min(wanted, room if room or self._records else step)

    # Steps, ready to go.

    def taken(self, parts: list[Part], records: int) -> None:
        if self._host:
            self._close_host()
        self._parts.extend(parts)
        self._records += records

    def host(self, parts: list[Part], records: int) -> None:
        """Records for the head."""
        self._close()
        self._host.extend(parts)
        self._host_bytes += records * self.record_size
        if self._host_bytes >= self._most_host or len(self._host) >= HOST_PIECES:
            self._close_host()

    def _close_host(self) -> None:
        if self._host:
            self._ready.append(HostRecords(self._host_bytes // self.record_size, joined(self._host)))
            self._host = []
            self._host_bytes = 0

    def close_begun(self) -> bool:
        """End the command begun, if there is one."""
        begun = self._records > 0
        self._close()
        return begun

    def _close(self) -> None:
        if not self._records:
            # Descriptors of disks may be there already, of a unit that did not fit after all.
            if len(self.room.cscds) > 1:
                self._begin()
            return
        size = self.record_size
        segments: list[Segment] = []
        starts: list[int] = []
        at = inline = 0
        for draft in self.drafts:
            starts.append(at // size)
            at += draft.length
            # CAT only where a record stays open: elsewhere a remainder is to be the copy manager's error.
            segments.append(self.segment(draft, at % size > 0, inline))
            if draft.place == DATA and draft.data is None:
                inline += draft.length + -draft.length % 4
        self._ready.append(CopyCommand(self.direction, tuple(self.room.cscds), tuple(segments),
                                       bytes(self.inline), self._records, tuple(starts), size,
                                       joined(self._parts)))
        self._begin()


def _aligned(byte: int, record_size: int, align: int, granularity: int) -> tuple[int | None, int]:
    """How many records to leave out until one begins on a multiple of ``align``, None for never; and the
    multiple of records that ends on one again and is a multiple of ``granularity``.
    """
    step = lcm(align, granularity)
    stride = step // gcd(step, record_size)
    if not byte % align:
        return 0, stride
    common = gcd(align, record_size)
    if byte % common:
        return None, stride
    period = align // common
    return -byte // common * pow(record_size // common, -1, period) % period, stride
