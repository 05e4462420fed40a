"""Holes of sparse files: where they are, and making them.

What counts as data has to be what was written, and nothing else: the map of an image is made of it, and two
backups of one disk must be the same stream. SEEK_DATA alone does not give that. Blocks that were allocated
ahead (fallocate, extent size hints) and never written are holes to it, but as soon as somebody has read them
their pages are in the cache, and it takes them for data until the kernel drops the pages. So where the file
system keeps maps of extents, what it has as unwritten is a hole, read or not (FIEMAP; FIEMAP_FLAG_SYNC first
has written what is only in the cache, so that it is not taken for unwritten). Looking at the bytes would be
as true, and would cost a reading of the whole disk.

Where there is no FIEMAP it is SEEK_DATA that counts. On tmpfs a page that was only allocated is no data, and
reading does not make it so.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_CHUNK = 1 << 20

_FIEMAP = 0xC020660B
"""FS_IOC_FIEMAP, of linux/fs.h; its structures are in linux/fiemap.h."""
_HEAD = struct.Struct("=QQIIII")
"""Start, length, flags, extents that came, extents there is room for, reserved."""
_EXTENT = struct.Struct("=QQQ16xI12x")
"""Start, place on the device, length, flags."""
_SYNC = 0x0001
_UNWRITTEN = 0x0800
_AT_ONCE = 256
_NO_MAP = frozenset({errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EBADR, errno.ENOSYS})
"""How a file system says that it has no FIEMAP, or none that can be synchronised."""


def zero(fd: int, offset: int, length: int) -> None:
    """Make the range read as zeros; whole blocks of the file system in it are given back."""
    if not length:
        return
    if _fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, offset, length) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    for at in range(offset, offset + length, _CHUNK):
        os.pwrite(fd, bytes(min(_CHUNK, offset + length - at)), at)


def runs(fd: int, offset: int, end: int, unit: int = 1) -> Iterator[tuple[int, int, bool]]:
    """(offset, length, whether it is data) of what the file has between ``offset`` and ``end``, in order.

    Runs begin and end on multiples of ``unit``, as ``offset`` and ``end`` do: of a unit that is data in part
    all is data.
    """
    begin = stop = offset
    for first, last in _data(fd, offset, end):
        first, last = first // unit * unit, -(-last // unit) * unit
        if first > stop:
            if stop > begin:
                yield begin, stop - begin, True
            yield stop, first - stop, False
            begin = first
        stop = max(stop, last)
    if stop > begin:
        yield begin, stop - begin, True
    if end > stop:
        yield stop, end - stop, False


def _data(fd: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of the data of the file, in order; neighbours may touch."""
    while at < end:
        try:
            first = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.EINVAL:
                # A block device, which has no holes to tell of.
                yield at, end
            elif error.errno != errno.ENXIO:
                raise
            return
        if first >= end:
            return
        at = min(os.lseek(fd, first, os.SEEK_HOLE), end)
        yield from _written(fd, first, at)


class _Extent(NamedTuple):
    begin: int
    end: int
    unwritten: bool


def _written(fd: int, at: int, end: int) -> Iterator[tuple[int, int]]:
    """What of [at, end) is not known to be unwritten."""
    while at < end:
        extents = _extents(fd, at, end, 0)
        if any(one.unwritten for one in extents):
            extents = _extents(fd, at, end, _SYNC)
        reach = min(end, extents[-1].end) if len(extents) == _AT_ONCE else end
        for extent in extents:
            if extent.unwritten:
                if extent.begin > at:
                    yield at, min(extent.begin, end)
                at = max(at, extent.end)
        if reach > at:
            yield at, reach
        at = max(at, reach)


def _extents(fd: int, begin: int, end: int, flags: int) -> list[_Extent]:
    """The first extents of the file in [begin, end), in order; none where the file system cannot tell."""
    answer = bytearray(_HEAD.size + _AT_ONCE * _EXTENT.size)
    _HEAD.pack_into(answer, 0, begin, end - begin, flags, 0, _AT_ONCE, 0)
    try:
        fcntl.ioctl(fd, _FIEMAP, answer)
    except OSError as error:
        if error.errno in _NO_MAP:
            return []
        raise
    count = min(_HEAD.unpack_from(answer)[3], _AT_ONCE)
    body = memoryview(answer)[_HEAD.size:_HEAD.size + count * _EXTENT.size]
    return [_Extent(start, start + length, bool(flags & _UNWRITTEN))
            for start, _, length, flags in _EXTENT.iter_unpack(body)]
