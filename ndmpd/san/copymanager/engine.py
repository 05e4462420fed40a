"""One EXTENDED COPY from its first segment to its last. SPC-4 5.17.7.2 and 5.17.7.4.

``Copy`` has the means that the kinds of segments (``moves``) are made of. Bytes go from a source into
``source`` (read, not yet processed), from there into ``destination`` (processed, not yet written), and from
there into whole records or blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ndmpd.pieces import Inline, Piece, Zeros, behind
from ndmpd.san.copymanager.blocks import Blocks
from ndmpd.san.copymanager.checks import CAT_AT, amount
from ndmpd.san.copymanager.drives import stream_of
from ndmpd.san.copymanager.ends import End, Ends
from ndmpd.san.copymanager.failure import CopyFailure, CopyStopped, field_failure
from ndmpd.san.copymanager.gathering import Accounts, Gathering
from ndmpd.san.copymanager.held import Held
from ndmpd.san.copymanager.pace import RUN
from ndmpd.san.copymanager.profile import Profile
from ndmpd.san.copymanager.residue import Residue, read_whole
from ndmpd.san.copymanager.streams import Stream
from ndmpd.san.copymanager.supply import Supply
from ndmpd.san.errors import SanError
from protocol.scsi.asc import Asc
from protocol.scsi.segments import InlineToStream, Segment
from protocol.scsi.sense import CopySense
from protocol.scsi.xcopy import ParameterList

_log = logging.getLogger(__name__)

Feed = Callable[[int], None]
"""Puts at least one byte, and of what is wanted as much as one go may bring, into ``Copy.source``."""


class Copy:
    """``stopped`` says whether the copy was aborted; it is asked between commands."""

    def __init__(self, found: ParameterList, profile: Profile, ends: Ends,
                 stopped: Callable[[], bool]) -> None:
        self.list = found
        self.source = Residue()
        self.destination = Residue()
        self.held = Held(profile.limits.held_limit)
        self.accounts = Accounts()
        self.number = 0
        self._profile = profile
        self._ends = ends
        self._stopped = stopped
        self._supply = Supply(self.check)
        self._gathering = Gathering(self.accounts, self.confirm, self._supply, self.check)
        self._blocks: dict[tuple[int, int], Blocks] = {}
        self._streams: dict[int, Stream] = {}
        self._unconfirmed: dict[Blocks, tuple[int, int, int]] = {}

    def run(self, moves: dict[type[Segment], Callable[[Copy, Segment], None]]) -> CopySense | None:
        """Carry out all segments; why that ended early, if it did."""
        try:
            for number, segment in enumerate(self.list.segments):
                self.number = number
                self.check()
                try:
                    self._check_granularity(segment)
                    moves[type(segment)](self, segment)
                except CopyFailure:
                    # What earlier segments have gathered comes first; if it fails, that is the failure.
                    self.flush()
                    raise
            self.flush()
        except CopyFailure as failure:
            self._ended_in(failure.segment)
            return CopySense(failure.code, self.number, self.accounts.residue(self.number), failure.source,
                             failure.destination, failure.pointer)
        except CopyStopped as stopped:
            self._ended_in(stopped.segment)
            return CopySense(Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER, self.number,
                             self.accounts.residue(self.number))
        except (OSError, SanError) as error:
            _log.error("segment %d: %s", self.number, error)
            return CopySense(Asc.COPY_TARGET_NOT_REACHABLE, self.number, self.accounts.residue(self.number))
        finally:
            self._supply.close()
        return None

    def _ended_in(self, segment: int | None) -> None:
        if segment is not None:
            self.number = segment

    def check(self) -> None:
        if self._stopped():
            raise CopyStopped

    def _check_granularity(self, segment: Segment) -> None:
        limits = self._profile.limits
        inline = isinstance(segment, InlineToStream)
        granularity = limits.inline_granularity if inline else limits.data_granularity
        if granularity == 1:
            return
        size, at = amount(segment, self.list)
        if size % granularity:
            raise field_failure(at, Asc.COPY_GRANULARITY)

    # The ends.

    def end(self, ident: int, at: int) -> End:
        return self._ends.get(ident, at)

    def blocks(self, ident: int, at: int) -> Blocks:
        """The disk that byte ``at`` of the segment names."""
        if (ident, at) not in self._blocks:
            self._blocks[ident, at] = Blocks(self.end(ident, at), at)
        return self._blocks[ident, at]

    def stream(self, ident: int, at: int) -> Stream:
        """The tape that byte ``at`` of the segment names."""
        if ident not in self._streams:
            self._streams[ident] = stream_of(self.end(ident, at), at)
        return self._streams[ident]

    # What sources are made of.

    def from_blocks(self, disk: Blocks, lba: int, offset: int, count: int) -> Piece:
        """Bytes of a disk, which lie on it, for what is written later."""
        if disk.contact is not None:
            return self._supply.promise(disk, self.number, lba, offset, count)
        blocks = disk.span(offset, count)
        start, end, segment = self._unconfirmed.get(disk, (lba, lba, self.number))
        self._unconfirmed[disk] = min(start, lba), max(end, lba + blocks), segment
        return disk.extent(lba, offset, count)

    def confirm(self) -> None:
        """Make sure that the nexus may read what ``from_blocks`` gave."""
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for disk, (start, end, segment) in unconfirmed.items():
            try:
                disk.confirm(start, end - start)
            except CopyFailure as failure:
                failure.segment = segment
                raise

    def flush(self) -> None:
        """Have every whole record on tape."""
        self._gathering.flush()

    def settle(self) -> None:
        """Nothing that follows may change what has been read."""
        self.flush()
        if self.source.length or self.destination.length:
            self.confirm()
            self.source.settle(self._supply.all)
            self.destination.settle(self._supply.all)

    def hold(self, pieces: list[Piece]) -> None:
        """Keep processed data for RECEIVE COPY DATA."""
        self.confirm()
        self.held.add(pieces, self._supply.all)

    # What destinations are made of.

    def process(self, length: int, feed: Feed, drain: Callable[[], None], *, held: bool = False) -> None:
        """Turn ``length`` bytes of source data into destination data, reading just as much as that takes."""
        drain()
        while length:
            self.check()
            if not self.source.length:
                feed(length)
            pieces = self.source.take(min(length, self.source.length, RUN))
            if held:
                self.hold(pieces)
            self.destination.put(pieces)
            length -= sum(piece.length for piece in pieces)
            drain()

    def to_stream(self, segment: Segment, stream: Stream, size: int, length: int, feed: Feed, *,
                  source_pad: bool = False) -> None:
        """Process ``length`` bytes and write records of ``size`` bytes, as many as get whole."""
        cat, pad = bool(getattr(segment, "cat", False)), stream.end.pad
        total, rest = divmod(self.destination.length + length, size)
        self._gathering.aim(stream, size)
        self.accounts.open(self.number, (total + (rest > 0 and pad and not cat)) * size, stream.unit)

        def drain() -> None:
            records = self.destination.length // size
            if records:
                self._gathering.add(self.number, self.destination.take(records * size), records)

        def fill() -> None:
            self.destination.put([Zeros(-self.destination.length % size)])
            drain()

        self.process(length, feed, drain, held=bool(getattr(segment, "held", False)))
        self.finish(cat=cat, source_pad=source_pad, pad=pad, fill=fill)

    def to_blocks(self, disk: Blocks, lba: int, offset: int, count: int, length: int, feed: Feed, *,
                  extra: int = 0, held: bool = False) -> None:
        """Process ``length`` bytes and write ``count``, from ``offset`` in block ``lba`` on.

        ``extra``: bytes that the segment is to write besides, as padding.
        """
        disk.check(lba, disk.span(offset, count))
        self.accounts.open(self.number, count + extra, disk.length)
        start, left = offset, count

        def drain() -> None:
            nonlocal start, left
            ready = min(left, self.destination.length)
            if ready < left:
                # Up to the last whole block: the rest of it is to come.
                ready = max(0, (start + ready) // disk.length * disk.length - start)
            while ready:
                self.check()
                step = ready if ready <= RUN else RUN - start % disk.length
                self.write_blocks(disk, lba + start // disk.length, start % disk.length,
                                  self.destination.take(step))
                start, left, ready = start + step, left - step, ready - step

        self.process(length, feed, drain, held=held)

    def write_blocks(self, disk: Blocks, lba: int, offset: int, pieces: list[Piece]) -> None:
        self.confirm()
        while pieces:
            head = self._supply.ready(pieces, disk.length, offset, disk.most)
            size = sum(piece.length for piece in head)
            disk.write(lba, disk.whole(lba, offset, head))
            self.accounts.written(self.number, size)
            pieces = behind(pieces, size) if head is not pieces else []
            blocks, offset = divmod(offset + size, disk.length)
            lba += blocks

    def finish(self, *, cat: bool, source_pad: bool, pad: bool, fill: Callable[[], None] | None) -> None:
        """What is left over at the end of a segment. SPC-4 table 116.

        ``fill`` pads destination data with zeros; None where the segment writes no more than it says.
        """
        if cat or not (self.source.length or self.destination.length):
            return
        if pad:
            if self.destination.length:
                if fill is None:
                    raise field_failure(CAT_AT, Asc.UNEXPECTED_INEXACT_SEGMENT, bit=0)
                fill()
            if source_pad:
                self.source.clear()
        elif source_pad:
            self.source.clear()
            self.destination.clear()
        else:
            raise field_failure(CAT_AT, Asc.UNEXPECTED_INEXACT_SEGMENT, bit=0)

    def inline(self, offset: int, count: int) -> Piece:
        return Inline(memoryview(self.list.inline)[offset:offset + count])

    def read_whole(self, pieces: list[Piece]) -> list[Piece]:
        return [Inline(read_whole(pieces))]
