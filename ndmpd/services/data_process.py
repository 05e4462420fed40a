"""The data process: runs one butype for one backup or recover, and ends.

It is forked for the job, holds one end of the data connection and a socket to its session, and tells the
session everything as events. An abort ends the process; what it had open goes with it.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from types import FrameType

from ndmpd.errors import Cancelled, JobRefused, NdmpdError
from ndmpd.formats.environment import Environment
from ndmpd.formats.job import Job
from ndmpd.formats.selection import selections
from ndmpd.ports import Butype, Transport, Volumes
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.jobs import Counters, Order, tell
from ndmpd.services.lowering import Lowering
from ndmpd.services.outcome import FAILURES, error_of
from ndmpd.services.outlets import LocalOutlet, Outlet, RemoteOutlet
from ndmpd.session import events
from ndmpd.session.events import Event
from protocol.errors import WireError
from protocol.ndmp.codes import DataHaltReason, DataOperation, Error, LogType, RecoveryStatus

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
        butypes: Mapping[str, Butype], volumes: Volumes, open_disk: Callable[[str], Transport]) -> None:
    """Carry out ``order``. Everything that happens is told to ``session``; returns when it is over."""
    signal.signal(signal.SIGTERM, _cancel)
    # A planner makes millions of short-lived values and no cycles worth a full collection.
    gc.set_threshold(100_000, 50, 1000)
    reporter = SessionReporter(session, counters)
    butype = butypes.get(order.butype)
    job = Job(Environment(order.environment), volumes, reporter, order.version,
              selections(order.nlist, order.version), open_disk, order.operation)  # type: ignore[arg-type]
    with suppress(Cancelled, BrokenPipeError), closing(Lowering(open_disk)) as lowering:
        refusal = _refusal(butype, job, order, butypes)
        tell(session, refusal or events.DataStarted())
        if refusal is None:
            assert butype is not None
            tell(session, _carry_out(butype, job, reporter, order, connection, counters, lowering))


def _cancel(signum: int, frame: FrameType | None) -> None:
    raise Cancelled("the job was aborted")


def _refusal(butype: Butype | None, job: Job, order: Order,
             butypes: Mapping[str, Butype]) -> events.DataFailed | None:
    if butype is None:
        known = ", ".join(sorted(butypes))
        return events.DataFailed(Error.ILLEGAL_ARGS, f"there is no butype {order.butype!r} here; use {known}")
    try:
        butype.check(job)
    except JobRefused as failure:
        return events.DataFailed(Error.ILLEGAL_ARGS, str(failure))
    except FAILURES as failure:
        return events.DataFailed(error_of(failure), str(failure))
    return None


def _carry_out(butype: Butype, job: Job, reporter: SessionReporter, order: Order, connection: socket.socket,
               counters: Counters, lowering: Lowering) -> Event:
    """Run the job to its end; how it halted."""
    try:
        if order.operation == DataOperation.BACKUP:
            _backup(butype, job, order, connection, counters, lowering)
        else:
            _recover(butype, job, reporter, order, connection, counters, lowering)
    except Cancelled:
        raise
    except ConnectionError as failure:
        return events.DataHalted(DataHaltReason.CONNECT_ERROR, f"the data connection was lost: {failure}")
    except (NdmpdError, WireError, OSError) as failure:
        return events.DataHalted(DataHaltReason.INTERNAL_ERROR, str(failure))
    except Exception as failure:
        log.exception("the %s of %s failed", order.operation.name, order.butype)
        return events.DataHalted(DataHaltReason.INTERNAL_ERROR, f"internal error: {failure!r}")
    return events.DataHalted(DataHaltReason.SUCCESSFUL)


def _backup(butype: Butype, job: Job, order: Order, connection: socket.socket, counters: Counters,
            lowering: Lowering) -> None:
    outlet: Outlet
    if order.local:
        outlet = LocalOutlet(connection, lambda fault: butype.fault(job, fault), counters.add)
    else:
        outlet = RemoteOutlet(connection, lowering, lambda fault: butype.fault(job, fault), counters.add)
    with closing(butype.backup(job)) as pieces:  # type: ignore[type-var]
        for piece in pieces:
            outlet.send(piece)
    outlet.finish()


def _recover(butype: Butype, job: Job, reporter: SessionReporter, order: Order, connection: socket.socket,
             counters: Counters, lowering: Lowering) -> None:
    inlet: LocalInlet | RemoteInlet
    if order.local:
        inlet = LocalInlet(connection, reporter.ask, counters.add)
    else:
        inlet = RemoteInlet(connection, lowering, reporter.ask, counters.add)
    if order.operation == DataOperation.RECOVER:
        butype.recover(job, inlet)
    else:
        butype.list(job, inlet)

