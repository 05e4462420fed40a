"""What goes over the copy manager's socket: a command of a nexus to a unit, and how it ended."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ndmpd.san.copymanager.profile import MAX_PARAMETERS
from protocol.errors import WireError

SOCKET = "copymanager.sock"
MAX_ROOM = 1 << 26
"""Longest data-in that is asked for at a time: more than there ever is."""
_MAX_NAME = 256
_MAX_CDB = 260
_MAGIC = b"nCM1"
_REQUEST = struct.Struct(">4sHHHIIQ")
_REPLY = struct.Struct(">BHII")


@dataclass(frozen=True, slots=True)
class Request:
    """``data``: the data-out. ``room``: bytes of data-in that the initiator takes. ``timeout`` in seconds.

    ``cdb`` empty: end all copies of this nexus that were sent to the unit.
    """

    nexus: str
    unit: str
    cdb: bytes
    data: bytes
    room: int
    timeout: float

    def send(self, connection: socket.socket) -> None:
        nexus, unit = self.nexus.encode(), self.unit.encode()
        connection.sendall(_REQUEST.pack(_MAGIC, len(nexus), len(unit), len(self.cdb), len(self.data),
                                         min(self.room, MAX_ROOM), int(self.timeout * 1000))
                           + nexus + unit + self.cdb + self.data)

    @classmethod
    def receive(cls, connection: socket.socket) -> Request | None:
        """None where the peer has closed between two commands. WireError for what is no command."""
        head = _receive(connection, _REQUEST.size)
        if not head:
            return None
        magic, nexus, unit, cdb, data, room, timeout = _REQUEST.unpack(_whole(head, _REQUEST.size))
        if magic != _MAGIC or max(nexus, unit) > _MAX_NAME or cdb > _MAX_CDB or data > MAX_PARAMETERS:
            raise WireError("the peer does not speak the copy manager's language")
        size = nexus + unit + cdb + data
        body = _whole(_receive(connection, size), size)
        try:
            names = body[:nexus].decode(), body[nexus:nexus + unit].decode()
        except UnicodeDecodeError as error:
            raise WireError("a name is no text") from error
        at = nexus + unit
        return cls(*names, body[at:at + cdb], body[at + cdb:], min(room, MAX_ROOM), timeout / 1000)


@dataclass(frozen=True, slots=True)
class Reply:
    """``transferred`` counts data-out bytes taken, or is the length of ``data``."""

    status: int
    sense: bytes = b""
    data: bytes = b""
    transferred: int = 0

    def send(self, connection: socket.socket) -> None:
        connection.sendall(_REPLY.pack(self.status, len(self.sense), len(self.data), self.transferred)
                           + self.sense + self.data)

    @classmethod
    def receive(cls, connection: socket.socket) -> Reply:
        """WireError where the copy manager went away before its answer."""
        head = _whole(_receive(connection, _REPLY.size), _REPLY.size)
        status, sense, data, transferred = _REPLY.unpack(head)
        body = _whole(_receive(connection, sense + data), sense + data)
        return cls(status, body[:sense], body[sense:], transferred)


def _receive(connection: socket.socket, size: int) -> bytes:
    """``size`` bytes, or fewer where the peer closed."""
    found = bytearray()
    while len(found) < size:
        part = connection.recv(min(size - len(found), 1 << 20))
        if not part:
            break
        found += part
    return bytes(found)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise WireError(f"the connection ended after {len(data)} of {size} bytes")
    return data


@contextmanager
def address(san_dir: Path) -> Iterator[str]:
    """The socket's address: by a descriptor of its folder, since a path may be longer than an address."""
    folder = os.open(san_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
