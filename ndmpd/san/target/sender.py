"""What goes out to the initiator, in the order of its status numbers. RFC 7143 4.2.2.2."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ndmpd.ports import Result
from ndmpd.san.target.buffers import Buffers
from ndmpd.san.target.channel import Channel
from ndmpd.san.target.exchange import Exchange
from ndmpd.san.target.numbers import CommandWindow, following
from ndmpd.san.target.parameters import Parameters
from protocol.iscsi.pdu import Pdu, ScsiResponse, put_data_in, put_good
from protocol.scsi.command import Status


class Sender:
    """For all threads of a session. Gone where the connection has ended."""

    def __init__(self, channel: Channel, parameters: Parameters, window: CommandWindow, stat_sn: int) -> None:
        self.buffers = Buffers()
        self._channel = channel
        self._parameters = parameters
        self._window = window
        self._stat_sn = stat_sn
        self._lock = threading.Lock()

    def send(self, kind: Callable[..., Pdu], data: bytes = b"", *, busy: int, advance: bool = True,
             **fields: Any) -> None:
        """A PDU of this kind, with the numbers of now. ``busy``: commands under way. ``advance``: whether it
        has a status number of its own, or only says which comes next.
        """
        with self._lock:
            pdu = kind(stat_sn=self._stat_sn, exp_cmd_sn=self._window.expected,
                       max_cmd_sn=self._window.limit(busy), **fields)
            if advance:
                self._stat_sn = following(self._stat_sn)
            self._channel.send((pdu.put(len(data)), data))

    def conclude(self, exchange: Exchange, result: Result, room: memoryview | None, busy: int) -> None:
        """Data-in, if any, and the status of a command: in one with the last data where there is no sense."""
        command = exchange.command
        size = min(result.transferred, command.length) if room is not None else 0
        residual = _residual(exchange, result)
        good = result.status == Status.GOOD
        count = 0
        if size and room is not None:
            with self._lock:
                count = self._data(exchange, room[:size], busy, residual if good else None)
            if good:
                return
        elif good:
            with self._lock:
                numbers = self._window.expected, self._window.limit(busy)
                self._channel.send((put_good(exchange.tag, numbers, self._next(), residual), b""))
            return
        sense = len(result.sense).to_bytes(2, "big") + result.sense if result.sense else b""
        self.send(ScsiResponse, sense, busy=busy, task_tag=exchange.tag, status=result.status,
                  exp_data_sn=count, overflow=int(residual < 0), underflow=int(residual > 0),
                  residual=abs(residual))

    def _next(self) -> int:
        """The status number of now, which is used up."""
        number = self._stat_sn
        self._stat_sn = following(number)
        return number

    def _data(self, exchange: Exchange, view: memoryview, busy: int, residual: int | None) -> int:
        """Data-In PDUs, the last with the status GOOD if there is a ``residual``; returns how many."""
        size, burst, longest = len(view), self._parameters.max_burst, self._parameters.max_send
        numbers = self._window.expected, self._window.limit(busy)
        pdus: list[tuple[bytes, memoryview]] = []
        at = 0
        while at < size:
            end = min(at + longest, size, (at // burst + 1) * burst)
            final = end == size or end % burst == 0
            ending = (self._next(), residual) if end == size and residual is not None else ()
            pdus.append((put_data_in(exchange.tag, end - at, final, at, len(pdus), numbers, *ending),
                         view[at:end]))
            at = end
        self._channel.send(*pdus)
        return len(pdus)


def _residual(exchange: Exchange, result: Result) -> int:
    """Bytes that the initiator expected and were not moved; negative: what it had no room or data for."""
    command = exchange.command
    moved = result.transferred
    if command.write and result.status == Status.GOOD:
        moved = max(moved, result.asked)
    return command.length - moved
