"""Where a backup's pieces go, in the data process: the local channel to a mover, or a TCP connection.

An outlet carries pieces in order, reports what could not be read of them, and after ``finish`` the stream is
where it should be: on tape (local), or in the hands of the peer's TCP (remote).
"""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ndmpd.datapath import copy_to_socket
from ndmpd.pieces import Piece
from ndmpd.ports import SourceFault
from ndmpd.services import channel
from ndmpd.services.channel import Kind
from ndmpd.services.lowering import Lowering
from ndmpd.services.transfer import Mover

OnFault = Callable[[SourceFault], None]
OnBytes = Callable[[int], None]

AHEAD = 128
"""Pieces that may be sent without the mover's having said that it took them."""


class Outlet(Protocol):
    """``offloaded``, ``used``: once finished, bytes that copy managers moved, and which movers did it."""

    offloaded: int
    used: str

    def send(self, piece: Piece) -> None: ...

    def finish(self) -> None: ...


class LocalOutlet:
    """Pieces to a mover or a recover of this server. Each is kept until its bytes are where they belong: in
    records on tape, at their destinations.

    How many that may be is the other end's to say: a mover takes what it needs to fill its records, whatever
    they are made of. What it says is heard after every piece, so that neither side waits for the other to
    listen.
    """

    def __init__(self, end: socket.socket, on_fault: OnFault, on_bytes: OnBytes) -> None:
        self.offloaded = 0
        self.used = str(Mover.NAS)
        self._end = end
        self._on_fault = on_fault
        self._on_bytes = on_bytes
        self._kept: deque[Piece] = deque()
        self._sent = 0
        self._confirmed = 0
        self._taken = 0
        self._done = False
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def send(self, piece: Piece) -> None:
        channel.send_piece(self._end, piece)
        self._kept.append(piece)
        self._sent += 1
        self._on_bytes(piece.length)
        while self._sent - self._taken >= AHEAD or self._poll.poll(0):
            self._hear()

    def finish(self) -> None:
        channel.send(self._end, channel.Frame(Kind.END))
        while not self._done:
            self._hear()

    def _hear(self) -> None:
        frame = channel.receive(self._end)
        if frame is None:
            raise ConnectionResetError("the other end closed it before it had all of the stream")
        match frame.kind:
            case Kind.WRITTEN:
                while self._confirmed < frame.a and self._kept:
                    self._kept.popleft()
                    self._confirmed += 1
                self._taken = max(self._taken, frame.a)
            case Kind.MORE:
                self._taken = max(self._taken, frame.a)
            case Kind.FAULT:
                piece = self._kept[frame.a - self._confirmed]
                reason = bytes(frame.payload).decode("utf-8", "replace")
                self._on_fault(SourceFault(piece, frame.b, frame.c, reason))
            case Kind.DONE:
                self.offloaded, self.used = frame.a, bytes(frame.payload).decode()
                self._done = True
            case other:
                raise ConnectionResetError(f"the other end sent {other.name} during a backup")


class RemoteOutlet:
    """Bytes to another server's mover; extents by sendfile."""

    def __init__(self, connection: socket.socket, lowering: Lowering, on_fault: OnFault,
                 on_bytes: OnBytes) -> None:
        self.offloaded = 0
        self.used = str(Mover.NAS)
        self._connection = connection
        self._lowering = lowering
        self._on_fault = on_fault
        self._on_bytes = on_bytes

    def send(self, piece: Piece) -> None:
        for part in self._lowering.sources(piece):
            faults: list[SourceFault] = []
            self._on_bytes(copy_to_socket([part], self._connection, faults))
            for fault in faults:
                self._on_fault(fault)

    def finish(self) -> None:
        """Close our side cleanly: the peer's mover takes that as the end of the stream."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError as failure:
            raise ConnectionResetError(failure.errno, failure.strerror) from failure
