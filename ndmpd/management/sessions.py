"""What the listener knows of its sessions without asking them: who there is, and what was counted."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ndmpd.services.tally import Tallies


@dataclass(frozen=True, slots=True)
class Entry:
    """A session: the address it came from, when (seconds since the epoch), and the row of its tally."""

    peer: str
    since: float
    row: int


class SessionTable:
    """``limit``: sessions that are admitted at a time. ``copy_manager``: whether the embedded SAN's runs,
    None where there is none. ``failed``: sessions that ended by a signal or an error of their own.
    ``metrics``: their URL.
    """

    def __init__(self, tallies: Tallies, limit: int) -> None:
        self.tallies = tallies
        self.limit = limit
        self.since = time.time()
        self.sessions: dict[int, Entry] = {}
        self.accepted = 0
        self.refused = 0
        self.failed = 0
        self.most = 0
        self.copy_manager: bool | None = None
        self.metrics: str | None = None

    def enter(self, number: int, peer: str) -> int:
        """A session begins; the row of its tally."""
        row = self.tallies.take()
        self.sessions[number] = Entry(peer, time.time(), row)
        self.accepted += 1
        self.most = max(self.most, len(self.sessions))
        return row

    def leave(self, number: int, status: int) -> None:
        """Its process is gone. A second time does nothing."""
        entry = self.sessions.pop(number, None)
        if entry is not None:
            self.tallies.leave(entry.row)
            self.failed += status != 0
