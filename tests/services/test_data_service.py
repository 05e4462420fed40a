"""DATA's effects: jobs in a process of their own, which may die, be refused, be slow to be heard."""

from __future__ import annotations

import gc
import os
import pickle
import socket
import time
from collections.abc import Callable

import pytest

from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.data import DataService
from ndmpd.services.hello import Hello, Role
from ndmpd.services.jobs import Counters, Order, tell
from ndmpd.session import events
from ndmpd.session.effects import DataStart
from ndmpd.session.events import Event
from protocol.ndmp.codes import DataHaltReason, DataOperation, Error, LogType, Version
from protocol.ndmp.data import Name

START = DataStart(DataOperation.BACKUP, "tar", (("FILESYSTEM", "/x"),))
LONG = DataStart(DataOperation.RECOVER, "tar", START.environment,
                 tuple(Name(f"/{number:0200}", "/x", "", "", number, 0) for number in range(20_000)))
"""More than a socket takes before somebody reads."""


class Watched:
    def __init__(self, subject: socket.socket, ready: Callable[[], None]) -> None:
        self.subject, self.ready, self.on = subject, ready, True

    def pause(self) -> None:
        self.on = False

    stop = pause

    def resume(self) -> None:
        self.on = True


class Job:
    """A data process in the test's hands."""

    def __init__(self, number: int, session: socket.socket, connection: socket.socket, counters: int) -> None:
        self.number = number
        self.session, self.connection = session.dup(), connection.dup()
        self.counters = Counters(os.dup(counters))

    def order(self) -> Order:
        data = b""
        while more := self.session.recv(1 << 20):
            data += more
        order = pickle.loads(data)
        assert isinstance(order, Order)
        return order

    def die(self) -> None:
        self.session.close()
        self.connection.close()
        self.counters.close()


class Rig:
    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.killed: list[int] = []
        self.told: list[Event] = []
        self.watches: list[Watched] = []
        self.broken = False
        self.service = DataService(self, self._watch, self.told.append)
        ours, self.mover = socket.socketpair()
        self.service.attach(ours, True)

    def spawn(self, job: int, session: socket.socket, connection: socket.socket, counters: int) -> None:
        if self.broken:
            raise BrokenPipeError("the fork server is gone")
        self.jobs.append(Job(job, session, connection, counters))

    def kill(self, job: int) -> None:
        self.killed.append(job)

    def _watch(self, subject: socket.socket, ready: Callable[[], None]) -> Watched:
        self.watches.append(Watched(subject, ready))
        return self.watches[-1]

    def look(self) -> None:
        """The reactor finds everything readable that is watched."""
        for watched in list(self.watches):
            if watched.on:
                assert watched.subject.fileno() >= 0, "a closed socket is watched"
                watched.ready()

    def start(self) -> Job:
        self.service.start(START, Version.V4)
        return self.jobs[-1]

    def mover_sees_the_end(self) -> bool:
        self.mover.setblocking(False)
        return self.mover.recv(1) == b""


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_job_gets_its_order_and_is_heard(rig: Rig) -> None:
    job = rig.start()
    order = job.order()
    assert (order.butype, order.environment, order.local) == ("tar", START.environment, True)
    said: list[Event] = [events.DataStarted(), events.Log(LogType.NORMAL, "text"),
                         events.History(0x703, b"body" * 99), events.DataHalted(DataHaltReason.SUCCESSFUL)]
    for event in said:
        tell(job.session, event)
    rig.look()
    assert rig.told == said


def test_a_file_list_of_any_size_does_not_hold_up_the_session(rig: Rig) -> None:
    begun = time.monotonic()
    rig.service.start(LONG, Version.V4)
    assert time.monotonic() - begun < 1
    assert rig.jobs[0].order().nlist == LONG.nlist


def test_a_job_that_dies_before_it_took_its_order_answers_the_start(rig: Rig) -> None:
    rig.service.start(LONG, Version.V4)
    rig.jobs[0].die()
    rig.look()
    assert [type(event) for event in rig.told] == [events.DataFailed, events.DataHalted]


def test_a_job_does_not_wait_for_a_peer_that_is_gone(rig: Rig) -> None:
    job = rig.start()
    rig.service.lose(lambda connection: False)
    job.connection.send(b"well")
    rig.service.lose(lambda connection: True)
    with pytest.raises(BrokenPipeError):
        job.connection.send(b"broken")


def test_the_connection_is_closed_when_the_job_halts_and_the_mover_sees_it(rig: Rig) -> None:
    job = rig.start()
    tell(job.session, events.DataHalted(DataHaltReason.SUCCESSFUL))
    rig.look()
    job.die()
    rig.look()
    assert rig.mover_sees_the_end()
    assert rig.told == [events.DataHalted(DataHaltReason.SUCCESSFUL)]


@pytest.mark.parametrize("started", [False, True])
def test_a_job_that_dies_answers_the_start_and_halts(rig: Rig, started: bool) -> None:
    job = rig.start()
    if started:
        tell(job.session, events.DataStarted())
        job.session.send(b"\0\0\0\7")
        rig.look()
        rig.told.clear()
    job.die()
    rig.look()
    failed, halted = rig.told
    assert isinstance(failed, events.DataFailed) and failed.error == Error.UNDEFINED
    assert isinstance(halted, events.DataHalted) and halted.reason == DataHaltReason.INTERNAL_ERROR
    assert rig.mover_sees_the_end()


def test_events_in_crumbs_are_whole_events(rig: Rig) -> None:
    job = rig.start()
    ours, theirs = socket.socketpair()
    tell(ours, events.Log(LogType.NORMAL, "one"))
    tell(ours, events.History(0x703, b"two"))
    for byte in theirs.recv(10_000):
        job.session.send(bytes([byte]))
        rig.look()
    assert rig.told == [events.Log(LogType.NORMAL, "one"), events.History(0x703, b"two")]


def test_a_refused_job_leaves_the_connection_to_the_next_and_nothing_open(rig: Rig) -> None:
    gc.collect()
    counts = []
    for _ in range(4):
        job = rig.start()
        tell(job.session, events.DataFailed(Error.ILLEGAL_ARGS, "no"))
        rig.look()
        job.die()
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[0] == counts[-1]
    assert len(rig.told) == 4
    tell(rig.start().session, events.DataStarted())
    rig.look()
    assert rig.told[-1] == events.DataStarted()


def test_a_job_that_cannot_be_made_is_refused_and_may_be_tried_again(rig: Rig) -> None:
    rig.broken = True
    rig.service.start(START, Version.V4)
    (failed,) = rig.told
    assert isinstance(failed, events.DataFailed)
    rig.broken = False
    rig.start()
    assert len(rig.jobs) == 1


def test_a_connection_lost_before_there_is_a_job_halts(rig: Rig) -> None:
    rig.look()
    assert rig.told == []
    rig.mover.close()
    rig.look()
    (halted,) = rig.told
    assert isinstance(halted, events.DataHalted) and halted.reason == DataHaltReason.CONNECT_ERROR
    rig.look()
    assert len(rig.told) == 1


def test_bytes_that_come_before_the_job_are_left_to_it(rig: Rig) -> None:
    ours, mover = socket.socketpair()
    rig.service.attach(ours, False)
    mover.send(b"early")
    rig.look()
    assert rig.start().connection.recv(10) == b"early"
    assert rig.told == []


def test_who_is_at_the_other_end_is_told_to_the_job_and_its_loss_is_still_seen(rig: Rig) -> None:
    channel.send(rig.mover, Hello(Role.MOVER_READ).put())
    rig.look()
    job = rig.start()
    assert job.order().peer == Hello(Role.MOVER_READ)
    tell(job.session, events.DataFailed(Error.ILLEGAL_ARGS, "no"))
    rig.look()
    rig.mover.close()
    rig.look()
    assert isinstance(rig.told[-1], events.DataHalted)


def test_an_end_that_does_not_say_who_it_is_is_no_connection(rig: Rig) -> None:
    channel.send(rig.mover, Frame(Kind.END))
    rig.look()
    (halted,) = rig.told
    assert isinstance(halted, events.DataHalted) and halted.reason == DataHaltReason.CONNECT_ERROR


def test_an_abort_kills_the_job_and_nothing_of_it_is_heard_any_more(rig: Rig) -> None:
    job = rig.start()
    tell(job.session, events.DataStarted())
    rig.service.end()
    job.connection.close()
    rig.look()
    assert rig.killed == [job.number]
    assert rig.told == []
    assert rig.mover_sees_the_end()
    with pytest.raises(BrokenPipeError):
        tell(job.session, events.DataHalted(DataHaltReason.SUCCESSFUL))


def test_a_job_that_has_begun_is_heard_before_its_mover_even_while_the_dma_does_not_read(rig: Rig) -> None:
    rig.service.pause()
    job = rig.start()
    tell(job.session, events.DataVariable("DATAMOVER_USED", "NAS"))
    rig.service.look()
    tell(job.session, events.DataStarted())
    rig.service.look()
    assert rig.told == [events.DataVariable("DATAMOVER_USED", "NAS"), events.DataStarted()]
    tell(job.session, events.Log(LogType.NORMAL, "later"))
    rig.service.look()
    assert len(rig.told) == 2


def test_a_job_is_not_heard_while_the_dma_does_not_read(rig: Rig) -> None:
    rig.service.pause()
    job = rig.start()
    tell(job.session, events.DataStarted())
    rig.look()
    assert rig.told == []
    rig.service.resume()
    rig.look()
    assert rig.told == [events.DataStarted()]


def test_figures_are_the_jobs_until_they_are_released(rig: Rig) -> None:
    job = rig.start()
    assert rig.service.figures().bytes_processed == 0
    job.counters.estimate(100)
    job.counters.add(30)
    figures = rig.service.figures()
    assert (figures.bytes_processed, figures.est_bytes_remain) == (30, 70)
    job.counters.add(80)
    assert rig.service.figures().est_bytes_remain == 0
    rig.service.release()
    assert rig.service.figures().bytes_processed == 0
