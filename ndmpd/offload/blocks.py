"""Disk to disk: blocks copied by 0Ah, which takes any bytes, or by 02h, which takes whole blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import lcm

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import CannotCopy, DiskEnd
from ndmpd.offload.packing import HOST_PIECES, MAX_BLOCKS, MAX_BYTES, MAX_OFFSET, Room
from ndmpd.offload.plan import BATCH, BlockStep, CopyCommand, Direction, HostBlocks, Part, joined
from ndmpd.pieces import LunExtent
from protocol.scsi.segments import BlockOffsetToBlockOffset, BlockToBlock, Segment, SegmentType

_PLAIN_LENGTH = 28
_OFFSET_LENGTH = 32


def block_steps(sources: Iterable[LunExtent], destinations: Iterable[LunExtent],
                disks: Mapping[str, DiskEnd], abilities: Abilities,
                batch: int = BATCH) -> Iterator[BlockStep]:
    """Steps that copy the bytes of ``sources`` to ``destinations``, which are as many. Lazy and in order.

    Extents of one disk must not overlap: a copy that is repeated after a fault would find its source changed.
    Raises CannotCopy at once where the copy manager does neither type; the iterator raises ValueError where
    one list is longer.
    """
    return _Blocks(disks, abilities, batch).steps(sources, destinations)


class _Blocks:
    def __init__(self, disks: Mapping[str, DiskEnd], abilities: Abilities, batch: int) -> None:
        self._by_bytes = SegmentType.BLOCK_OFFSET_TO_BLOCK_OFFSET in abilities.types
        if not self._by_bytes and SegmentType.BLOCK_TO_BLOCK not in abilities.types:
            raise CannotCopy("the copy manager does not copy from disk to disk: it takes neither segment "
                             "type 02h nor 0Ah")
        self._disks = disks
        self._limits = abilities
        self._batch = batch
        self._host: tuple[list[Part], list[Part]] = [], []
        self._begin()

    def _begin(self) -> None:
        self._room = Room(self._limits)
        self._segments: list[Segment] = []
        self._starts: list[int] = []
        self._bytes = 0
        self._parts: tuple[list[Part], list[Part]] = [], []

    def steps(self, sources: Iterable[LunExtent], destinations: Iterable[LunExtent]) -> Iterator[BlockStep]:
        for source, destination in _pairs(sources, destinations):
            length = source[2]
            done = 0
            while done < length:
                pair = _later(source, done), _later(destination, done)
                taken = self._add(*pair)
                if taken:
                    done += taken
                    if self._host[0]:
                        yield self._host_step()
                elif self._segments:
                    yield self._command()
                else:
                    break
            if done < length:
                if self._segments:
                    yield self._command()
                self._host[0].append(_later(source, done))
                self._host[1].append(_later(destination, done))
                if len(self._host[0]) >= HOST_PIECES:
                    yield self._host_step()
        if self._segments:
            yield self._command()
        if self._host[0]:
            yield self._host_step()

    def _add(self, source: Part, destination: Part) -> int:
        """Draft a segment for the first of these bytes; returns how many, 0 where it does not fit."""
        ends = [self._end(part) for part in (source, destination)]
        if ends[0] is None or ends[1] is None:
            return 0
        (from_disk, from_byte), (to_disk, to_byte) = ends[0], ends[1]
        blocks = from_disk.block_length, to_disk.block_length
        step = self._limits.data_granularity
        most = MAX_BYTES
        if not self._by_bytes or max(blocks) > MAX_OFFSET:
            if from_byte % blocks[0] or to_byte % blocks[1]:
                return 0
            step = lcm(step, *blocks)
        if not self._by_bytes:
            most = MAX_BLOCKS * blocks[0]
        left = self._batch - self._bytes if self._bytes else max(self._batch, step)
        length = min(source[2], most, self._limits.longest_segment, left) // step * step
        before = len(self._room.cscds), self._room.segments, self._room.length
        places = self._room.place(from_disk), self._room.place(to_disk)
        if (not length or places[0] is None or places[1] is None
                or not self._room.add_segment(_OFFSET_LENGTH if self._by_bytes else _PLAIN_LENGTH)):
            self._room.undo(*before)
            return 0
        (source_lba, source_offset), (lba, offset) = divmod(from_byte, blocks[0]), divmod(to_byte, blocks[1])
        if self._by_bytes:
            self._segments.append(BlockOffsetToBlockOffset(places[0], places[1], length, source_lba, lba,
                                                           source_offset, offset))
        else:
            self._segments.append(BlockToBlock(places[0], places[1], length // blocks[0], source_lba, lba))
        self._starts.append(self._bytes)
        self._bytes += length
        self._parts[0].append((source[0], source[1], length))
        self._parts[1].append((destination[0], destination[1], length))
        return length

    def _end(self, part: Part) -> tuple[DiskEnd, int] | None:
        """The disk and the byte of it that a part begins at; None where the copy manager has it not."""
        piece, start, length = part
        assert isinstance(piece, LunExtent)
        disk = self._disks.get(piece.disk)
        if disk is None or disk.block_length != piece.block_length:
            return None
        byte = piece.lba * piece.block_length + piece.skip + start
        return (disk, byte) if byte + length <= disk.capacity else None

    def _command(self) -> CopyCommand:
        command = CopyCommand(Direction.BLOCKS, tuple(self._room.cscds), tuple(self._segments), b"",
                              self._bytes, tuple(self._starts), 1, _extents(self._parts[0]),
                              _extents(self._parts[1]))
        self._begin()
        return command

    def _host_step(self) -> HostBlocks:
        step = HostBlocks(_extents(self._host[0]), _extents(self._host[1]))
        self._host = [], []
        return step


def _extents(parts: list[Part]) -> tuple[LunExtent, ...]:
    return tuple(piece for piece in joined(parts) if isinstance(piece, LunExtent))


def _later(part: Part, distance: int) -> Part:
    return part[0], part[1] + distance, part[2] - distance


def _pairs(sources: Iterable[LunExtent], destinations: Iterable[LunExtent]) -> Iterator[tuple[Part, Part]]:
    """Both lists cut where either has a cut."""
    into = (piece for piece in destinations if piece.length)
    destination: LunExtent | None = None
    at = 0
    for source in sources:
        start = 0
        while start < source.length:
            if destination is None:
                destination, at = next(into, None), 0
                if destination is None:
                    raise ValueError("there are more bytes to copy than there is room at the destinations")
            length = min(source.length - start, destination.length - at)
            yield (source, start, length), (destination, at, length)
            start, at = start + length, at + length
            if at == destination.length:
                destination = None
    if destination is not None or next(into, None) is not None:
        raise ValueError("there is more room at the destinations than bytes to copy")
