"""What the server's processes take of the machine: memory while idle, and both cores or one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.bench.dma import Job, JobFailed, logged_in, timed, timed_together
from tests.bench.place import SESSIONS, Place, Server
from tests.bench.rows import Subject

STANDING = 3
"""Processes of a server without sessions: listener, fork server, copy manager."""


def idle_sessions(place: Place) -> list[Subject]:
    server = place.ours

    def sessions() -> float:
        with ExitStack() as stack:
            for _ in range(SESSIONS):
                stack.enter_context(logged_in(server.agent))
            return memory(server, STANDING + SESSIONS)

    def settled() -> None:
        await_processes(server, STANDING)

    return [
        Subject("no session", lambda: memory(server, STANDING), before=settled),
        Subject("ndmpd", sessions, before=settled),
    ]


def memory(server: Server, processes: int) -> float:
    """Bytes of all processes of the server, each shared page by its share (PSS)."""
    found = server.processes()
    if len(found) != processes:
        raise JobFailed(f"the server has {len(found)} processes, and not {processes}")
    return float(sum(proportional(pid) for pid in found))


def proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def await_processes(server: Server, count: int, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while len(server.processes()) != count:
        if time.monotonic() > deadline:
            raise JobFailed(f"the server still has {len(server.processes())} processes")
        time.sleep(0.05)


def on_one_core(place: Place) -> list[Subject]:
    """One backup with the server's processes free, or all of them on one core; the DMA is free in both."""
    server, job = place.ours, small_backup(place, 0)
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        return []

    def backup() -> float:
        """The cores are given back whatever happens: other rows use the same server."""
        try:
            return timed(server.agent, job).seconds
        finally:
            pin(server, every)()

    return [
        Subject("one core", backup, place.small.files, pin(server, {min(every)})),
        Subject("ndmpd", backup, place.small.files, pin(server, every)),
    ]


def pin(server: Server, cores: set[int]) -> Callable[[], None]:
    """What puts every thread of the server on ``cores``; what they fork inherits that."""

    def work() -> None:
        for pid in server.processes():
            with suppress(ProcessLookupError, FileNotFoundError):
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.sched_setaffinity(int(thread), cores)

    return work


def two_at_once(place: Place) -> list[Subject]:
    server, jobs, files = place.ours, [small_backup(place, 0), small_backup(place, 1)], place.small.files
    return [
        Subject("one at a time", lambda: timed(server.agent, jobs[0]).seconds, files),
        Subject("ndmpd", lambda: timed_together(server.agent, jobs), 2 * files),
    ]


def small_backup(place: Place, number: int) -> Job:
    return Job("tar", str(place.small.path), f"tape{number}", history="y", at_least=place.small.size,
               entries=place.small.files)
