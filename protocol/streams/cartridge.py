"""On-disk form of a virtual cartridge: what its journal says about its data file.

A cartridge is a *data file*, the records one after the other with nothing between them, and a *journal* that
says where each begins. The journal is a header and entries, only ever appended:

    header   magic (8), version (2), entry size (2), reserved (4), generation (8), checksum (4), reserved (4)
    entry    checksum (4), kind (1), reserved (3), record size (4), entry number (4), count (8)

Big-endian. An entry's checksum is seeded with the header's generation and covers the entry's number, so that
an entry of another generation, or at another place, is never taken for one of this journal. Writing a header
with the next generation therefore empties the journal in one small write.

``TapeMap`` is what the entries add up to. Logical objects (records and filemarks) are numbered from 0 as
SSC-4 4.2.6 does. Offsets are in bytes of the data file. The first record after a filemark begins at a
multiple of ``ALIGNMENT``, so that tape files may share blocks with what they were copied from.

Pure: bytes and numbers only. Files are ``ndmpd.san.medium``.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from enum import IntEnum

from protocol.errors import WireError

ALIGNMENT = 4096
MAX_RECORD = 0xFFFFFF
"""Longest record: the 24-bit transfer length of READ(6) and WRITE(6), and of a SIMH record."""

_MAGIC = b"ndmpcart"
_VERSION = 1
_HEADER = struct.Struct(">8sHH4xQI4x")
_ENTRY = struct.Struct(">IB3xIIQ")
HEADER_SIZE = _HEADER.size
ENTRY_SIZE = _ENTRY.size


class Kind(IntEnum):
    """What an entry does to the tape, always at end of data."""

    RECORDS = 1
    """Append ``count`` records of ``size`` bytes."""
    MARKS = 2
    """Append ``count`` filemarks."""
    TRUNCATE = 3
    """Make logical object ``count`` the end of data."""


@dataclass(frozen=True, slots=True)
class Entry:
    kind: Kind
    count: int
    size: int = 0


def put_header(generation: int) -> bytes:
    body = _HEADER.pack(_MAGIC, _VERSION, ENTRY_SIZE, generation, 0)
    return _HEADER.pack(_MAGIC, _VERSION, ENTRY_SIZE, generation, zlib.crc32(body))


def take_header(data: bytes) -> int:
    """The generation. WireError where this is not the journal of a cartridge, or its header is damaged."""
    if len(data) < HEADER_SIZE:
        raise WireError(f"{len(data)} bytes where a cartridge's header of {HEADER_SIZE} is needed")
    magic, version, entry_size, generation, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise WireError("not the journal of a cartridge")
    if (version, entry_size) != (_VERSION, ENTRY_SIZE):
        raise WireError(f"cartridge format {version} is not known here")
    if zlib.crc32(_HEADER.pack(_MAGIC, version, entry_size, generation, 0)) != checksum:
        raise WireError("the header of the cartridge's journal is damaged")
    return int(generation)


def put_entry(entry: Entry, number: int, generation: int) -> bytes:
    """``entry`` as the ``number``-th of its journal, counted from 0."""
    body = _ENTRY.pack(0, entry.kind, entry.size, number & 0xFFFFFFFF, entry.count)
    return zlib.crc32(body[4:], generation & 0xFFFFFFFF).to_bytes(4, "big") + body[4:]


def take_entries(data: bytes, first: int, generation: int) -> list[Entry]:
    """The whole entries at the front of ``data``, of which the first is the ``first``-th of the journal.

    Ends, without an error, at the first one that is cut off or whose checksum is wrong: a torn tail.
    """
    entries: list[Entry] = []
    seed = generation & 0xFFFFFFFF
    for at in range(0, len(data) - ENTRY_SIZE + 1, ENTRY_SIZE):
        checksum, kind, size, number, count = _ENTRY.unpack_from(data, at)
        if (zlib.crc32(data[at + 4:at + ENTRY_SIZE], seed) != checksum
                or number != (first + len(entries)) & 0xFFFFFFFF):
            break
        try:
            entries.append(Entry(Kind(kind), count, size))
        except ValueError:
            raise WireError(f"journal entry {number} is of unknown kind {kind}") from None
    return entries


@dataclass(frozen=True, slots=True)
class Run:
    """Objects alike from a given one on: ``count`` records of ``size`` bytes that lie one after the other
    from ``offset`` of the data file, or ``count`` filemarks where ``size`` is 0.
    """

    size: int
    count: int
    offset: int


class TapeMap:
    """Where every object of a tape is. Adjoining runs of one kind are kept as one; locating is a bisect.

    ``objects``, ``marks`` and ``used`` are how many objects, how many of them filemarks, and how many bytes
    of records there are before end of data.
    """

    __slots__ = ("_counts", "_firsts", "_marks", "_offsets", "_sizes", "_used", "marks", "objects", "used")

    def __init__(self) -> None:
        # Per run: its first object, record size (0: filemarks), count, offset, and the marks and bytes
        # before.
        self._firsts: list[int] = []
        self._sizes: list[int] = []
        self._counts: list[int] = []
        self._offsets: list[int] = []
        self._marks: list[int] = []
        self._used: list[int] = []
        self.objects = 0
        self.marks = 0
        self.used = 0

    @property
    def runs(self) -> int:
        return len(self._firsts)

    @property
    def end(self) -> int:
        """Offset of the data file where the next record goes."""
        if not self._firsts:
            return 0
        if self._sizes[-1]:
            return self._offsets[-1] + self._counts[-1] * self._sizes[-1]
        return self._offsets[-1]

    def apply(self, entry: Entry) -> None:
        """WireError where the entry cannot follow those before it."""
        match entry.kind:
            case Kind.RECORDS:
                if not 0 < entry.size <= MAX_RECORD or not entry.count:
                    raise WireError(f"journal entry of {entry.count} records of {entry.size} bytes")
                self._append(entry.size, entry.count)
                self.used += entry.size * entry.count
            case Kind.MARKS:
                if entry.size or not entry.count:
                    raise WireError(f"journal entry of {entry.count} filemarks of {entry.size} bytes")
                self._append(0, entry.count)
                self.marks += entry.count
            case Kind.TRUNCATE:
                self._truncate(entry.count)

    def _append(self, size: int, count: int) -> None:
        if self._sizes and self._sizes[-1] == size:
            self._counts[-1] += count
        else:
            # A run of filemarks stands where the next record will.
            offset = self.end if size else -(-self.end // ALIGNMENT) * ALIGNMENT
            self._firsts.append(self.objects)
            self._sizes.append(size)
            self._counts.append(count)
            self._offsets.append(offset)
            self._marks.append(self.marks)
            self._used.append(self.used)
        self.objects += count

    def _truncate(self, end: int) -> None:
        if end > self.objects:
            raise WireError(f"journal entry cuts at object {end} of {self.objects}")
        if end == self.objects:
            return
        self.marks = self.marks_before(end)
        self.used = self.used_before(end)
        run = self._run_of(end)
        self._counts[run] = end - self._firsts[run]
        keep = run + 1 if self._counts[run] else run
        for column in (self._firsts, self._sizes, self._counts, self._offsets, self._marks, self._used):
            del column[keep:]
        self.objects = end

    def _run_of(self, place: int) -> int:
        return bisect_right(self._firsts, place) - 1

    def at(self, place: int) -> Run | None:
        """What begins at object ``place``; None at end of data."""
        if place >= self.objects:
            return None
        run = self._run_of(place)
        skipped = place - self._firsts[run]
        size = self._sizes[run]
        return Run(size, self._counts[run] - skipped, self._offsets[run] + skipped * size)

    def before(self, place: int) -> Run | None:
        """What ends at object ``place``: the run up to it; None at beginning of medium."""
        if not place:
            return None
        run = self._run_of(place - 1)
        return Run(self._sizes[run], place - self._firsts[run], self._offsets[run])

    def marks_before(self, place: int) -> int:
        """Filemarks among the objects before ``place``."""
        if place >= self.objects:
            return self.marks
        run = self._run_of(place)
        return self._marks[run] + (0 if self._sizes[run] else place - self._firsts[run])

    def used_before(self, place: int) -> int:
        """Bytes of the records before ``place``."""
        if place >= self.objects:
            return self.used
        run = self._run_of(place)
        return self._used[run] + (place - self._firsts[run]) * self._sizes[run]

    def mark(self, number: int) -> int:
        """The object that is filemark ``number``, counted from 0; ValueError where there are not so many."""
        if not 0 <= number < self.marks:
            raise ValueError(f"filemark {number} of {self.marks}")
        # Of the runs with no more marks before them than ``number`` the last one holds it.
        run = bisect_right(self._marks, number) - 1
        return self._firsts[run] + number - self._marks[run]

    def whole_within(self, length: int) -> int:
        """How many objects a data file of ``length`` bytes has whole: those before the first cut record."""
        for first, size, count, offset in zip(
                self._firsts, self._sizes, self._counts, self._offsets, strict=True):
            if size and offset + size * count > length:
                return first + max(0, length - offset) // size
        return self.objects

    def entries(self) -> list[Entry]:
        """The shortest journal that makes this map."""
        return [Entry(Kind.RECORDS if size else Kind.MARKS, count, size)
                for size, count in zip(self._sizes, self._counts, strict=True)]
