"""Several copy managers, in the order of the configuration: where one fails the next goes on, then the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from ndmpd.devices import copymanager
from ndmpd.devices.errors import TransportError, UnitDown
from ndmpd.devices.leases import Leases, abandoned
from ndmpd.ports import Command, Result, Transport
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import LogType, MoverHaltReason
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import RECEIVE_COPY_STATUS
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.xcopy import COPY_OPERATION_ABORT, EXTENDED_COPY
from tests.services.copy_jobs import (
    PIECES,
    Wrapped,
    expected,
    restore,
    restored,
)
from tests.services.copy_rig import CopyRig, Places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


class Dying(Wrapped):
    """Takes ``left`` EXTENDED COPYs, and then no more, for the reason ``how``."""

    def __init__(self, inner: Transport, left: list[int], how: str) -> None:
        super().__init__(inner)
        self.left, self.how = left, how

    def execute(self, command: Command) -> Result:
        copies = EXTENDED_COPY.matches(command.cdb)
        self.left[0] -= copies
        if self.left[0] >= 0:
            return self.inner.execute(command)
        if self.how == "down":
            raise UnitDown("the copy manager does not run (injected)")
        if not copies:
            return self.inner.execute(command)
        if self.how == "path":
            raise TransportError("the path broke (injected)")
        if self.how == "sense":
            return Result(Status.CHECK_CONDITION, Sense(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE).put())
        return Result(Status.RESERVATION_CONFLICT)


START, MIDDLE, NEVER = -1, 3, 1 << 30
HOWS = {"down": "does not run", "path": "the path broke", "sense": "Hardware Error",
        "status": "RESERVATION CONFLICT"}
ORDERS = [(START, NEVER), (MIDDLE, NEVER), (START, START), (START, MIDDLE), (MIDDLE, START),
          (MIDDLE, MIDDLE), (NEVER, START)]


def who(lasts: tuple[int, ...]) -> tuple[list[str], str]:
    """What the log must say, in that order, and DATAMOVER_USED."""
    lines, used = [], []
    following = [*[f"data mover copy{at} (SCSI)" for at in range(1, len(lasts))], "the head (NAS)"]
    for at, last in enumerate(lasts):
        if last != START:
            lines.append(rf"data mover copy{at} \(SCSI\) moves the data")
            used.append(f"SCSI copy{at}")
        if last == NEVER:
            return lines, ", ".join(used)
        lines.append(rf"data mover copy{at} \(SCSI\): .*; {re.escape(following[at])} goes on")
    return lines, ", ".join([*used, "NAS"])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("lasts", ORDERS, ids=str)
def test_copy_managers_follow_each_other_and_then_the_head(
        places: Places, lasts: tuple[int, ...], how: str) -> None:
    left: dict[str, list[int]] = {}

    def wrap(name: str, inner: Transport) -> Transport:
        if not name.startswith("copy"):
            return inner
        last = lasts[int(name[4:])]
        # What does not run is found to when it is opened; the rest shows with the first copy.
        count = left.setdefault(name, [last + (how != "down" and last == START)])
        return Dying(inner, count, how)

    for record in (512, 10240):
        left.clear()
        place = places.get()
        with CopyRig(place, Mover.AUTO, wrap=wrap, paths=2, batch=30720) as rig:
            (tape,), sent = rig.backup(PIECES, record)
            lines, used = who(lasts)
            assert tape == expected(record) and rig.ended.reason == MoverHaltReason.CONNECT_CLOSED
            assert len(rig.said) == len(lines), rig.log()
            assert all(re.fullmatch(line, one.text) for line, one in zip(lines, rig.said, strict=True)), (
                lines, rig.log())
            assert all(HOWS[how] in one.text for one in rig.said if one.kind == LogType.WARNING), rig.log()
            assert sent.used == used
            left.clear()
            rig.said.clear()
            movers: list[str] = []

            def take(reader: LocalInlet | RemoteInlet, movers: list[str] = movers) -> None:
                restore(reader)
                assert isinstance(reader, LocalInlet)
                movers.append(reader.used)

            rig.recover(take, [(rig.used[0], 0, len(tape) * record)], record)
            assert place.san.disk_path("disk1").read_bytes() == restored()
            assert movers == [used], (movers, rig.log())
            assert all(re.fullmatch(line, one.text) for line, one in zip(lines, rig.said, strict=True)), (
                lines, rig.log())


@pytest.mark.parametrize("lasts", [(START, START), (MIDDLE, START), (MIDDLE, MIDDLE)], ids=str)
def test_where_the_head_is_forbidden_the_last_copy_managers_failure_is_the_end(
        places: Places, lasts: tuple[int, ...]) -> None:
    left: dict[str, list[int]] = {}

    def wrap(name: str, inner: Transport) -> Transport:
        if not name.startswith("copy"):
            return inner
        return Dying(inner, left.setdefault(name, [lasts[int(name[4:])]]), "down")

    with CopyRig(places.get(), Mover.SCSI, wrap=wrap, paths=2, batch=30720) as rig:
        (tape,), sent = rig.backup(PIECES, 512)
        assert tape == expected(512)[:len(tape)] and bool(tape) == (lasts[0] != START)
        assert isinstance(rig.ended, MoverHalted) and rig.ended.reason == MoverHaltReason.INTERNAL_ERROR
        assert "send AUTO" in rig.ended.text and not sent.finished
        assert rig.mover.figures().bytes_moved == len(tape) * 512
        last = rig.said[-1]
        assert last.kind == LogType.ERROR and last.text.startswith("data mover copy1 (SCSI): ")
        warned = [one.text for one in rig.said if one.kind == LogType.WARNING]
        assert len(warned) == 1 and warned[0].endswith("data mover copy1 (SCSI) goes on")


class Speechless(Wrapped):
    """Nothing that is asked about a copy is answered."""

    def execute(self, command: Command) -> Result:
        if RECEIVE_COPY_STATUS.matches(command.cdb) or COPY_OPERATION_ABORT.matches(command.cdb):
            raise TransportError("no answer (injected)")
        return self.inner.execute(command)


def test_copies_of_others_that_do_not_end_leave_the_job_to_the_head(
        places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every list identifier was left with a copy of a dead session, on another drive."""
    monkeypatch.setattr(copymanager, "ENDS_WITHIN", 0.05)
    monkeypatch.setattr(copymanager, "_LOOK", 0.005)
    place = places.get()
    for _ in range(4):
        lease = Leases(place.run_dir, "copy0", 4).take()
        assert lease is not None
        lease.begin("tape9")
        lease.close()
    with CopyRig(place, Mover.AUTO, wrap=lambda name, inner: (
            Speechless(inner) if name == "copy0" else inner)) as rig:
        (tape,), sent = rig.backup(PIECES, 10240)
        assert tape == expected(10240) and sent.finished and sent.used == "NAS"
        assert "did not end within" in rig.log() and rig.log().endswith("the head (NAS) goes on")
    assert [one.units for one in abandoned(place.run_dir)] == [["tape9"]] * 4, "whoever opens it must know"
