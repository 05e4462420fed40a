"""``make bench``: times the jobs, prints the table, writes ``bench.json``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.jobs import MIB, RECORD, Bench, blocks_can_be_shared, time_job
from tests.bench.series import Series, ratios, table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each job (%(default)s)")
    parser.add_argument("--size", type=int, default=1024, help="MiB of the one large file (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work: some 8 GiB on the disk to be measured")
    parser.add_argument("--only", default="", help="jobs whose name has this in it")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="(%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ndmpd-bench-", dir=options.folder) as name:
        folder = Path(name)
        if blocks_can_be_shared(folder):
            print(f"{folder}: this file system shares blocks, so that a copy moves none;", file=sys.stderr)
            print("name a folder on another one, ext4 say: make bench ARGS='--folder DIR'", file=sys.stderr)
            return 1
        series = run(folder, options.size * MIB, options.rounds, options.only)
    print(table(series))
    compared = ratios(series)
    figures = {
        "machine": machine(),
        "rounds": options.rounds,
        "record": RECORD,
        "series": [
            {**one.as_json(), "times_as_fast_as": rounded(compared[one.job, one.subject])} for one in series
        ],
    }
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nmedians of {options.rounds}; noise is half the quartile distance; details in {options.json}")
    return 0


def run(folder: Path, size: int, rounds: int, only: str) -> list[Series]:
    series: list[Series] = []
    with Bench(folder, size) as bench:
        if bench.reference is None:
            print(
                "ndmjob is not installed (apt-get install amanda-common): its rows are left out",
                file=sys.stderr,
            )
        for job in bench.jobs():
            if only in job.name:
                print(f"{job.name} ...", file=sys.stderr, flush=True)
                series += time_job(job, rounds)
    return series


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 3) for name, figure in figures.items()}


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


if __name__ == "__main__":
    sys.exit(main())
