"""Who has a place on the server: sessions of peers that have logged in, and of strangers that have not yet.

A connection costs its peer nothing, so strangers must not be able to keep those out who could log in. They
have a part of the places only, and where that is full the next one takes the place of the oldest: of those
from the address that has most of them, so that a flood from one address drives out nobody but itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

SHARE = 4
"""Strangers have one of so many places."""
FEWEST = 4
"""But no fewer than these: a DMA opens several connections before it logs in on the first."""


LATE = 1.0
"""Seconds within which news of a login arrive: a younger stranger may have become a session already."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    address: str
    since: float


@dataclass(slots=True)
class Places:
    """``most``: sessions at a time. Sessions are known by their numbers; times are a monotonic clock's."""

    most: int
    _taken: set[int] = field(default_factory=set)
    _strangers: dict[int, _Stranger] = field(default_factory=dict)
    """Sessions nobody has logged in to, the oldest first."""
    _leaving: set[int] = field(default_factory=set)
    """Sessions told to end, which are there still."""

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def most_strangers(self) -> int:
        return min(self.most, max(FEWEST, self.most // SHARE))

    @property
    def bound(self) -> int:
        """Sessions there may be, those that are leaving counted: not one that is there is waited for."""
        return self.most + 2 * self.most_strangers

    def admits(self, address: str, now: float) -> bool:
        """Whether another connection can be taken. Those still leaving are bounded, too, and an address that
        strangers came from already has to wait for that sooner than another.
        """
        known = any(stranger.address == address for stranger in self._strangers.values())
        patience = self.most_strangers * (1 if known else 2)
        if len(self._leaving) >= patience:
            return False
        return not self._full or any(now - stranger.since >= LATE for stranger in self._strangers.values())

    @property
    def _full(self) -> bool:
        return len(self._taken) - len(self._leaving) >= self.most

    def enter(self, number: int, address: str, now: float) -> int | None:
        """A connection that is admitted was taken: the session that has to end for it, or None."""
        oldest = None
        if self._full:
            oldest = next(iter(self._strangers), None)
        elif len(self._strangers) >= self.most_strangers:
            oldest = self._oldest_of_most()
        if oldest is not None:
            del self._strangers[oldest]
            self._leaving.add(oldest)
        self._taken.add(number)
        self._strangers[number] = _Stranger(address, now)
        return oldest

    def _oldest_of_most(self) -> int:
        counts = Counter(stranger.address for stranger in self._strangers.values())
        most = max(counts.values())
        return next(number for number, one in self._strangers.items() if counts[one.address] == most)

    def logged_in(self, number: int) -> None:
        """Whoever has logged in stays, told to leave or not."""
        self._strangers.pop(number, None)
        self._leaving.discard(number)

    def leave(self, number: int) -> None:
        self._taken.discard(number)
        self._leaving.discard(number)
        self._strangers.pop(number, None)
