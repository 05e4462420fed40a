"""State machines as tables: (state, input) -> step. A missing row is ILLEGAL_STATE and no change (2.11.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Generic, TypeVar

from protocol.ndmp.codes import Version

S = TypeVar("S", bound=IntEnum)
I = TypeVar("I", bound=Enum)  # noqa: E741


@dataclass(frozen=True, slots=True)
class Step(Generic[S]):
    """Where an input leads, the clause that says so, and the one version it holds for (None: all)."""

    to: S
    clause: str
    only: Version | None = None


@dataclass(frozen=True, slots=True)
class Machine(Generic[S, I]):
    """The rows of one machine. Reading only: who asks for a step makes it."""

    rows: Mapping[tuple[S, I], Step[S]]

    def step(self, state: S, cause: I, version: Version) -> S | None:
        """The state that ``cause`` leads to from ``state``; None where it is not allowed."""
        row = self.rows.get((state, cause))
        if row is None or row.only not in (None, version):
            return None
        return row.to

    def states(self, cause: I, version: Version) -> frozenset[S]:
        """The states in which ``cause`` is allowed."""
        return frozenset(state for (state, given), row in self.rows.items()
                         if given is cause and row.only in (None, version))
