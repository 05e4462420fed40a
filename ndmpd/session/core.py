"""The session: one control connection as a pure function of records and events.

``start``, ``receive`` and ``handle`` are turns. A turn changes state and returns effects; it reads no clock
and does no I/O. The caller carries the effects out in order (``effects`` has the rules) and gives no record
while ``busy``.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ndmpd.session import admission, effects, events
from ndmpd.session.connection import Connection
from ndmpd.session.data import Data
from ndmpd.session.data_requests import DataRequests
from ndmpd.session.device import Device
from ndmpd.session.effects import Effect
from ndmpd.session.events import Event
from ndmpd.session.facts import AuthPolicy, ServerFacts
from ndmpd.session.figures import Figures
from ndmpd.session.joint import Joint
from ndmpd.session.mover import Mover
from ndmpd.session.mover_requests import MoverRequests
from ndmpd.session.outbox import Outbox, Request, printable
from ndmpd.session.parts import Parts
from ndmpd.session.refused import Refused
from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, DataState, Error, LogType, MessageType, MoverState, Version
from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.header import SIZE as HEADER_SIZE
from protocol.ndmp.header import Header
from protocol.ndmp.message import Message
from protocol.ndmp.mover import MoverGetStateReply
from protocol.xdr import Reader

_START = (events.DataStarted, events.DataFailed)

ANSWERS: dict[int, tuple[type[Event], ...]] = {
    Code.DATA_LISTEN: (events.DataListening, events.DataFailed),
    Code.DATA_CONNECT: (events.DataConnected, events.DataFailed),
    Code.DATA_START_BACKUP: _START,
    Code.DATA_START_RECOVER: _START,
    Code.DATA_START_RECOVER_FILEHIST: _START,
    Code.MOVER_LISTEN: (events.MoverListening, events.MoverFailed),
    Code.MOVER_CONNECT: (events.MoverConnected, events.MoverFailed),
}
"""The events that complete an open request; every other request that stays open waits for ``Performed``."""

_COMPLETING = frozenset({events.Performed}.union(*ANSWERS.values()))


class Session:
    """What one control connection may do, and does.

    ``policy`` holds the users that may come from the peer's address. ``figures`` is asked while states are
    reported. ``new_challenge`` returns 64 random bytes per call.
    """

    def __init__(self, server: ServerFacts, policy: AuthPolicy, figures: Figures,
                 new_challenge: Callable[[], bytes]) -> None:
        self._server = server
        self._figures = figures
        self._out = Outbox(server.highest)
        self._joint = Joint(Data(), Mover())
        self._device = Device()
        self._request: Message | None = None
        self._last_sequence: int | None = None
        self._connection = Connection(server, policy, self._out, new_challenge)
        parts = Parts(server, figures, self._out, self._joint, self._device)
        mover = MoverRequests(parts)
        self._data_requests = data = DataRequests(parts, mover)
        self._handlers: dict[Code, Callable[[Any], None]] = {
            Code.CONNECT_OPEN: self._connection.open,
            Code.CONNECT_CLIENT_AUTH: self._connection.client_auth,
            Code.CONNECT_CLOSE: self._connection.close,
            Code.CONNECT_SERVER_AUTH: self._connection.server_auth,
            Code.CONFIG_GET_AUTH_ATTR: self._connection.get_auth_attr,
            Code.DATA_GET_STATE: data.get_state,
            Code.DATA_START_BACKUP: data.start_backup,
            Code.DATA_START_RECOVER: data.start_recover,
            Code.DATA_START_RECOVER_FILEHIST: data.start_recover_filehist,
            Code.DATA_ABORT: data.abort,
            Code.DATA_GET_ENV: data.get_env,
            Code.DATA_STOP: data.stop,
            Code.DATA_LISTEN: data.listen,
            Code.DATA_CONNECT: data.connect,
            Code.MOVER_GET_STATE: mover.get_state,
            Code.MOVER_LISTEN: mover.listen,
            Code.MOVER_CONTINUE: mover.continue_,
            Code.MOVER_ABORT: mover.abort,
            Code.MOVER_STOP: mover.stop,
            Code.MOVER_SET_WINDOW: mover.set_window,
            Code.MOVER_READ: mover.read,
            Code.MOVER_CLOSE: mover.close,
            Code.MOVER_SET_RECORD_SIZE: mover.set_record_size,
            Code.MOVER_CONNECT: mover.connect,
        }
        self._completions: dict[type[Event], Callable[[Any], None]] = {
            events.Performed: self._performed,
            events.DataListening: data.listening,
            events.DataConnected: data.connected,
            events.DataStarted: data.started,
            events.DataFailed: data.failed,
            events.MoverListening: mover.listening,
            events.MoverConnected: mover.connected,
            events.MoverFailed: mover.failed,
        }
        self._happenings: dict[type[Event], Callable[[Any], bool]] = {
            events.History: data.history,
            events.DataAccepted: data.accepted,
            events.DataWants: data.wants,
            events.DataVariable: data.variable,
            events.DataHalted: data.halted,
            events.Recovered: data.recovered,
            events.Log: self._log,
            events.MoverAccepted: mover.accepted,
            events.MoverPaused: mover.paused,
            events.MoverHalted: mover.halted,
        }

    @property
    def busy(self) -> bool:
        """A request waits for a service: no further record may be given until this is false again."""
        return self._out.open is not None and not self.closed

    @property
    def closed(self) -> bool:
        """Nothing that is given to the session has an effect any more."""
        return self._connection.closed

    @property
    def version(self) -> Version:
        """The protocol version spoken; the highest one until the peer chose."""
        return self._out.version

    @property
    def user(self) -> str | None:
        """The name that was proved, None before that and for a session opened without one."""
        return self._connection.user

    @property
    def authorized(self) -> bool:
        """Whether the peer may do more than log in."""
        return self._connection.authorized

    @property
    def failed_logins(self) -> int:
        return self._connection.failures

    @property
    def data_state(self) -> DataState:
        return self._joint.data.state

    @property
    def mover_state(self) -> MoverState:
        return self._joint.mover.state

    def describe(self) -> tuple[DataGetStateReply, MoverGetStateReply]:
        """All the states and figures, as the DMA would be told them; changes nothing."""
        return (self._joint.data.describe(self._figures.data()),
                self._joint.mover.describe(self._figures.mover()))

    # Turns

    def start(self, now: float) -> list[Effect]:
        """The connection was accepted."""
        self._out.begin(now)
        self._connection.greet()
        return self._out.drain()

    def refuse(self, text: str, now: float) -> list[Effect]:
        """Instead of ``start``: the connection cannot be served; ``text`` tells the DMA why."""
        self._out.begin(now)
        self._connection.refuse(printable(text))
        return self._out.drain()

    def receive(self, record: bytes, now: float) -> list[Effect]:
        """One record from the peer, without its record marks. RuntimeError while ``busy``."""
        if self.busy:
            raise RuntimeError("a record was given while a request is open")
        self._out.begin(now)
        if not self.closed:
            self._receive(record)
            self._settle()
        return self._out.drain()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Something happened. What comes too late, after an abort above all, changes nothing."""
        self._out.begin(now)
        if self.closed:
            return self._out.drain()
        kind = type(event)
        if kind is events.ConnectionLost:
            self._connection.lost()
        elif kind is events.Shutdown:
            self._connection.shut_down()
        elif kind in _COMPLETING:
            self._complete(event)
        else:
            self._happen(event)
        self._settle()
        return self._out.drain()

    # Records

    def _receive(self, record: bytes) -> None:
        try:
            header = Header.take(Reader(record))
        except WireError as error:
            self._out.note(LogType.ERROR, f"the peer does not speak NDMP: {error}")
            self._connection.shut_down()
            return
        if header.message_type == MessageType.REPLY:
            self._out.note(LogType.DEBUG, f"ignored a reply ({header.message_code:#x}): none is expected")
            return
        if header.message_type != MessageType.REQUEST:
            self._out.note(LogType.ERROR, f"the peer does not speak NDMP: type {header.message_type:d}")
            self._connection.shut_down()
            return
        self._follow_sequence(header.sequence)
        self._out.open = Request(header.sequence, header.message_code)
        if header.message_code != Code.CONNECT_OPEN:
            self._connection.negotiated = True
        self._guard(lambda: self._dispatch(header.message_code, record[HEADER_SIZE:]))

    def _follow_sequence(self, sequence: int) -> None:
        """2.7 has them go up by one. A peer that counts otherwise harms nobody: replies name its number."""
        last, self._last_sequence = self._last_sequence, sequence
        if last is not None and sequence != (last + 1) & 0xFFFFFFFF:
            self._out.note(LogType.DEBUG, f"the peer's sequence number is {sequence} after {last}")

    def _dispatch(self, code: Code | int, body: bytes) -> None:
        version = self._out.version
        try:
            rule = admission.find_rule(code, version)
        except Refused as refusal:
            self._out.refuse(refusal.error)
            return
        assert isinstance(code, Code)
        admission.check_access(rule, self._connection.authorized)
        if code is Code.CONNECT_CLOSE:
            # 3.1.3: it has no arguments and gets no reply: what comes behind it cannot be answered.
            body = b""
        cls = registry.request_class(code, version)
        assert cls is not None
        try:
            self._request = registry.decode(cls, body, version)
        except WireError as error:
            self._out.note(LogType.WARNING, f"cannot decode {code.name}: {error}")
            self._out.refuse(Error.XDR_DECODE)
            return
        standing = admission.Standing(version, self._connection.authorized, self._joint.data.state,
                                      self._joint.mover.state, self._device.kind)
        admission.admit(rule, self._request, standing, self._server)
        handler = self._handlers.get(code)
        if handler is not None:
            handler(self._request)
        else:
            self._out.do(effects.Perform(self._request))

    # Events

    def _complete(self, event: Event) -> None:
        """An event that the open request waits for; any other of its kind is too late."""
        request = self._out.open
        if request is None or type(event) not in ANSWERS.get(request.code, (events.Performed,)):
            self._late(event)
            return
        self._guard(lambda: self._completions[type(event)](event))

    def _performed(self, event: events.Performed) -> None:
        assert self._out.open is not None
        expected = registry.reply_class(self._out.open.code, self._out.version)
        if type(event.reply) is not expected:
            raise TypeError(f"{type(event.reply).__name__} is no reply to {self._out.open.code!r}")
        self._device.learn(self._request, event.reply)
        self._out.answer(event.reply)

    def _happen(self, event: Event) -> None:
        """An event of its own, whether or not a request is open."""
        try:
            if not self._happenings[type(event)](event):
                self._late(event)
        except Exception:
            self._note_bug()

    def _note_bug(self) -> None:
        self._out.note(LogType.ERROR, f"a bug in the session core:\n{traceback.format_exc()}")

    def _late(self, event: Event) -> None:
        self._out.note(LogType.DEBUG, f"ignored {type(event).__name__}: too late")

    def _log(self, event: events.Log) -> bool:
        """To the DMA while something of its own is under way, to the server's log after that."""
        under_way = (self._out.open is not None
                     or self._joint.data.state in (DataState.CONNECTED, DataState.ACTIVE)
                     or self._joint.mover.state in (MoverState.LISTEN, MoverState.ACTIVE, MoverState.PAUSED))
        if under_way and self._connection.authorized:
            self._out.log(event.kind, event.text)
        else:
            self._out.note(event.kind, event.text)
        return True

    # The end of a turn

    def _guard(self, act: Callable[[], None]) -> None:
        """Run what answers a request: a refusal becomes its reply, a bug UNDEFINED; the session goes on."""
        try:
            act()
        except Refused as refusal:
            self._refuse(refusal)
        except Exception:
            self._note_bug()
            if self._out.open is not None:
                self._refuse(Refused(Error.UNDEFINED))

    def _refuse(self, refusal: Refused) -> None:
        """Reply with the error in the body, since ndmjob takes an error in the header for a broken server."""
        assert self._out.open is not None
        code = self._out.open.code
        reply = registry.reply_class(code, self._out.version)
        if reply is None:
            self._out.open = None
            return
        self._out.answer(reply(refusal.error))
        if refusal.text:
            self._out.log(LogType.ERROR, refusal.text, about_last=True)

    def _settle(self) -> None:
        """Let one side's change reach the other where nothing else can carry it."""
        while not self.closed and (reason := self._joint.consequence()) is not None:
            self._data_requests.lose_connection(reason)
