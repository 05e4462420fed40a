"""``make bench``: measures the rows, prints the table, writes ``bench.json``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.place import MIB, Place, Scale, blocks_can_be_shared
from tests.bench.report import Measured, as_json, table
from tests.bench.rows import measure
from tests.bench.table import ROWS


def main() -> int:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=names, default=names,
                        help=f"which to measure, of {', '.join(names)} (all)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds of each row (%(default)s)")
    parser.add_argument("--size", type=int, default=1024,
                        help="MiB of the large file and of each disk (%(default)s)")
    parser.add_argument("--files", type=int, default=100_000, help="how many small files (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to work: some 8 GiB on the disk to be measured")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="(%(default)s)")
    options = parser.parse_args()
    # Told to end, it stops its servers and takes its files away as after an error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="ndmpd-bench-", dir=options.folder) as name:
        folder = Path(name)
        if blocks_can_be_shared(folder):
            print(f"{folder}: this file system shares blocks, so that a copy moves none;", file=sys.stderr)
            print("name a folder on another one, ext4 say: make bench ARGS='--folder DIR'", file=sys.stderr)
            return 1
        measured = run(folder, Scale(options.size * MIB, options.files), options.rows, options.rounds)
    print(table(measured))
    print(f"\n{options.rounds} rounds in turn; ratios are formed round by round; details in {options.json}")
    options.json.write_text(json.dumps(as_json(measured, options.rounds), indent=1) + "\n")
    return 0


def run(folder: Path, scale: Scale, names: list[str], rounds: int) -> Measured:
    measured = []
    with Place(folder, scale) as place:
        for row in ROWS:
            if row.name not in names:
                continue
            print(f"{row.name} ...", file=sys.stderr, flush=True)
            started = time.monotonic()
            series = measure(row, place, rounds)
            print(f"{time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            if series:
                measured.append((row, series))
                print(table(measured[-1:]), file=sys.stderr, flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(main())
