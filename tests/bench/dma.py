"""A DMA that does nothing but one timed job: from START_BACKUP, or START_RECOVER, to the notices of its end.

With one control connection DATA and MOVER are joined by LOCAL, and the job has ended with NOTIFY_DATA_HALTED:
the stream is on tape by then, or in its files. With two they are joined by TCP, where DATA is done as soon as
its bytes are in the kernel's buffers: there the job has ended when both sides have halted.

The stream is at the beginning of the tape. File history is received, counted and not looked at: the server's
time is measured, not this program's.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection, await_posts
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import (
    AddrType,
    Code,
    DataHaltReason,
    DataOperation,
    MoverHaltReason,
    MoverMode,
    RecoveryStatus,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.data import Name
from protocol.ndmp.log import LogFilePost
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyMoverHaltedPost, NotifyMoverPausedPost
from tests.peers.ndmjob import Agent

ALL = 2**64 - 1
PATIENCE = 120.0
"""Seconds that a job may take."""
_HISTORY = frozenset({Code.FH_ADD_FILE, Code.FH_ADD_DIR, Code.FH_ADD_NODE})
_COUNT = struct.Struct(">I")


class JobFailed(RuntimeError):
    """A timed job did not end as it should: its time means nothing."""


@dataclass(frozen=True, slots=True)
class Job:
    """``path``: what to back up, or where to recover all of it to. ``record``: bytes of a tape record.

    ``mover`` is the type of data mover. ``at_least`` bytes of stream and ``entries`` of history must come, or
    the job has failed.
    """

    butype: str
    path: str
    tape: str
    operation: DataOperation = DataOperation.BACKUP
    record: int = 64 << 10
    history: str = "n"
    at_least: int = 0
    entries: int = 0
    mover: str = "NAS"


@dataclass(frozen=True, slots=True)
class Timed:
    """``moved``: bytes of the stream, by the mover's count. ``entries``: of file history that came."""

    seconds: float
    moved: int
    entries: int


@dataclass(slots=True)
class _Watch:
    """When the halts came in, and why."""

    data: NotifyDataHaltedPost | None = None
    data_at: float = 0.0
    mover: NotifyMoverHaltedPost | None = None
    mover_at: float = 0.0
    entries: int = 0
    others: list[Message] = field(default_factory=list)

    def take_raw(self, code: int, body: bytes) -> bool:
        if code not in _HISTORY:
            return False
        self.entries += _COUNT.unpack_from(body)[0]
        return True

    def take(self, code: int, post: Message) -> None:
        match post:
            case NotifyDataHaltedPost():
                self.data_at, self.data = time.perf_counter(), post
            case NotifyMoverHaltedPost():
                self.mover_at, self.mover = time.perf_counter(), post
            case NotifyMoverPausedPost():
                raise JobFailed(f"the mover paused ({post}): the tape is too short for this job")
            case LogFilePost(recovery_status=RecoveryStatus.SUCCESSFUL):
                pass
            case _:
                self.others.append(post)

    @property
    def halted(self) -> bool:
        return self.data is not None and self.mover is not None


class Dma:
    """One job at a time on control connections that are logged in already: ready, start, wait, finish."""

    def __init__(self, data: Connection, mover: Connection) -> None:
        self.connections = [data] if data is mover else [data, mover]
        self.data, self.mover, self.tape = DataAgent(data), MoverAgent(mover), TapeAgent(mover)
        self.watch = _Watch()
        self.started = 0.0

    def ready(self, job: Job) -> None:
        """Everything that comes before START_BACKUP or START_RECOVER."""
        self.watch = watch = _Watch()
        for connection in self.connections:
            connection.on_post, connection.on_raw_post = watch.take, watch.take_raw
        backup = job.operation == DataOperation.BACKUP
        self.tape.open(job.tape, TapeOpenMode.RDWR if backup else TapeOpenMode.READ)
        self.tape.mtio(TapeMtioOp.REW)
        self.mover.set_record_size(job.record)
        self.mover.set_window(0, ALL)
        kind = AddrType.LOCAL if len(self.connections) == 1 else AddrType.TCP
        self.data.connect(self.mover.listen(MoverMode.READ if backup else MoverMode.WRITE, kind))

    def start(self, job: Job) -> None:
        environment = [("FILESYSTEM", job.path), ("TYPE", job.butype), ("HIST", job.history),
                       ("DATAMOVER", job.mover)]
        self.started = time.perf_counter()
        match job.operation:
            case DataOperation.BACKUP:
                self.data.start_backup(job.butype, environment)
            case DataOperation.RECOVER:
                everything = Name("/", job.path, "", "", ALL, ALL)
                self.data.start_recover(job.butype, environment, [everything])
            case _:
                self.data.start_recover_filehist(job.butype, environment)

    def finish(self, job: Job) -> Timed:
        """After both halts: check how they came about, and leave DATA and MOVER idle, the tape closed."""
        watch = self.watch
        assert watch.data is not None and watch.mover is not None
        reasons = (watch.data.reason, watch.mover.reason)
        if reasons != (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED):
            raise JobFailed(f"halted with {reasons}; the server said {watch.others[-5:]}")
        moved = self.mover.get_state().bytes_moved
        if moved < job.at_least:
            raise JobFailed(f"{moved} bytes were moved, and the source alone has {job.at_least}")
        if watch.entries < job.entries:
            raise JobFailed(f"{watch.entries} entries of history came, and there are {job.entries} files")
        if any(isinstance(post, LogFilePost) for post in watch.others):
            raise JobFailed(f"not everything was recovered: {watch.others[-5:]}")
        self.data.stop()
        self.mover.stop()
        if job.operation == DataOperation.BACKUP:
            self.tape.mtio(TapeMtioOp.EOF)
        self.tape.mtio(TapeMtioOp.REW)
        self.tape.close()
        ended = watch.data_at if len(self.connections) == 1 else max(watch.data_at, watch.mover_at)
        return Timed(ended - self.started, moved, watch.entries)


@contextmanager
def logged_in(agent: Agent) -> Iterator[Connection]:
    connection = Connection.open(ServerUrl(agent.host, agent.port, agent.user), Version(agent.version))
    try:
        authenticate(connection, agent.user, agent.password)
        yield connection
    finally:
        connection.close()


def timed(agent: Agent, job: Job) -> Timed:
    """Do the job by LOCAL; raises JobFailed where it did not succeed."""
    with logged_in(agent) as connection:
        return run([(Dma(connection, connection), job)])[0]


def timed_by_tcp(data: Agent, mover: Agent, job: Job) -> Timed:
    """Do the job with DATA on one server and MOVER on the other."""
    with logged_in(data) as one, logged_in(mover) as other:
        return run([(Dma(one, other), job)])[0]


def timed_together(agent: Agent, jobs: Sequence[Job]) -> float:
    """Do the jobs at the same time, each by LOCAL; seconds from the first start to the last end."""
    with ExitStack() as stack:
        dmas = [Dma(connection, connection)
                for connection in (stack.enter_context(logged_in(agent)) for _ in jobs)]
        done = run(list(zip(dmas, jobs, strict=True)))
    ends = [dma.started + one.seconds for dma, one in zip(dmas, done, strict=True)]
    return max(ends) - min(dma.started for dma in dmas)


def run(work: Sequence[tuple[Dma, Job]]) -> list[Timed]:
    """Start the jobs one right after the other, and wait until all have ended."""
    for dma, job in work:
        dma.ready(job)
    for dma, job in work:
        dma.start(job)
    connections = [connection for dma, _ in work for connection in dma.connections]
    deadline = time.perf_counter() + PATIENCE
    while not all(dma.watch.halted for dma, _ in work):
        await_posts(connections, 1.0)
        if time.perf_counter() > deadline:
            states = [(dma.data.get_state(), dma.mover.get_state()) for dma, _ in work]
            raise JobFailed(f"not done after {PATIENCE:.0f} s: {states}")
    return [dma.finish(job) for dma, job in work]
