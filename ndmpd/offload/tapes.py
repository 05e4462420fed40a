"""Tape to tape: records of one size by 03h."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import CannotCopy, TapeEnd
from ndmpd.offload.packing import MAX_BYTES, Room
from ndmpd.offload.plan import BATCH, CopyCommand, Direction, HostRecords, Step
from protocol.scsi.segments import Segment, SegmentType, StreamToStream

_SOURCE, _DESTINATION = 0, 1
_SEGMENT_LENGTH = 20


def tape_steps(records: int, record_size: int, source: TapeEnd, destination: TapeEnd, abilities: Abilities,
               batch: int = BATCH) -> Iterator[Step]:
    """Steps that copy ``records`` records of ``record_size`` bytes from where one tape is to where the other
    is. Lazy. Raises CannotCopy at once where the copy manager cannot.
    """
    room = _room(source, destination, abilities)
    longest = min(abilities.longest_segment, MAX_BYTES)
    if not 0 < record_size <= min(abilities.longest_transfer, longest):
        raise CannotCopy(f"records of {record_size} bytes: the copy manager moves at most "
                         f"{min(abilities.longest_transfer, longest)} at once; use a smaller record size")
    granularity = abilities.data_granularity
    stride = granularity // gcd(granularity, record_size)
    most = longest // record_size // stride * stride
    if not most:
        raise CannotCopy(f"records of {record_size} bytes do not fit a segment of at most {longest} bytes "
                         f"that is a multiple of {granularity}; use another record size")
    return _steps(records, record_size, room, most, stride, batch)


def _steps(records: int, size: int, room: Room, most: int, stride: int, batch: int) -> Iterator[Step]:
    left = records // stride * stride
    rest = records - left
    empty = len(room.cscds), room.segments, room.length
    while left:
        segments: list[Segment] = []
        starts: list[int] = []
        done = 0
        wanted = min(left, max(batch // size // stride, 1) * stride)
        while done < wanted and room.add_segment(_SEGMENT_LENGTH):
            count = min(wanted - done, most)
            starts.append(done)
            segments.append(StreamToStream(_SOURCE, _DESTINATION, size, size, count * size))
            done += count
        yield CopyCommand(Direction.TAPES, tuple(room.cscds), tuple(segments), b"", done, tuple(starts), size)
        room.undo(*empty)
        left -= done
    if rest:
        yield HostRecords(rest, ())


def _room(source: TapeEnd, destination: TapeEnd, abilities: Abilities) -> Room:
    room = Room(abilities, source.cscd(), destination.cscd())
    if SegmentType.STREAM_TO_STREAM not in abilities.types:
        raise CannotCopy("the copy manager does not copy from tape to tape by segment type 03h")
    if abilities.max_cscds < len(room.cscds) or room.length + _SEGMENT_LENGTH > abilities.max_list_length:
        raise CannotCopy("the copy manager takes too short a list of descriptors for two tapes")
    return room
