"""A DMA that does nothing but one timed backup: from the reply to START_BACKUP to the notice that DATA has
halted.

DATA and MOVER are one connection, joined by LOCAL; the stream goes to the beginning of the tape.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import (
    AddrType,
    Code,
    DataHaltReason,
    MoverHaltReason,
    MoverMode,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyMoverHaltedPost, NotifyMoverPausedPost
from tests.peers.ndmjob import Agent

WHOLE_STREAM = 2**64 - 1
_HISTORY = frozenset({Code.FH_ADD_FILE, Code.FH_ADD_DIR, Code.FH_ADD_NODE})
PATIENCE = 120.0  # seconds that a job may take


class JobFailed(RuntimeError):
    """A timed job did not end as it should: its time means nothing."""


@dataclass(frozen=True, slots=True)
class Backup:
    """``record``: bytes of a tape record. ``at_least``: bytes that the stream must have, or the job fails."""

    butype: str
    filesystem: str
    tape: str
    record: int
    history: str = "n"
    at_least: int = 0


@dataclass(frozen=True, slots=True)
class Timed:
    """``moved``: bytes of the stream, by the mover's count."""

    seconds: float
    moved: int


@dataclass(slots=True)
class _Watch:
    """When the halts came in, and why."""

    data: NotifyDataHaltedPost | None = None
    data_at: float = 0.0
    mover: NotifyMoverHaltedPost | None = None
    others: list[Message] = field(default_factory=list)

    def take_raw(self, code: int, body: bytes) -> bool:
        """File history is received and not looked at: the server's time is measured, not this program's."""
        return code in _HISTORY

    def take(self, code: int, post: Message) -> None:
        match post:
            case NotifyDataHaltedPost():
                self.data_at, self.data = time.perf_counter(), post
            case NotifyMoverHaltedPost():
                self.mover = post
            case NotifyMoverPausedPost():
                raise JobFailed(f"the mover paused ({post}): the tape is too short for this job")
            case _:
                self.others.append(post)


def timed_backup(agent: Agent, backup: Backup) -> Timed:
    """Do the backup; raises JobFailed where it did not succeed."""
    connection = Connection.open(ServerUrl(agent.host, agent.port, agent.user), Version(agent.version))
    try:
        authenticate(connection, agent.user, agent.password)
        return _run(connection, backup)
    finally:
        connection.close()


def _run(connection: Connection, backup: Backup) -> Timed:
    data, mover, tape = DataAgent(connection), MoverAgent(connection), TapeAgent(connection)
    watch = _Watch()
    connection.on_post, connection.on_raw_post = watch.take, watch.take_raw
    tape.open(backup.tape, TapeOpenMode.RDWR)
    tape.mtio(TapeMtioOp.REW)
    mover.set_record_size(backup.record)
    mover.set_window(0, WHOLE_STREAM)
    data.connect(mover.listen(MoverMode.READ, AddrType.LOCAL))
    environment = [("FILESYSTEM", backup.filesystem), ("TYPE", backup.butype), ("HIST", backup.history)]
    data.start_backup(backup.butype, environment)
    started = time.perf_counter()
    while watch.data is None or watch.mover is None:
        connection.pump(1.0)
        if time.perf_counter() - started > PATIENCE:
            raise JobFailed(f"not done after {PATIENCE:.0f} s: {data.get_state()} {mover.get_state()}")
    reasons = (watch.data.reason, watch.mover.reason)
    if reasons != (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED):
        raise JobFailed(f"halted with {reasons}; the server said {watch.others[-5:]}")
    moved = mover.get_state().bytes_moved
    if moved < backup.at_least:
        raise JobFailed(f"{moved} bytes were moved, and the source alone has {backup.at_least}")
    data.stop()
    mover.stop()
    tape.mtio(TapeMtioOp.EOF)
    tape.mtio(TapeMtioOp.REW)
    tape.close()
    return Timed(watch.data_at - started, moved)
