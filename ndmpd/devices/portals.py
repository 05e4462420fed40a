"""Portals that have lately given no sign of life: of those not much is waited for.

A job that ends because its target fell silent sends a dozen commands more, to learn the position, to let go
of units. If every one of them waited for its full time, it would not end for minutes.
"""

from __future__ import annotations

import time

SHORT = 2.0
"""Seconds that a silent portal is given."""
_FORGET = 60.0
"""Seconds after which it is given its full time again, so that one that is merely slow is not lost."""


class Portals:
    """By address, for this process. From any thread."""

    def __init__(self) -> None:
        self._silent: dict[str, float] = {}

    def patience(self, portal: str, seconds: float) -> float:
        """How long to wait for a sign of life where it would be ``seconds``."""
        since = self._silent.get(portal)
        if since is None or time.monotonic() - since > _FORGET:
            return seconds
        return min(seconds, SHORT)

    def silent(self, portal: str, waited: float) -> None:
        """It gave none for so many seconds; where those were few, that says nothing new."""
        if waited > SHORT:
            self._silent[portal] = time.monotonic()

    def heard(self, portal: str) -> None:
        """It gave one."""
        self._silent.pop(portal, None)


portals = Portals()
