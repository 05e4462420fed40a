"""How many bytes one command of a copy moves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

RUN = 32 << 20
"""Bytes that one command may move whatever the rate: how soon a copy on slow units hears of an abort."""
MOST = 128 << 20
"""Bytes that one command moves at most: a store that was quick may be slow from one moment to the next."""
_SHORT = 0.05
"""Seconds that a command may take, at the rate of the one before it."""


class Pace:
    """``run``: bytes for the next command. Where copies are quick it takes what is left of a batch at once:
    between two commands there is work for one processor only.
    """

    __slots__ = ("run",)

    def __init__(self) -> None:
        self.run = RUN

    @contextmanager
    def timed(self, size: int) -> Iterator[None]:
        """Around a command that moves ``size`` bytes."""
        began = time.perf_counter()
        yield
        if size >= self.run:
            self.run = max(RUN, min(MOST, int(size * _SHORT / max(1e-6, time.perf_counter() - began))))
