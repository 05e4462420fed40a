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
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from types import FrameType

from ndmpd.errors import Cancelled, JobRefused
from ndmpd.formats.environment import Environment
from ndmpd.formats.job import Job
from ndmpd.formats.selection import selections
from ndmpd.ports import Butype, Transport, Volumes
from ndmpd.services import transfer
from ndmpd.services.block_transfer import BlockTransfer, InterruptibleRun
from ndmpd.services.hello import Hello, Role, meet
from ndmpd.services.inlets import Ask, ConnectionBroken, LocalInlet, RangeReader, RemoteInlet
from ndmpd.services.jobs import Counters, Order, tell
from ndmpd.services.lowering import Lowering
from ndmpd.services.outcome import FAILURES, error_of
from ndmpd.services.outlets import LocalOutlet, Outlet, RemoteOutlet
from ndmpd.services.piece_inlet import PieceInlet
from ndmpd.services.sources import LocalSource
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


MakeBlocks = Callable[[transfer.Mover, Lowering, InterruptibleRun], BlockTransfer]
"""The data paths between disks, given what type of data mover was asked for."""


def run(order: Order, session: socket.socket, connection: socket.socket, counters: Counters,
        butypes: Mapping[str, Butype], volumes: Volumes, open_disk: Callable[[str], Transport],
        make_blocks: MakeBlocks, copy_managers: bool = False) -> None:
    """Carry out ``order``. Everything that happens is told to ``session``; returns when it is over.

    ``copy_managers``: whether there are data movers of type SCSI.
    """
    # A planner makes millions of short-lived values and no cycles worth a full collection.
    gc.set_threshold(100_000, 50, 1000)
    reporter = SessionReporter(session, counters)
    job = Job(Environment(order.environment), volumes, reporter, order.version,
              selections(order.nlist, order.version), open_disk, order.operation)  # type: ignore[arg-type]
    with (suppress(Cancelled, ConnectionError), _cancellable(reporter) as interruption,
          closing(Lowering(open_disk)) as lowering):
        try:
            butype, asked = _admit(order, job, butypes, copy_managers)
        except FAILURES as failure:
            tell(session, events.DataFailed(error_of(failure), str(failure)))
            return
        tell(session, events.DataStarted())
        with _Work(order, job, butype, asked, connection, reporter.ask, counters, lowering,
                   lambda mover: make_blocks(mover, lowering, interruption)) as work:
            halted = _outcome(order, work.run)
            reporter.variable(transfer.USED, work.used)
            reporter.variable(transfer.OFFLOADED, str(work.offloaded))
            reporter.variable(transfer.BY_HEAD, str(max(0, counters.read()[0] - work.offloaded)))
        tell(session, halted)


class _Work:
    """A job at one end of its data connection; what is at the other end shows when it runs."""

    def __init__(self, order: Order, job: Job, butype: Butype, asked: transfer.Mover,
                 connection: socket.socket, ask: Ask, counters: Counters, lowering: Lowering,
                 make_blocks: Callable[[transfer.Mover], BlockTransfer]) -> None:
        self._order = order
        self._job = job
        self._butype = butype
        self._asked = asked
        self._connection = connection
        self._ask = ask
        self._counters = counters
        self._lowering = lowering
        self._make_blocks = make_blocks
        self._link: Outlet | RangeReader | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Work:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def used(self) -> str:
        return str(transfer.Mover.NAS) if self._link is None else self._link.used

    @property
    def offloaded(self) -> int:
        return 0 if self._link is None else self._link.offloaded

    def run(self) -> None:
        if self._order.operation == DataOperation.BACKUP:
            self._backup()
        else:
            self._recover()

    def _backup(self) -> None:
        self._link = outlet = self._outlet()
        with closing(self._butype.backup(self._job)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                outlet.send(piece)
        outlet.finish()

    def _outlet(self) -> Outlet:
        on_fault = partial(self._butype.fault, self._job)
        if not self._order.local:
            return RemoteOutlet(self._connection, self._lowering, on_fault, self._counters.add)
        self._meet(Role.DATA_BACKUP)
        return LocalOutlet(self._connection, on_fault, self._counters.add)

    def _recover(self) -> None:
        self._link = inlet = self._inlet()
        if self._order.operation == DataOperation.RECOVER:
            self._butype.recover(self._job, inlet)
        else:
            self._butype.list(self._job, inlet)
        if isinstance(inlet, PieceInlet):
            inlet.finish()

    def _inlet(self) -> RangeReader:
        ask, on_bytes = self._ask, self._counters.add
        if not self._order.local:
            return RemoteInlet(self._connection, self._lowering, ask, on_bytes)
        theirs, mover = self._meet(Role.DATA_RECOVER)
        if theirs.role is Role.MOVER_WRITE:
            return LocalInlet(self._connection, ask, on_bytes)
        blocks = self._stack.enter_context(closing(self._make_blocks(mover)))
        return PieceInlet(LocalSource(self._connection), blocks, ask, on_bytes)

    def _meet(self, role: Role) -> tuple[Hello, transfer.Mover]:
        return meet(self._connection, Hello(role, self._asked), self._order.peer)


class _Interruption:
    """SIGTERM, which ends the job: at once, or, while a copy manager is at work, as soon as that has been
    told to stop, and has. It is the ``InterruptibleRun`` of that copy.
    """

    def __init__(self, reporter: SessionReporter) -> None:
        self._reporter = reporter
        self._held = 0
        self.stopped = False

    def signalled(self, signum: int, frame: FrameType | None) -> None:
        self.stopped = True
        if not self._held:
            raise Cancelled("the job was aborted")

    @contextmanager
    def held(self) -> Iterator[None]:
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self.stopped and not self._held:
                raise Cancelled("the job was aborted")

    def moving(self, size: int) -> None:
        """What is done counts when it is certain."""

    def say(self, kind: LogType, text: str) -> None:
        self._reporter.log(kind, text)


@contextmanager
def _cancellable(reporter: SessionReporter) -> Iterator[_Interruption]:
    """Inside, SIGTERM raises Cancelled; behind it the process is ending, and nothing may disturb that."""
    interruption = _Interruption(reporter)
    signal.signal(signal.SIGTERM, interruption.signalled)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


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
