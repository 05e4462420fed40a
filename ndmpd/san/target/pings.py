"""Finds out whether a silent initiator still lives. RFC 7143 11.19."""

from __future__ import annotations

import time
from collections.abc import Callable

from ndmpd.san.target.channel import Gone

QUIET = 30.0
"""Seconds of silence after which the initiator is asked."""
DEAF = 20.0
"""Seconds in which it must say something then."""


class Pings:
    """``heard`` at every PDU, ``idle`` every few seconds without one. ``ping`` sends one."""

    def __init__(self, ping: Callable[[], None], now: Callable[[], float] = time.monotonic) -> None:
        self._ping = ping
        self._now = now
        self._last = now()
        self._asked: float | None = None

    def heard(self) -> None:
        self._last, self._asked = self._now(), None

    def idle(self) -> None:
        """Gone where it has been asked and does not answer."""
        now = self._now()
        if self._asked is not None:
            if now - self._asked >= DEAF:
                raise Gone("the initiator does not answer any more")
        elif now - self._last >= QUIET:
            self._asked = now
            self._ping()
