"""Which process of this machine has a drive or changer: a file for each, locked as long as that lasts.

The file also says whether the unit is owned among heads. A process that dies leaves that word standing, and
the unit reserved; whoever finds it can see to it that other heads get the unit.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ndmpd.devices.errors import DeviceBusy

_SUFFIX = ".claim"
_OWNED = b"owned\n"


class Claim:
    """On one unit, until ``close`` or the end of this process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def own(self) -> None:
        """Written down before the unit is reserved."""
        os.pwrite(self._fd, _OWNED, 0)

    def disown(self) -> None:
        """Nothing of this machine keeps other heads off the unit."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def claim(run_dir: Path, name: str) -> Claim:
    """Lock the unit's file; the kernel gives it up with the process. Raises DeviceBusy."""
    fd = os.open(run_dir / f"{name}{_SUFFIX}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise DeviceBusy(f"{name} is in use by another session") from error
    return Claim(fd)


def left_owned(run_dir: Path) -> Iterator[str]:
    """Units that processes owned when they died."""
    for path in sorted(run_dir.glob(f"*{_SUFFIX}")):
        with suppress(OSError), path.open("rb") as file:
            if file.read(len(_OWNED)) == _OWNED:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                yield path.name.removesuffix(_SUFFIX)
