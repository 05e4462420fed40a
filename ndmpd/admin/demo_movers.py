"""Data movers side by side: what a job of each cost the head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.filesize import decimal
from rich.table import Table

from ndmpd.admin.demo_costs import Costs, NotAccounted, head_costs
from ndmpd.client.jobs import Report

_UNKNOWN = "-"


@dataclass(slots=True)
class Meter:
    """``costs`` is there once the measured job is over, unless the system does not tell: then ``problem``
    says why."""

    costs: Costs | None = None
    problem: str = ""


@contextmanager
def metered(server: int) -> Iterator[Meter]:
    """Measure what is done inside by the server with that process id, which serves nobody else meanwhile."""
    meter = Meter()
    try:
        before = head_costs(server)
    except NotAccounted as failure:
        meter.problem = str(failure)
        yield meter
        return
    yield meter
    try:
        meter.costs = head_costs(server) - before
    except NotAccounted as failure:
        meter.problem = str(failure)


@dataclass(frozen=True, slots=True)
class Share:
    """The head's part in one job of ``datamover``, as the server says and as the system accounts for it."""

    datamover: str
    report: Report
    meter: Meter

    @property
    def used(self) -> str:
        return self._variable("DATAMOVER_USED")

    @property
    def by_head(self) -> int | None:
        """Bytes of the stream that passed through the head."""
        return _number(self._variable("DATAMOVER_BY_HEAD"))

    @property
    def offloaded(self) -> int | None:
        """Bytes of the stream that a copy manager moved."""
        return _number(self._variable("DATAMOVER_OFFLOADED"))

    def _variable(self, name: str) -> str:
        return next((value for key, value in self.report.environment if key == name), "")

    def document(self) -> dict[str, Any]:
        costs = self.meter.costs
        return {
            "datamover": self.datamover, "operation": self.report.operation, "used": self.used,
            "bytes": self.report.size, "bytes_by_head": self.by_head, "bytes_offloaded": self.offloaded,
            "bytes_per_second": round(self.report.rate),
            "head_cpu_seconds": None if costs is None else round(costs.seconds, 2),
            "head_bytes_read_and_written": None if costs is None else costs.moved,
            "problem": self.meter.problem,
        }


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None


def side_by_side(shares: Sequence[Share]) -> Table:
    """A line for every job."""
    table = Table(title="What the NAS head did for an image",
                  caption="Head CPU includes the start of a job's processes, whoever moves the bytes.")
    for heading in ("TYPE", "job", "moved by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("by head", "offloaded", "head CPU", "rate"):
        table.add_column(heading, justify="right", no_wrap=True)
    for share in shares:
        costs = share.meter.costs
        table.add_row(
            share.datamover, share.report.operation, share.used or _UNKNOWN, _size(share.by_head),
            _size(share.offloaded), _UNKNOWN if costs is None else f"{costs.seconds:.2f} s",
            f"{share.report.rate / 1e6:,.0f} MB/s")
    return table


def _size(count: int | None) -> str:
    return _UNKNOWN if count is None else decimal(count)
