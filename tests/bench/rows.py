"""The rows of the table: what is done by whom, what it is to reach, and what bounds it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.place import Place
from tests.bench.series import Series, Target, Unit


def nothing() -> None:
    """What there is to do before a run that needs no preparation."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Who does the job of a row. ``run`` does it once and returns the figure; ``before`` is not timed.

    ``amount``: what is done in one run, in the row's unit. ``check`` looks, once, at what a run has left, and
    raises where that is not right.
    """

    name: str
    run: Callable[[], float]
    amount: float = 1.0
    before: Callable[[], None] = nothing
    check: Callable[[], None] = nothing


@dataclass(frozen=True, slots=True)
class Row:
    """``subjects`` are ready to run, everything they need made. ``compared`` says with whom, ``bound`` what
    keeps the figure from being better.
    """

    name: str
    job: str
    unit: Unit
    targets: tuple[Target, ...]
    bound: str
    subjects: Callable[[Place], list[Subject]]
    note: str = ""


def measure(row: Row, place: Place, rounds: int) -> dict[str, Series]:
    """A round unmeasured, whose outcome is checked, then ``rounds`` of all subjects in turn.

    Nothing where the row cannot be measured here. What is dirty is flushed between runs, untimed. The first
    subject of a round is the last of the next.
    """
    subjects = row.subjects(place)
    if not subjects:
        return {}
    series = {one.name: Series(one.name, row.unit, one.amount) for one in subjects}
    for number in range(rounds + 1):
        turn = number % len(subjects)
        for one in subjects[turn:] + subjects[:turn]:
            one.before()
            os.sync()
            figure = one.run()
            if number == 0:
                one.check()
            else:
                series[one.name].figures.append(figure)
    return series
