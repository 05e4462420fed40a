"""Runs of small files, read and packed for a ``tar`` stream in one go.

Nearly every file of a large tree is regular, small, and has one name and no attributes. Those are packed
here, by whichever process has time (``run_reader``). Any other file, and one that changes or cannot be read,
ends its segment and is left to ``tar_backup``, which looks at it anew and says what is wrong.
"""

from __future__ import annotations

import errno
import os
import stat
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from ndmpd.formats.history import History
from protocol.streams import tar, tarentry
from protocol.streams.tar import Type

SMALL = 64 << 10
"""Files up to this many bytes are read when planned and carried by value."""
RUN = 64
"""Files that are read at a time."""
MOST_DATA = 1 << 20
"""Bytes of stream after which a run ends early; at most one file more."""
MOST_HISTORY = 16 << 10
"""Bytes of history after which a segment ends, so that posts stay bounded."""
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
PADDING = [bytes(-size % tar.BLOCK) for size in range(tar.BLOCK)]

Names = Sequence[tuple[bytes, int, bool]]
"""Name, node, and whether it was listed as a regular file."""


@dataclass(slots=True)
class Packed:
    """History entries of a segment. ``ends``: where each ends; its last eight bytes are its fh_info, which
    begins at ``starts`` of the segment's data.
    """

    entries: bytearray
    ends: array[int]
    starts: array[int]


@dataclass(slots=True)
class Segment:
    """``files`` entries that follow one another in the stream. ``skipped``: behind them stands a file that
    was not read.
    """

    files: int
    data: list[bytes]
    size: int
    history: Packed
    skipped: bool

    def placed(self, position: int) -> bytearray:
        """The history entries, now that the segment is known to begin at ``position`` of the stream."""
        packed = self.history
        entries, pack_into = packed.entries, History.FH_INFO.pack_into
        if not entries:  # no history is wanted
            return entries
        for end, start in zip(packed.ends, packed.starts, strict=True):
            pack_into(entries, end - 8, position + start)
        return entries


def open_file(name: bytes, folder: int) -> int:
    """``name`` of the open ``folder`` for reading, no link followed, nothing waited for."""
    try:
        return os.open(name, READ | os.O_NOATIME, dir_fd=folder)
    except PermissionError:  # O_NOATIME is the owner's and root's
        return os.open(name, READ, dir_fd=folder)


def read_run(folder: int, prefix: bytes, files: Names, history: History) -> tuple[int, list[Segment]]:
    """Read ``files`` of ``folder`` in order: how many of them are dealt with, and what came of them."""
    segments: list[Segment] = []
    segment = _new()
    total = 0
    for done, (name, node, regular) in enumerate(files):
        if total >= MOST_DATA:
            segments.append(segment)
            return done, segments
        if regular and (found := _read(name, folder)) is not None:
            status, data = found
            path = prefix + name
            size = len(data)
            head = tarentry.put(path, status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns,
                                Type.REGULAR)
            packed = segment.history
            history.pack(packed.entries, path, status, node, 0)
            packed.ends.append(len(packed.entries))
            packed.starts.append(segment.size)
            padding = PADDING[size % tar.BLOCK]
            segment.data += (head, data, padding)
            segment.files += 1
            added = len(head) + size + len(padding)
            segment.size += added
            total += added
            if len(packed.entries) < MOST_HISTORY:
                continue
        else:
            segment.skipped = True
        segments.append(segment)
        segment = _new()
    segments.append(segment)
    return len(files), segments


def _new() -> Segment:
    return Segment(0, [], 0, Packed(bytearray(), array("I"), array("I")), False)


def _read(name: bytes, folder: int) -> tuple[os.stat_result, bytes] | None:
    """A plain small file that holds still; None where it is anything else."""
    try:
        fd = open_file(name, folder)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        size = status.st_size
        if (status.st_nlink != 1 or size > SMALL or status.st_blocks * 512 < size
                or not stat.S_ISREG(status.st_mode) or _attributes(fd)):
            return None
        if not size:
            return status, b""
        data = os.read(fd, size)
        after = os.fstat(fd)
        if len(data) < size or after.st_ctime_ns != status.st_ctime_ns \
                or after.st_mtime_ns != status.st_mtime_ns:
            return None
        return status, data
    except OSError:
        return None
    finally:
        os.close(fd)


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
