"""SIMH magtape containers (``.tap``): the exchange format of cartridges. SIMH "Magtape Representation".

Little-endian words of 32 bits. A record is its length, its bytes, a byte of padding where the length is odd,
and its length again. A tape mark is a zero; FFFFFFFFh ends the medium, FFFFFFFEh is erased tape and counts
for nothing. The four high bits of a length are its class: 0 good data, 8 data that was read with an error.

Pure: ``scan`` is given a way to read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from protocol.errors import WireError

_WORD = struct.Struct("<I")
MARK = _WORD.pack(0)
END_OF_MEDIUM = _WORD.pack(0xFFFFFFFF)
_END, _GAP = 0xFFFFFFFF, 0xFFFFFFFE
_GOOD, _DAMAGED = 0x0, 0x8
MAX_RECORD = 0xFFFFFF


@dataclass(frozen=True, slots=True)
class Record:
    """``size`` bytes from ``offset`` of the container. ``damaged``: the tape it came from could not be read
    there.
    """

    offset: int
    size: int
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A tape mark."""


def before(size: int) -> bytes:
    """What stands before a record of ``size`` bytes."""
    return _WORD.pack(size)


def after(size: int) -> bytes:
    """What stands after a record of ``size`` bytes: its padding and its length again."""
    return b"\0" * (size & 1) + _WORD.pack(size)


def scan(read: Callable[[int, int], bytes]) -> Iterator[Record | Mark]:
    """The objects of a container, in order, to its end of medium or its last byte.

    ``read(offset, size)`` gives the bytes there, fewer at the end of the file. WireError, naming the offset,
    where the container is cut off or is not in this format.
    """
    at = 0
    while head := read(at, _WORD.size):
        if len(head) < _WORD.size:
            raise WireError(f"the tape image is cut off at byte {at}")
        (word,) = _WORD.unpack(head)
        if word == _END:
            return
        if word == _GAP or word == 0:
            at += _WORD.size
            if not word:
                yield Mark()
            continue
        kind, size = word >> 28, word & 0xFFFFFFF
        if kind not in (_GOOD, _DAMAGED) or size > MAX_RECORD:
            raise WireError(f"no record can begin with {word:08X}h at byte {at}: not a SIMH tape image")
        start = at + _WORD.size
        at = start + size + (size & 1)
        tail = read(at, _WORD.size)
        if len(tail) < _WORD.size:
            raise WireError(f"the tape image is cut off inside the record at byte {start}")
        if _WORD.unpack(tail)[0] != word:
            raise WireError(f"the record of {size} bytes at byte {start} does not end with its length"
                            + (" (images without a padding byte are not read)" if size & 1 else ""))
        at += _WORD.size
        if size:
            yield Record(start, size, kind == _DAMAGED)
