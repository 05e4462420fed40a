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
from protocol.iscsi.pdu import DataIn, Pdu, ScsiResponse
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
        signs: dict[str, Any] = {"overflow": int(residual < 0), "underflow": int(residual > 0),
                                 "residual": abs(residual)}
        if not size or room is None:
            self._respond(exchange, result, busy, 0, signs)
            return
        collapsed = result.status == Status.GOOD
        with self._lock:
            count = self._data(exchange, room[:size], busy, signs if collapsed else None)
        if not collapsed:
            self._respond(exchange, result, busy, count, signs)

    def _respond(self, exchange: Exchange, result: Result, busy: int, count: int,
                 signs: dict[str, Any]) -> None:
        sense = len(result.sense).to_bytes(2, "big") + result.sense if result.sense else b""
        self.send(ScsiResponse, sense, busy=busy, task_tag=exchange.tag, status=result.status,
                  exp_data_sn=count, **signs)

    def _data(self, exchange: Exchange, view: memoryview, busy: int, signs: dict[str, Any] | None) -> int:
        """Data-In PDUs, the last with the status GOOD if ``signs`` are given; returns how many."""
        size, burst, longest = len(view), self._parameters.max_burst, self._parameters.max_send
        pdus: list[tuple[bytes, memoryview]] = []
        at = 0
        expected, limit = self._window.expected, self._window.limit(busy)
        while at < size:
            end = min(at + longest, size, (at // burst + 1) * burst)
            fields: dict[str, Any] = {
                "task_tag": exchange.tag, "final": int(end == size or end % burst == 0), "offset": at,
                "data_sn": len(pdus), "exp_cmd_sn": expected, "max_cmd_sn": limit}
            if signs is not None and end == size:
                fields |= {"has_status": 1, "status": Status.GOOD, "stat_sn": self._stat_sn, **signs}
                self._stat_sn = following(self._stat_sn)
            pdus.append((DataIn(**fields).put(end - at), view[at:end]))
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
