"""Whole records on their way to a tape, those of several segments together.

A parameter list of a backup has many short segments: a header, a file, another header. Their records are
written by one command where they have one length and one tape. What each segment has on tape is accounted
for as if every record had been written by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ndmpd.datapath import length_of
from ndmpd.pieces import Piece, behind
from ndmpd.san.copymanager.failure import CopyFailure, CopyStopped
from ndmpd.san.copymanager.pace import RUN
from ndmpd.san.copymanager.residue import Residue
from ndmpd.san.copymanager.streams import Stream
from ndmpd.san.copymanager.supply import Supply


@dataclass(slots=True)
class Account:
    """Of one segment: bytes that are to be written, bytes that were, and what the residue counts in."""

    total: int
    unit: int
    written: int = 0

    @property
    def residue(self) -> int | None:
        """None where nothing was written. SPC-4 5.17.7.4."""
        return -(-(self.total - self.written) // self.unit) if self.written else None


class Accounts:
    """Of all segments, by number. ``moved``: bytes written in all."""

    def __init__(self) -> None:
        self._all: dict[int, Account] = {}
        self.moved = 0

    def open(self, segment: int, total: int, unit: int) -> None:
        self._all[segment] = Account(total, unit)

    def written(self, segment: int, size: int) -> None:
        self._all[segment].written += size
        self.moved += size

    def residue(self, segment: int) -> int | None:
        found = self._all.get(segment)
        return found.residue if found else None


class Gathering:
    """``confirm`` makes sure of the sources of what is about to be written, ``supply`` reads those on other
    targets; ``check`` raises CopyStopped.
    """

    def __init__(self, accounts: Accounts, confirm: Callable[[], None], supply: Supply,
                 check: Callable[[], None]) -> None:
        self._accounts = accounts
        self._confirm = confirm
        self._supply = supply
        self._check = check
        self._stream: Stream | None = None
        self._size = 0
        self._waiting = Residue()
        self._owners: list[tuple[int, int]] = []
        """Segment and number of records, in order: of the segment whose bytes complete them."""

    def aim(self, stream: Stream, size: int) -> None:
        """What is added from now on is for this tape, in records of ``size`` bytes."""
        if stream is not self._stream or size != self._size:
            self.flush()
            self._stream, self._size = stream, size

    def add(self, segment: int, pieces: list[Piece], records: int) -> None:
        self._waiting.put(pieces)
        self._owners.append((segment, records))
        if self._waiting.length >= RUN:
            self.flush()

    def flush(self) -> None:
        """Have all of it on tape. CopyFailure with the segment at fault; what is behind it is dropped."""
        if not self._owners:
            return
        stream, size, waiting, owners = self._stream, self._size, self._waiting, self._owners
        self._waiting, self._owners = Residue(), []
        assert stream is not None
        try:
            self._confirm()
        except CopyFailure as failure:
            sound = [one for one in owners if failure.segment is not None and one[0] < failure.segment]
            self._write(stream, size, waiting, sound)
            raise
        self._write(stream, size, waiting, owners)

    def _write(self, stream: Stream, size: int, waiting: Residue, owners: list[tuple[int, int]]) -> None:
        left = deque(owners)
        pieces = waiting.take(sum(records for _, records in left) * size)
        while left:
            try:
                self._check()
                head = self._supply.ready(pieces, size)
                done, failure = stream.write(head, size, length_of(head) // size)
            except (CopyFailure, CopyStopped) as ended:
                if ended.segment is None:
                    ended.segment = left[0][0]
                raise
            last = self._share(left, done, size)
            if failure is not None:
                # A record that is on tape and ended with EOM is the one at fault; else the next.
                failure.segment = last if failure.destination is not None and done else left[0][0]
                raise failure
            # What has been read is not read again.
            pieces = behind(head, done) + (behind(pieces, length_of(head)) if head is not pieces else [])

    def _share(self, owners: deque[tuple[int, int]], done: int, size: int) -> int:
        """Account for ``done`` bytes and take their records off; returns whose the last of them was."""
        last = owners[0][0]
        while done:
            last, records = owners.popleft()
            mine = min(done, records * size)
            self._accounts.written(last, mine)
            done -= mine
            if mine < records * size:
                owners.appendleft((last, records - mine // size))
        return last
