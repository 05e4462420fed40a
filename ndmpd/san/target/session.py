"""The full feature phase of one session: what its initiator sends, taken in order. RFC 7143 clauses 4 and 11.

``run`` is the thread that hears the initiator. It only takes requests in; commands are carried out by the
``Executor``, so that an abort is heard while one is under way.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from ndmpd.san.target.channel import Channel, DataDigestError, Gone
from ndmpd.san.target.exchange import DataPhaseError, Exchange, Phase
from ndmpd.san.target.executor import MAX_TRANSFER, Executor, Seat, sense_of
from ndmpd.san.target.management import manage
from ndmpd.san.target.numbers import CommandWindow
from ndmpd.san.target.parameters import Parameters
from ndmpd.san.target.pings import Pings
from ndmpd.san.target.sender import Sender
from ndmpd.san.target.tasks import Tasks
from ndmpd.san.target.texts import Texts
from protocol.errors import WireError
from protocol.iscsi.pdu import (
    R2T,
    RESERVED_TAG,
    DataOut,
    NopIn,
    NopOut,
    Opcode,
    ScsiCommand,
    TaskAnswer,
    TaskRequest,
    TaskResponse,
)
from protocol.iscsi.segments import take_extended_cdb
from protocol.iscsi.session import (
    LoginResponse,
    LogoutAnswer,
    LogoutReason,
    LogoutRequest,
    LogoutResponse,
    Reject,
    RejectReason,
    TextRequest,
    TextResponse,
)
from protocol.scsi.sense import SenseKey

_log = logging.getLogger(__name__)

WINDOW = 64
"""Commands that a session may have under way."""
_BUDGET = 16 << 20
"""Bytes of data-out that a session may hold before the next is asked for; the oldest command always may."""
_DATA_PHASE, _DIGEST = 0x4B00, 0x4705


@dataclass(frozen=True, slots=True)
class Identity:
    """``tsih`` and ``isid`` name the session to its initiator; ``target`` is "" for discovery."""

    initiator: str
    isid: int
    tsih: int
    target: str


class Session:
    """``seat`` is None for a discovery session, which has no commands. ``peers`` gives all sessions of the
    unit.
    """

    def __init__(self, channel: Channel, identity: Identity, parameters: Parameters, cmd_sn: int,
                 stat_sn: int, seat: Seat | None, peers: Callable[[], Iterable[Session]],
                 texts: Texts) -> None:
        self.identity = identity
        self.nexus = seat.nexus if seat else ""
        self._seat = seat
        self._peers = peers
        self._channel = channel
        self._parameters = parameters
        self._window = CommandWindow(cmd_sn, WINDOW)
        self._tasks = Tasks()
        self._sender = Sender(channel, parameters, self._window, stat_sn)
        self._executor = Executor(seat, self._tasks, self._sender, self._resume) if seat else None
        self._waiting: deque[Exchange] = deque()
        self._tags = itertools.cycle(range(1, RESERVED_TAG))
        self._texts = texts
        self._leaving = False
        self._pings = Pings(self._ping)

    # As others see it.

    def find(self, tag: int) -> Exchange | None:
        return self._tasks.find(tag)

    def abort(self, exchanges: Iterable[Exchange] | None, watcher: Callable[[], None], *,
              tell: bool = False) -> int:
        waiting = self._tasks.abort(exchanges, watcher, tell=tell)
        if tell:
            with self._tasks.guard:
                over = self._aborted_waiting()
            self._report(over)
        if self._executor is not None:
            for exchange in waiting:
                self._executor.cancel(exchange)
        return len(waiting)

    def end(self, reason: str) -> None:
        """Have the connection closed, from any thread."""
        _log.info("session of %s with %s ends: %s", self.identity.initiator, self.identity.target, reason)
        self._channel.hang_up()

    # The thread that hears the initiator.

    def arrive(self) -> None:
        """Begin with a nexus that holds nothing, and that hears of a power on."""
        if self._seat is not None:
            self._seat.unit.lose(self._seat.nexus)

    def begin(self, answer: LoginResponse, text: bytes) -> None:
        """Send the last response of the login phase, behind which everything is as agreed."""
        channel = self._channel
        channel.send((answer.put(len(text)), text))
        channel.header_digest = self._parameters.header_digest
        channel.data_digest = self._parameters.data_digest
        channel.idle = self._pings.idle

    def run(self) -> None:
        """Until logout or the end of the connection; nothing of the session is under way when it returns.

        Gone and WireError where it did not end as it should.
        """
        try:
            while not self._leaving:
                header = self._channel.header()
                if header is None:
                    return
                self._pings.heard()
                self._take(header)
        finally:
            self.abort(None, lambda: None)
            if self._executor is not None:
                self._executor.stop()

    def _take(self, header: bytes) -> None:
        opcode, length = header[0] & 0x3F, int.from_bytes(header[5:8], "big")
        if length > self._parameters.max_receive:
            # 7.9: nothing that could be trusted follows.
            raise WireError(f"a data segment of {length} bytes where {self._parameters.max_receive} "
                            "are agreed")
        segments = self._channel.rest(header)
        match opcode:
            case Opcode.SCSI_COMMAND:
                self._command(header, segments, length)
            case Opcode.DATA_OUT:
                self._data_out(DataOut.take(header), length)
            case _:
                try:
                    data = self._channel.data(length)
                except DataDigestError:
                    self._reject(header, RejectReason.DATA_DIGEST)
                    return
                self._request(opcode, header, data)

    def _request(self, opcode: int, header: bytes, data: bytes) -> None:
        match opcode:
            case Opcode.NOP_OUT:
                self._nop(NopOut.take(header), data)
            case Opcode.TASK_REQUEST:
                self._manage(TaskRequest.take(header))
            case Opcode.TEXT_REQUEST:
                self._text(TextRequest.take(header), header, data)
            case Opcode.LOGOUT_REQUEST:
                self._logout(LogoutRequest.take(header))
            case Opcode.SNACK_REQUEST:
                self._reject(header, RejectReason.SNACK)
            case Opcode.LOGIN_REQUEST:
                self._reject(header, RejectReason.PROTOCOL_ERROR)
            case _:
                self._reject(header, RejectReason.NOT_SUPPORTED)

    def _in_order(self, request: NopOut | ScsiCommand | TaskRequest | TextRequest | LogoutRequest) -> bool:
        """Whether to act on it. What is outside the window is dropped without a word (4.2.2.1)."""
        if request.immediate:
            # It carries the number of the next command and does not use it up.
            return request.cmd_sn == self._window.expected
        return self._window.takes(request.cmd_sn)

    def _reject(self, header: bytes, reason: RejectReason) -> None:
        self._sender.send(Reject, header[:48], busy=len(self._tasks), reason=reason)

    # Commands and their data.

    def _command(self, header: bytes, segments: bytes, length: int) -> None:
        command = ScsiCommand.take(header)
        if not self._in_order(command):
            self._channel.skip(length)
            return
        executor = self._executor
        if executor is None:
            self._channel.skip(length)
            self._reject(header, RejectReason.PROTOCOL_ERROR)
            return
        exchange = Exchange(command, take_extended_cdb(command.cdb, segments), self._sender.buffers)
        if length and (length > command.length or not command.write
                       or not self._parameters.immediate_data or length > self._parameters.first_burst):
            self._channel.skip(length)
            self._reject(header, RejectReason.PROTOCOL_ERROR)
            return
        if command.immediate and len(self._tasks) > WINDOW:
            self._channel.skip(length)
            self._reject(header, RejectReason.IMMEDIATE_COMMAND)
            return
        if not self._tasks.add(exchange):
            self._channel.skip(length)
            self._reject(header, RejectReason.TASK_IN_PROGRESS)
            return
        more = not command.final and command.write
        if length or more:
            first = min(self._parameters.first_burst, command.length)
            exchange.expect(first if more else length)
            if not self._fill(exchange, exchange.immediate(length)):
                return
        if not more:
            exchange.close_burst()
            self._continue(exchange)

    def _fill(self, exchange: Exchange, room: memoryview) -> bool:
        """Whether the data came whole. Where it did not, the command ends (7.8)."""
        try:
            self._channel.data_into(room)
        except DataDigestError:
            self._fail(exchange, _DIGEST)
            return False
        return True

    def _data_out(self, data: DataOut, length: int) -> None:
        exchange = self._tasks.find(data.task_tag)
        if exchange is None or exchange.phase is not Phase.COLLECTING:
            # Of a command that was aborted or has failed: the initiator may not know yet.
            self._channel.skip(length)
            return
        try:
            room = exchange.place(data, length)
        except DataPhaseError as error:
            _log.warning("%s: data-out of command %s: %s", self.identity.initiator, exchange.cdb.hex(" "),
                         error)
            self._channel.skip(length)
            self._fail(exchange, _DATA_PHASE)
            return
        if self._fill(exchange, room) and data.final:
            exchange.close_burst()
            self._continue(exchange)

    def _continue(self, exchange: Exchange) -> None:
        """A burst has come: ask for the next, or carry the command out."""
        assert self._executor is not None
        if exchange.missing and exchange.command.length <= MAX_TRANSFER and not exchange.aborted:
            self._waiting.append(exchange)
        else:
            exchange.phase = Phase.QUEUED
            self._executor.submit(exchange)
        if self._waiting:
            self._resume()

    def _resume(self) -> None:
        """Ask for data, as far as there is memory; also called by the executor, when a command has ended."""
        asked: list[Callable[[], None]] = []
        with self._tasks.guard:
            over = self._aborted_waiting()
            oldest = self._tasks.oldest_collecting()
            while self._waiting:
                # The oldest goes first and is never refused: without its end nothing would come free.
                exchange = oldest if oldest in self._waiting else self._waiting[0]
                assert exchange is not None
                size = min(self._parameters.max_burst, exchange.missing)
                if exchange.aborted or not size:
                    self._waiting.remove(exchange)
                    continue
                if self._sender.buffers.used + size > _BUDGET and exchange is not oldest:
                    break
                self._waiting.remove(exchange)
                tag = next(self._tags)
                number = exchange.expect(size, tag)
                asked.append(partial(self._sender.send, R2T, busy=len(self._tasks), advance=False,
                                     task_tag=exchange.tag, transfer_tag=tag, r2t_sn=number,
                                     lun=exchange.command.lun, offset=exchange.received, length=size))
        for ask in asked:
            ask()
        self._report(over)

    def _aborted_waiting(self) -> list[Exchange]:
        """Take out what was aborted before it was asked for data, and is to be told; with the guard held."""
        # A copy: the thread that hears the initiator may add one meanwhile.
        over = [one for one in list(self._waiting) if one.owed and one.phase is Phase.COLLECTING]
        for exchange in over:
            self._waiting.remove(exchange)
            exchange.phase = Phase.QUEUED
        return over

    def _report(self, over: list[Exchange]) -> None:
        for exchange in over:
            assert self._executor is not None
            self._executor.report(exchange)

    def _fail(self, exchange: Exchange, code: int) -> None:
        """End a command whose data did not come as it should."""
        if self._tasks.answer(exchange) or exchange.owed:
            self._sender.conclude(exchange, sense_of(SenseKey.ABORTED_COMMAND, code), None, len(self._tasks))
        self._tasks.end(exchange)

    # Other requests.

    def _manage(self, request: TaskRequest) -> None:
        if not self._in_order(request):
            return
        if self._seat is None:
            self._sender.send(TaskResponse, busy=0, task_tag=request.task_tag, response=TaskAnswer.REJECTED)
            return

        def answer(found: TaskAnswer) -> None:
            try:
                self._sender.send(TaskResponse, busy=len(self._tasks), task_tag=request.task_tag,
                                  response=found)
            except Gone:
                pass  # nobody is there to be told

        manage(request, self, self._peers(), self._seat.unit, answer)

    def _nop(self, request: NopOut, data: bytes) -> None:
        if not self._in_order(request):
            return
        if request.task_tag != RESERVED_TAG:
            self._sender.send(NopIn, data[:self._parameters.max_send], busy=len(self._tasks),
                              task_tag=request.task_tag, lun=request.lun)

    def _ping(self) -> None:
        self._sender.send(NopIn, busy=len(self._tasks), advance=False, task_tag=RESERVED_TAG,
                          transfer_tag=next(self._tags))

    def _text(self, request: TextRequest, header: bytes, data: bytes) -> None:
        if not self._in_order(request):
            return
        try:
            answer, tag = self._texts.answer(request, data, self._parameters.max_send)
        except WireError as error:
            _log.info("%s: %s", self.identity.initiator, error)
            self._reject(header, RejectReason.PROTOCOL_ERROR)
            return
        self._sender.send(TextResponse, answer, busy=len(self._tasks), task_tag=request.task_tag,
                          transfer_tag=tag, final=int(tag == RESERVED_TAG), lun=request.lun)

    def _logout(self, request: LogoutRequest) -> None:
        if not self._in_order(request):
            return
        answer = LogoutAnswer.NO_RECOVERY if request.reason == LogoutReason.RECOVERY else LogoutAnswer.CLOSED
        self.abort(None, lambda: None)
        self._sender.send(LogoutResponse, busy=0, task_tag=request.task_tag, response=answer)
        self._leaving = answer is LogoutAnswer.CLOSED
