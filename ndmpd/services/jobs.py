"""What a data process is told, what it tells its session, and the counters they share.

A data process and its session are one program in two processes on a private socket, so values travel pickled;
file history, which is bulk, travels packed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ndmpd.errors import StreamError
from ndmpd.services.hello import Hello
from ndmpd.session.events import Event, History
from protocol.ndmp.codes import DataOperation, Version
from protocol.ndmp.message import Message

_LENGTH = struct.Struct("!II")
_PICKLED = 0
_COUNTERS = struct.Struct("QQ")
_NO_ESTIMATE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Order:
    """One backup or recover for a data process. ``local``: its data connection is a local channel.

    ``peer``: who is at the other end of that, where it was heard already.
    """

    version: Version
    operation: DataOperation
    butype: str
    environment: tuple[tuple[str, str], ...]
    nlist: tuple[Message, ...]
    local: bool
    peer: Hello | None = None


class Counters:
    """Bytes done and bytes expected, in memory that both processes map. ``fd`` is handed to the other one."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("ndmpd-counters") if fd is None else fd
        if fd is None:
            os.ftruncate(self.fd, _COUNTERS.size)
        self._map = mmap.mmap(self.fd, _COUNTERS.size)
        if fd is None:
            self.estimate(None)

    def add(self, count: int) -> None:
        """Only the data process writes."""
        done, expected = _COUNTERS.unpack_from(self._map)
        _COUNTERS.pack_into(self._map, 0, done + count, expected)

    def estimate(self, total: int | None) -> None:
        struct.pack_into("Q", self._map, 8, _NO_ESTIMATE if total is None else total)

    def read(self) -> tuple[int, int | None]:
        """Bytes done; bytes of the whole stream, None where unknown."""
        done, expected = _COUNTERS.unpack_from(self._map)
        return done, None if expected == _NO_ESTIMATE else expected

    def close(self) -> None:
        self._map.close()
        os.close(self.fd)


def tell(session: socket.socket, event: Event) -> None:
    """Data process to session; blocks while the DMA reads slowly. OSError where the session is gone."""
    if isinstance(event, History):
        session.sendall(_LENGTH.pack(len(event.body), event.message) + event.body)
    else:
        body = pickle.dumps(event, pickle.HIGHEST_PROTOCOL)
        session.sendall(_LENGTH.pack(len(body), _PICKLED) + body)


class Events:
    """The session's side: events out of the bytes that arrived."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Event]:
        pending = self._pending
        pending += data
        start = 0
        while len(pending) - start >= _LENGTH.size:
            length, message = _LENGTH.unpack_from(pending, start)
            body = start + _LENGTH.size
            if len(pending) - body < length:
                break
            start = body + length
            taken = bytes(pending[body:start])
            yield pickle.loads(taken) if message == _PICKLED else History(message, taken)
        del pending[:start]

    def finish(self) -> None:
        """The process ended. Raises StreamError where it died inside a message."""
        if self._pending:
            raise StreamError("the data process died while it told something")
