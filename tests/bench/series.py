"""Times of one job by one subject, and the table of them all."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

MEGABYTE = 1_000_000


@dataclass(slots=True)
class Series:
    """``subject`` did ``job`` of ``size`` bytes (``files`` of them, where it is a tree) in so many
    ``seconds``.
    """

    job: str
    subject: str
    size: int
    files: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """MB/s (10^6) at the median."""
        return self.size / self.median / MEGABYTE

    @property
    def noise(self) -> float:
        """Half the distance between the quartiles, as a fraction of the median."""
        if len(self.seconds) < 2:
            return 0.0
        lower, _, upper = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (upper - lower) / 2 / self.median

    def as_json(self) -> dict[str, object]:
        return {
            "job": self.job, "subject": self.subject, "bytes": self.size, "files": self.files,
            "seconds": [round(second, 6) for second in self.seconds], "median_seconds": round(self.median, 6),
            "megabytes_per_second": round(self.rate, 1), "noise": round(self.noise, 4),
        }  # fmt: skip


def ratios(series: Sequence[Series]) -> dict[tuple[str, str], dict[str, float]]:
    """Of each (job, subject): its speed over that of every other subject of the job."""
    return {
        (one.job, one.subject): {
            other.subject: other.median / one.median
            for other in series
            if other.job == one.job and other.subject != one.subject
        }
        for one in series
    }


def table(series: Sequence[Series]) -> str:
    """One line per series; the last column is the speed over that of the job's other subjects."""
    head = ("job", "by", "MB", "median s", "noise", "MB/s", "files/s", "times as fast as")
    lines = [head]
    compared = ratios(series)
    for one in series:
        others = compared[one.job, one.subject]
        lines.append(
            (
                one.job,
                one.subject,
                f"{one.size / MEGABYTE:.0f}",
                f"{one.median:.3f}",
                f"{one.noise:.1%}",
                f"{one.rate:.0f}",
                f"{one.files / one.median:.0f}" if one.files else "",
                "  ".join(f"{name} {ratio:.2f}" for name, ratio in others.items()),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1, len(head) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
