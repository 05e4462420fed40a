"""The shell around one session core: carries out its effects in order, and brings it events.

Everything here runs on the reactor thread. Device work runs on a thread of its own, one request at a time;
the mover has its own thread; jobs have their own process.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ndmpd.net import account
from ndmpd.net.dataconn import Link, Listener, Where, connect
from ndmpd.net.ledger import RENEWS, Ledger
from ndmpd.net.watch import Watch
from ndmpd.services import channel
from ndmpd.services.data import DataService, Processes
from ndmpd.services.mover import MoverService
from ndmpd.services.mover_run import Happening, MoverRun
from ndmpd.services.scsi import OpenDevice, ScsiService
from ndmpd.services.tally import Tally
from ndmpd.services.tape import TapeService
from ndmpd.services.transfer import MakeTransfer
from ndmpd.session import effects, events
from ndmpd.session.core import Session
from ndmpd.session.effects import Effect
from ndmpd.session.events import Event
from ndmpd.session.facts import AuthPolicy, ServerFacts
from ndmpd.session.figures import DataFigures, MoverFigures
from protocol.ndmp.address import TcpAddress
from protocol.ndmp.codes import Code, Error, LogType, MoverState, Version
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.registry import code_of, reply_class
from protocol.ndmp.tape import TapeGetStateRequest

log = logging.getLogger(__name__)

_LEVELS = {LogType.NORMAL: logging.INFO, LogType.DEBUG: logging.DEBUG, LogType.ERROR: logging.ERROR,
           LogType.WARNING: logging.WARNING}
_INTERFACE = 0xFF00
_SCSI = Code.SCSI_OPEN & _INTERFACE
_TAPE = Code.TAPE_OPEN & _INTERFACE
RELEASE_WITHIN = 60.0
"""Seconds that the end of a session waits for a command the mover still has on the tape."""

_INTERNAL = "internal error; see the server's log"

Configure = Callable[[Message, Version, bool], Reply]
"""Answers a CONFIG request, for a version, to a peer that has logged in or not."""


class Wire(Protocol):
    """What the shell needs of the control connection."""

    def send(self, record: bytes) -> None: ...

    def hold(self, seconds: float, record: bytes) -> None:
        """Send ``record`` later, and read nothing until then."""

    def turn(self) -> None:
        """The session may be able to take the next record."""

    def disconnect(self) -> None: ...


class Shell:
    """``open_device`` is for drives and changers, ``make_transfer`` for the mover, ``tally`` for figures that
    outlive the session; the rest is the core's.
    """

    def __init__(self, reactor: Any, wire: Wire, server: ServerFacts, policy: AuthPolicy,
                 new_challenge: Callable[[], bytes], where: Where, processes: Processes,
                 configure: Configure, open_device: OpenDevice, make_transfer: MakeTransfer,
                 tally: Tally) -> None:
        self._reactor = reactor
        self._wire = wire
        self._where = where
        self._configure = configure
        self.session = Session(server, policy, self, new_challenge)
        self._tape = TapeService(open_device, Version.V4)
        self._tape_lock = threading.Lock()
        self._scsi = ScsiService(open_device)
        self._mover = MoverService(self._tape, self._tape_lock, make_transfer, self._from_mover)
        self._data = DataService(processes, partial(Watch, reactor), self.handle)
        self._ledger = Ledger(reactor, tally, self.session, self._data, self._mover)
        self._listeners: dict[str, Listener] = {}
        self._devices = ThreadPool(1, 1, "devices")
        self._devices.start()
        self._release_done: Deferred[None] | None = None
        self._todo: deque[Effect] = deque()
        self._carrying = False
        self._actions: dict[type[Effect], Callable[[Any], None]] = {
            effects.Send: self._send,
            effects.Perform: self._perform,
            effects.Note: self._note,
            effects.JoinLocal: self._join,
            effects.DataListen: lambda _: self._listen("data", self._data_accepted),
            effects.DataConnect: self._data_connect,
            effects.DataStart: lambda effect: self._data.start(effect, self.session.version),
            effects.DataAbort: lambda _: self._end_data(),
            effects.DataRelease: lambda _: self._data.release(),
            effects.MoverListen: lambda _: self._listen("mover", self._mover_accepted),
            effects.MoverConnect: self._mover_connect,
            effects.MoverStart: self._mover.start,
            effects.MoverContinue: self._mover.proceed,
            effects.MoverRead: self._mover.read,
            effects.MoverClose: lambda _: self._end_mover(),
            effects.MoverAbort: lambda _: self._end_mover(),
            effects.MoverRelease: lambda _: self._mover.release(),
            effects.ReleaseAll: lambda _: self._release(),
            effects.Disconnect: lambda _: self._disconnect(),
        }

    # Turns of the core.

    def start(self) -> None:
        self._carry_out(self.session.start(time.time()))

    def receive(self, record: bytes) -> None:
        # The other side's DMA has had its reply: the connection is made, whichever the reactor sees first.
        for listener in list(self._listeners.values()):
            listener.look()
        self._carry_out(self.session.receive(record, time.time()))

    def handle(self, event: Event) -> None:
        self._carry_out(self.session.handle(event, time.time()))
        self._wire.turn()

    def _carry_out(self, todo: list[Effect]) -> None:
        self._ledger.look()
        self._todo.extend(todo)
        if self._carrying:
            # An effect that was answered at once: what follows from it comes behind what is still to do.
            return
        self._carrying = True
        try:
            while self._todo:
                effect = self._todo.popleft()
                try:
                    if type(effect) in RENEWS:
                        self._ledger.renew(effect)
                    self._actions[type(effect)](effect)
                except Exception:
                    # A core that waits for an answer must get one.
                    log.exception("%s failed", type(effect).__name__)
                    self.handle(_failed(effect, self.session.version))
        finally:
            self._carrying = False

    def pause(self) -> None:
        """The DMA does not read: let no job tell more."""
        self._data.pause()

    def resume(self) -> None:
        self._data.resume()

    def lose(self, gone: Callable[[socket.socket], bool]) -> None:
        """Break data connections whose peer is ``gone``."""
        self._data.lose(gone)
        self._mover.lose(gone)

    # Figures.

    def data(self) -> DataFigures:
        return self._data.figures()

    def mover(self) -> MoverFigures:
        return self._mover.figures()

    def account(self) -> dict[str, Any]:
        """All that is known of the session, for whoever runs the server; see ``account``."""
        return account.of(self.session, self._data, self._mover, self._tape, self._scsi, self._ledger)

    # Effects.

    def _send(self, effect: effects.Send) -> None:
        if effect.delay:
            self._wire.hold(effect.delay, effect.record)
        else:
            self._wire.send(effect.record)

    def _note(self, effect: effects.Note) -> None:
        log.log(_LEVELS.get(effect.kind, logging.INFO), "%s", effect.text)

    def _perform(self, effect: effects.Perform) -> None:
        request = effect.request
        if isinstance(request, TapeGetStateRequest) and self.session.mover_state == MoverState.ACTIVE:
            # Counters only, since the mover has the drive. An aborted one is waited for: it may still write.
            self._tape.version = self.session.version
            self.handle(events.Performed(self._tape.perform(request)))
            return
        # Taken here where it is free: a mover that becomes ACTIVE meanwhile waits for this request, not the
        # request for the mover.
        tape = code_of(type(request)) & _INTERFACE == _TAPE
        locked = tape and self._tape_lock.acquire(blocking=False)
        work = deferToThreadPool(self._reactor, self._devices, self._do, request, self.session.version,
                                 locked)
        work.addCallback(lambda reply: self.handle(events.Performed(reply)))
        work.addErrback(self._not_performed, effect)

    def _do(self, request: Message, version: Version, locked: bool) -> Message:
        """One request on the device thread. ``locked``: it has the tape's lock already."""
        interface = code_of(type(request)) & _INTERFACE
        if interface == _TAPE:
            if not locked:
                self._tape_lock.acquire()
            try:
                self._tape.version = version
                return self._tape.perform(request)
            finally:
                self._tape_lock.release()
        if interface == _SCSI:
            return self._scsi.perform(request)
        return self._configure(request, version, self.session.authorized)

    def _not_performed(self, failure: Failure, effect: effects.Perform) -> None:
        log.error("%s failed: %s", type(effect.request).__name__, failure.getTraceback())
        self.handle(_failed(effect, self.session.version))

    def _join(self, effect: effects.JoinLocal) -> None:
        ours, theirs = channel.pair()
        self._data.attach(ours, True)
        self._mover.attach(theirs, True)

    # Data connections.

    def _listen(self, side: str, accepted: Callable[[Link], None]) -> None:
        listening = events.DataListening if side == "data" else events.MoverListening
        failed = events.DataFailed if side == "data" else events.MoverFailed
        try:
            listener = Listener(self._reactor, self._where, accepted)
        except (OSError, ipaddress.AddressValueError) as failure:
            self.handle(failed(Error.CONNECT, f"cannot listen on {self._where.bind}: {failure}"))
            return
        self._listeners[side] = listener
        self.handle(listening((listener.address,)))

    def _data_accepted(self, link: Link) -> None:
        self._listeners.pop("data", None)
        self._data.attach(link.connection, link.local)
        self.handle(events.DataAccepted(link.peer))

    def _mover_accepted(self, link: Link) -> None:
        self._listeners.pop("mover", None)
        self._mover.attach(link.connection, link.local)
        self.handle(events.MoverAccepted(link.peer))

    def _data_connect(self, effect: effects.DataConnect) -> None:
        def connected(link: Link) -> None:
            self._data.attach(link.connection, link.local)
            self.handle(events.DataConnected(link.peer))

        self._connect(effect.addresses, connected, events.DataFailed)

    def _mover_connect(self, effect: effects.MoverConnect) -> None:
        def connected(link: Link) -> None:
            self._mover.attach(link.connection, link.local)
            self.handle(events.MoverConnected(link.peer))

        self._connect(effect.addresses, connected, events.MoverFailed)

    def _connect(self, addresses: tuple[TcpAddress, ...], connected: Callable[[Link], None],
                 failed: type[events.DataFailed] | type[events.MoverFailed]) -> None:
        def refused(failure: Failure) -> None:
            self.handle(failed(Error.CONNECT, f"cannot connect: {failure.getErrorMessage()}"))

        def arrived(link: Link) -> None:
            if self.session.closed:
                link.connection.close()
            else:
                connected(link)

        def broken(failure: Failure) -> None:
            log.error("%s", failure.getTraceback())
            self.handle(failed(Error.UNDEFINED, _INTERNAL))

        attempt = deferToThread(connect, self._where.run_dir, addresses)
        attempt.addCallbacks(arrived, refused)
        attempt.addErrback(broken)

    def _end_data(self) -> None:
        self._unlisten("data")
        self._data.end()

    def _end_mover(self) -> None:
        self._unlisten("mover")
        self._mover.end()

    def _unlisten(self, side: str) -> None:
        listener = self._listeners.pop(side, None)
        if listener is not None:
            listener.close()

    def _from_mover(self, event: Happening, run: MoverRun) -> None:
        """From the mover's thread. What an ended run still says is dropped."""
        def deliver() -> None:
            # A backup that is over at once may have ended before the reactor saw that it has begun.
            self._data.look()
            if self._mover.hears(run):
                self.handle(event)

        self._reactor.callFromThread(deliver)

    # The end.

    def _release(self) -> None:
        run = None
        try:
            self._end_data()
            self._unlisten("mover")
            run = self._mover.end()
        finally:
            # Whatever else goes wrong, the drive must come free.
            self._release_done = deferToThreadPool(self._reactor, self._devices, self._release_devices, run)
            self._release_done.addErrback(lambda failure: log.error("release: %s", failure.getTraceback()))

    def _release_devices(self, run: MoverRun | None) -> None:
        """On the device thread, behind whatever it still does."""
        try:
            if run is not None:
                run.join(RELEASE_WITHIN)
            if self._tape_lock.acquire(timeout=RELEASE_WITHIN):
                try:
                    self._tape.close()
                finally:
                    self._tape_lock.release()
            else:
                log.error("the mover did not let go of the tape within %d s", RELEASE_WITHIN)
        finally:
            self._scsi.close()

    def _disconnect(self) -> None:
        assert self._release_done is not None
        self._release_done.addCallback(lambda _: self._wire.disconnect())

    def close(self) -> Deferred[None]:
        """The control connection is gone, or must go; fires when every device is free."""
        if self._release_done is None:
            self.handle(events.ConnectionLost())
        assert self._release_done is not None
        done: Deferred[None] = Deferred()

        def ended(_: object) -> None:
            self._devices.stop()
            self._ledger.close()
            done.callback(None)

        self._release_done.addCallback(ended)
        return done


def _failed(effect: Effect, version: Version = Version.V4) -> Event:
    """The answer for an effect that broke on our side."""
    match effect:
        case effects.Perform(request):
            reply = reply_class(code_of(type(request)), version)
            assert reply is not None
            return events.Performed(reply(Error.UNDEFINED))
        case effects.MoverListen() | effects.MoverConnect():
            return events.MoverFailed(Error.UNDEFINED, _INTERNAL)
        case effects.DataListen() | effects.DataConnect() | effects.DataStart():
            return events.DataFailed(Error.UNDEFINED, _INTERNAL)
        case _:
            return events.Log(LogType.ERROR, _INTERNAL)

