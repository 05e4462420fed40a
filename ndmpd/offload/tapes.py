"""Tape to tape: records of one size by 03h, whole files with their marks by 13h."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import CannotCopy, TapeEnd
from ndmpd.offload.packing import MAX_BYTES, Room
from ndmpd.offload.plan import BATCH, CopyCommand, Direction, HostRecords, Step
from protocol.scsi.segments import Segment, SegmentType, StreamToStream, TapeImage

_SOURCE, _DESTINATION = 0, 1
_SEGMENT_LENGTH = 20
_IMAGE_LENGTH = 12


def tape_steps(records: int, record_size: int, source: TapeEnd, destination: TapeEnd, abilities: Abilities,
               batch: int = BATCH) -> Iterator[Step]:
    """Steps that copy ``records`` records of ``record_size`` bytes from where one tape is to where the other
    is. Lazy. Raises CannotCopy at once where the copy manager cannot.
    """
    room = _room(SegmentType.STREAM_TO_STREAM, source, destination, abilities)
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


def image_command(filemarks: int, source: TapeEnd, destination: TapeEnd, abilities: Abilities) -> CopyCommand:
    """Everything from where one tape is up to and with ``filemarks`` filemarks in a row, or with 0 to the end
    of what is recorded. How much that was, READ POSITION tells. Raises CannotCopy.
    """
    room = _room(SegmentType.TAPE_IMAGE, source, destination, abilities)
    segment = TapeImage(_SOURCE, _DESTINATION, filemarks)
    return CopyCommand(Direction.IMAGE, tuple(room.cscds), (segment,), b"", 0, (0,), 0)


def _room(code: SegmentType, source: TapeEnd, destination: TapeEnd, abilities: Abilities) -> Room:
    room = Room(abilities, source.cscd(), destination.cscd())
    length = _IMAGE_LENGTH if code is SegmentType.TAPE_IMAGE else _SEGMENT_LENGTH
    if code not in abilities.types:
        raise CannotCopy(f"the copy manager does not copy from tape to tape by segment type {code:02X}h")
    if abilities.max_cscds < len(room.cscds) or room.length + length > abilities.max_list_length:
        raise CannotCopy("the copy manager takes too short a list of descriptors for two tapes")
    return room
