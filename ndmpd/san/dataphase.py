"""The data phases of commands whose data is small: parameter lists in, parameter data out.

Bulk data is moved by ``ndmpd.datapath``; ``clip`` cuts a list of pieces for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, Zeros, split


def length_of(pieces: Sequence[Piece]) -> int:
    return sum(piece.length for piece in pieces)


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


def gather(pieces: Sequence[Piece], length: int) -> bytes:
    """The first ``length`` bytes of ``pieces``, fewer where they have fewer."""
    parts: list[bytes] = []
    for piece in clip(pieces, length):
        match piece:
            case Inline(data):
                parts.append(bytes(data))
            case Zeros(size):
                parts.append(bytes(size))
            case FileExtent(file, offset, size):
                parts.append(os.pread(file.fd, size, offset).ljust(size, b"\0"))
            case LunExtent(disk):
                raise ValueError(f"blocks of {disk} in a command's data must be read by whoever sends it")
    return b"".join(parts)


def scatter(data: bytes, destinations: Sequence[Piece]) -> int:
    """Put ``data`` into ``destinations`` as far as they go; returns how many bytes went."""
    done = 0
    for place in destinations:
        part = data[done:done + place.length]
        if not part:
            break
        match place:
            case Inline(buffer):
                memoryview(buffer)[:len(part)] = part
            case FileExtent(file, offset):
                os.pwrite(file.fd, part, offset)
            case LunExtent(disk):
                raise ValueError(f"blocks of {disk} cannot take a command's data: give a buffer")
        done += len(part)
    return done
