"""How many cases a fuzzer runs, and from which seed: a bounded number by default, minutes by ``make fuzz``.

Case number N of a fuzzer depends on N alone. FUZZ_SEED is the number of the first case, so that
``make fuzz SEED=N`` begins with the one that failed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

FIRST = int(os.environ.get("FUZZ_SEED") or 1)
MINUTES = float(os.environ.get("FUZZ_MINUTES") or 0)
"""Of each fuzzer; 0 for the bounded number of cases."""


def run_cases(name: str, count: int, case: Callable[[random.Random], None]) -> int:
    """Run ``case`` with the random numbers of each case in turn; returns how many ran.

    What a case raises comes out with the number to repeat it by.
    """
    until = time.monotonic() + MINUTES * 60
    number = FIRST
    while time.monotonic() < until if MINUTES else number < FIRST + count:
        try:
            case(random.Random(f"{name} {number}"))
        except BaseException as failure:
            print(f"{name}: case {number} failed; repeat it by: make fuzz SEED={number} ARGS='-k {name}'")
            failure.add_note(f"case {number} of {name}")
            raise
        number += 1
    return number - FIRST
