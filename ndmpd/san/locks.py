"""Files that processes share: opened anew after a fork, locked by flock.

flock belongs to the open file, not to the process: a lock goes when its holder dies, at whatever instruction,
and two openings in one process exclude each other as two processes do. A forked child would share its
parent's openings, so every ``SharedFile`` is closed in the child and opened again at its next use.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

from ndmpd.san.errors import UnitBusy

_FIRST_PAUSE, _LONGEST_PAUSE = 0.0002, 0.01
"""Seconds between two tries at a lock. flock itself cannot be given a time-out."""

_open_files: weakref.WeakSet[SharedFile] = weakref.WeakSet()


class SharedFile:
    """A file that this process opens for itself. ``flags``: as for os.open, besides O_CLOEXEC."""

    __slots__ = ("__weakref__", "_fd", "_flags", "path")

    def __init__(self, path: Path, flags: int = os.O_RDWR) -> None:
        self.path = path
        self._flags = flags
        self._fd = -1
        _open_files.add(self)

    @property
    def fd(self) -> int:
        if self._fd < 0:
            self._fd = os.open(self.path, self._flags | os.O_CLOEXEC, 0o600)
        return self._fd

    def close(self) -> None:
        """Close, and with it unlock. A later use opens again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def lock(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for the lock; UnitBusy if it does not come free."""
        if self.try_lock():
            return
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        while not self.try_lock():
            if time.monotonic() >= deadline:
                raise UnitBusy(f"{self.path} was locked by another process for {timeout:g} s; "
                               f"see who holds it with: fuser -v {self.path}")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def try_lock(self, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(self.fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)


def _close_all_in_child() -> None:
    for file in list(_open_files):
        file.close()


os.register_at_fork(after_in_child=_close_all_in_child)
