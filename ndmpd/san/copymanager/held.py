"""Data that a copy keeps for RECEIVE COPY DATA. SPC-4 6.21."""

from __future__ import annotations

from ndmpd.datapath import length_of
from ndmpd.pieces import Piece, split
from ndmpd.san.copymanager.residue import read_whole


class Held:
    """The newest ``limit`` bytes. ``discarded``: there were more."""

    def __init__(self, limit: int) -> None:
        self.data = bytearray()
        self.discarded = False
        self._limit = limit

    def add(self, pieces: list[Piece]) -> None:
        excess = length_of(pieces) - self._limit
        if excess > 0:
            self.discarded = True
            pieces = _behind(pieces, excess)
        self.data += read_whole(pieces)
        if len(self.data) > self._limit:
            self.discarded = True
            del self.data[:len(self.data) - self._limit]


def _behind(pieces: list[Piece], skip: int) -> list[Piece]:
    """What comes after the first ``skip`` bytes."""
    kept: list[Piece] = []
    for piece in pieces:
        if skip >= piece.length:
            skip -= piece.length
            continue
        kept.append(split(piece, skip)[1] if skip else piece)
        skip = 0
    return kept
