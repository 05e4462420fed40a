"""What the tests of jobs over several cartridges share: what is backed up, and where on the cartridges it is.

Cartridges are of 8 MiB with an early warning after 7: what is backed up takes three of them, with every
record size up to 1 MiB.
"""

from __future__ import annotations

import os
import random
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

CAPACITY = 8 << 20
EARLY_WARNING = 7 << 20
SLOTS = tuple(range(0x1000, 0x1008))
CARTRIDGES = tuple(f"E0100{number}L8" for number in range(1, 9))

_SIZE = re.compile(r"/(\d+)([KMG]?)")


def make_tree(folder: Path) -> Path:
    """17 MiB: files so large that some straddle a border, and small ones between them."""
    chance = random.Random(1)
    for number in range(12):
        place = folder / f"part {number:02}"
        place.mkdir(parents=True)
        (place / "large").write_bytes(chance.randbytes(1_400_000 + number))
        for small in range(5):
            (place / f"small {small}").write_bytes(chance.randbytes(3_000 * small))
    (folder / "link").symlink_to("part 00/large")
    os.link(folder / "part 11" / "large", folder / "part 00" / "same as the last")
    return folder


def fill_disk(disk: Path, size: int, seed: int = 2) -> None:
    """Make ``disk`` zeros but for ``size`` bytes of data in five places, in whole pages."""
    chance = random.Random(seed)
    whole = disk.stat().st_size
    pages = size // 4096
    assert pages * 4096 == size
    with disk.open("r+b") as file:
        file.truncate(0)
        file.truncate(whole)
        for place in range(5):
            share = pages // 5 + (pages % 5 if place == 0 else 0)
            file.seek(place * (whole // 5) // 4096 * 4096)
            file.write(chance.randbytes(share * 4096))


def first_difference(one: Path, other: Path) -> int | None:
    """The first byte in which two disks differ; only what either has data for is read."""
    with one.open("rb") as left, other.open("rb") as right:
        files = left.fileno(), right.fileno()
        if (size := os.fstat(files[0]).st_size) != os.fstat(files[1]).st_size:
            return min(size, os.fstat(files[1]).st_size)
        at = 0
        while (at := min(_next_data(file, at, size) for file in files)) < size:
            before, after = (os.pread(file, 1 << 16, at) for file in files)
            if before != after:
                return at + next(index for index, pair in enumerate(zip(before, after, strict=True))
                                 if pair[0] != pair[1])
            at += len(before)
        return None


def _next_data(file: int, at: int, size: int) -> int:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:  # ENXIO: a hole to the end
        return size


def records_until_full(record_size: int) -> int:
    """The records of a cartridge: it ends after the first one that meets early warning."""
    return -(-EARLY_WARNING // record_size)


def media_sizes(media: Iterable[str]) -> list[int]:
    """The bytes of each cartridge, from the ``CM`` lines of ndmjob's index: ``01 +0/7170K@4096``."""
    found = [_SIZE.search(line) for line in media]
    units = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return [int(size[1]) * units[size[2]] for size in found if size]


@dataclass(frozen=True, slots=True)
class Placement:
    """Which files lie where. ``sizes``: bytes of the stream on each cartridge."""

    sizes: Sequence[int]
    offsets: Mapping[str, int]
    """Stream offset of each file, by path."""

    def on(self, cartridge: int) -> list[str]:
        """Files that lie on ``cartridge`` (from 0) and no other, in stream order."""
        return [path for path, first, last in self._spans() if first == last == cartridge]

    def straddling(self, cartridge: int) -> str:
        """The file that begins on ``cartridge`` and ends on the next."""
        return next(path for path, first, last in self._spans() if first == cartridge < last)

    def _spans(self) -> list[tuple[str, int, int]]:
        """Each file with the cartridges of its first and last bytes."""
        borders = list(accumulate(self.sizes))
        ordered = sorted(self.offsets.items(), key=lambda each: each[1])
        return [(path, bisect_right(borders, begin), bisect_right(borders, end - 1))
                for (path, begin), (_, end) in pairwise(ordered) if begin < end]
