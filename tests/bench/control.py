"""How soon requests are answered while four streams run."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Event, Semaphore

from ndmpd.client.agents import DataAgent, MoverAgent
from ndmpd.client.connection import Connection
from protocol.ndmp.codes import Code
from protocol.ndmp.config import ConfigGetServerInfoReply, ConfigGetServerInfoRequest
from tests.bench.dma import PATIENCE, Dma, Job, JobFailed, logged_in
from tests.bench.place import Place
from tests.bench.rows import Subject
from tests.peers.ndmjob import Agent

PERIOD = 0.02
"""Seconds between two requests on one control connection."""
PING = bytes(64)
_FORK = multiprocessing.get_context("fork")


def replies_under_load(place: Place) -> list[Subject]:
    """The p99 of answers on all five control connections; of a bare echo asked by the fifth's program."""
    place.disk("disk0")
    small, size = str(place.small.path), place.scale.size
    jobs = [
        Job("image", "/vol/disk0", "tape0", at_least=size),
        Job("tar", str(place.large.parent), "tape1", at_least=size),
        Job("tar", small, "tape2", history="y", entries=place.small.files),
        Job("tar", small, "tape3", history="y", entries=place.small.files),
    ]
    agent, seconds = place.ours.agent, place.scale.seconds
    return [
        Subject("echo", lambda: echo_latency(agent, jobs, seconds)),
        Subject("ndmpd", lambda: reply_latency(agent, jobs, seconds)),
    ]


def reply_latency(agent: Agent, jobs: list[Job], seconds: float) -> float:
    with logged_in(agent) as connection, running(agent, jobs, asked=True) as collect:
        samples = ask_steadily(questions(connection), seconds)
        return p99(samples + collect())


def echo_latency(agent: Agent, jobs: list[Job], seconds: float) -> float:
    ours, theirs = socket.socketpair()
    echo = _FORK.Process(target=_echo, args=(theirs, ours))
    echo.start()
    theirs.close()
    with ours, running(agent, jobs, asked=False) as collect:
        samples = ask_steadily([lambda: _ping(ours)], seconds)
        collect()
    echo.join()
    return p99(samples)


def questions(connection: Connection) -> list[Callable[[], object]]:
    return [
        DataAgent(connection).get_state,
        MoverAgent(connection).get_state,
        lambda: connection.call(
            Code.CONFIG_GET_SERVER_INFO, ConfigGetServerInfoRequest(), ConfigGetServerInfoReply
        ),
    ]


def ask_steadily(asking: list[Callable[[], object]], seconds: float) -> list[float]:
    samples: list[float] = []
    until = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < until:
        samples.append(answered(asking[len(samples) % len(asking)]))
        time.sleep(max(0.0, begun + PERIOD - time.perf_counter()))
    return samples


def answered(question: Callable[[], object]) -> float:
    started = time.perf_counter()
    question()
    return time.perf_counter() - started


def p99(samples: list[float]) -> float:
    return sorted(samples)[len(samples) * 99 // 100]


@contextmanager
def running(agent: Agent, jobs: list[Job], asked: bool) -> Iterator[Callable[[], list[float]]]:
    """Backups, each repeated by a process of its own that asks meanwhile; yields what ends them and collects
    their samples.
    """
    over, going = _FORK.Event(), _FORK.Semaphore(0)
    pipes, processes = [], []
    for job in jobs:
        ours, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_stream, args=(agent, job, over, going, theirs, asked), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)

    def collect() -> list[float]:
        over.set()
        try:
            return [sample for pipe in pipes for sample in pipe.recv()]
        except EOFError:
            raise JobFailed("one of the streams failed; its error is printed above") from None

    try:
        for _ in jobs:
            if not going.acquire(timeout=PATIENCE):
                raise JobFailed("the streams did not start")
        yield collect
    finally:
        over.set()
        for process in processes:
            process.join()


def _stream(agent: Agent, job: Job, over: Event, going: Semaphore, result: Pipe, asked: bool) -> None:
    samples: list[float] = []
    with logged_in(agent) as connection:
        dma, asking, rounds = Dma(connection, connection), questions(connection), 0
        while rounds == 0 or not over.is_set():
            dma.ready(job)
            dma.start(job)
            if rounds == 0:
                going.release()
            rounds += 1
            due = time.perf_counter()
            while not dma.watch.halted:
                if asked and not over.is_set() and time.perf_counter() >= due:
                    due += PERIOD
                    samples.append(answered(asking[len(samples) % len(asking)]))
                connection.pump(PERIOD if not asked else max(0.0, min(PERIOD, due - time.perf_counter())))
            dma.finish(job)
    result.send(samples)


def _echo(end: socket.socket, other: socket.socket) -> None:
    other.close()
    while data := end.recv(len(PING)):
        end.sendall(data)


def _ping(end: socket.socket) -> None:
    end.sendall(PING)
    end.recv(len(PING), socket.MSG_WAITALL)
