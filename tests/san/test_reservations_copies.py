"""PREEMPT AND ABORT against copies that run: what the preempted copy may still do, which is nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from ndmpd.devices.copymanager import CopyManager
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.san import San
from ndmpd.san.copymanager.server import CopyManagerServer
from ndmpd.san.copymanager.streams import Stream
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.reservations import RESERVE_OUT, OutAction, OutParameters, ReservationType
from protocol.scsi.segments import BlockToStream, RegisterKey
from protocol.scsi.sense import CopySense, Reported
from protocol.scsi.xcopy import ListIdUsage, ParameterList
from tests.san.conftest import Outcome, TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, fill_disk, running
from tests.san.test_reservations import A, B, Party

EARO = ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS
TIMEOUT = 20.0
RECORDS = 200
BLOCKS = RECORD // 512


@pytest.fixture
def manager(san: San) -> Iterator[CopyManagerServer]:
    with running(san) as server:
        yield server


class Pace:
    """Lets a copy write record after record, slowly enough to be met in the middle."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.started = threading.Event()
        write = Stream.write

        def slow(stream: Stream, pieces: list[object], size: int, most: int) -> object:
            self.started.set()
            time.sleep(0.005)
            return write(stream, pieces, size, 1)  # type: ignore[arg-type]

        patch.setattr(Stream, "write", slow)


def start(host: CopyHost, san: San, done: list[Outcome]) -> threading.Thread:
    """A copy of 200 records to tape0."""
    segments = [BlockToStream(0, 1, RECORD, BLOCKS * RECORDS, 0)]
    thread = threading.Thread(
        target=lambda: done.append(host.copy([cscd(san, "disk0"), cscd(san, "tape0")], list(segments))))
    thread.start()
    return thread


def abort(party: Party, other: int, kind: int = EARO) -> Outcome:
    return party.out(OutAction.PREEMPT_AND_ABORT, party.key, other, kind)


def test_a_preempted_copy_writes_no_further_record(
        san: San, manager: CopyManagerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy manager acts as the nexus that sent the copy, and is kept out with it."""
    fill_disk(san, "disk0")
    old, new = Party(san, A, unit="tape0").join(), Party(san, B, unit="tape0")
    assert old.reserve(EARO).good
    pace, done = Pace(monkeypatch), list[Outcome]()
    thread = start(CopyHost(san, "copy0", old.nexus), san, done)
    assert pace.started.wait(TIMEOUT)
    assert abort(new.join(), A).good
    tape = TapeHost(san, "tape0", new.nexus)
    place = tape.position()
    assert place[0] < RECORDS
    thread.join(TIMEOUT)
    assert tape.position() == place and tape.write(b"mine").good
    assert done[0].sense is not None
    found = CopySense.of(done[0].sense)
    assert found.code == Asc.THIRD_PARTY_DEVICE_FAILURE
    told = found.destination_sense
    # The unit attention of the preemption comes first, and either ends the copy.
    assert told is not None and (told == Reported(Status.RESERVATION_CONFLICT) or (
        told.sense is not None and told.sense.code == Asc.REGISTRATIONS_PREEMPTED))


def test_a_preempted_nexus_gets_no_second_copy_through(san: San, manager: CopyManagerServer) -> None:
    old, new = Party(san, A, unit="tape0").join(), Party(san, B, unit="tape0").join()
    assert old.reserve(EARO).good and abort(new, A).good
    old.clear_attentions()
    outcome = CopyHost(san, "copy0", old.nexus).copy(
        [cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, BLOCKS, 0)])
    assert outcome.sense is not None
    assert CopySense.of(outcome.sense).destination_sense == Reported(Status.RESERVATION_CONFLICT)
    assert TapeHost(san, "tape0", new.nexus).position() == (0, 0)


def test_copies_sent_to_the_unit_have_ended_when_preempt_and_abort_has(
        san: San, manager: CopyManagerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing keeps their commands out: they were the unit's commands, and are aborted."""
    fill_disk(san, "disk0")
    old, new = Party(san, A, unit="copy0").join(), Party(san, B, unit="copy0").join()
    pace, done = Pace(monkeypatch), list[Outcome]()
    thread = start(CopyHost(san, "copy0", old.nexus), san, done)
    assert pace.started.wait(TIMEOUT)
    assert abort(new, A).good
    place = TapeHost(san, "tape0", new.nexus).position()
    assert place[0] < RECORDS
    thread.join(TIMEOUT)
    assert TapeHost(san, "tape0", new.nexus).position() == place
    assert done[0].sense is not None
    assert done[0].sense.code == Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER


def test_preempt_alone_lets_commands_end(
        san: San, manager: CopyManagerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(san, "disk0")
    old, new = Party(san, A, unit="copy0").join(), Party(san, B, unit="copy0").join()
    pace, done = Pace(monkeypatch), list[Outcome]()
    thread = start(CopyHost(san, "copy0", old.nexus), san, done)
    assert pace.started.wait(TIMEOUT)
    assert new.preempt(A).good
    thread.join(TIMEOUT)
    assert done[0].good
    assert TapeHost(san, "tape0", new.nexus).position() == (RECORDS, 0)


def test_a_registrant_lends_its_drive_to_the_copies_of_another_nexus(
        san: San, manager: CopyManagerServer) -> None:
    fill_disk(san, "disk0")
    owner, second = Party(san, A, unit="tape0").join(), Party(san, A, unit="tape0")
    assert owner.reserve(EARO).good
    host = CopyHost(san, "copy0", second.nexus)
    ends, segments = [cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, BLOCKS, 0)]
    assert not host.copy(list(ends), list(segments)).good
    second.join()
    assert host.copy(list(ends), list(segments)).good
    assert second.leave().good and owner.reservation == (EARO, A)


def test_without_a_copy_manager_there_is_nothing_to_abort(san: San) -> None:
    old, new = Party(san, A, unit="tape0").join(), Party(san, B, unit="tape0").join()
    assert old.reserve(EARO).good
    data = OutParameters(B, A).put()
    cdb = RESERVE_OUT[OutAction.PREEMPT_AND_ABORT].put(type=EARO, length=24)
    assert new.send(cdb, data).good
    assert new.send(scsi.REWIND.put()).good


def test_a_copy_manager_registers_the_nexus_that_asks_it_to(san: San, manager: CopyManagerServer) -> None:
    """REGISTER KEY: how a host whose copies come by another nexus than its drive is owned by gets access."""
    fill_disk(san, "disk0")
    owner, second = Party(san, A, unit="tape0").join(), Party(san, A, unit="tape0")
    assert owner.reserve(EARO).good
    host = CopyHost(san, "copy0", second.nexus)
    ends = [cscd(san, "disk0"), cscd(san, "tape0")]
    assert host.copy(list(ends), [RegisterKey(1, 0, A), BlockToStream(0, 1, RECORD, BLOCKS, 0)]).good
    assert owner.keys.keys == (A, A) and owner.reservation == (EARO, A)
    again = host.copy(list(ends), [RegisterKey(1, 0, A)])
    assert again.sense is not None
    assert CopySense.of(again.sense).destination_sense == Reported(Status.RESERVATION_CONFLICT)
    assert host.copy(list(ends), [RegisterKey(1, A, 0)]).good and owner.keys.keys == (A,)
    assert not host.copy(list(ends), [BlockToStream(0, 1, RECORD, BLOCKS, 0)]).good


def test_the_client_of_a_copy_manager_has_its_nexus_registered(
        san: San, manager: CopyManagerServer) -> None:
    fill_disk(san, "disk0")
    owner = Party(san, A, unit="tape0").join()
    assert owner.reserve(EARO).good
    order = ParameterList(1, ListIdUsage.HOLD, (cscd(san, "disk0"), cscd(san, "tape0")),
                          (BlockToStream(0, 1, RECORD, BLOCKS, 0),))
    for key, good in ((None, False), (A, True)):
        with Nexus(san.path) as nexus:
            path = partial(EmbeddedTransport, san.path, "copy0", nexus)
            with closing(CopyManager(path, "gw", key)) as client:
                client.limits()
                for _ in range(2):
                    found = client.copy(order, stopped=lambda: False, moved=lambda size: None)
                    assert found.good is good
    assert TapeHost(san, "tape0", owner.nexus).position() == (2, 0)
