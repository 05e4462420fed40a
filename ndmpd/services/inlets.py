"""Where a recover's bytes come from, in the data process: pulls on the local channel, or a TCP connection.

Both are ``ports.StreamReader``. A range is asked for through ``ask`` (NOTIFY_DATA_READ, or the session's own
mover) and is used up before the next: a mover serves one read at a time (3.6.2.5).
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ndmpd.datapath import length_of, put_bytes
from ndmpd.errors import StreamError
from ndmpd.filecopy import CHUNK
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros, part
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.lowering import Lowering
from ndmpd.services.transfer import Mover
from ndmpd.session.spans import ALL_ONES

Ask = Callable[[int, int], None]
OnBytes = Callable[[int], None]


class ConnectionBroken(StreamError):
    """The data connection is lost: no fault of the file that was just being filled."""


class RangeReader(ABC):
    """The range asked for, and where in the stream its next byte stands."""

    def __init__(self, ask: Ask, on_bytes: OnBytes) -> None:
        self._ask = ask
        self._on_bytes = on_bytes
        self.position = 0
        self.offloaded = 0
        """Bytes that copy managers moved so far."""
        self.used = str(Mover.NAS)
        """Which movers did it."""
        self._end: int | None = 0

    def want(self, offset: int, length: int) -> None:
        if self._end is not None and self.position < self._end:
            self.into([Zeros(self._end - self.position)])
        self.position = offset
        self._end = None if length == ALL_ONES or offset + length >= ALL_ONES else offset + length
        self._ask(offset, length)

    @abstractmethod
    def into(self, destinations: Sequence[Piece]) -> None: ...

    @abstractmethod
    def read_some(self, size: int) -> bytes: ...

    def read(self, size: int) -> bytes:
        data = self.read_some(size)
        while data and len(data) < size:
            more = self.read_some(size - len(data))
            if not more:
                break
            data += more
        return data

    def _within(self, size: int) -> int:
        return size if self._end is None else min(size, self._end - self.position)

    def _moved(self, size: int) -> None:
        self.position += size
        self._on_bytes(size)

    def _must(self, wanted: int, got: int) -> None:
        if got < wanted:
            raise StreamError(f"the stream ended at byte {self.position}, {wanted - got} bytes early; "
                              "is a tape of the set missing?")


class LocalInlet(RangeReader):
    """Destinations go to the mover, which fills them itself."""

    def __init__(self, end: socket.socket, ask: Ask, on_bytes: OnBytes) -> None:
        super().__init__(ask, on_bytes)
        self._channel = end

    def read_some(self, size: int) -> bytes:
        size = self._within(size)
        if size <= 0:
            return b""
        frame = self._pull(Frame(Kind.PULL, self.position, size))
        if frame is None:
            return b""
        self._moved(len(frame.payload))
        return bytes(frame.payload)

    def into(self, destinations: Sequence[Piece]) -> None:
        size = length_of(destinations)
        self._must(size, self._within(size))
        if not size:
            return
        if any(isinstance(piece, Inline) for piece in destinations):
            raise TypeError("memory of this process is filled by read")
        frame = self._pull(Frame(Kind.PULL, self.position, size, len(destinations)), destinations)
        if frame is None:
            self._must(size, 0)
            return
        self._moved(size)
        if frame.kind is Kind.FAILED:
            raise OSError(frame.a, bytes(frame.payload).decode("utf-8", "replace"))
        self.offloaded, self.used = frame.a, bytes(frame.payload).decode()

    def _pull(self, pull: Frame, destinations: Sequence[Piece] = ()) -> Frame | None:
        """The mover's answer, None where it has closed: there is no more of the stream."""
        try:
            channel.send(self._channel, pull)
            for piece in destinations:
                channel.send_piece(self._channel, piece)
            frame = channel.receive(self._channel)
        except BrokenPipeError:
            return None
        except ConnectionError as failure:
            raise ConnectionBroken(str(failure)) from failure
        if frame is not None and frame.kind not in (Kind.FILLED, Kind.FAILED):
            raise StreamError(f"the mover sent {frame.kind.name} during a recover")
        return frame


@contextmanager
def breaking() -> Iterator[None]:
    """What fails inside is the data connection."""
    try:
        yield
    except OSError as failure:
        raise ConnectionBroken(str(failure)) from failure


class RemoteInlet(RangeReader):
    """Bytes from another server's mover."""

    def __init__(self, connection: socket.socket, lowering: Lowering, ask: Ask, on_bytes: OnBytes) -> None:
        super().__init__(ask, on_bytes)
        self._connection = connection
        self._lowering = lowering
        self._buffer = bytearray(CHUNK)

    def read_some(self, size: int) -> bytes:
        size = self._within(min(size, CHUNK))
        with breaking():
            data = self._connection.recv(size) if size > 0 else b""
        self._moved(len(data))
        return data

    def into(self, destinations: Sequence[Piece]) -> None:
        for piece in destinations:
            self._must(piece.length, self._within(piece.length))
            target = self._lowering.destination(piece)
            done = 0
            while done < piece.length:
                view = memoryview(self._buffer)[: min(CHUNK, piece.length - done)]
                got = self._receive(view)
                self._must(len(view), got)
                if target is None:
                    blocks = part(piece, done, len(view))
                    assert isinstance(blocks, LunExtent)
                    self._lowering.write(blocks, view)
                else:
                    put_bytes(view, [part(target, done, len(view))])
                done += len(view)

    def _receive(self, view: memoryview) -> int:
        """Fill ``view``; less only where the peer closed."""
        got = 0
        while got < len(view):
            with breaking():
                count = self._connection.recv_into(view[got:])
            if not count:
                break
            got += count
        self._moved(got)
        return got
