"""Have the kernel write what was put into a file while more is put into it.

Left alone it may wait for half a minute, or for memory to fill up, and all the writing is then done, and
waited for, in the fdatasync(2) at the end.
"""

from __future__ import annotations

import ctypes

_SYNC_FILE_RANGE_WRITE = 2
_call = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _call is not None:
    _call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def start_writing(fd: int, offset: int, length: int) -> None:
    """Start to write the dirty pages of ``length`` bytes at ``offset``; waits for room in the disk's queue,
    not for the disk.

    Makes nothing safe and reports nothing: what goes wrong is told by the fdatasync that has to follow.
    """
    if _call is not None:
        _call(fd, offset, length, _SYNC_FILE_RANGE_WRITE)
