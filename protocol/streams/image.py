"""The stream of the ``image`` butype: a disk's blocks behind a header and a map that say where they belong.

    header   one page of 4096 bytes
    map      16 bytes for each extent in ascending order, then zeros to a whole page
    data     for each extent that is not all zeros: padding, then its blocks
    end      64 bytes; whatever follows is not part of the stream

Padding before an extent makes its place in the stream equal to its place on the disk modulo 4096, so that a
store that can share blocks may. Header, map and end are checksummed, the data are not: a copy manager moves
them without this software seeing them. All numbers are big-endian; blocks are the disk's logical blocks.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from dataclasses import dataclass
from enum import IntFlag

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError

PAGE = 4096
MAGIC = int.from_bytes(b"NDMPDIMG", "big")
END_MAGIC = int.from_bytes(b"NDMPDEND", "big")
VERSION = 1
ENTRY = 16
"""Bytes of a map entry: the first block, then the number of blocks with ``ALL_ZEROS`` or-ed in."""

ALL_ZEROS = 1 << 63
MAX_EXTENTS = 1 << 20
"""Entries of a map: 16 MiB in memory and on tape."""

MAX_BYTES = 1 << 62
"""No disk is larger; it keeps every offset in a stream far from where 64 bits end."""

_HEADER = Layout(PAGE, magic=Bits(0, 64), version=Bits(8, 16), contents=Bits(10, 16),
                 block_length=Bits(12, 32), capacity=Bits(16, 64), extents=Bits(24, 64),
                 data_blocks=Bits(32, 64), zero_blocks=Bits(40, 64), gap=Bits(48, 64), map_sum=Bits(56, 32),
                 sum=Bits(PAGE - 4, 32))
_END = Layout(64, magic=Bits(0, 64), position=Bits(8, 64), data_blocks=Bits(16, 64), map_sum=Bits(24, 32),
              sum=Bits(60, 32))
END_SIZE = _END.size


class Contents(IntFlag):
    """What was known of the disk when the map was made; neither: all of it is data."""

    ZEROS = 1
    """Ranges that read as zeros are in the map and not in the data."""
    GAPS = 2
    """Ranges that the file system does not use are not in the map; a recover leaves them as they are."""


NOTHING_KNOWN = Contents(0)


@dataclass(frozen=True, slots=True)
class Header:
    """What the image is of. ``gap``: bytes of the smallest unused range left out. ``map_sum``: CRC-32 of the
    map.
    """

    block_length: int
    capacity: int
    extents: int
    data_blocks: int
    zero_blocks: int
    map_sum: int
    contents: Contents = NOTHING_KNOWN
    gap: int = 0

    def put(self) -> bytes:
        return _summed(_HEADER.put(
            magic=MAGIC, version=VERSION, contents=self.contents, block_length=self.block_length,
            capacity=self.capacity, extents=self.extents, data_blocks=self.data_blocks,
            zero_blocks=self.zero_blocks, gap=self.gap, map_sum=self.map_sum))

    @classmethod
    def take(cls, data: Buffer) -> Header:
        """The header, its own numbers checked against one another. Raises WireError."""
        field = _HEADER.take(data)
        if field["magic"] != MAGIC:
            raise WireError("this is not the stream of an image")
        _check_sum(data[:PAGE], "header")
        if field["version"] != VERSION:
            raise WireError(f"the image has version {field['version']}; this software reads version "
                            f"{VERSION}")
        if field["contents"] & ~int(Contents.ZEROS | Contents.GAPS):
            raise WireError(f"the image says it holds what has no name here ({field['contents']:04X}h)")
        block_length, capacity = field["block_length"], field["capacity"]
        if not 512 <= block_length <= 65536 or block_length & (block_length - 1):
            raise WireError(f"the image has blocks of {block_length} bytes")
        if not 0 < capacity <= MAX_BYTES // block_length:
            raise WireError(f"the image is of a disk of {capacity} blocks")
        if field["extents"] > MAX_EXTENTS:
            raise WireError(f"the image has {field['extents']} extents; {MAX_EXTENTS} are the most")
        if field["data_blocks"] + field["zero_blocks"] > capacity:
            raise WireError("the image holds more blocks than its disk has")
        return cls(block_length, capacity, field["extents"], field["data_blocks"], field["zero_blocks"],
                   field["map_sum"], Contents(field["contents"]), field["gap"])


@dataclass(frozen=True, slots=True)
class End:
    """The end marker: ``position`` is its own place in the stream."""

    position: int
    data_blocks: int
    map_sum: int

    def put(self) -> bytes:
        return _summed(_END.put(magic=END_MAGIC, position=self.position, data_blocks=self.data_blocks,
                                map_sum=self.map_sum))

    @classmethod
    def take(cls, data: Buffer) -> End:
        field = _END.take(data)
        if field["magic"] != END_MAGIC:
            raise WireError("the end marker of the image is not where it must be")
        _check_sum(data[:END_SIZE], "end marker")
        return cls(field["position"], field["data_blocks"], field["map_sum"])


def map_length(extents: int) -> int:
    """Bytes of a map of so many entries, its padding included."""
    return -(-extents * ENTRY // PAGE) * PAGE


def padding(position: int, disk_offset: int) -> int:
    """Bytes to skip at stream ``position`` so that the blocks at ``disk_offset`` keep their place in a page.
    """
    return (disk_offset - position) % PAGE


def put_map(words: array[int]) -> bytes:
    """Map entries as they stand in the stream. ``words``: of each entry its first block, then its second
    word.
    """
    if sys.byteorder == "little":
        words = words[:]
        words.byteswap()
    return words.tobytes()


def take_map(data: Buffer) -> array[int]:
    """The words of whole map entries."""
    if len(data) % ENTRY:
        raise WireError(f"a map of {len(data)} bytes")
    words = array("Q", bytes(data))
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _summed(structure: bytes) -> bytes:
    """``structure`` with the CRC-32 of what comes before it in its last four bytes."""
    body = structure[:-4]
    return body + zlib.crc32(body).to_bytes(4, "big")


def _check_sum(structure: Buffer, name: str) -> None:
    if zlib.crc32(structure[:-4]) != int.from_bytes(structure[-4:], "big"):
        raise WireError(f"the {name} of the image is damaged: its checksum is wrong")
