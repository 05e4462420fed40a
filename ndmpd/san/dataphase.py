"""The data phases of commands, where they are shorter than what the initiator gave for them."""

from __future__ import annotations

from collections.abc import Sequence

from ndmpd.datapath import length_of, put_bytes
from ndmpd.pieces import Piece, split


def clip(pieces: Sequence[Piece], length: int) -> Sequence[Piece]:
    """The first ``length`` bytes of ``pieces``; all of them where they have no more."""
    kept: list[Piece] = []
    left = length
    for piece in pieces:
        if piece.length > left:
            if left:
                kept.append(split(piece, left)[0])
            return kept
        kept.append(piece)
        left -= piece.length
    return pieces


def scatter(data: bytes, destinations: Sequence[Piece]) -> int:
    """Put ``data`` into ``destinations`` as far as they go; returns how many bytes went."""
    size = min(len(data), length_of(destinations))
    put_bytes(data[:size], clip(destinations, size))
    return size
