"""What copies have in common: two sides of one kind joined, watched until both have halted, and reported.

Each side has a control connection of its own, on one server or on two. The states are polled; notices only
make the next poll come at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from ndmpd.client import movement
from ndmpd.client.connection import Connection, await_posts
from ndmpd.client.errors import ClientError, ExitStatus, Refused
from ndmpd.client.posts import Posts
from protocol.ndmp.codes import Code, LogType

POLL = 0.5
"""Seconds between two looks at the states when no notice comes."""
AT_LEAST = 0.1
"""Seconds between two looks in a flood of posts."""
LOST = "FILES_FAILED"
"""The variable in which the environment returned counts files that were lost."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a side is. ``progress`` changes as long as it works; ``reason`` is why it halted."""

    halted: bool
    idle: bool
    whole: bool
    reason: str
    progress: tuple[int, ...]
    paused: bool = False


class Side(Protocol):
    """DATA or MOVER of one server, as one end of a copy."""

    halted_post: Code

    @property
    def connection(self) -> Connection: ...

    def look(self) -> Look: ...

    def abort(self) -> None: ...

    def stop(self) -> None: ...


class Pairing:
    """Two sides that are joined. ``posts`` takes what both servers say."""

    def __init__(self, sides: Sequence[Side], posts: Posts) -> None:
        self.sides = tuple(sides)
        self.posts = posts
        for side in self.sides:
            side.connection.on_post = posts.take
            side.connection.on_raw_post = posts.take_raw
        self._looked = 0.0
        self._progress: list[tuple[int, ...]] = []
        self._progress_at = time.monotonic()

    @property
    def connections(self) -> list[Connection]:
        return [side.connection for side in self.sides]

    def looks(self) -> list[Look]:
        """How both are, as soon as there may be news."""
        self.posts.woken = False
        until = time.monotonic() + POLL
        while not self.posts.woken and time.monotonic() < until:
            await_posts(self.connections, max(until - time.monotonic(), 0.0))
        time.sleep(max(0.0, min(AT_LEAST, self._looked + AT_LEAST - time.monotonic())))
        self._looked = time.monotonic()
        return [side.look() for side in self.sides]

    def hurry(self, looks: Sequence[Look]) -> None:
        """Abort a side that does not notice that the other one has failed, or that nothing comes any more."""
        progress = [one.progress for one in looks]
        if progress != self._progress:
            self._progress, self._progress_at = progress, time.monotonic()
        if not any(one.halted for one in looks):
            return
        failed = any(one.halted and not one.whole for one in looks)
        if time.monotonic() - self._progress_at > (movement.GRACE if failed else movement.PATIENCE):
            for side, one in zip(self.sides, looks, strict=True):
                if not one.halted:
                    with suppress(Refused):
                        side.abort()

    def settle(self) -> None:
        """Both have halted: wait for their last words."""
        wanted = [side.halted_post for side in self.sides]
        deadline = time.monotonic() + movement.NOTICE
        while (time.monotonic() < deadline
               and any(self.posts.seen[code] < wanted.count(code) for code in wanted)):
            await_posts(self.connections, POLL)

    def abandon(self) -> None:
        """Bring both sides back to IDLE, whatever they are doing. Raises nothing: it is for cleaning up."""
        deadline = time.monotonic() + movement.CLEANING
        for side in self.sides:
            side.connection.stop.heeded = False
            # Where a connection is gone, so is whatever it held (draft 3.4.1).
            with suppress(ClientError):
                while time.monotonic() < deadline and not (one := side.look()).idle:
                    with suppress(Refused):
                        (side.stop if one.halted else side.abort)()
                    side.connection.pump(0.05)


@dataclass(slots=True)
class CopyReport:
    """How a copy went. ``size``: bytes of the stream; ``source_halt`` and ``destination_halt``: why each side
    ended. ``environment`` and ``source_environment``: what each returned, of a copy between disks.
    """

    kind: str
    size: int = 0
    seconds: float = 0.0
    source_halt: str = ""
    destination_halt: str = ""
    whole: bool = False
    lost: int = 0
    files: int = 0
    source: str = ""
    destination: str = ""
    environment: list[tuple[str, str]] = field(default_factory=list)
    source_environment: list[tuple[str, str]] = field(default_factory=list)
    messages: list[tuple[int, str]] = field(default_factory=list)
    failed: list[tuple[str, int]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / self.seconds if self.seconds > 0 else 0.0

    @property
    def exit_status(self) -> ExitStatus:
        if not self.whole:
            return ExitStatus.FAILED
        return ExitStatus.PARTIAL if self.lost or self.failed else ExitStatus.OK

    def document(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {
            "operation": "copy", "kind": self.kind, "result": self.exit_status.name.lower(),
            "source": self.source, "destination": self.destination, "source_halt": self.source_halt,
            "destination_halt": self.destination_halt, "bytes": self.size, "tape_files": self.files,
            "seconds": round(self.seconds, 3), "bytes_per_second": round(self.rate),
            "files_lost": self.lost,
            "names_failed": [{"name": name, "status": status} for name, status in self.failed],
            "environment": [{"name": name, "value": value} for name, value in self.environment],
            "source_environment": [{"name": name, "value": value}
                                   for name, value in self.source_environment],
            "messages": [{"kind": LogType(kind).name.lower(), "text": text} for kind, text in self.messages],
            "remarks": self.remarks,
        }


def lost(environment: Sequence[tuple[str, str]]) -> int:
    """Files that the environment returned says were lost."""
    return max((int(value) for name, value in environment if name == LOST and value.isdigit()), default=0)
