"""The process that writes a tape is killed at any change of a file; the tape keeps every whole record."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
import traceback
from collections.abc import Callable

import pytest

from ndmpd.services import mover_backup
from tests.sweep import verdict
from tests.sweep.case import Case, Field, rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import Plan
from tests.sweep.jobs import Planned, Work, draw
from tests.sweep.judgement import again

CALLS = "pwrite", "pwritev", "ftruncate"


class Reaper:
    """Kills this process at the ``fatal``-th call that changes a file, ``half`` of which is done first."""

    def __init__(self, fatal: int, half: float) -> None:
        self.left, self.half = fatal, half
        for name in CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapped(fd: int, what: object, *rest: int) -> object:
            if self.left == 0:
                if name != "ftruncate" and self.half:
                    data = b"".join(what) if name == "pwritev" else bytes(what)  # type: ignore[arg-type]
                    original(fd, data[:int(len(data) * self.half)], *rest)
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return call(fd, what, *rest)

        original = os.pwrite
        return wrapped


class Noting(Plan):
    """No fault; ``noted`` is called before each command."""

    def __init__(self, noted: Callable[[], None]) -> None:
        super().__init__(None, 0, random.Random(0))
        self.noted = noted

    def due(self, opcode: int) -> bool:
        self.noted()
        return False


def die(field: Field, work: Work, fatal: int, half: float, counted: mmap.mmap) -> bool:
    """Run the backup in a process that is killed; whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            case = Case(field, work, Planned(work, field.source), Plan(None, 0, random.Random(0)))
            figures = case.stand.mover.figures

            def noted() -> None:
                counted[:8] = struct.pack("Q", figures().bytes_moved)

            case.plan = Noting(noted)
            Reaper(fatal, half)
            case.backup()
            noted()
            case.settle()
            case.close()
            assert case.succeeded
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("half", [0.0, 0.5, 0.99], ids=["nothing of it", "half of it", "nearly all of it"])
def test_a_process_that_is_killed_at_any_change_of_a_file(field: Field, half: float,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(40):
        rng = rng_of(seed, f"crash {half}")
        work = draw(rng, most_records=12)
        monkeypatch.setattr(mover_backup, "BATCH", work.batch)
        case = Case(field, work, Planned(work, field.source), Plan(None, 0, rng))
        cartridges = [san for san, _ in zip(field.cartridges(work), range(4), strict=False)]
        counted = mmap.mmap(-1, 8)
        try:
            died = die(field, work, int(rng.expovariate(1 / 15)), half, counted)
            tapes = [verdict.records_of(verdict.objects(san, work.record)) for san in cartridges]
            records = [record for tape in tapes for record in tape]
            verdict.same_prefix(records, work.records)
            (moved,) = struct.unpack("Q", counted[:8])
            there = min(len(records) * work.record, len(work.stream))
            assert there >= moved, "a record that was counted is gone"
            assert died or len(records) == len(work.records)
            case.used = cartridges[:1]
            again(case, rng)
        except BaseException as failure:
            failure.add_note(f"again: SWEEP_SEED={seed} pytest tests/sweep/test_crash_sweep.py")
            raise
        finally:
            case.close()
            counted.close()
