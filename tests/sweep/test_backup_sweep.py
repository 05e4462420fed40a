"""Backups with a fault of the drive, of the source, of the data process or of the DMA, at any point."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ndmpd.services import mover_backup
from ndmpd.session import events
from protocol.ndmp.codes import DataHaltReason, DataState, MoverHaltReason, MoverState
from protocol.ndmp.data import DataAbortRequest
from protocol.ndmp.mover import MoverAbortRequest
from tests.sweep import verdict
from tests.sweep.case import Case, Field, meanwhile, reported, rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import FAULTS, Fault, Plan
from tests.sweep.jobs import Planned, draw
from tests.sweep.judgement import again, judge, outcome

Halts = DataHaltReason
CLOSED, LOST = MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.CONNECT_ERROR


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_drive_that_fails_at_any_command(field: Field, fault: Fault,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(32):
        rng = rng_of(seed, fault.name)
        work = draw(rng)
        monkeypatch.setattr(mover_backup, "BATCH", work.batch)
        plan = Plan(fault, int(rng.expovariate(1 / 6)), rng)
        left = verdict.Leftovers(field.sans(), field.places)
        case = Case(field, work, Planned(work, field.source), plan, backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.backup()
                case.settle()
                judge(case, doubt=fault.doubt and bool(plan.struck))
                outcome(case, fault)
                again(case, rng)
            finally:
                case.close()
            left.check()


def test_a_source_that_cannot_be_read_is_named_or_ends_the_job(field: Field,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(150):
        rng = rng_of(seed, "source")
        work = draw(rng).with_hole(rng)
        monkeypatch.setattr(mover_backup, "BATCH", work.batch)
        left = verdict.Leftovers(field.sans(), field.places)
        butype = Planned(work, field.source)
        case = Case(field, work, butype, Plan(None, 0, rng), backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.backup()
                case.settle()
                judge(case, cut=True)
                (fault,) = butype.faults
                hole = next(shape for shape in work.shapes if not shape.whole)
                assert fault.reason and 0 < fault.length <= hole.length
                if work.strict:
                    assert case.data_halts == [Halts.INTERNAL_ERROR], case.data_halts
                    assert case.mover_halts in ([CLOSED], [LOST]), case.mover_halts
                else:
                    assert case.succeeded, (case.mover_halts, case.data_halts)
                again(case, rng)
            finally:
                case.close()
            left.check()


def test_a_data_process_that_dies_before_any_piece(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(150):
        rng = rng_of(seed, "killed")
        work = draw(rng)
        monkeypatch.setattr(mover_backup, "BATCH", work.batch)
        left = verdict.Leftovers(field.sans(), field.places)
        case = Case(field, work, Planned(work, field.source, dies_at=rng.randint(0, len(work.shapes))),
                    Plan(None, 0, rng), backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.backup()
                case.settle()
                judge(case, cut=True)
                assert case.data_halts == [Halts.INTERNAL_ERROR], case.data_halts
                assert case.mover_halts in ([CLOSED], [LOST]), case.mover_halts
                again(case, rng)
            finally:
                case.close()
            left.check()


def abort_mover(case: Case) -> None:
    if case.stand.session.mover_state != MoverState.IDLE:
        case.ask(MoverAbortRequest())


def abort_data(case: Case) -> None:
    if case.stand.session.data_state != DataState.IDLE:
        case.ask(DataAbortRequest())


def abort_both(case: Case) -> None:
    abort_data(case)
    abort_mover(case)


def lose_dma(case: Case) -> None:
    case.stand.tell(events.ConnectionLost())


DEEDS: dict[str, tuple[Callable[[Case], None], list[list[MoverHaltReason]], list[list[DataHaltReason]]]] = {
    "MOVER_ABORT": (abort_mover, [[MoverHaltReason.ABORTED]], [[Halts.CONNECT_ERROR], [Halts.SUCCESSFUL]]),
    "DATA_ABORT": (abort_data, [[CLOSED], [LOST]], [[Halts.ABORTED], [Halts.SUCCESSFUL]]),
    "both aborted": (abort_both, [[MoverHaltReason.ABORTED]], [[Halts.ABORTED], [Halts.SUCCESSFUL]]),
    "connection lost": (lose_dma, [[]], [[], [Halts.SUCCESSFUL]]),
}
"""What the DMA does, and how the mover and DATA may have halted then. DATA may have been done before."""


@pytest.mark.parametrize("deed", DEEDS)
def test_a_dma_that_ends_it_at_any_command(field: Field, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act, mover_halts, data_halts = DEEDS[deed]
    for seed in seeds(75):
        rng = rng_of(seed, deed)
        work = draw(rng)
        monkeypatch.setattr(mover_backup, "BATCH", work.batch)
        plan = Plan(None, int(rng.expovariate(1 / 6)), rng)
        left = verdict.Leftovers(field.sans(), field.places)
        case = Case(field, work, Planned(work, field.source), plan, backed=rng.random() < 0.7)
        plan.trigger = lambda case=case: meanwhile(case.stand, lambda: act(case))
        with reported(seed, case):
            try:
                case.backup()
                case.settle()
                judge(case, cut=deed == "DATA_ABORT")
                if plan.trigger is not None:
                    assert case.succeeded
                else:
                    assert case.mover_halts in mover_halts, case.mover_halts
                    assert case.data_halts in data_halts, case.data_halts
                again(case, rng)
            finally:
                case.close()
            left.check()
