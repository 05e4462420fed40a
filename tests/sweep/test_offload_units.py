"""Copies with a fault of the drive or the disk: as the copy manager meets it, and as the head does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ndmpd.ports import Result, Transport
from ndmpd.san.copymanager.ends import End
from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import MoverHaltReason
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Reported, SenseKey
from protocol.scsi.spc import DeviceType
from tests.services.copy_rig import Places
from tests.sweep.case import rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import FAULTS, FaultyTransport, Outcome, Plan
from tests.sweep.faults import Fault as DriveFault
from tests.sweep.offload import CHANGED, Trouble, check
from tests.sweep.offload_case import Backup, Recover, draw, told

CLOSED, MEDIA = MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.MEDIA_ERROR
K = SenseKey

REPORTS = {
    "medium error": check(K.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR),
    "hardware error": check(K.HARDWARE_ERROR, Asc.INTERNAL_FAILURE),
    "not ready": check(K.NOT_READY, Asc.BECOMING_READY),
    "reset": check(K.UNIT_ATTENTION, Asc.BUS_RESET),
    "mode parameters changed": check(K.UNIT_ATTENTION, Asc.MODE_PARAMETERS_CHANGED),
    "illegal request": check(K.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB),
    "write protected": check(K.DATA_PROTECT, Asc.WRITE_PROTECTED),
    "aborted command": check(K.ABORTED_COMMAND, Asc.NONE),
    "busy": Reported(Status.BUSY, b""),
    "task set full": Reported(Status.TASK_SET_FULL, b""),
    "reservation conflict": Reported(Status.RESERVATION_CONFLICT, b""),
}
DRIVE_FAULTS = [fault for fault in FAULTS if not fault.act]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@pytest.fixture
def troubled(monkeypatch: pytest.MonkeyPatch) -> list[Trouble]:
    """The trouble in it is what happens to the copy manager's commands."""
    current: list[Trouble] = []
    honest = End.send

    def send(self: End, *command: Any, **more: Any) -> Any:
        answer: Result | None = current[0].at_end(self) if current else None
        return honest(self, *command, **more) if answer is None else (answer, [])

    monkeypatch.setattr(End, "send", send)
    return current


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("kind", [DeviceType.TAPE, DeviceType.DISK], ids=["tape", "disk"])
@pytest.mark.parametrize("name", REPORTS)
def test_a_unit_that_fails_under_a_copy(places: Places, troubled: list[Trouble], name: str,
                                        kind: DeviceType, lasting: bool) -> None:
    for seed in seeds(9):
        rng = rng_of(seed, f"{name} {kind} {lasting}")
        work = draw(rng)
        place = places.get()
        trouble = Trouble(place, work.record, rng, at=int(rng.expovariate(1 / 6)))
        case = (Backup if rng.random() < 0.5 else Recover)(place, work, trouble)
        trouble.end = kind, REPORTS[name], lasting
        troubled[:] = [trouble]
        with told(seed, work, trouble, case.rig):
            try:
                ended = case.run()
                troubled.clear()
                case.judge()
                if not trouble.struck or work.mover is Mover.AUTO:
                    assert ended.reason == CLOSED, ended
            finally:
                troubled.clear()
                case.close()


@pytest.mark.parametrize("kind", [Backup, Recover])
def test_a_cartridge_that_may_have_been_changed_is_not_gone_on_with(
        places: Places, troubled: list[Trouble], kind: type[Backup] | type[Recover]) -> None:
    for seed in seeds(30):
        rng = rng_of(seed, f"changed {kind}")
        work = draw(rng)
        place = places.get()
        trouble = Trouble(place, work.record, rng, at=int(rng.expovariate(1 / 6)))
        case = kind(place, work, trouble)
        trouble.end = DeviceType.TAPE, CHANGED, False
        troubled[:] = [trouble]
        with told(seed, work, trouble, case.rig):
            try:
                ended = case.run()
                troubled.clear()
                case.judge()
                assert ended.reason == (MEDIA if trouble.struck else CLOSED)
            finally:
                troubled.clear()
                case.close()


@pytest.mark.parametrize("fault", DRIVE_FAULTS, ids=lambda fault: fault.name)
def test_a_drive_that_fails_between_copies(places: Places, fault: DriveFault) -> None:
    for seed in seeds(10):
        rng = rng_of(seed, f"offload {fault.name}")
        work = draw(rng)
        place = places.get(cartridges=2) if fault.eom else places.get()
        trouble = Trouble(place, work.record, rng)
        plan = Plan(fault, int(rng.expovariate(1 / 6)), rng)

        def other(name: str, inner: Transport, plan: Plan = plan) -> Transport:
            return FaultyTransport(inner, plan) if name == "tape0" else inner  # type: ignore[return-value]

        trouble.other = other
        case = (Backup if rng.random() < 0.6 else Recover)(place, work, trouble)
        plan.armed = True
        with told(seed, work, trouble, case.rig):
            try:
                ended = case.run()
                trouble.history += plan.history
                plan.armed = False
                if isinstance(case, Backup):
                    case.judge(doubt=bool(plan.struck))
                else:
                    case.judge()
                if not plan.struck or (fault.outcome is Outcome.GOES_ON and work.mover is Mover.AUTO):
                    assert ended.reason == CLOSED, ended
            finally:
                plan.armed = False
                case.close()
