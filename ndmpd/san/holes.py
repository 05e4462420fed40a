"""Holes of sparse files: where they are, and making them."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_CHUNK = 1 << 20


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


def runs(fd: int, offset: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """(offset, length, whether it is data) of what the file has between ``offset`` and ``end``, in order."""
    at = offset
    while at < end:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        if data > at:
            stop = min(data, end)
            yield at, stop - at, False
        else:
            stop = min(os.lseek(fd, at, os.SEEK_HOLE), end)
            yield at, stop - at, True
        at = stop
