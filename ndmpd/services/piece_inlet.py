"""A recover that is fed by a backup of this same server: pieces come in, and go where the butype wants them.

No mover stands between the two, so that nothing can be asked for again: the stream is taken from its
beginning to its end, and what lies between two ranges is passed over, unread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ndmpd.datapath import length_of
from ndmpd.errors import StreamError
from ndmpd.pieces import Inline, Piece, Zeros, part
from ndmpd.ports import SourceFault
from ndmpd.services.block_transfer import BlockTransfer, Pair
from ndmpd.services.inlets import Ask, ConnectionBroken, OnBytes, RangeReader, breaking
from ndmpd.services.sources import LocalSource

STEP = 64 << 20
"""Bytes that are on their way at a time, at most: what a copy manager is given to plan with."""
_PAIRS = 256
"""Pieces, and so open files, that are on their way at a time, at most."""
_READ = 1 << 20
"""Bytes in memory at a time, at most."""


class PieceInlet(RangeReader):
    """``source``: the pieces of the backup at the other end of the channel."""

    def __init__(self, source: LocalSource, transfer: BlockTransfer, ask: Ask, on_bytes: OnBytes) -> None:
        super().__init__(ask, on_bytes)
        self._source = source
        self._transfer = transfer
        self._number = -1
        self._piece: Piece = Zeros(0)
        """The piece that is being taken, and its number; of it, ``_at`` bytes are taken."""
        self._at = 0

    def want(self, offset: int, length: int) -> None:
        if offset < self.position:
            raise StreamError(f"byte {offset} of the stream is wanted behind byte {self.position}, and a "
                              "backup under way cannot go back; recover without DIRECT")
        self._pass_over(offset - self.position)
        self._end = self.position
        super().want(offset, length)

    def read_some(self, size: int) -> bytes:
        size = self._within(min(size, _READ))
        if size <= 0 or not self._next():
            return b""
        pair = self._take(Zeros(min(size, self._piece.length - self._at)))
        faults: list[SourceFault] = []
        data = self._transfer.read(pair.source, faults)
        for fault in faults:
            self._report(pair, fault)
        self._done(pair.length)
        return data

    def into(self, destinations: Sequence[Piece]) -> None:
        size = length_of(destinations)
        self._must(size, self._within(size))
        rest = deque(piece for piece in destinations if piece.length)
        if any(isinstance(piece, Inline) for piece in rest):
            raise TypeError("memory of this process is filled by read")
        while rest:
            pairs = self._pairs(rest)
            moved = sum(pair.length for pair in pairs)
            if not moved:
                self._must(length_of(rest), 0)
            try:
                self._transfer.copy(pairs, self._report)
            except OSError:
                # That is for the butype to judge; the stream goes on behind what was to be put there.
                self._done(moved)
                self._pass_over(length_of(rest))
                raise
            self._done(moved)

    def finish(self) -> None:
        """Everything is where it belongs. The backup hears so once it has sent the rest, which nobody wants.
        """
        while self._next():
            self._at = self._piece.length
        with breaking():
            self._source.done(self.offloaded, self.used)

    # Pieces.

    def _next(self) -> bool:
        """Have a piece with bytes left; False where there are no more."""
        while self._at == self._piece.length:
            with breaking():
                found = self._source.next()
            if found is None:
                if not self._source.complete:
                    raise ConnectionBroken("the backup at its other end did not come to an end")
                return False
            (self._number, self._piece), self._at = found, 0
        return True

    def _take(self, destination: Piece) -> Pair:
        """The next bytes, which the piece has, for ``destination``."""
        pair = Pair(self._number, self._at, part(self._piece, self._at, destination.length), destination)
        self._at += destination.length
        return pair

    def _pairs(self, wanted: deque[Piece]) -> list[Pair]:
        """The next bytes with where they go; that much is gone from ``wanted``. Few where the stream ends."""
        pairs: list[Pair] = []
        size = 0
        while wanted and size < STEP and len(pairs) < _PAIRS and self._next():
            destination = wanted.popleft()
            length = min(destination.length, self._piece.length - self._at, STEP - size)
            if length < destination.length:
                wanted.appendleft(part(destination, length, destination.length - length))
            pairs.append(self._take(part(destination, 0, length)))
            size += length
        return pairs

    def _pass_over(self, size: int) -> None:
        while size and self._next():
            step = min(size, self._piece.length - self._at)
            self._at += step
            size -= step
            self._done(step)

    def _done(self, size: int) -> None:
        """So many further bytes are where they belong: pieces before the one under way are not needed again.
        """
        self._moved(size)
        self.offloaded, self.used = self._transfer.offloaded, self._transfer.used
        whole = self._number + (self._at == self._piece.length)
        with breaking():
            self._source.written(whole)

    def _report(self, pair: Pair, fault: SourceFault) -> None:
        with breaking():
            self._source.fault(pair.number, pair.at + fault.skipped, fault.length, fault.reason)
