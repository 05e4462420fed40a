"""Copies whose units fail at the copy manager's own commands, in part, and with what failing does to them.

Each case ends with the next job: nothing may be left reserved, leased or under way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ndmpd.ports import Result
from ndmpd.san.copymanager.ends import End
from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import MoverHaltReason
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import SenseKey
from tests.services.copy_rig import Place, Places, short_runs
from tests.sweep.case import rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import FAULTS, Fault, Outcome, Plan
from tests.sweep.offload import Trouble, check
from tests.sweep.offload_case import Backup, Recover, SpannedRecover, Work, draw, told
from tests.sweep.offload_units import Acts, Silent, Units, usable

K = SenseKey
CLOSED, MEDIA = MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.MEDIA_ERROR
Kind = type[Backup] | type[Recover]
KINDS: tuple[Kind, ...] = (Backup, Recover, SpannedRecover)
RUN = 2048


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Units:
    found = Units()
    monkeypatch.setattr(End, "send", lambda end, *command, **more: found.send(end, *command, **more))
    short_runs(monkeypatch, RUN)
    return found


class Case:
    """One job with ``fault`` at a command of the copy manager to the drive; ``at``: which."""

    def __init__(self, places: Places, units: Units, rng: random.Random, kind: Kind,
                 work: Work | None = None) -> None:
        self.work = work or draw(rng)
        several = kind is SpannedRecover or (kind is Backup and rng.random() < 0.3)
        if several and self.work.record > 4000:
            self.work = Work(1024, self.work.extents, self.work.windows, 16384, self.work.mover)
        self.place: Place = places.get(65536, rng.choice((0, 4096)), 14) if several else places.get(
            cartridges=2)
        self.units, self.rng = units, rng
        self.trouble = Trouble(self.place, self.work.record, rng)
        self.job = kind(self.place, self.work, self.trouble)
        self.acts = Acts(self.place, self.job.rig)

    def run(self) -> MoverHaltReason:
        try:
            return MoverHaltReason(self.job.run().reason)
        finally:
            if self.units.plan is not None:
                self.trouble.history += self.units.plan.history
                self.trouble.struck = len(self.units.plan.struck)
                self.units.plan.armed = False
            self.units.disk = None
            self.acts.over()

    @contextmanager
    def done(self, seed: int) -> Iterator[None]:
        with told(seed, self.work, self.trouble, self.job.rig):
            try:
                yield
            finally:
                self.units.plan = self.units.disk = None
                self.acts.over()
                self.job.close()
            usable(self.place)


def armed(case: Case, fault: Fault, at: int) -> Plan:
    plan = Plan(fault, at, case.rng, case.acts)
    plan.armed = True
    case.units.plan = plan
    return plan


# The path from copy manager to drive is a bus of its own: it does not break here, and answers in time.
DRIVE_FAULTS = [fault for fault in FAULTS if fault.status is not None]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", DRIVE_FAULTS, ids=lambda fault: fault.name)
def test_a_drive_that_fails_under_a_copy(places: Places, units: Units, fault: Fault, kind: Kind) -> None:
    for seed in seeds(2):
        rng = rng_of(seed, f"under {fault.name} {kind.__name__}")
        case = Case(places, units, rng, kind)
        with case.done(seed):
            plan = armed(case, fault, int(rng.expovariate(1 / 8)))
            ended = case.run()
            if isinstance(case.job, Backup):
                case.job.judge(doubt=fault.lies or fault.deferred or fault.doubt or fault.act == "rewound")
            else:
                case.job.judge()
            if not plan.struck:
                assert ended == CLOSED


RESETS = {
    "power on, the tape where it was": Fault("", key=K.UNIT_ATTENTION, code=Asc.POWER_ON, act="power on"),
    "power on, the tape rewound": Fault("", key=K.UNIT_ATTENTION, code=Asc.POWER_ON,
                                        act="power on, rewound"),
    "another cartridge": Fault("", key=K.UNIT_ATTENTION, code=Asc.MEDIUM_MAY_HAVE_CHANGED,
                               act="other cartridge"),
}


@pytest.mark.parametrize("kind", [Backup, Recover])
@pytest.mark.parametrize("name", RESETS)
def test_a_drive_that_is_not_what_it_was_under_a_copy(
        places: Places, units: Units, name: str, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(5):
        rng = rng_of(seed, f"{name} {kind.__name__}")
        case = Case(places, units, rng, kind, Work(1024, ((0, 300), (400, 60), (500, 200)), (), 65536,
                                                   Mover.AUTO))
        with case.done(seed):
            plan = Silent(RESETS[name], rng.randint(4, 30), rng, case.acts)
            plan.armed = True
            units.plan = plan
            ended = case.run()
            assert plan.struck
            if name == "another cartridge":
                assert ended == MEDIA, ended
            elif isinstance(case.job, Recover):
                # What was read before does not count, and is read again from where it stands.
                case.job.judge()
                assert ended == CLOSED
            else:
                # Where a tape stands that was rewound nobody can say: the job ends, and nothing was written
                # where it does not belong.
                rewound = "rewound" in name
                case.job.judge(doubt=rewound)
                assert ended == (MEDIA if rewound else CLOSED), ended


# Every record, every segment.

@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)],
                         ids=["every third", "every one"])
@pytest.mark.parametrize("name", ["early warning", "volume overflow", "medium error", "write protected"])
def test_a_drive_that_fails_at_each_record(places: Places, units: Units, name: str, step: int,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    short_runs(monkeypatch, 512)
    fault = next(one for one in FAULTS if one.name == name)
    for at in [seed * step for seed in seeds(42 // step)]:
        rng = rng_of(at, name)
        work = Work(1024, ((0, 20), (24, 3), (30, 9), (64, 30)), (), 12 * 1024, Mover.AUTO)
        case = Case(places, units, rng, Backup, work)
        with case.done(at):
            plan = armed(case, fault, at)
            ended = case.run()
            case.job.judge()
            if fault.outcome is Outcome.GOES_ON or not plan.struck:
                assert ended == CLOSED, ended


DISK_REPORTS = {
    "medium error": check(K.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR),
    "hardware error": check(K.HARDWARE_ERROR, Asc.INTERNAL_FAILURE),
    "attention": check(K.UNIT_ATTENTION, Asc.BUS_RESET),
    "not ready": check(K.NOT_READY, Asc.BECOMING_READY),
}


@pytest.mark.parametrize("kind", [Backup, Recover])
@pytest.mark.parametrize("name", [*DISK_REPORTS, "busy", "task set full", "reservation conflict"])
def test_a_disk_that_fails_at_each_segment(places: Places, units: Units, name: str, kind: Kind) -> None:
    work = Work(1024, ((0, 20), (24, 3), (30, 9), (64, 30)), (), 12 * 1024, Mover.AUTO)
    report = DISK_REPORTS.get(name)
    status = {"busy": Status.BUSY, "task set full": Status.TASK_SET_FULL,
              "reservation conflict": Status.RESERVATION_CONFLICT}
    answer = Result(report.status, report.data) if report else Result(status[name])
    for at in seeds(9):
        case = Case(places, units, rng_of(at, name), kind, work)
        with case.done(at):
            units.disk, units.asked = (at, answer), 0
            ended = case.run()
            case.job.judge()
            assert ended == CLOSED


