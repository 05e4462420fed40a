"""What sessions have moved and done, in memory that they share with the listener.

Each session process has one row, and nobody else writes to it; the listener reads it at any time and keeps it
when the session is gone, however that ended. Every figure only grows, and is one aligned word, so that no
reader sees half of one.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from protocol.ndmp.codes import DataHaltReason, DataOperation

HEAD = "NAS"
"""The data mover that is always there: this machine."""
_WORD = 8


class Operation(IntEnum):
    """What a job does, as operators call it."""

    BACKUP = 0
    RECOVER = 1
    LIST = 2


OPERATIONS = {DataOperation.BACKUP: Operation.BACKUP, DataOperation.RECOVER: Operation.RECOVER,
              DataOperation.RECOVER_FILEHIST: Operation.LIST}


class Outcome(IntEnum):
    SUCCESSFUL = 0
    FAILED = 1
    ABORTED = 2


OUTCOMES = {DataHaltReason.SUCCESSFUL: Outcome.SUCCESSFUL, DataHaltReason.ABORTED: Outcome.ABORTED}
"""Any other reason is a failure."""


@dataclass(frozen=True, slots=True)
class MoverTotals:
    """Of one data mover: bytes of streams that it moved to tape or to another server, and from there; the
    jobs that it had a part in, by how they ended.
    """

    name: str
    backed_up: int
    recovered: int
    done: int
    failed: int


@dataclass(frozen=True, slots=True)
class Totals:
    """``jobs``: for each operation and outcome. ``movers``: the copy managers, at last the head."""

    failed_logins: int
    jobs: dict[tuple[Operation, Outcome], int]
    movers: tuple[MoverTotals, ...]


_LOGINS = 0
_JOBS = 1
_MOVERS = _JOBS + len(Operation) * len(Outcome)
_OF_A_MOVER = 4


class Tally:
    """One session's row. Its figures are added to by that session alone, on one thread."""

    def __init__(self, words: memoryview, movers: Sequence[str]) -> None:
        self._words = words
        self._places = {name: _MOVERS + _OF_A_MOVER * index for index, name in enumerate(movers)}

    def failed_login(self, count: int) -> None:
        self._words[_LOGINS] += count

    def job(self, operation: Operation, outcome: Outcome, movers: Sequence[str]) -> None:
        """A job is over that ``movers`` had a part in."""
        self._words[_JOBS + operation * len(Outcome) + outcome] += 1
        for name in movers:
            place = self._places[name if name in self._places else HEAD]
            self._words[place + (2 if outcome is Outcome.SUCCESSFUL else 3)] += 1

    def moved(self, mover: str, operation: Operation, count: int) -> None:
        """So many bytes more."""
        self._words[self._places[mover] + (operation is not Operation.BACKUP)] += count


class Tallies:
    """Rows for ``most`` sessions at a time, made before anything is forked. ``copy_managers``: their names.
    """

    def __init__(self, copy_managers: Sequence[str], most: int) -> None:
        self._movers = (*copy_managers, HEAD)
        self._width = _MOVERS + _OF_A_MOVER * len(self._movers)
        self._rows = most
        self._words = memoryview(mmap.mmap(-1, max(1, most) * self._width * _WORD)).cast("Q")
        self._free = list(range(most - 1, -1, -1))
        self._taken: set[int] = set()
        self._ended = [0] * self._width

    def tally(self, row: int) -> Tally:
        """For the session that was given ``row``. One without a row is not counted."""
        if row < 0:
            return Tally(memoryview(bytearray(self._width * _WORD)).cast("Q"), self._movers)
        return Tally(self._row(row), self._movers)

    def _row(self, row: int) -> memoryview:
        return self._words[row * self._width:(row + 1) * self._width]

    # The listener's.

    def take(self) -> int:
        """A row of zeros for another session; -1 where none is free."""
        if not self._free:
            return -1
        row = self._free.pop()
        self._row(row)[:] = memoryview(bytes(self._width * _WORD)).cast("Q")
        self._taken.add(row)
        return row

    def leave(self, row: int) -> None:
        """The session is gone: keep what it did. A second time does nothing."""
        if row not in self._taken:
            return
        self._taken.discard(row)
        self._ended = [done + more for done, more in zip(self._ended, self._row(row), strict=True)]
        self._free.append(row)

    def totals(self) -> Totals:
        """Of all sessions, those that have ended as well."""
        words = list(self._ended)
        for row in self._taken:
            words = [done + more for done, more in zip(words, self._row(row), strict=True)]
        jobs = {(operation, outcome): words[_JOBS + operation * len(Outcome) + outcome]
                for operation in Operation for outcome in Outcome}
        movers = tuple(
            MoverTotals(name, *words[_MOVERS + _OF_A_MOVER * index:_MOVERS + _OF_A_MOVER * (index + 1)])
            for index, name in enumerate(self._movers))
        return Totals(words[_LOGINS], jobs, movers)
