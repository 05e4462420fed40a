"""What was measured of one subject of a row, what it is held against, and how both are printed.

A figure is whatever a row measures: seconds, or bytes of memory or of traffic. Subjects take turns, so that
ratios are formed round by round, between neighbours in time, and their median is what counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Unit(Enum):
    """What a figure is: how it is printed, and what the amount done in it is called."""

    BYTES = "MB/s"
    FILES = "files/s"
    ENTRIES = "entries/s"
    EXTENTS = "extents/s"
    COMMANDS = "commands"
    LATENCY = "ms"
    MEMORY = "MiB"
    TRAFFIC = "MiB of traffic"

    @property
    def is_rate(self) -> bool:
        return self in (Unit.BYTES, Unit.FILES, Unit.ENTRIES, Unit.EXTENTS)


@dataclass(slots=True)
class Series:
    """``amount`` of what ``unit`` counts was done in each of the ``figures``: seconds, or bytes of memory."""

    subject: str
    unit: Unit
    amount: float = 1.0
    figures: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    @property
    def quartiles(self) -> tuple[float, float]:
        return quartiles(self.figures)

    @property
    def shown(self) -> str:
        """The median in the unit: a rate, milliseconds, MiB."""
        match self.unit:
            case Unit.BYTES:
                return f"{self.amount / self.median / 1e6:.0f} MB/s"
            case Unit.FILES | Unit.ENTRIES | Unit.EXTENTS:
                return f"{self.amount / self.median:.0f} {self.unit.value}"
            case Unit.COMMANDS:
                return f"{self.median:.0f} commands"
            case Unit.LATENCY:
                return f"{self.median * 1e3:.2f} ms"
            case Unit.MEMORY | Unit.TRAFFIC:
                return f"{self.median / 2**20:.1f} MiB"

    @property
    def raw(self) -> str:
        """Median and quartiles of the figures themselves."""
        scale, unit = (2**20, "MiB") if self.unit in (Unit.MEMORY, Unit.TRAFFIC) else (1e-3, "ms")
        lower, upper = self.quartiles
        return f"{self.median / scale:.1f} [{lower / scale:.1f}..{upper / scale:.1f}] {unit}"


def quartiles(figures: Sequence[float]) -> tuple[float, float]:
    if len(figures) < 2:
        return figures[0], figures[0]
    lower, _, upper = statistics.quantiles(figures, n=4, method="inclusive")
    return lower, upper


@dataclass(frozen=True, slots=True)
class Compared:
    """One subject over another, by rate, round by round."""

    median: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.lower:.2f}..{self.upper:.2f}]"


def compare(one: Series, peer: Series) -> Compared:
    """How many times as fast as ``peer``; of memory and latency, how many times as much."""
    pairs = zip(one.figures, peer.figures, strict=True)
    if one.unit.is_rate:
        ratios = [(one.amount / mine) / (peer.amount / theirs) for mine, theirs in pairs]
    else:
        ratios = [mine / theirs for mine, theirs in pairs]
    return Compared(statistics.median(ratios), *quartiles(ratios))


@dataclass(frozen=True, slots=True)
class AtLeast:
    """``subject`` is to be at least ``ratio`` times as fast as ``peer``."""

    peer: str
    ratio: float
    subject: str = "ndmpd"

    def met(self, series: Mapping[str, Series]) -> bool | None:
        """None where the subject or the peer was not measured."""
        if self.peer not in series or self.subject not in series:
            return None
        return compare(series[self.subject], series[self.peer]).median >= self.ratio

    def __str__(self) -> str:
        return f">= {self.ratio:g} x {self.peer}"


@dataclass(frozen=True, slots=True)
class Rate:
    """``subject`` is to do at least so many a second."""

    per_second: float
    subject: str = "ndmpd"

    def met(self, series: Mapping[str, Series]) -> bool | None:
        one = series[self.subject]
        return one.amount / one.median >= self.per_second

    def __str__(self) -> str:
        return f">= {self.per_second:.0f}/s"


@dataclass(frozen=True, slots=True)
class Below:
    """``subject``'s figure is to stay below this many seconds or bytes, said in ``text``."""

    figure: float
    text: str
    subject: str = "ndmpd"

    def met(self, series: Mapping[str, Series]) -> bool | None:
        return series[self.subject].median < self.figure

    def __str__(self) -> str:
        return f"< {self.text}"


Target = AtLeast | Rate | Below
