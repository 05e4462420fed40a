"""Carries out the commands of a session, one after the other, and sends what comes of them.

RFC 7143 11.3 to 11.7. EXTENDED COPY has a thread of its own for each: it takes long, and meanwhile the
initiator asks for its status on the same nexus.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ndmpd.pieces import Inline, Piece, Zeros
from ndmpd.ports import Command, Result
from ndmpd.san.copymanager.commands import OPCODES
from ndmpd.san.copymanager.link import Link
from ndmpd.san.errors import CopyManagerDown, CopyManagerGone, UnitBusy
from ndmpd.san.folder import San
from ndmpd.san.target.channel import Gone
from ndmpd.san.target.exchange import Exchange
from ndmpd.san.target.logical_unit import LogicalUnit
from ndmpd.san.target.sender import Sender
from ndmpd.san.target.strangers import answer_for_nobody
from ndmpd.san.target.tasks import Tasks
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import Sense, SenseKey

_log = logging.getLogger(__name__)

MAX_COPIES = 8
"""Copies under way at a time in one session."""
MAX_TRANSFER = 32 << 20
"""Longest data of one command, in bytes."""
_PATIENCE = 60.0
_COPY_PATIENCE = 24 * 3600.0
"""Seconds that a command may take. Whoever has less patience with a copy aborts it."""
_BEYOND = Zeros(1 << 62)
"""Where data-in goes that the initiator has no room for: it is counted, which makes the residual."""
_UNREACHABLE = 0x0800


def sense_of(key: SenseKey, code: int) -> Result:
    return Result(Status.CHECK_CONDITION, Sense(key, code).put())


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a session sits: its unit, and its nexus."""

    san: San
    unit: LogicalUnit
    nexus: str


class Executor:
    """``submit`` and ``stop`` come from the thread that hears the initiator; ``settled`` is called after each
    command.
    """

    def __init__(self, seat: Seat, tasks: Tasks, sender: Sender, settled: Callable[[], None]) -> None:
        self._seat = seat
        self._tasks = tasks
        self._sender = sender
        self._settled = settled
        self._queue: queue.SimpleQueue[Exchange | None] = queue.SimpleQueue()
        self._status_link = Link(seat.san.path, seat.nexus)
        self._copies: dict[Exchange, Link] = {}
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"{seat.unit.name} commands")
        self._thread.start()

    def submit(self, exchange: Exchange) -> None:
        if exchange.cdb[0] == Opcode.EXTENDED_COPY and self._seat.unit.third_party:
            self._start_copy(exchange)
        else:
            self._queue.put(exchange)

    def stop(self) -> None:
        """No command comes any more, and what is under way has been aborted: wait for its end."""
        self._queue.put(None)
        self._thread.join()
        with self._guard:
            links = list(self._copies.values())
        for link in links:
            link.cancel()
        self._status_link.close()

    def cancel(self, exchange: Exchange) -> None:
        """It has been aborted: end it soon, where that is possible. Its end is told by ``Tasks.end``."""
        with self._guard:
            link = self._copies.get(exchange)
        if link is not None:
            link.cancel()

    def _run(self) -> None:
        while (exchange := self._queue.get()) is not None:
            self._carry_out(exchange, self._status_link)

    def _start_copy(self, exchange: Exchange) -> None:
        with self._guard:
            full = len(self._copies) >= MAX_COPIES
            link = Link(self._seat.san.path, self._seat.nexus)
            if not full:
                self._copies[exchange] = link
        if full:
            self._finish(exchange, Result(Status.TASK_SET_FULL), None)
        else:
            threading.Thread(target=self._copy, args=(exchange, link), daemon=True,
                             name=f"{self._seat.unit.name} copy").start()

    def _copy(self, exchange: Exchange, link: Link) -> None:
        try:
            self._carry_out(exchange, link)
        finally:
            with self._guard:
                del self._copies[exchange]
            link.close()

    def _carry_out(self, exchange: Exchange, link: Link) -> None:
        if not self._tasks.begin(exchange):
            self._tasks.end(exchange)
            self._settled()
            return
        room = self._room(exchange)
        try:
            result = self._execute(exchange, room, link)
        except Exception:
            # Whatever it was: the initiator waits for an answer, and the session goes on.
            _log.exception("%s: command %s", self._seat.unit.name, exchange.cdb.hex(" "))
            result = sense_of(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE)
        self._finish(exchange, result, room)

    def _room(self, exchange: Exchange) -> memoryview | None:
        command = exchange.command
        if not command.read or not command.length:
            return None
        buffer = self._sender.buffers.take(min(command.length, MAX_TRANSFER))
        exchange.taken.append(buffer)
        return buffer[:min(command.length, MAX_TRANSFER)]

    def _execute(self, exchange: Exchange, room: memoryview | None, link: Link) -> Result:
        command, seat = exchange.command, self._seat
        if command.length > MAX_TRANSFER:
            return sense_of(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB)
        into: list[Piece] = [] if command.write else [_BEYOND]
        if room is not None:
            into.insert(0, Inline(room))
        order = Command(exchange.cdb, exchange.pieces, into, _PATIENCE)
        if command.lun:
            return answer_for_nobody(order)
        try:
            if exchange.cdb[0] in OPCODES and seat.unit.third_party:
                order.timeout = _COPY_PATIENCE
                return link.execute(seat.unit.name, order)
            return seat.unit.execute(seat.nexus, order)
        except UnitBusy as error:
            _log.warning("%s: %s", seat.unit.name, error)
            return Result(Status.BUSY)
        except CopyManagerDown as error:
            _log.error("%s: %s", seat.unit.name, error)
            return sense_of(SenseKey.NOT_READY, Asc.BECOMING_READY)
        except CopyManagerGone as error:
            _log.error("%s: %s", seat.unit.name, error)
            return sense_of(SenseKey.ABORTED_COMMAND, _UNREACHABLE)

    def _finish(self, exchange: Exchange, result: Result, room: memoryview | None) -> None:
        try:
            if self._tasks.answer(exchange):
                self._sender.conclude(exchange, result, room, len(self._tasks))
        except Gone:
            pass  # whoever receives is told so, too
        finally:
            self._tasks.end(exchange)
            self._settled()
