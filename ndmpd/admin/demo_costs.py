"""What jobs cost the head: processor time and bytes of the server's processes, the copy manager's apart.

Linux adds what a process used to its parent's account once the parent has waited for it, and every session
and data process is a child of the fork server. So the fork server's account, read while no session runs, has
all the work of the head exactly, and nothing of the copy manager, a child that lives on.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ndmpd.errors import NdmpdError
from ndmpd.san.copymanager.server import PROCESS_NAME

_SETTLING = 10.0
"""Seconds that sessions may take to end after their connections are closed."""
_STAT_UTIME = 11
"""Place of utime in /proc/PID/stat behind the command's name; stime, cutime and cstime follow."""


class NotAccounted(NdmpdError):
    """The system does not tell, or sessions do not end."""


@dataclass(frozen=True, slots=True)
class Costs:
    """``seconds`` of processor time; ``moved``: bytes that file system calls read and wrote, taken together
    (copy_file_range and sendfile count for both)."""

    seconds: float = 0.0
    moved: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(self.seconds + other.seconds, self.moved + other.moved)

    def __sub__(self, other: Costs) -> Costs:
        return Costs(self.seconds - other.seconds, self.moved - other.moved)


def head_costs(server: int) -> Costs:
    """What the server with that process id has used so far, all its ended sessions included.

    Waits until none is left. Raises NotAccounted.
    """
    deadline = time.monotonic() + _SETTLING
    while True:
        forks = [pid for pid in children(server) if _name(pid) != PROCESS_NAME]
        running = [pid for fork in forks for pid in children(fork) if _name(pid) != PROCESS_NAME]
        if not running:
            break
        if time.monotonic() > deadline:
            raise NotAccounted(f"sessions still run: processes {', '.join(map(str, running))}")
        time.sleep(0.01)
    try:
        return sum((_account(pid) for pid in (server, *forks)), Costs())
    except (OSError, KeyError, ValueError) as failure:
        raise NotAccounted(f"/proc does not tell what the server used: {failure}") from failure


def children(parent: int) -> list[int]:
    """Process ids of the living children of ``parent``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = _stat(int(name))
            except OSError:
                continue  # it has ended meanwhile
            if int(fields[1]) == parent:
                found.append(int(name))
    return found


def _account(pid: int) -> Costs:
    """Of the process and of the children that it has waited for."""
    ticks = sum(int(value) for value in _stat(pid)[_STAT_UTIME: _STAT_UTIME + 4])
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return Costs(ticks / os.sysconf("SC_CLK_TCK"), int(io["rchar"]) + int(io["wchar"]))


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: what stands before it may have spaces of its own."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""
