"""Pieces: what a backup stream is made of.

A formatter yields pieces lazily and in order; their concatenation *is* the stream. A data path carries a byte
range of it to where it goes: a tape drive, a socket, another process. On recover the same values name
destinations: bytes of the stream are put into an ``Inline`` buffer, an extent, or thrown away (``Zeros``).

Pure values. Moving their bytes is ``ndmpd.datapath``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


class OpenFile:
    """An open file that pieces refer to; its descriptor is closed when the last of them is dropped.

    ``name`` is what messages call it.
    """

    __slots__ = ("fd", "name")

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name

    def close(self) -> None:
        """Close now rather than when the last reference goes. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OpenFile({self.fd}, {self.name!r})"


@dataclass(frozen=True, slots=True)
class Inline:
    """Bytes carried by value: headers, maps, small files. As a destination, a writable buffer."""

    data: bytes | bytearray | memoryview

    @property
    def length(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Zeros:
    """``length`` zero bytes. As a destination: throw that many bytes away."""

    length: int


@dataclass(frozen=True, slots=True)
class FileExtent:
    """``length`` bytes of an open file from ``offset``; as a destination, where to put them.

    Always yields exactly ``length`` bytes: what cannot be read is zeros, and is reported. ``strict`` says
    that such a gap makes the stream unsound (an image block), so that the job must halt.
    """

    file: OpenFile
    offset: int
    length: int
    strict: bool = False


@dataclass(frozen=True, slots=True)
class LunExtent:
    """``blocks`` logical blocks of ``block_length`` bytes from ``lba`` of the logical unit named ``disk``.

    A record may end inside a block, so that an extent may be cut there: it is without the first ``skip``
    bytes of its first block and the last ``short`` bytes of its last, each less than a block.
    """

    disk: str
    lba: int
    blocks: int
    block_length: int = 512
    skip: int = 0
    short: int = 0

    @property
    def length(self) -> int:
        return self.blocks * self.block_length - self.skip - self.short


Piece = Inline | Zeros | FileExtent | LunExtent


def part(piece: Piece, start: int, length: int) -> Piece:
    """``length`` bytes of ``piece`` from ``start``."""
    if start:
        _, piece = split(piece, start)
    if length < piece.length:
        piece, _ = split(piece, length)
    return piece


def first(pieces: Iterable[Piece], length: int) -> list[Piece]:
    """The first ``length`` bytes of ``pieces``, or all where there are fewer."""
    found: list[Piece] = []
    for piece in pieces:
        if length <= 0:
            break
        found.append(part(piece, 0, min(length, piece.length)))
        length -= piece.length
    return found


def behind(pieces: Iterable[Piece], length: int) -> list[Piece]:
    """What is left of ``pieces`` without their first ``length`` bytes."""
    found: list[Piece] = []
    for piece in pieces:
        if length < piece.length:
            found.append(part(piece, length, piece.length - length))
        length = max(0, length - piece.length)
    return found


def split(piece: Piece, at: int) -> tuple[Piece, Piece]:
    """Cut ``piece`` after ``at`` bytes, 0 < at < length. A block that is cut belongs to both extents."""
    if not 0 < at < piece.length:
        raise ValueError(f"cannot cut {piece.length} bytes after {at}")
    match piece:
        case Inline(data):
            view = memoryview(data)
            return Inline(view[:at]), Inline(view[at:])
        case Zeros(length):
            return Zeros(at), Zeros(length - at)
        case FileExtent(file, offset, length, strict):
            return (FileExtent(file, offset, at, strict),
                    FileExtent(file, offset + at, length - at, strict))
        case LunExtent(disk, lba, blocks, block_length, skip, short):
            cut = skip + at
            before, after = -(-cut // block_length), cut // block_length
            return (LunExtent(disk, lba, before, block_length, skip, before * block_length - cut),
                    LunExtent(disk, lba + after, blocks - after, block_length, cut - after * block_length,
                              short))
