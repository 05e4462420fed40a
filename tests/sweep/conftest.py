"""What every case of the sweep has: cartridges and disks to run on, and waits cut short.

``SWEEP_SEED=n`` runs case n alone of each test; ``SWEEP_CASES=n`` that many of each instead of a few.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from ndmpd.devices import copymanager, unit
from ndmpd.services import copying, data_process, mover_run, tape
from tests.sweep.case import Field


def seeds(count: int) -> list[int]:
    """The seeds of one test: ``count``, unless the environment says otherwise."""
    if "SWEEP_SEED" in os.environ:
        return [int(os.environ["SWEEP_SEED"])]
    return list(range(int(os.environ.get("SWEEP_CASES", count))))


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    return Field(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Waiting changes nothing about a case but its time; data processes are threads, without signals."""
    monkeypatch.setattr(unit, "_BUSY_FOR", 0.03)
    monkeypatch.setattr(unit, "_BUSY_PAUSE", 0.001)
    monkeypatch.setattr(tape, "HOLDER_LEAVES", 0.03)
    monkeypatch.setattr(copymanager, "_LOOK", 0.002)
    monkeypatch.setattr(copymanager, "ENDS_WITHIN", 0.2)
    monkeypatch.setattr(copying, "_FREE", 0.002)
    monkeypatch.setattr(mover_run, "_LOOK", 0.005)
    monkeypatch.setattr(data_process, "_cancellable", nullcontext)
    thresholds = gc.get_threshold()
    # A captured record would keep the exception that it tells of, and with it all that was open.
    logging.disable()
    yield
    logging.disable(logging.NOTSET)
    gc.set_threshold(*thresholds)
