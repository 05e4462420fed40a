"""What the server's processes hold, as /proc tells: memory, descriptors, sockets in the run folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ndmpd.management.server import SOCKET
from tests.peers.server import EmbeddedServer, is_copy_manager

FORGED = "FORGED"
"""What hostile names put behind a line feed: a line of the log must never begin with it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """``server`` runs in a session (setsid) of its own, so whatever belongs to it is found by that."""

    server: EmbeddedServer

    @property
    def pid(self) -> int:
        assert self.server.program is not None
        return self.server.program.process.pid

    def processes(self) -> list[int]:
        """Listener, fork server, sessions, data processes; zombies as well. The SAN's own stays apart.

        In the order in which they came to be, which their numbers tell only until those begin anew.
        """
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with suppress(OSError):
                    if os.getsid(int(entry)) == self.pid and not is_copy_manager(int(entry)):
                        found.append(int(entry))
        return sorted(found, key=lambda pid: (started(pid), pid))

    def sessions(self) -> int:
        """Processes beyond the listener and the fork server."""
        return len(self.processes()) - 2

    def descriptors(self) -> int:
        """Open descriptors of the two processes that stay."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.processes()[:2])

    def sockets(self) -> list[Path]:
        """Data connections that wait for a peer of this server."""
        return [path for path in (self.server.state / "run").iterdir()
                if path.is_socket() and path.name != SOCKET]

    def log(self) -> str:
        return self.server.log_file.read_text(errors="replace")

    def await_quiet(self, sessions: int = 0, patience: float = 15.0) -> None:
        """Until only ``sessions`` session processes are left, and nothing else of any other."""
        await_true(lambda: self.sessions() == sessions, f"{sessions} sessions left", patience)

    def check_sound(self) -> None:
        """The server is as it was before anybody connected, and its log tells of no bug."""
        self.await_quiet()
        assert self.sockets() == []
        lines = self.log().splitlines()
        bugs = [number for number, line in enumerate(lines) if "Traceback" in line or " bug " in line]
        excerpts = ["\n".join(lines[max(0, number - 2):number + 25]) for number in bugs[:3]]
        assert not bugs, "\n...\n".join(excerpts)
        forged = [line for line in lines if line.startswith(FORGED)]
        assert not forged, "a name with a line feed made a line of the log"


def started(pid: int) -> int:
    """When the process began, in ticks of the kernel; late where it has ended already."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 1 << 62


def await_true(condition: Callable[[], bool], what: str, patience: float = 15.0) -> None:
    """Until ``condition`` holds; AssertionError naming ``what`` after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience:.0f} s: {what}")
        time.sleep(0.05)


def resident(pid: int) -> int:
    """Bytes of memory that the process has to itself, shared with nobody; 0 where it is gone."""
    return _rollup(pid, ("Private_Clean", "Private_Dirty"))


def proportional(pid: int) -> int:
    """Bytes of memory, each shared page by its share (PSS); 0 where the process is gone."""
    return _rollup(pid, ("Pss",))


def _rollup(pid: int, keys: tuple[str, ...]) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.partition(":")[0] in keys)
    return 0
