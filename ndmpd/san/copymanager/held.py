"""Data that a copy keeps for RECEIVE COPY DATA. SPC-4 6.21."""

from __future__ import annotations

from collections.abc import Callable

from ndmpd.datapath import length_of
from ndmpd.pieces import Piece, behind
from ndmpd.san.copymanager.residue import read_whole


class Held:
    """The newest ``limit`` bytes. ``discarded``: there were more."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.discarded = False
        self._limit = limit

    def add(self, pieces: list[Piece], fetch: Callable[[list[Piece]], list[Piece]]) -> None:
        """``fetch`` has what lies on other targets read."""
        excess = length_of(pieces) - self._limit
        if excess > 0:
            self.discarded = True
            pieces = behind(pieces, excess)
        self.data += read_whole(fetch(pieces))
        if len(self.data) > self._limit:
            self.discarded = True
            del self.data[:len(self.data) - self._limit]
