"""Bytes between their source and their destination, as pieces: nothing is read before it is written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ndmpd.datapath import read_bytes
from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, split
from ndmpd.ports import SourceFault
from ndmpd.san.copymanager.failure import UNREADABLE, CopyFailure
from protocol.scsi.asc import Asc


class Residue:
    """What has been read and not processed, or processed and not written. SPC-4 5.17.7.2.

    Between segments it is less than one block or record.
    """

    __slots__ = ("_pieces", "length")

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self.length = 0

    def put(self, pieces: Iterable[Piece]) -> None:
        """Add behind what is there."""
        for piece in pieces:
            if piece.length:
                self._pieces.append(piece)
                self.length += piece.length

    def take(self, length: int) -> list[Piece]:
        """The first ``length`` bytes, which there are."""
        taken: list[Piece] = []
        self.length -= length
        while length:
            piece = self._pieces.popleft()
            if piece.length > length:
                piece, rest = split(piece, length)
                self._pieces.appendleft(rest)
            taken.append(piece)
            length -= piece.length
        return taken

    def clear(self) -> None:
        self._pieces.clear()
        self.length = 0

    def settle(self, fetch: Callable[[Iterable[Piece]], list[Piece]]) -> None:
        """Read what only points at a medium: a later segment may change that.

        ``fetch`` has what lies on other targets read.
        """
        if any(isinstance(piece, FileExtent | LunExtent) for piece in self._pieces):
            self._pieces = deque([Inline(read_whole(fetch(self._pieces)))])


def read_whole(pieces: Iterable[Piece]) -> bytes:
    """The bytes, where all of them can be read; otherwise the copy fails for its source."""
    faults: list[SourceFault] = []
    data = read_bytes(list(pieces), faults)
    if faults:
        raise CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, source=UNREADABLE)
    return data
