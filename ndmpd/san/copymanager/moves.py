"""What each kind of segment does, in the terms of ``engine.Copy``. SPC-4 6.4.6.2 to 6.4.6.16, table 115."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ndmpd.pieces import Inline, Zeros
from ndmpd.san.copymanager.blocks import Blocks
from ndmpd.san.copymanager.checks import DESTINATION_AT, SOURCE_AT
from ndmpd.san.copymanager.engine import Copy, Feed
from ndmpd.san.copymanager.failure import CopyFailure, field_failure
from ndmpd.san.copymanager.image import tape_image
from ndmpd.san.copymanager.pace import RUN
from ndmpd.san.copymanager.streams import Stream
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.reservations import RESERVE_OUT, OutAction, OutParameters
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    Locate,
    RegisterKey,
    Segment,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
    TapeImage,
    Verify,
)

_INQUIRY_SIZE = 36


def _nothing(wanted: int) -> None:
    """The feed of a segment whose data is there from the start."""
    raise CopyFailure(Asc.COPY_TARGET_UNDERRUN)


def _whole_blocks(copy: Copy, disk: Blocks, lba: int, length: int) -> Feed:
    """Blocks from ``lba`` on, just as many as supply ``length`` bytes with what is left of earlier ones."""
    disk.check(lba, -(-max(0, length - copy.source.length) // disk.length))
    at = lba

    def feed(wanted: int) -> None:
        nonlocal at
        blocks = -(-min(wanted, RUN) // disk.length)
        copy.source.put([copy.from_blocks(disk, at, 0, blocks * disk.length)])
        at += blocks

    return feed


def _records(copy: Copy, stream: Stream, size: int, *, to: Stream | None = None) -> Feed:
    """Records from the tape's position on. Nothing is read ahead of what earlier segments write."""
    copy.flush()
    same = to is not None and to.drive is stream.drive

    def feed(wanted: int) -> None:
        pieces = stream.read(size, -(-wanted // size))
        # A tape that is written while it is read would take the records from under the copy.
        copy.source.put(copy.read_whole(pieces) if same else pieces)

    return feed


def _put_bytes(copy: Copy, disk: Blocks, lba: int, offset: int, count: int, at: int) -> int:
    """Make bytes of a disk source data; byte ``at`` of the segment is their offset in the first block.

    Returns how many are to be processed: none where they could become destination data at once.
    """
    if offset >= disk.length:
        raise field_failure(at)
    disk.check(lba, disk.span(offset, count))
    if not count:
        return 0
    piece = copy.from_blocks(disk, lba, offset, count)
    if not copy.source.length:
        copy.destination.put([piece])
        return 0
    copy.source.put([piece])
    return count


def block_to_stream(copy: Copy, segment: BlockToStream) -> None:
    disk = copy.blocks(segment.source, SOURCE_AT)
    stream = copy.stream(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    length = segment.blocks * disk.length
    feed = _whole_blocks(copy, disk, segment.lba, length)
    copy.to_stream(segment, stream, size, length, feed, source_pad=disk.end.pad)


def block_offset_to_stream(copy: Copy, segment: BlockOffsetToStream) -> None:
    disk = copy.blocks(segment.source, SOURCE_AT)
    stream = copy.stream(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    length = _put_bytes(copy, disk, segment.lba, segment.byte_offset, segment.byte_count, 26)
    copy.to_stream(segment, stream, size, length, _nothing, source_pad=disk.end.pad)


def stream_to_stream(copy: Copy, segment: StreamToStream) -> None:
    source = copy.stream(segment.source, SOURCE_AT)
    stream = copy.stream(segment.destination, DESTINATION_AT)
    read = source.transfer(segment.source_transfer_length, 9)
    write = stream.transfer(segment.destination_transfer_length, 13)
    feed = _records(copy, source, read, to=stream)
    copy.to_stream(segment, stream, write, segment.byte_count, feed, source_pad=source.end.pad)
    copy.settle()


def inline_to_stream(copy: Copy, segment: InlineToStream) -> None:
    stream = copy.stream(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    if segment.inline_offset + segment.byte_count > len(copy.list.inline):
        raise field_failure(12, Asc.INLINE_DATA_LENGTH)
    copy.destination.put([copy.inline(segment.inline_offset, segment.byte_count)])
    copy.to_stream(segment, stream, size, 0, _nothing)


def embedded_to_stream(copy: Copy, segment: EmbeddedToStream) -> None:
    stream = copy.stream(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    copy.destination.put([Inline(segment.data)])
    copy.to_stream(segment, stream, size, 0, _nothing)


def stream_to_block(copy: Copy, segment: StreamToBlock) -> None:
    stream = copy.stream(segment.source, SOURCE_AT)
    disk = copy.blocks(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    _from_stream(copy, segment, stream, size, disk, 0, segment.blocks * disk.length)


def stream_to_block_offset(copy: Copy, segment: StreamToBlockOffset) -> None:
    stream = copy.stream(segment.source, SOURCE_AT)
    disk = copy.blocks(segment.destination, DESTINATION_AT)
    size = stream.transfer(segment.transfer_length, 9)
    if segment.byte_offset >= disk.length:
        raise field_failure(26)
    _from_stream(copy, segment, stream, size, disk, segment.byte_offset, segment.byte_count)


def _from_stream(copy: Copy, segment: StreamToBlock | StreamToBlockOffset, stream: Stream, size: int,
                 disk: Blocks, offset: int, count: int) -> None:
    """The disk gets ``count`` bytes; what is left of earlier segments comes first."""
    copy.settle()
    length = max(0, count - copy.destination.length)
    copy.to_blocks(disk, segment.lba, offset, count, length, _records(copy, stream, size),
                   held=bool(getattr(segment, "held", False)))
    copy.finish(cat=segment.cat, source_pad=stream.end.pad, pad=disk.end.pad, fill=None)
    copy.settle()


def block_to_block(copy: Copy, segment: BlockToBlock) -> None:
    source = copy.blocks(segment.source, SOURCE_AT)
    disk = copy.blocks(segment.destination, DESTINATION_AT)
    copy.settle()
    lba, extra = segment.destination_lba, 0
    fill: Callable[[], None] | None = None
    if segment.dc:
        count = segment.blocks * disk.length
        length = max(0, count - copy.destination.length)
    else:
        length = segment.blocks * source.length
        blocks, rest = divmod(copy.destination.length + length, disk.length)
        count = blocks * disk.length
        extra = disk.length if rest and disk.end.pad and not segment.cat else 0
        disk.check(lba, blocks + bool(extra))

        def fill() -> None:
            copy.destination.put([Zeros(-copy.destination.length % disk.length)])
            copy.write_blocks(disk, lba + blocks, 0, copy.destination.take(disk.length))

    feed = _whole_blocks(copy, source, segment.source_lba, length)
    copy.to_blocks(disk, lba, 0, count, length, feed, extra=extra, held=segment.held)
    copy.finish(cat=segment.cat, source_pad=source.end.pad, pad=disk.end.pad, fill=fill)


def block_offset_to_block_offset(copy: Copy, segment: BlockOffsetToBlockOffset) -> None:
    source = copy.blocks(segment.source, SOURCE_AT)
    disk = copy.blocks(segment.destination, DESTINATION_AT)
    copy.settle()
    if segment.destination_offset >= disk.length:
        raise field_failure(30)
    length = _put_bytes(copy, source, segment.source_lba, segment.source_offset, segment.byte_count, 28)
    copy.to_blocks(disk, segment.destination_lba, segment.destination_offset, segment.byte_count, length,
                   _nothing)
    copy.finish(cat=segment.cat, source_pad=source.end.pad, pad=disk.end.pad, fill=None)


def stream_discard(copy: Copy, segment: StreamDiscard) -> None:
    stream = copy.stream(segment.source, SOURCE_AT)
    feed = _records(copy, stream, stream.transfer(segment.transfer_length, 9) if segment.byte_count else 1)
    left = segment.byte_count
    while left:
        copy.check()
        if not copy.source.length:
            feed(left)
        pieces = copy.source.take(min(left, copy.source.length, RUN))
        if segment.held:
            copy.hold(pieces)
        left -= sum(piece.length for piece in pieces)
    # Without a destination its PAD counts as zero, and a null source as one that pads (SPC-4 table 148).
    copy.finish(cat=segment.cat, source_pad=stream.end.pad or stream.end.null, pad=False, fill=None)
    copy.settle()


def verify(copy: Copy, segment: Verify) -> None:
    end = copy.end(segment.source, SOURCE_AT)
    cdb = scsi.TEST_UNIT_READY.put() if segment.tur else scsi.INQUIRY.put(allocation=_INQUIRY_SIZE)
    result, _ = end.send(cdb, into=[] if segment.tur else [Inline(bytearray(_INQUIRY_SIZE))])
    if result.status != Status.GOOD:
        raise end.source_failure(result)


def register_key(copy: Copy, segment: RegisterKey) -> None:
    """Registers the nexus that sent the copy: it is in its name that the unit is then copied to.

    To a drive of another target that is the copy manager's own nexus, kept for the one that sent the copy.
    """
    end = copy.end(segment.destination, DESTINATION_AT)
    copy.flush()
    data = OutParameters(segment.key, segment.service_action_key).put()
    result, _ = end.send(RESERVE_OUT[OutAction.REGISTER].put(length=len(data)), [Inline(data)])
    if result.status != Status.GOOD:
        raise end.destination_failure(result)
    if end.contact is not None:
        end.contact.key = segment.service_action_key


def _to_tape(cdb_of: Callable[[Any], bytes]) -> Callable[[Copy, Any], None]:
    """A segment that is one command to a tape."""
    def move(copy: Copy, segment: Any) -> None:
        stream = copy.stream(segment.destination, DESTINATION_AT)
        copy.flush()
        stream.command(cdb_of(segment))

    return move


MOVES: dict[type[Segment], Callable[[Copy, Any], None]] = {
    BlockToStream: block_to_stream,
    StreamToBlock: stream_to_block,
    BlockToBlock: block_to_block,
    StreamToStream: stream_to_stream,
    InlineToStream: inline_to_stream,
    EmbeddedToStream: embedded_to_stream,
    StreamDiscard: stream_discard,
    Verify: verify,
    BlockOffsetToStream: block_offset_to_stream,
    StreamToBlockOffset: stream_to_block_offset,
    BlockOffsetToBlockOffset: block_offset_to_block_offset,
    Filemarks: _to_tape(lambda one: scsi.WRITE_FILEMARKS_6.put(immed=one.immediate, count=one.count)),
    Space: _to_tape(lambda one: scsi.SPACE_6.put(code=one.code, count=one.count & 0xFFFFFF)),
    Locate: _to_tape(lambda one: scsi.LOCATE_10.put(block=one.position)),
    TapeImage: tape_image,
    RegisterKey: register_key,
}
