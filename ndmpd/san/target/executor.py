"""Carries out the commands of a session, one after the other, and sends what comes of them.

RFC 7143 11.3 to 11.7. A command that takes no time is carried out at once by the thread that received it, if
no other waits: to wake another thread costs as much as 64 KiB of data. All others go to a thread of the
session's own, so that the initiator is heard meanwhile. EXTENDED COPY has a thread for each command: it takes
long, and the initiator asks for its status on the same nexus.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ndmpd.pieces import Inline, Piece, Zeros
from ndmpd.ports import Command, Result
from ndmpd.san.commands import UnitOpcode
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
_ENDING = 60.0
"""Seconds in which an aborted copy has ended: it is between two of its commands when it hears of that."""
_BEYOND = Zeros(1 << 62)
"""Where data-in goes that the initiator has no room for: it is counted, which makes the residual."""
_UNREACHABLE = 0x0800
_AT_ONCE = 0.02
"""Seconds that the receiving thread waits for a unit that others use, before it leaves that to another."""
_SLOW = frozenset({
    Opcode.REWIND, Opcode.INITIALIZE_ELEMENT_STATUS, Opcode.WRITE_FILEMARKS_6, Opcode.SPACE_6, Opcode.ERASE_6,
    Opcode.LOAD_UNLOAD, Opcode.LOCATE_10, Opcode.SYNCHRONIZE_CACHE_10, Opcode.UNMAP,
    Opcode.RECEIVE_COPY_RESULTS,
    Opcode.SYNCHRONIZE_CACHE_16, Opcode.LOCATE_16, Opcode.WRITE_SAME_16, Opcode.MOVE_MEDIUM,
    Opcode.EXCHANGE_MEDIUM, *UnitOpcode})
"""Commands that may wait for a medium."""


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
        self._copied = threading.Condition(self._guard)
        self._waiting = 0
        self._thread: threading.Thread | None = None

    def submit(self, exchange: Exchange) -> None:
        if exchange.cdb[0] == Opcode.EXTENDED_COPY and self._seat.unit.third_party:
            self._start_copy(exchange)
        elif self._waiting or exchange.cdb[0] in _SLOW or not self._at_once(exchange):
            self._hand_over(exchange)

    def _at_once(self, exchange: Exchange) -> bool:
        """Whether the command was carried out. Nothing of it was done where others have the unit."""
        try:
            self._carry_out(exchange, self._status_link, _AT_ONCE)
        except UnitBusy:
            return False
        return True

    def report(self, exchange: Exchange) -> None:
        """It was aborted for another initiator before all its data had come: say so, from our own thread."""
        self._hand_over(exchange)

    def _hand_over(self, exchange: Exchange) -> None:
        with self._guard:
            self._waiting += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True,
                                            name=f"{self._seat.unit.name} commands")
            self._thread.start()
        self._queue.put(exchange)

    def stop(self) -> None:
        """No command comes any more, and what is under way has been aborted: wait for its end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        with self._guard:
            links = list(self._copies.values())
        for link in links:
            link.cancel()
        with self._guard:
            # What the copy manager keeps for the nexus goes with the last of its links.
            if not self._copied.wait_for(lambda: not self._copies, _ENDING):
                _log.error("%s: a copy of %s does not end", self._seat.unit.name, self._seat.nexus)
        self._status_link.close()

    def cancel(self, exchange: Exchange) -> None:
        """It has been aborted: end it soon, where that is possible. Its end is told by ``Tasks.end``."""
        with self._guard:
            link = self._copies.get(exchange)
        if link is not None:
            link.cancel()

    def _run(self) -> None:
        while (exchange := self._queue.get()) is not None:
            try:
                self._carry_out(exchange, self._status_link)
            finally:
                with self._guard:
                    self._waiting -= 1

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
            link.close()
            with self._guard:
                del self._copies[exchange]
                self._copied.notify_all()

    def _carry_out(self, exchange: Exchange, link: Link, patience: float = _PATIENCE) -> None:
        """UnitBusy, with less than all patience, where it has to be tried again."""
        if not self._tasks.begin(exchange):
            self._finish(exchange, Result(Status.TASK_ABORTED), None)
            return
        room = self._room(exchange)
        try:
            result = self._execute(exchange, room, link, patience)
        except UnitBusy as error:
            if patience < _PATIENCE:
                raise
            _log.warning("%s: %s", self._seat.unit.name, error)
            result = Result(Status.BUSY)
        except Exception:
            # Whatever it was: the initiator waits for an answer, and the session goes on.
            _log.exception("%s: command %s", self._seat.unit.name, exchange.cdb.hex(" "))
            result = sense_of(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE)
        self._finish(exchange, result, room)

    def _room(self, exchange: Exchange) -> memoryview | None:
        command = exchange.command
        if not command.read or not command.length:
            return None
        if not exchange.taken:
            exchange.taken.append(self._sender.buffers.take(min(command.length, MAX_TRANSFER)))
        return exchange.taken[0][:command.length]

    def _execute(self, exchange: Exchange, room: memoryview | None, link: Link, patience: float) -> Result:
        command, seat = exchange.command, self._seat
        if command.length > MAX_TRANSFER:
            return sense_of(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB)
        into: list[Piece] = [] if command.write else [_BEYOND]
        if room is not None:
            into.insert(0, Inline(room))
        order = Command(exchange.cdb, exchange.pieces, into, patience)
        if command.lun:
            return answer_for_nobody(order)
        try:
            if exchange.cdb[0] in OPCODES and seat.unit.third_party:
                order.timeout = _COPY_PATIENCE
                return link.execute(seat.unit.name, order)
            return seat.unit.execute(seat.nexus, order)
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
            elif exchange.owed:
                # Nobody waits for this but its own initiator: whoever reset the unit is told first.
                self._tasks.end(exchange)
                self._sender.conclude(exchange, Result(Status.TASK_ABORTED), None, len(self._tasks))
        except Gone:
            pass  # whoever receives is told so, too
        finally:
            self._tasks.end(exchange)
            self._settled()
