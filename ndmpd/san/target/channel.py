"""PDUs over a TCP connection that blocks: bounded in memory, and in time by the socket's own time-outs.

A system call for each header and each data segment, whatever their size; data goes to and from the caller's
buffers.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence

from protocol.iscsi.pdu import BHS
from protocol.iscsi.segments import DIGEST, padding, put_digest

TICK = 5.0
"""Seconds of silence after which ``idle`` is called."""
STALLED = 60.0
"""Seconds in which what has begun must have come, or have gone."""
_MOST_AT_ONCE = 64
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


class Gone(Exception):
    """The connection cannot go on; the text says why."""


class DataDigestError(Exception):
    """A data segment came damaged. The stream goes on behind it."""


class Channel:
    """One thread receives; any may send, one at a time: that is the caller's business.

    ``idle`` is called from the receiving thread while nothing comes. ``deadline``: until when the next header
    must have come at all, for peers that have not logged in.
    """

    def __init__(self, connection: socket.socket, idle: Callable[[], None] = lambda: None) -> None:
        self.header_digest = self.data_digest = False
        self.idle = idle
        self.deadline: float | None = None
        self._socket = connection
        self._header = bytearray(BHS + DIGEST)
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (*_KEEPALIVE, (socket.TCP_USER_TIMEOUT, int(STALLED * 1000))):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(TICK))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(STALLED))

    def header(self) -> bytes | None:
        """The next header; None where the peer closed between two. Gone where its digest is wrong: nothing
        tells where the next one begins.
        """
        size = BHS + DIGEST if self.header_digest else BHS
        view = memoryview(self._header)[:size]
        started = self._begin(view)
        if not started:
            return None
        if started < size:
            self._fill(view[started:])
        found = bytes(view[:BHS])
        if not self.header_digest:
            return found
        more = b""
        if found[4]:
            # The digest covers the additional header segments, and comes behind them.
            more = bytes(view[BHS:]) + self.take(found[4] * 4)
            found, digest = found + more[:-DIGEST], more[-DIGEST:]
        else:
            digest = bytes(view[BHS:])
        if put_digest(found) != digest:
            raise Gone("a header digest is wrong")
        return found

    def rest(self, header: bytes) -> bytes:
        """The additional header segments of a header."""
        length = header[4] * 4
        if not length:
            return b""
        return header[BHS:] if self.header_digest else self.take(length)

    def _begin(self, view: memoryview) -> int:
        while True:
            try:
                return self._socket.recv_into(view, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                self._check_deadline()
                self.idle()
            except OSError as error:
                raise Gone(error.strerror or str(error)) from error

    def _check_deadline(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Gone("the initiator took too long")

    def _fill(self, view: memoryview) -> None:
        """All of ``view``, in the time that it may take."""
        limit = 0.0
        while view:
            try:
                got = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                got = -1
            except OSError as error:
                raise Gone(error.strerror or str(error)) from error
            if got == 0:
                raise Gone("the connection ended in the middle of a PDU")
            if got > 0:
                view = view[got:]
            if view:
                self._check_deadline()
                limit = limit or time.monotonic() + STALLED
                if time.monotonic() > limit:
                    raise Gone("the rest of a PDU did not come")

    def take(self, length: int) -> bytes:
        """``length`` bytes, which the caller has bounded."""
        found = bytearray(length)
        self._fill(memoryview(found))
        return bytes(found)

    def data(self, length: int) -> bytes:
        """A data segment of ``length`` bytes, which the caller has bounded. DataDigestError."""
        found = bytearray(length)
        self.data_into(memoryview(found))
        return bytes(found)

    def data_into(self, view: memoryview) -> None:
        """A data segment as long as ``view``, and what belongs to it. DataDigestError."""
        if not view:
            return
        self._fill(view)
        size = padding(len(view)) + (DIGEST if self.data_digest else 0)
        if not size:
            return
        tail = self.take(size)
        if self.data_digest and put_digest(view, tail[:-DIGEST]) != tail[-DIGEST:]:
            raise DataDigestError

    def skip(self, length: int) -> None:
        """Throw a data segment of ``length`` bytes away."""
        left = length + padding(length) + (DIGEST if self.data_digest and length else 0)
        while left:
            left -= len(self.take(min(left, 65536)))

    def send(self, *pdus: tuple[bytes, bytes | memoryview]) -> None:
        """Send PDUs: of each the header and the data segment."""
        parts: list[bytes | memoryview] = []
        for header, data in pdus:
            parts.append(header)
            if self.header_digest:
                parts.append(put_digest(header))
            if data:
                parts.append(data)
                if fill := bytes(padding(len(data))):
                    parts.append(fill)
                if self.data_digest:
                    parts.append(put_digest(data, fill))
        for at in range(0, len(parts), _MOST_AT_ONCE):
            self._send(parts[at:at + _MOST_AT_ONCE])

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        size = sum(map(len, parts))
        try:
            sent = self._socket.sendmsg(parts)
            if sent < size:
                rest = memoryview(b"".join(parts))[sent:]
                self._socket.sendall(rest)
        except OSError as error:
            # Nothing that could be sent later would mean anything behind half a PDU.
            raise Gone(error.strerror or str(error)) from error

    def hang_up(self) -> None:
        """End it, from any thread: whoever receives or sends is told so."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the peer was first

    def close(self) -> None:
        self._socket.close()
