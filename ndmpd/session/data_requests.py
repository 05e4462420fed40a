"""What DATA requests make happen, and what DATA's events lead to (3.5.2, 4.1.1, 4.1.5).

A handler is called once the request is admitted; it answers, or leaves the request open for an event.
"""

from __future__ import annotations

from ndmpd.session import effects, events
from ndmpd.session.data import DATA, OPERATIONS, DataInput
from ndmpd.session.figures import DataFigures
from ndmpd.session.mover_requests import MoverRequests
from ndmpd.session.outbox import printable
from ndmpd.session.parts import Parts
from ndmpd.session.refused import Refused
from protocol.ndmp import registry
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, Code, DataHaltReason, DataOperation, DataState, Error, LogType
from protocol.ndmp.data import (
    DataAbortReply,
    DataAbortRequest,
    DataConnectReply,
    DataConnectRequest,
    DataGetEnvReply,
    DataGetEnvRequest,
    DataGetStateRequest,
    DataListenReply,
    DataListenRequest,
    DataStartBackupRequest,
    DataStartRecoverRequest,
    DataStopReply,
    DataStopRequest,
)
from protocol.ndmp.log import LogFilePost
from protocol.ndmp.message import Pval
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyDataReadPost

_STARTS = frozenset({Code.DATA_START_BACKUP, Code.DATA_START_RECOVER, Code.DATA_START_RECOVER_FILEHIST})


class DataRequests:
    def __init__(self, parts: Parts, mover_requests: MoverRequests) -> None:
        self._parts = parts
        self._data = parts.data
        self._out = parts.outbox
        self._mover_requests = mover_requests

    def _next(self, cause: DataInput) -> DataState | None:
        return DATA.step(self._data.state, cause, self._parts.version)

    def _enter(self, cause: DataInput) -> None:
        """Make the step of a request that was admitted."""
        state = self._next(cause)
        assert state is not None
        self._data.state = state

    # Requests

    def get_state(self, request: DataGetStateRequest) -> None:
        ran = self._data.operation != DataOperation.NOACTION
        self._out.answer(self._data.describe(self._parts.figures.data() if ran else DataFigures()))

    def listen(self, request: DataListenRequest) -> None:
        if request.addr_type == AddrType.TCP:
            self._out.do(effects.DataListen())
            return
        self._parts.joint.check_listen()
        self._enter(DataInput.LISTEN)
        self._out.answer(DataListenReply(connect_addr=LOCAL))

    def connect(self, request: DataConnectRequest) -> None:
        if request.addr.addr_type == AddrType.TCP:
            self._out.do(effects.DataConnect(request.addr.tcp))
            return
        self._parts.joint.check_data_connect()
        self._parts.join(DataConnectReply())

    def start_backup(self, request: DataStartBackupRequest) -> None:
        self._start(DataInput.START_BACKUP, request)

    def start_recover(self, request: DataStartRecoverRequest) -> None:
        self._start(DataInput.START_RECOVER, request)

    def start_recover_filehist(self, request: DataStartRecoverRequest) -> None:
        self._start(DataInput.START_RECOVER_FILEHIST, request)

    def _start(self, cause: DataInput, request: DataStartBackupRequest | DataStartRecoverRequest) -> None:
        operation = OPERATIONS[cause]
        self._parts.joint.check_start(operation)
        environment = tuple((variable.name, variable.value) for variable in request.env)
        self._data.environment = list(environment)
        nlist = request.nlist if isinstance(request, DataStartRecoverRequest) else ()
        self._out.do(effects.DataStart(operation, request.butype_name, environment, nlist))

    def get_env(self, request: DataGetEnvRequest) -> None:
        """3.5.2.7: everything as it was sent, in order, and what the job added."""
        env = tuple(Pval(printable(name), printable(value)) for name, value in self._data.environment)
        self._out.answer(DataGetEnvReply(env=env))

    def abort(self, request: DataAbortRequest) -> None:
        if self._data.state == DataState.HALTED:
            self._out.answer(DataAbortReply())
            return
        self._out.do(effects.DataAbort())
        self._data.halt(DataHaltReason.ABORTED)
        self._out.answer(DataAbortReply())
        self._post_halted("")

    def stop(self, request: DataStopRequest) -> None:
        self._data.reset()
        self._parts.joint.part()
        self._out.do(effects.DataRelease())
        self._out.answer(DataStopReply())

    # Events that complete a request

    def listening(self, event: events.DataListening) -> None:
        self._enter(DataInput.LISTEN)
        self._data.address = Address(AddrType.TCP, event.addresses[:1])
        self._out.answer(DataListenReply(connect_addr=Address(AddrType.TCP, event.addresses)))

    def connected(self, event: events.DataConnected) -> None:
        self._enter(DataInput.CONNECT)
        self._data.address = Address(AddrType.TCP, (event.address,))
        self._out.answer(DataConnectReply())

    def started(self, event: events.DataStarted) -> None:
        """The job runs, unless its connection was lost while it started (2.11.5.1)."""
        request = self._out.open
        assert request is not None
        cause = DataInput[request.code.name.removeprefix("DATA_")]  # type: ignore[union-attr]
        reply = registry.reply_class(request.code, self._parts.version)
        assert reply is not None
        state = self._next(cause)
        if state is None:
            self._out.do(effects.DataAbort())
            self._out.answer(reply(Error.ILLEGAL_STATE))
            return
        self._data.start(OPERATIONS[cause], state)
        self._out.answer(reply())

    def failed(self, event: events.DataFailed) -> None:
        self._data.environment = []
        raise Refused(Error.UNDEFINED if event.error == Error.NO_ERR else event.error, event.text)

    # Events of their own

    def accepted(self, event: events.DataAccepted) -> bool:
        state = self._next(DataInput.PEER_CONNECTED)
        if state is None or self._data.local:
            return False
        self._data.state = state
        self._data.address = Address(AddrType.TCP, (event.address,))
        return True

    def wants(self, event: events.DataWants) -> bool:
        """The job asks for bytes: of the joined mover, or of whichever mover the DMA knows (4.1.5)."""
        if self._data.state != DataState.ACTIVE or not self._data.recovering:
            return False
        length = self._data.want(event.offset, event.length)
        if not self._data.local:
            self._out.post(NotifyDataReadPost(event.offset, length))
            return True
        return not length or (self._parts.joint.joined and self._mover_requests.serve(event.offset, length))

    def variable(self, event: events.DataVariable) -> bool:
        """Also while the job is being started: it may add to what it was given."""
        if self._data.state not in (DataState.CONNECTED, DataState.ACTIVE):
            return False
        self._data.set_variable(event.name, event.value)
        return True

    def halted(self, event: events.DataHalted) -> bool:
        if self._next(DataInput.ENDED) is None:
            return False
        self.halt(event.reason, event.text)
        return True

    def recovered(self, event: events.Recovered) -> bool:
        if self._data.state != DataState.ACTIVE:
            return False
        self._out.post(LogFilePost(printable(event.name), event.status))
        return True

    def history(self, event: events.History) -> bool:
        if self._data.state != DataState.ACTIVE:
            return False
        self._out.post_packed(event.message, event.body)
        return True

    def halt(self, reason: DataHaltReason, text: str) -> None:
        """Enter HALTED and say so; ``text`` comes before the notice, which is the last word about a job."""
        self._data.halt(reason)
        if text:
            self._out.log(LogType.NORMAL if reason == DataHaltReason.SUCCESSFUL else LogType.ERROR, text)
        self._post_halted(text)

    def lose_connection(self, reason: DataHaltReason) -> None:
        """The joined mover is gone before there was a job; one that is being started will not say so."""
        self._out.do(effects.DataAbort())
        request = self._out.open
        if request is not None and request.code in _STARTS:
            reply = registry.reply_class(request.code, self._parts.version)
            assert reply is not None
            self._out.answer(reply(Error.ILLEGAL_STATE))
        self.halt(reason, "the mover ended before a backup or recover was started")

    def _post_halted(self, text: str) -> None:
        self._out.post(NotifyDataHaltedPost(self._data.halt_reason, printable(text)))
