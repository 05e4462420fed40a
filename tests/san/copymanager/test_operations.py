"""List identifiers and what is kept under them, aborts, concurrency, lost nexuses. SPC-4 5.17.4, 6.20-25."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ndmpd.san import San
from ndmpd.san.copymanager import operations as operations_module
from ndmpd.san.copymanager.server import CopyManagerServer
from ndmpd.san.copymanager.streams import Stream
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import CopyState, CopyStatus, FailedSegment, HeldData
from protocol.scsi.segments import BlockToBlock, BlockToStream, Filemarks, Segment, StreamDiscard, Verify
from protocol.scsi.sense import CopySense, Reported, SenseKey
from protocol.scsi.xcopy import ListIdUsage
from tests.san.conftest import Outcome, TapeHost, refused
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, disk_content, fill_disk, noise

TIMEOUT = 20.0


class Gate:
    """Holds every copy before its next record, for as long as it is shut."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.open = threading.Event()

    def pass_by(self) -> None:
        self.waiting.release()
        assert self.open.wait(TIMEOUT)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    one, write = Gate(), Stream.write

    def slow(stream: Stream, pieces: list[object], size: int, most: int) -> object:
        one.pass_by()
        return write(stream, pieces, size, 1)  # type: ignore[arg-type]

    monkeypatch.setattr(Stream, "write", slow)
    yield one
    one.open.set()


class Running:
    """A copy in a thread; ``outcome`` once it has ended."""

    outcome: Outcome | None = None
    error: Exception | None = None


@contextmanager
def copying(host: CopyHost, san: San, *, tape: str = "tape0", list_id: int = 1,
            usage: ListIdUsage = ListIdUsage.HOLD, disk: str = "disk0") -> Iterator[Running]:
    running = Running()

    def work() -> None:
        try:
            running.outcome = host.copy(
                [cscd(san, disk), cscd(san, tape)],
                [BlockToStream(0, 1, RECORD, 8, 0), BlockToStream(0, 1, RECORD, 80, 8)],
                list_id=list_id, usage=usage)
        except Exception as error:
            running.error = error

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield running
    finally:
        thread.join(TIMEOUT)
        assert not thread.is_alive()


@pytest.fixture
def second(san: San, host: CopyHost, nexus: Nexus) -> Iterator[CopyHost]:
    """Another connection of the nexus that ``host`` is of."""
    one = CopyHost(san, "copy0", nexus)
    yield one
    one.transport.close()


def test_a_copy_that_runs_says_how_far_it_is(san: San, host: CopyHost, second: CopyHost, gate: Gate) -> None:
    with copying(host, san) as running:
        assert gate.waiting.acquire(timeout=TIMEOUT)
        status = CopyStatus.take(second.status().data)
        assert (status.status, status.segments, status.bytes_moved) == (CopyState.RUNNING, 2, 0)
        assert refused(second.held())
        assert refused(second.details())
        assert second.copy([cscd(san, "disk0")], [Verify(0)], list_id=1).is_check(
            SenseKey.ILLEGAL_REQUEST, Asc.OPERATION_IN_PROGRESS)
        assert second.copy([cscd(san, "disk0")], [Verify(0)], list_id=2).good
        gate.open.set()
    assert running.outcome is not None and running.outcome.good
    status = CopyStatus.take(second.status().data)
    assert (status.status, status.segments, status.bytes_moved) == (CopyState.DONE, 2, 11 * RECORD)


def test_status_is_told_once(san: San, host: CopyHost) -> None:
    assert refused(host.status(9))
    host.copy([cscd(san, "disk0")], [Verify(0)], list_id=9)
    assert CopyStatus.take(host.status(9).data) == CopyStatus(False, CopyState.DONE, 1, 0, 0)
    for again in (host.status(9), host.held(9), host.details(9)):
        assert refused(again)


def test_nothing_is_kept_of_a_good_copy_that_needs_no_keeping(san: San, host: CopyHost) -> None:
    host.copy([cscd(san, "disk0")], [Verify(0)], list_id=3, usage=ListIdUsage.DISCARD)
    assert refused(host.status(3))
    host.copy([cscd(san, "disk0")], [Verify(7)], list_id=3, usage=ListIdUsage.DISCARD)
    assert FailedSegment.take(host.details(3).data) is not None
    host.copy([cscd(san, "disk0")], [Verify(7)], list_id=0, usage=ListIdUsage.NONE)
    assert refused(host.status(0))


def test_a_refused_list_leaves_nothing_and_ends_what_was_kept(san: San, host: CopyHost) -> None:
    host.copy([cscd(san, "disk0")], [Verify(0)], list_id=4)
    assert refused(host.copy([cscd(san, "disk0")] * 1000, [Verify(0)], list_id=4), Asc.TOO_MANY_TARGETS)
    assert refused(host.status(4))


def test_details_of_a_failure_are_what_the_copy_ended_with(san: San, host: CopyHost) -> None:
    outcome = host.copy([cscd(san, "disk0")], [Verify(0), Verify(5)], list_id=8)
    assert outcome.sense is not None
    # A length that does not suffice leaves them for another time.
    assert len(host.details(8, 20).data) == 20
    found = FailedSegment.take(host.details(8).data)
    assert found is not None and found.reason == CopySense.of(outcome.sense)
    assert host.details(8).data == bytes(4)
    assert CopyStatus.take(host.status(8).data).status == CopyState.FAILED
    assert refused(host.details(8))


def test_held_data_is_read_back_whole_or_in_vain(san: San, host: CopyHost, tape: TapeHost) -> None:
    data = noise(3000)
    tape.write(data)
    for size in (4, 100, 3003):
        tape.rewind()
        assert host.copy([cscd(san, "tape0")], [StreamDiscard(0, 3000, 3000, held=True)]).good
        assert host.held(1, size).data == ((3000).to_bytes(4, "big") + data)[:size]
    assert HeldData.take(host.held().data).data == data
    assert HeldData.take(host.held().data) == HeldData(b"", 0)
    assert CopyStatus.take(host.status().data).held_discarded
    tape.rewind()
    assert host.copy([cscd(san, "tape0")], [StreamDiscard(0, 3000, 3000, held=True)]).good
    assert host.held(1, 0).good
    assert HeldData.take(host.held().data) == HeldData(b"", 0)


def test_the_newest_held_data_stays(san: San, host: CopyHost) -> None:
    (san.path / "profiles.json").write_text('{"copy0": {"held_limit": 1000}}')
    content = fill_disk(san, "disk0")
    ends = [cscd(san, "disk0"), cscd(san, "disk1")]
    assert host.copy(ends, [BlockToBlock(0, 1, 1, 0, 0, held=True),
                            BlockToBlock(0, 1, 1, 1, 1, held=True)]).good
    assert HeldData.take(host.held().data).data == content[24:1024]
    assert host.copy(ends, [BlockToBlock(0, 1, 100, 0, 0, held=True)]).good
    assert CopyStatus.take(host.status().data).held_discarded
    assert HeldData.take(host.held().data).data == content[100 * 512 - 1000:100 * 512]
    assert disk_content(san, "disk1")[:51200] == content[:51200]


def test_held_data_of_all_copies_is_bounded(
        san: San, host: CopyHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_module, "MAX_HELD", 1500)
    ends = [cscd(san, "disk0"), cscd(san, "disk1")]
    for list_id in (1, 2, 3):
        assert host.copy(ends, [BlockToBlock(0, 1, 1, 0, 0, held=True)], list_id=list_id).good
    assert CopyStatus.take(host.status(1).data).held_discarded
    assert [HeldData.take(host.held(list_id).data).available for list_id in (2, 3)] == [512, 512]


def test_an_abort_ends_the_copy_between_two_records(
        san: San, host: CopyHost, second: CopyHost, tape: TapeHost, gate: Gate) -> None:
    with copying(host, san) as running:
        for _ in range(1):
            assert gate.waiting.acquire(timeout=TIMEOUT)
        aborted: list[Outcome] = []
        aborter = threading.Thread(target=lambda: aborted.append(second.abort()))
        aborter.start()
        time.sleep(0.1)
        assert not aborted, "it has not ended yet"
        gate.open.set()
        aborter.join(TIMEOUT)
    assert aborted[0].good
    assert running.outcome is not None and running.outcome.is_check(
        SenseKey.COPY_ABORTED, Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER)
    # The record that was on its way is the first segment's, and all of it.
    assert running.outcome.sense is not None
    assert tape.position() == (1, 0)
    assert CopyStatus.take(second.status().data).bytes_moved == RECORD
    details = FailedSegment.take(second.details().data)
    assert details is not None and details.reason == CopySense.of(running.outcome.sense)
    assert refused(second.abort())
    assert refused(second.abort(0x101))


def test_identifiers_of_other_nexuses_and_units_are_their_own(
        san: San, host: CopyHost, gate: Gate) -> None:
    with Nexus(san.path) as other, copying(host, san) as running:
        assert gate.waiting.acquire(timeout=TIMEOUT)
        strange, disk = CopyHost(san, "copy0", other), CopyHost(san, "disk0", host.nexus)
        for one in (strange, disk):
            assert refused(one.status())
            assert refused(one.abort())
            assert one.copy([cscd(san, "disk0")], [Verify(0)]).good
            assert CopyStatus.take(one.status().data).status == CopyState.DONE
            one.transport.close()
        gate.open.set()
    assert running.outcome is not None and running.outcome.good


def test_no_more_copies_at_once_than_there_may_be(
        san: San, host: CopyHost, second: CopyHost, gate: Gate) -> None:
    (san.path / "profiles.json").write_text('{"copy0": {"max_concurrent": 1, "total_concurrent": 2}}')
    verify: list[Segment] = [Verify(0)]
    third = CopyHost(san, "copy0", host.nexus)
    with copying(host, san):
        assert gate.waiting.acquire(timeout=TIMEOUT)
        full = second.copy([cscd(san, "disk0")], verify, list_id=2)
        assert refused(full, Asc.INSUFFICIENT_RESOURCES)
        assert second.copy([cscd(san, "disk0")], verify, list_id=0, usage=ListIdUsage.NONE).good
        with copying(second, san, tape="tape1", list_id=0, usage=ListIdUsage.NONE):
            assert gate.waiting.acquire(timeout=TIMEOUT)
            full = third.copy([cscd(san, "disk0")], verify, list_id=0, usage=ListIdUsage.NONE)
            assert refused(full, Asc.INSUFFICIENT_RESOURCES)
            gate.open.set()
    assert third.copy([cscd(san, "disk0")], verify, list_id=3).good
    third.transport.close()


def test_two_nexuses_copy_at_once(san: San, host: CopyHost, tape: TapeHost, gate: Gate) -> None:
    fill_disk(san, "disk0")
    fill_disk(san, "disk1", seed=2)
    with Nexus(san.path) as other:
        neighbour = CopyHost(san, "copy0", other)
        with copying(host, san) as one, copying(neighbour, san, tape="tape1", disk="disk1") as two:
            # Both are in the middle of a record before either goes on.
            assert gate.waiting.acquire(timeout=TIMEOUT)
            assert gate.waiting.acquire(timeout=TIMEOUT)
            gate.open.set()
        neighbour.transport.close()
    assert one.outcome is not None and one.outcome.good
    assert two.outcome is not None and two.outcome.good


def test_a_nexus_that_is_lost_takes_its_copy_and_its_results_with_it(
        san: San, manager: CopyManagerServer, gate: Gate) -> None:
    """Its name may come back, as that of an iSCSI initiator does; nothing is known of the old one."""
    nexus = Nexus(san.path, "initiator")
    host = CopyHost(san, "copy0", nexus)
    assert host.copy([cscd(san, "disk0")], [Verify(0)], list_id=7).good
    with copying(host, san) as running:
        assert gate.waiting.acquire(timeout=TIMEOUT)
        # What closing does when a process dies.
        link = host.transport._link
        assert link is not None and link._socket is not None
        link._socket.shutdown(2)
        gate.open.set()
    assert running.error is not None
    host.close()
    deadline = time.monotonic() + TIMEOUT
    while manager._nexuses and time.monotonic() < deadline:
        time.sleep(0.01)
    with Nexus(san.path, "initiator") as again:
        back = CopyHost(san, "copy0", again)
        assert refused(back.status(7))
        assert refused(back.status(1))
        back.transport.close()
        tape = TapeHost(san, "tape0", again)
        assert tape.position() == (1, 0)
        tape.transport.close()


def test_results_stay_while_any_connection_of_the_nexus_does(
        san: San, host: CopyHost, second: CopyHost) -> None:
    assert second.status().status == Status.CHECK_CONDITION
    third = CopyHost(san, "copy0", host.nexus)
    assert third.copy([cscd(san, "disk0")], [Verify(0)], list_id=5).good
    third.transport.close()
    assert CopyStatus.take(second.status(5).data).status == CopyState.DONE


def test_a_copy_keeps_its_hands_off_the_block_length_of_the_drive(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """The nexus that sent it has set one, and goes on in it without looking."""
    tape.set_block_length(512)
    assert host.copy([cscd(san, "disk0"), cscd(san, "tape0")],
                     [BlockToStream(0, 1, RECORD, 80, 0), Filemarks(1, 1)]).good
    assert tape.write_fixed(bytes(1024), 2).good
    assert tape.position() == (13, 1)


def test_a_tape_taken_by_another_host_ends_the_copy_at_its_next_command(
        san: San, host: CopyHost, tape: TapeHost, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers on one tape are impossible: what was written before is the residue's to tell."""
    assert tape.send(scsi.RESERVE_6.put()).good
    with Nexus(san.path) as other, copying(host, san) as running:
        assert gate.waiting.acquire(timeout=TIMEOUT)
        thief = TapeHost(san, "tape0", other)
        assert thief.write(b"no").status == Status.RESERVATION_CONFLICT
        write, done = Stream.write, threading.Event()

        def stolen(stream: Stream, pieces: list[object], size: int, most: int) -> object:
            if not done.is_set():
                done.set()
                assert tape.send(scsi.RELEASE_6.put()).good
                assert thief.send(scsi.RESERVE_6.put()).good
            return write(stream, pieces, size, most)  # type: ignore[arg-type]

        # The record on its way still goes; the next meets the new owner.
        monkeypatch.setattr(Stream, "write", stolen)
        gate.open.set()
    assert running.outcome is not None and running.outcome.sense is not None
    found = CopySense.of(running.outcome.sense)
    assert (found.code, found.segment, found.residue) == (Asc.THIRD_PARTY_DEVICE_FAILURE, 1, None)
    assert found.destination_sense == Reported(Status.RESERVATION_CONFLICT)
    assert thief.position() == (1, 0)
    thief.transport.close()
