"""What a job says about files that did not come through whole: log messages, and counts in its environment.

Loss is always named, file by file. Attributes that could not be set are named up to a limit for each reason;
the count goes on.
"""

from __future__ import annotations

from collections import Counter

from ndmpd.ports import Reporter
from protocol.ndmp.codes import LogType

NAMED = 100
"""Attribute messages with the same reason that are logged one by one."""


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), 127)}


def shown(path: bytes) -> str:
    """A path in a message; control characters in it, such as a new line, are spelt out."""
    return "/" + path.decode("utf-8", "surrogateescape").translate(_CONTROLS)


class Tally:
    """Counts of one job. ``lost``: files missing or incomplete. ``changed``: files that changed while they
    were read. ``attributes``: owners, modes, times, ACLs and attributes that were not saved or not set."""

    def __init__(self, report: Reporter) -> None:
        self.report = report
        self.lost = 0
        self.changed = 0
        self.attributes = 0
        self._reasons: Counter[str] = Counter()
        self._named: set[str] = set()

    def loss(self, path: bytes, reason: str) -> None:
        """A file is missing or incomplete in the result."""
        self.lost += 1
        self.report.log(LogType.ERROR, f"{shown(path)}: {reason}")

    def fault(self, name: str, reason: str) -> None:
        """Bytes of a file turned out unreadable after they were announced. Counted once for each file."""
        if name not in self._named:
            self._named.add(name)
            self.lost += 1
        self.report.log(LogType.ERROR, f"{name}: {reason}")

    def change(self, path: bytes) -> None:
        """A file changed while it was read, so what was saved may be a mixture."""
        self.changed += 1
        self.report.log(LogType.WARNING, f"{shown(path)}: changed while it was read")

    def attribute(self, path: bytes, what: str, reason: str) -> None:
        """An attribute of a file was left out."""
        self.attributes += 1
        key = f"{what}: {reason}"
        self._reasons[key] += 1
        if self._reasons[key] <= NAMED:
            self.report.log(LogType.WARNING, f"{shown(path)}: {key}")
        if self._reasons[key] == NAMED:
            self.report.log(LogType.WARNING, f"{key}: further files are counted and not named")

    def note(self, path: bytes, text: str) -> None:
        """Something that is as it should be, but that the user may want to know."""
        self.report.log(LogType.NORMAL, f"{shown(path)}: {text}")

    def variables(self) -> None:
        """The counts, for the environment that GET_ENV returns."""
        self.report.variable("FILES_FAILED", str(self.lost))
        self.report.variable("FILES_CHANGED", str(self.changed))
        self.report.variable("ATTRIBUTES_FAILED", str(self.attributes))
