"""Memory for the data of commands, taken again and again: fresh pages cost as much as filling them."""

from __future__ import annotations

import mmap
import threading

_SMALLEST = 4096
_KEPT = 4
"""Free buffers of one size that are kept."""
_LARGEST_KEPT = 4 << 20


class Buffers:
    """Those of one session. ``used``: bytes that are out."""

    def __init__(self) -> None:
        self.used = 0
        self._guard = threading.Lock()
        self._free: dict[int, list[memoryview]] = {}

    def take(self, size: int) -> memoryview:
        """A buffer of at least ``size`` bytes, with whatever is in it."""
        room = max(_SMALLEST, 1 << (size - 1).bit_length())
        with self._guard:
            self.used += room
            free = self._free.get(room)
            if free:
                return free.pop()
        return memoryview(mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def give_back(self, buffer: memoryview) -> None:
        """The whole of a buffer that was taken, and that nobody uses any more."""
        room = len(buffer)
        with self._guard:
            self.used -= room
            free = self._free.setdefault(room, [])
            if room <= _LARGEST_KEPT and len(free) < _KEPT:
                free.append(buffer)
