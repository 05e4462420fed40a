"""Bytes of another server's DATA, received while the drive writes those that came before.

A thread fills the buffers of a ring, one after the other; the mover's own thread takes what came, and gives a
buffer back once all of it is on tape. Where the ring is full, while the mover is paused for one, nothing more
is received.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from queue import Empty, SimpleQueue

from ndmpd.pieces import Inline, Piece
from ndmpd.services.sources import STALL, Source

BUFFER = 2 << 20
"""Bytes of a buffer: what one call receives at most."""
RING = 4
"""Buffers: few enough for all to stay in a processor's cache. A record that is longer than all of them
together makes more.
"""
_PATIENCE = struct.pack("@ll", 0, 10_000)
"""Seconds and microseconds after which a call that waits for a whole buffer makes do with what came. Less
than ``STALL``, so that a slow stream is not taken for one that has stalled.
"""
_END = memoryview(b"")

_Came = tuple[memoryview, memoryview | None] | OSError
"""Bytes, and the buffer that they have filled up, if they have; or what ended the connection."""


class RemoteSource(Source):
    """``connection`` stays the caller's to close, after ``close``."""

    def __init__(self, connection: socket.socket) -> None:
        self._receiver = _Receiver(connection)
        self._made = 0
        """Buffers there are."""
        self._full: deque[tuple[int, memoryview]] = deque()
        """Buffers that were taken whole, each with how many pieces have to be on tape before it is free."""
        self._count = 0
        self._came: _Came | None = None
        """The first that is not taken yet, if one was looked at."""

    def next(self) -> tuple[int, Piece] | None:
        if not self._made:
            self._make(RING)
            self._receiver.start()
        elif len(self._full) == self._made:
            self._make(1)
        came = self._came or self._receiver.came.get()
        if isinstance(came, OSError):
            self._came = came
            raise came
        data, filled = came
        if not data:
            self._came = came
            return None
        self._came = None
        self._count += 1
        if filled is not None:
            self._full.append((self._count, filled))
        return self._count - 1, Inline(data)

    def idle(self) -> bool:
        """Half a ring is enough as well: the other half is filled while it is written."""
        if 2 * len(self._full) >= self._made:
            return True
        if self._came is None:
            with suppress(Empty):
                self._came = self._receiver.came.get(timeout=STALL / 1000)
        return self._came is None

    def written(self, pieces: int) -> None:
        while self._full and self._full[0][0] <= pieces:
            self._receiver.free.put(self._full.popleft()[1])

    def close(self) -> None:
        self._receiver.stop()
        self._full.clear()

    def _make(self, buffers: int) -> None:
        self._made += buffers
        for _ in range(buffers):
            # Fresh memory is dear, and so are copies to where no page begins.
            self._receiver.free.put(memoryview(mmap.mmap(-1, BUFFER)))


class _Receiver:
    """``free`` takes buffers to fill; ``came`` has what came in them, ``_END`` or an OSError at last."""

    def __init__(self, connection: socket.socket) -> None:
        self.free: SimpleQueue[memoryview | None] = SimpleQueue()
        self.came: SimpleQueue[_Came] = SimpleQueue()
        self._connection = connection
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        self._thread.start()

    def stop(self) -> None:
        """Returns once the connection is not used any more, and nothing is held."""
        self._stopped = True
        if self._thread.ident is None:
            return
        self.free.put(None)
        with suppress(OSError):
            # Nothing of this shows at the other end.
            self._connection.shutdown(socket.SHUT_RD)
        self._thread.join()
        self.free, self.came = SimpleQueue(), SimpleQueue()

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        try:
            while (buffer := self.free.get()) is not None and self._fill(buffer, poll):
                pass
        except OSError as failure:
            self.came.put(failure)
        else:
            self.came.put((_END, None))

    def _fill(self, buffer: memoryview, poll: select.poll) -> bool:
        """False where there is nothing more to receive."""
        room = buffer
        while room and not self._stopped:
            try:
                got = self._connection.recv_into(room, 0, socket.MSG_WAITALL)
            except BlockingIOError:
                poll.poll()
                continue
            if not got:
                return False
            data, room = room[:got], room[got:]
            self.came.put((data, None if room else buffer))
        return not self._stopped
