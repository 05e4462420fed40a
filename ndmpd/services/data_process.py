"""The data process: runs one butype for one backup or recover, and ends.

It is forked for the job, holds one end of the data connection and a socket to its session, and tells the
session everything as events. An abort ends the process; what it had open goes with it.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from types import FrameType

from ndmpd.errors import Cancelled, JobRefused
from ndmpd.formats.environment import Environment
from ndmpd.formats.job import Job
from ndmpd.formats.selection import selections
from ndmpd.ports import Butype, Transport, Volumes
from ndmpd.services import transfer
from ndmpd.services.inlets import ConnectionBroken, LocalInlet, RemoteInlet
from ndmpd.services.jobs import Counters, Order, tell
from ndmpd.services.lowering import Lowering
from ndmpd.services.outcome import FAILURES, error_of
from ndmpd.services.outlets import LocalOutlet, Outlet, RemoteOutlet
from ndmpd.session import events
from ndmpd.session.events import Event
from protocol.ndmp.codes import DataHaltReason, DataOperation, LogType, RecoveryStatus

log = logging.getLogger(__name__)

LONGEST_VALUE = 499
"""Characters of a returned variable: ndmjob's catalogue holds no more."""


class SessionReporter:
    """``ports.Reporter`` that tells the session."""

    def __init__(self, session: socket.socket, counters: Counters) -> None:
        self._session = session
        self._counters = counters

    def log(self, kind: LogType, text: str) -> None:
        tell(self._session, events.Log(kind, text))

    def recovered(self, name: str, status: RecoveryStatus) -> None:
        tell(self._session, events.Recovered(name, status))

    def history(self, message: int, body: bytes) -> None:
        tell(self._session, events.History(message, body))

    def variable(self, name: str, value: str) -> None:
        tell(self._session, events.DataVariable(name, value[:LONGEST_VALUE]))

    def estimate(self, total: int) -> None:
        self._counters.estimate(total)

    def ask(self, offset: int, length: int) -> None:
        """Have stream bytes [offset, offset + length) sent."""
        tell(self._session, events.DataWants(offset, length))


def run(order: Order, session: socket.socket, connection: socket.socket, counters: Counters,
        butypes: Mapping[str, Butype], volumes: Volumes, open_disk: Callable[[str], Transport],
        copy_managers: bool = False) -> None:
    """Carry out ``order``. Everything that happens is told to ``session``; returns when it is over.

    ``copy_managers``: whether there are data movers of type SCSI.
    """
    # A planner makes millions of short-lived values and no cycles worth a full collection.
    gc.set_threshold(100_000, 50, 1000)
    reporter = SessionReporter(session, counters)
    job = Job(Environment(order.environment), volumes, reporter, order.version,
              selections(order.nlist, order.version), open_disk, order.operation)  # type: ignore[arg-type]
    with suppress(Cancelled, ConnectionError), _cancellable(), closing(Lowering(open_disk)) as lowering:
        try:
            butype, asked = _admit(order, job, butypes, copy_managers)
        except FAILURES as failure:
            tell(session, events.DataFailed(error_of(failure), str(failure)))
            return
        tell(session, events.DataStarted())
        link: Outlet | RemoteInlet | LocalInlet
        if order.operation == DataOperation.BACKUP:
            link = _outlet(butype, job, order, asked, connection, counters, lowering)
            halted = _outcome(order, partial(_backup, butype, job, link))
        else:
            link = _inlet(reporter, order, asked, connection, counters, lowering)
            recover = butype.recover if order.operation == DataOperation.RECOVER else butype.list
            halted = _outcome(order, partial(recover, job, link))
        reporter.variable(transfer.USED, link.used)
        reporter.variable(transfer.OFFLOADED, str(link.offloaded))
        reporter.variable(transfer.BY_HEAD, str(max(0, counters.read()[0] - link.offloaded)))
        tell(session, halted)


@contextmanager
def _cancellable() -> Iterator[None]:
    """Inside, SIGTERM raises Cancelled; behind it the process is ending, and nothing may disturb that."""
    signal.signal(signal.SIGTERM, _cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _cancel(signum: int, frame: FrameType | None) -> None:
    raise Cancelled("the job was aborted")


def _admit(order: Order, job: Job, butypes: Mapping[str, Butype],
           copy_managers: bool) -> tuple[Butype, transfer.Mover]:
    """The butype, ready to start, and the type of data mover asked for. Raises JobRefused, or what the look
    at the source raised.
    """
    butype = butypes.get(order.butype)
    if butype is None:
        raise JobRefused(f"there is no butype {order.butype!r} here; use {', '.join(sorted(butypes))}")
    asked = transfer.choose(job.environment, blocks=butype.blocks, local=order.local, there=copy_managers)
    butype.check(job)
    return butype, asked


def _outcome(order: Order, work: Callable[[], None]) -> Event:
    """Do the work; how the job halted."""
    try:
        work()
    except Cancelled:
        raise
    except (ConnectionError, ConnectionBroken) as failure:
        return events.DataHalted(DataHaltReason.CONNECT_ERROR, f"the data connection was lost: {failure}")
    except FAILURES as failure:
        return events.DataHalted(DataHaltReason.INTERNAL_ERROR, str(failure))
    except Exception as failure:
        log.exception("the %s of %s failed", order.operation.name, order.butype)
        return events.DataHalted(DataHaltReason.INTERNAL_ERROR, f"internal error: {failure!r}")
    return events.DataHalted(DataHaltReason.SUCCESSFUL)


def _backup(butype: Butype, job: Job, outlet: Outlet) -> None:
    with closing(butype.backup(job)) as pieces:  # type: ignore[type-var]
        for piece in pieces:
            outlet.send(piece)
    outlet.finish()


def _outlet(butype: Butype, job: Job, order: Order, asked: transfer.Mover, connection: socket.socket,
            counters: Counters, lowering: Lowering) -> Outlet:
    on_fault = partial(butype.fault, job)
    if order.local:
        return LocalOutlet(connection, on_fault, counters.add, asked)
    return RemoteOutlet(connection, lowering, on_fault, counters.add)


def _inlet(reporter: SessionReporter, order: Order, asked: transfer.Mover, connection: socket.socket,
           counters: Counters, lowering: Lowering) -> LocalInlet | RemoteInlet:
    if order.local:
        return LocalInlet(connection, reporter.ask, counters.add, asked)
    return RemoteInlet(connection, lowering, reporter.ask, counters.add)
