"""List identifiers of copy managers, shared by all processes of this head.

A copy manager tells the copies of one initiator apart by list identifier, and every process of a head may be
the same initiator to it. So an identifier is leased: a file for each copy manager and identifier, locked by
whoever has it, with the names of the units that its copies use. There are as many as ``copythreads``, which
so bounds the copies under way.

The kernel unlocks the file of a process that dies, but what is written in it stays: the copy may still run,
and whoever opens such a drive next must see to its end first (``abandoned``).
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MOST = 4096
_END = b"\n"
"""Behind the units' names; what follows was written before. To cut the file each time would take longer."""
_BETWEEN = "\t"
_FILE = re.compile(r"(?P<manager>.+)\.copy(?P<id>\d{1,3})")


class Lease:
    """One list identifier of one copy manager, until ``close``. ``units``: what its copies write or read."""

    def __init__(self, fd: int, manager: str, list_id: int) -> None:
        self._fd = fd
        self.manager = manager
        self.list_id = list_id

    @property
    def units(self) -> list[str]:
        names = os.pread(self._fd, _MOST, 0).partition(_END)[0].decode()
        return names.split(_BETWEEN) if names else []

    def begin(self, *units: str) -> None:
        """Written down before the copy is sent: should this process die, it is known what may still move."""
        os.pwrite(self._fd, _BETWEEN.join(units).encode() + _END, 0)

    def end(self) -> None:
        """No copy with this identifier is under way."""
        os.pwrite(self._fd, _END, 0)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Leases:
    """The list identifiers of one copy manager, 1 to ``copythreads``, kept in ``run_dir``."""

    run_dir: Path
    manager: str
    copythreads: int

    def take(self) -> Lease | None:
        """A free one; None where all are in use.

        One that a dead process left a copy on is not free: it may be under way still.
        """
        for list_id in range(1, self.copythreads + 1):
            path = f"{self.run_dir}/{self.manager}.copy{list_id}"
            found = _locked(path, self.manager, list_id, create=True)
            if found is not None:
                if not found.units:
                    return found
                found.close()
        return None


def abandoned(run_dir: Path, drive: str | None = None, manager: str | None = None) -> Iterator[Lease]:
    """Leases whose holders died with a copy under way, on ``drive`` or by ``manager``; locked while each is
    looked at. Who has made sure that the copy has ended calls ``end``.
    """
    for path in sorted(run_dir.glob("*.copy*")):
        name = _FILE.fullmatch(path.name)
        if name is None or manager not in (None, name["manager"]):
            continue
        found = _locked(path, name["manager"], int(name["id"]), create=False)
        if found is None:
            continue
        try:
            if (units := found.units) and (drive is None or drive in units):
                yield found
        finally:
            found.close()


def under_way(run_dir: Path, unit: str) -> bool:
    """Whether a process that lives has a copy under way that uses ``unit``."""
    for path in run_dir.glob("*.copy*"):
        name = _FILE.fullmatch(path.name)
        if name is None:
            continue
        with suppress(FileNotFoundError):
            if unit not in path.read_bytes()[:_MOST].partition(_END)[0].decode().split(_BETWEEN):
                continue
            found = _locked(path, name["manager"], int(name["id"]), create=False)
            if found is None:
                return True
            found.close()
    return False


def _locked(path: str | Path, manager: str, list_id: int, *, create: bool) -> Lease | None:
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    with suppress(FileNotFoundError):
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return Lease(fd, manager, list_id)
    return None
