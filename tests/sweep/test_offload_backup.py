"""Backups by a copy manager with a fault at any copy, any segment and any record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import MoverHaltReason
from tests.services.copy_rig import Places
from tests.sweep.case import rng_of
from tests.sweep.conftest import seeds
from tests.sweep.offload import COPY_FAULTS, Ends, Fault, Trouble
from tests.sweep.offload_case import Backup, draw, told

CLOSED = MoverHaltReason.CONNECT_CLOSED


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@pytest.mark.parametrize("fault", COPY_FAULTS, ids=lambda fault: fault.name)
def test_a_copy_that_fails_loses_no_record_and_repeats_none(places: Places, fault: Fault) -> None:
    for seed in seeds(8):
        rng = rng_of(seed, fault.name)
        work = draw(rng)
        place = places.get(65536, 4096, 14) if work.record <= 1024 and rng.random() < 0.2 else places.get()
        trouble = Trouble(place, work.record, rng, fault, int(rng.expovariate(1 / 3)))
        case = Backup(place, work, trouble)
        with told(seed, work, trouble, case.rig):
            try:
                ended = case.run()
                case.judge()
                if not trouble.struck or (work.mover is Mover.AUTO and fault.ends is Ends.GOES_ON):
                    assert ended.reason == CLOSED, ended
                elif fault.ends is Ends.FAILS:
                    assert ended.reason != CLOSED
            finally:
                case.close()
