"""Pieces as memory that a transport can hand to the kernel or a library, and back.

What lies in a file passes through one page-aligned buffer, which is kept and grows to the largest transfer
seen. Buffers that are large enough to be worth it are used where they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

from ndmpd.datapath import copy_to_memory, length_of, put_bytes
from ndmpd.pieces import Inline, Piece, part
from ndmpd.ports import SourceFault

_AS_IT_IS = 4096
"""Bytes from which on a buffer is not copied. Of smaller ones, one system call might get too many."""


class Staging:
    """One transfer at a time: what it hands out is valid until the next."""

    def __init__(self) -> None:
        self._room: memoryview = memoryview(b"")

    def room(self, size: int) -> memoryview:
        """``size`` bytes, page-aligned, with whatever was in them."""
        if len(self._room) < size:
            whole = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            self._room = memoryview(mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        return self._room[:size]

    def gather(self, pieces: Sequence[Piece], faults: list[SourceFault]) -> memoryview:
        """The bytes of ``pieces`` in one buffer; what cannot be read is zeros, and added to ``faults``."""
        room = self.room(length_of(pieces))
        copy_to_memory(pieces, room, faults)
        return room

    def outgoing(self, pieces: Sequence[Piece], faults: list[SourceFault]) -> list[memoryview]:
        """The same as several buffers, without copying the large ones."""
        room = self.room(sum(piece.length for piece in pieces if not _direct(piece)))
        buffers: list[memoryview] = []
        before = begun = filled = 0
        for piece in pieces:
            if isinstance(piece, Inline) and _direct(piece):
                if filled > begun:
                    buffers.append(room[begun:filled])
                    begun = filled
                buffers.append(memoryview(piece.data).cast("B"))
            else:
                copy_to_memory((piece,), room[filled:filled + piece.length], faults, before)
                filled += piece.length
            before += piece.length
        if filled > begun:
            buffers.append(room[begun:filled])
        return buffers

    def incoming(self, destinations: Sequence[Piece]) -> list[memoryview]:
        """Buffers that together are as long as ``destinations``: the large ones themselves."""
        room = self.room(sum(one.length for one in destinations if not _direct(one)))
        buffers: list[memoryview] = []
        begun = used = 0
        for one in destinations:
            if isinstance(one, Inline) and _direct(one):
                if used > begun:
                    buffers.append(room[begun:used])
                    begun = used
                buffers.append(memoryview(one.data).cast("B"))
            else:
                used += one.length
        if used > begun:
            buffers.append(room[begun:used])
        return buffers

    def deliver(self, destinations: Sequence[Piece], received: int) -> None:
        """Have ``received`` bytes, which came into what ``incoming`` gave, in ``destinations``."""
        used = 0
        for one in destinations:
            length = min(one.length, received)
            if length <= 0:
                return
            if not _direct(one):
                put_bytes(self._room[used:used + length], (part(one, 0, length),))
                used += length
            received -= length

    def scatter(self, destinations: Sequence[Piece], received: int) -> None:
        """The same where all of it came into ``room``."""
        at = 0
        for one in destinations:
            length = min(one.length, received - at)
            if length <= 0:
                return
            put_bytes(self._room[at:at + length], (part(one, 0, length),))
            at += length


def _direct(piece: Piece) -> bool:
    return isinstance(piece, Inline) and len(piece.data) >= _AS_IT_IS
