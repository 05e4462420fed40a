"""The map of an image: which blocks of the disk are data, which are known to be zeros, and which are left
out.

Packed into one array (16 bytes an extent, ``MAX_EXTENTS`` at most), iterated lazily. ``MapBuilder`` makes
one from ranges in ascending order; one that would grow too long gets coarser instead: small gaps and small
runs of zeros become data, which costs tape and loses nothing.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from protocol.errors import WireError
from protocol.streams.image import (
    ALL_ZEROS,
    MAX_EXTENTS,
    PAGE,
    Header,
    map_length,
    padding,
    put_map,
    take_map,
)

_CHUNK = 4096
"""Map entries handled at a time: 64 KiB."""


class Extent(NamedTuple):
    """``blocks`` blocks from ``lba``; ``zeros``: they are known to read as zeros."""

    lba: int
    blocks: int
    zeros: bool = False

    @property
    def end(self) -> int:
        return self.lba + self.blocks


class ImageMap:
    """Extents in ascending order that neither overlap nor reach beyond ``capacity``."""

    __slots__ = ("_words",)

    def __init__(self, words: array[int]) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words) // 2

    def __iter__(self) -> Iterator[Extent]:
        words = self._words
        for at in range(0, len(words), 2):
            length = words[at + 1]
            yield Extent(words[at], length & ~ALL_ZEROS, length >= ALL_ZEROS)

    def encoded(self) -> Iterator[bytes]:
        """The map as it stands in the stream, in chunks, without the padding to a whole page."""
        for at in range(0, len(self._words), 2 * _CHUNK):
            yield put_map(self._words[at:at + 2 * _CHUNK])

    @property
    def checksum(self) -> int:
        total = 0
        for chunk in self.encoded():
            total = zlib.crc32(chunk, total)
        return total

    def counts(self) -> tuple[int, int]:
        """Blocks of data, and blocks of zeros."""
        data = zeros = 0
        for extent in self:
            if extent.zeros:
                zeros += extent.blocks
            else:
                data += extent.blocks
        return data, zeros

    def data_end(self, block_length: int) -> int:
        """Where in the stream the data end, and the end marker begins."""
        position = PAGE + map_length(len(self))
        for extent in self:
            if not extent.zeros:
                position += padding(position, extent.lba * block_length) + extent.blocks * block_length
        return position


def taken(header: Header, chunks: Iterable[bytes]) -> ImageMap:
    """The map that follows ``header``, checked whole. Raises WireError; reads no more than the header
    announced.
    """
    words = array("Q")
    total = 0
    for chunk in chunks:
        total = zlib.crc32(chunk, total)
        words.extend(take_map(chunk))
    if len(words) != 2 * header.extents or total != header.map_sum:
        raise WireError("the map of the image is damaged: its checksum is wrong")
    found = ImageMap(words)
    end = 0
    for number, extent in enumerate(found):
        if extent.blocks == 0 or extent.lba < end:
            raise WireError(f"extent {number} of the image's map is empty, out of order or overlaps the one "
                            "before")
        end = extent.end
        if end > header.capacity:
            raise WireError(f"extent {number} of the image's map ends at block {end} of a disk of "
                            f"{header.capacity}")
    if found.counts() != (header.data_blocks, header.zero_blocks):
        raise WireError("the map of the image does not add up to what its header announces")
    return found


class MapBuilder:
    """Makes a map from ranges added in ascending order.

    ``gap``: blocks from which on an unmentioned range stays out; a shorter one becomes data. ``run``: blocks
    from which on zeros are kept apart. Both double whenever more than ``limit`` extents would be needed.
    """

    def __init__(self, gap: int = 1, run: int = 1, limit: int = MAX_EXTENTS) -> None:
        self.gap = max(1, gap)
        self.run = max(1, run)
        self.coarsened = False
        self._limit = limit
        self._words: array[int] = array("Q")

    def add(self, extent: Extent) -> None:
        """The next range. One that touches its neighbour, or nearly so, is joined to it."""
        lba, blocks, zeros = extent
        if blocks == 0:
            return
        zeros = zeros and blocks >= self.run
        words = self._words
        if words:
            before, length = words[-2], words[-1]
            end = before + (length & ~ALL_ZEROS)
            close = lba - end < self.gap
            if length >= ALL_ZEROS:
                if zeros and lba == end:
                    words[-1] = length + blocks
                    return
                if close and not zeros:
                    lba, blocks = end, blocks + lba - end
            elif close:
                if not zeros:
                    words[-1] = lba + blocks - before
                    return
                words[-1] = lba - before
        words.append(lba)
        words.append(blocks | ALL_ZEROS if zeros else blocks)
        if len(words) > 2 * self._limit:
            self._coarsen()

    def _coarsen(self) -> None:
        self.coarsened = True
        while len(self._words) > self._limit:
            # Down to half of what is allowed, or the next extents would call for it again at once.
            self.gap *= 2
            self.run *= 2
            extents = ImageMap(self._words)
            self._words = array("Q")
            for extent in extents:
                self.add(extent)

    def finish(self) -> ImageMap:
        return ImageMap(self._words)


def with_zeros(used: Iterable[Extent], status: Iterable[Extent]) -> Iterator[Extent]:
    """The parts of ``used``, told apart by ``status``, which covers the disk in ascending order."""
    known = iter(status)
    current = next(known, None)
    for extent in used:
        at = extent.lba
        while at < extent.end:
            while current is not None and current.end <= at:
                current = next(known, None)
            if current is None or current.lba >= extent.end:
                yield Extent(at, extent.end - at)
                break
            if current.lba > at:
                yield Extent(at, current.lba - at)
                at = current.lba
            end = min(extent.end, current.end)
            yield Extent(at, end - at, current.zeros)
            at = end
