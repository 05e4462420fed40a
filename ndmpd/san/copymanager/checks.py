"""What is checked of a parameter list before any segment is carried out. SPC-4 5.17.7.3.

In the order that conformance tests expect: lengths, counts, types of descriptors, then what they say.
"""

from __future__ import annotations

from ndmpd.san.copymanager.profile import Profile
from ndmpd.san.folder import USUAL_BLOCK
from protocol.scsi.asc import Asc
from protocol.scsi.cscd import BlockDevice, StreamDevice
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    InlineToStream,
    Segment,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
)
from protocol.scsi.sense import ParameterError
from protocol.scsi.xcopy import Header, ListIdUsage, ParameterList, take_header

CAT_AT = 1
SOURCE_AT, DESTINATION_AT = 4, 6
_USAGE_AT, _CSCDS_AT, _SEGMENTS_AT, _INLINE_AT = 1, 2, 8, 12


def judge_header(data: bytes, profile: Profile) -> Header:
    """Lengths and list identifier. ParameterError where the list cannot be taken."""
    limits = profile.limits
    header = take_header(data)
    header.check(len(data))
    if header.descriptors_length > limits.max_list_length:
        raise ParameterError(f"descriptors of {header.descriptors_length} bytes", _SEGMENTS_AT,
                             Asc.PARAMETER_LIST_LENGTH)
    if header.inline_length > limits.max_inline_length:
        raise ParameterError(f"inline data of {header.inline_length} bytes", _INLINE_AT)
    if header.usage is ListIdUsage.NONE and not limits.snlid:
        raise ParameterError("this copy manager needs list identifiers", _USAGE_AT)
    return header


def judge_contents(data: bytes, header: Header, profile: Profile) -> ParameterList:
    """Counts, types and fields of the descriptors. ParameterError as ``judge_header``."""
    limits = profile.limits
    if header.cscd_count > limits.max_cscds:
        raise ParameterError(f"{header.cscd_count} CSCD descriptors", _CSCDS_AT, Asc.TOO_MANY_TARGETS)
    if header.segment_count(data) > limits.max_segments:
        raise ParameterError("too many segments", _SEGMENTS_AT, Asc.TOO_MANY_SEGMENTS)
    found = ParameterList.take(data, limits.types)
    at = header.segments_at
    for segment in found.segments:
        try:
            _judge_segment(segment, found, profile)
        except ParameterError as error:
            raise error.moved(at) from None
        at += segment.length
    return found


def _judge_segment(segment: Segment, found: ParameterList, profile: Profile) -> None:
    limits = profile.limits
    if getattr(segment, "cat", False) and not profile.cat:
        raise ParameterError("this copy manager keeps nothing between segments", CAT_AT)
    size, at = amount(segment, found)
    writes = not isinstance(segment, StreamDiscard)
    if writes and 0 < limits.max_segment_length < size:
        raise ParameterError(f"{size} bytes in one segment", at)
    for ident, length, at in _transfers(segment):
        parameters = getattr(found.cscd(ident), "parameters", None)
        if isinstance(parameters, StreamDevice) and parameters.fixed:
            length *= parameters.block_length
        if limits.max_stream_transfer and length > limits.max_stream_transfer:
            raise ParameterError(f"stream transfers of {length} bytes", at)


def amount(segment: Segment, found: ParameterList) -> tuple[int, int]:
    """The bytes that the segment names, and where in it; 0 for one that moves none, or does not say."""
    match segment:
        case BlockToStream(source=disk, blocks=blocks) | StreamToBlock(destination=disk, blocks=blocks):
            return blocks * _block_length(disk, found), 14
        case BlockToBlock(source=source, destination=destination, blocks=blocks, dc=dc):
            return blocks * _block_length(destination if dc else source, found), 10
        case StreamToStream(byte_count=count) | InlineToStream(byte_count=count):
            return count, 16
        case EmbeddedToStream(data=data):
            return len(data), 12
        case (StreamDiscard(byte_count=count) | BlockOffsetToStream(byte_count=count)
              | StreamToBlockOffset(byte_count=count)):
            return count, 12
        case BlockOffsetToBlockOffset(byte_count=count):
            return count, 8
    return 0, 0


def _block_length(ident: int, found: ParameterList) -> int:
    parameters = getattr(found.cscd(ident), "parameters", None)
    return parameters.block_length or USUAL_BLOCK if isinstance(parameters, BlockDevice) else USUAL_BLOCK


def _transfers(segment: Segment) -> tuple[tuple[int, int, int], ...]:
    """Every stream device of the segment: its id, its transfer length, and where in the segment that is."""
    match segment:
        case StreamToStream():
            return ((segment.source, segment.source_transfer_length, 9),
                    (segment.destination, segment.destination_transfer_length, 13))
        case StreamToBlock() | StreamToBlockOffset() | StreamDiscard():
            return ((segment.source, segment.transfer_length, 9),)
        case BlockToStream() | BlockOffsetToStream() | InlineToStream() | EmbeddedToStream():
            return ((segment.destination, segment.transfer_length, 9),)
    return ()
