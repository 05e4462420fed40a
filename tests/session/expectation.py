"""Expected outcomes written as tables in tests: a column per state, a row per input.

A cell holds the state entered; ``-`` where a request is refused with ILLEGAL_STATE, or an event ignored;
``!`` before a state where entering it must be announced by a notice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    state: str
    cause: str
    to: str | None
    notice: bool


def cells(table: str) -> list[Cell]:
    columns, *rows = [line.split() for line in table.strip().splitlines()]
    assert all(len(outcomes) == len(columns) for _, *outcomes in rows)
    return [
        Cell(state, cause, None if outcome == "-" else outcome.lstrip("!"), outcome.startswith("!"))
        for cause, *outcomes in rows
        for state, outcome in zip(columns, outcomes, strict=True)
    ]
