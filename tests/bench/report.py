"""What was measured, as a table for people and as JSON for programs."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence

from tests.bench.rows import Row
from tests.bench.series import Compared, Series, Target, compare

Measured = Sequence[tuple[Row, Mapping[str, Series]]]

_HEAD = ("row", "by", "figure", "one run: median [quartiles]", "x peer: median [quartiles]", "wanted", "")
_VERDICTS = {True: "yes", False: "NO", None: "not measured"}


def table(measured: Measured) -> str:
    """A line for each subject of each row, and under each row what bounds it."""
    cells, texts = [_HEAD], {}
    for row, series in measured:
        for number, one in enumerate(series.values()):
            targets = [target for target in row.targets if owner(target, series) == one.subject]
            cells.append((
                row.name if number == 0 else "", one.subject, one.shown, one.raw,
                "; ".join(f"{ratio} x {peer}" for peer, ratio in ratios(one, row, series).items()),
                ", ".join(map(str, targets)),
                ", ".join(_VERDICTS[target.met(series)] for target in targets),
            ))  # fmt: skip
        note = f"; {row.note}" if row.note else ""
        texts[len(cells) - 1] = f"    {row.job}{note}\n    bound by {row.bound}"
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = []
    for number, line in enumerate(cells):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        if number in texts:
            lines.append(texts[number])
    return "\n".join(lines)


def owner(target: Target, series: Mapping[str, Series]) -> str:
    return target.subject if target.subject in series else ""


def ratios(one: Series, row: Row, series: Mapping[str, Series]) -> dict[str, Compared]:
    """Of a subject that targets are about, over every other one of the row."""
    if one.subject not in {target.subject for target in row.targets}:
        return {}
    return {peer.subject: compare(one, peer) for peer in series.values() if peer is not one}


def as_json(measured: Measured, rounds: int) -> dict[str, object]:
    return {
        "machine": machine(),
        "rounds": rounds,
        "rows": [
            {
                "name": row.name, "job": row.job, "note": row.note, "bound": row.bound,
                "targets": [
                    {"subject": target.subject, "wanted": str(target), "met": target.met(series)}
                    for target in row.targets
                ],
                "series": [
                    {
                        "subject": one.subject, "unit": one.unit.value, "amount": one.amount,
                        "figures": [round(figure, 6) for figure in one.figures],
                        "median": round(one.median, 6), "shown": one.shown,
                        "times_as_fast_as": {
                            peer: [round(ratio.median, 3), round(ratio.lower, 3), round(ratio.upper, 3)]
                            for peer, ratio in ratios(one, row, series).items()
                        },
                    }
                    for one in series.values()
                ],
            }
            for row, series in measured
        ],
    }  # fmt: skip


def machine() -> dict[str, object]:
    """What the figures depend on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }
