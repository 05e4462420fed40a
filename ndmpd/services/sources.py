"""Where a stream comes from, for whoever takes it: pieces, by number, as often as they are asked for."""

from __future__ import annotations

import select
import socket
from abc import ABC, abstractmethod

from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written
from ndmpd.errors import SourceError
from ndmpd.pieces import Piece
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.transfer import Mover

STALL = 20
"""Milliseconds without a byte after which whole records that are there are written."""
_SAY = 64
"""Pieces taken after which DATA is told so, where it may be waiting for that (see ``outlets.AHEAD``)."""


class Source(ABC):
    """Where the stream comes from. Pieces carry the number that ``written`` and ``fault`` know them by.

    ``asked``: the type of data mover that may carry them.
    """

    asked = Mover.NAS

    @abstractmethod
    def next(self) -> tuple[int, Piece] | None:
        """The next piece, None once the peer has closed. Blocks."""

    @abstractmethod
    def idle(self) -> bool:
        """Whether nothing has come for a moment: whole records that are there are better written."""

    def copy(self, drive: TapeDrive, record_size: int, records: int) -> Written | None:
        """Have at most ``records`` records that come next put onto the tape without passing through here;
        None where they are to be had by ``next``. Called while nothing that came waits to be written.
        """
        return None

    @property
    def carried(self) -> dict[str, int]:
        """Bytes that were put there so, by copy manager; from any thread."""
        return {}

    def written(self, pieces: int) -> None:
        """So many pieces, from the first of the stream, are on tape."""

    def fault(self, number: int, skipped: int, length: int, reason: str) -> None:
        """Bytes of a piece could not be read and are zeros on the tape."""
        raise SourceError(reason)

    def done(self, offloaded: int, used: str) -> None:
        """All that came is on tape: so many bytes of it by copy managers, and ``used`` by whom."""

    def close(self) -> None:
        """The run is over, well or not."""


class LocalSource(Source):
    """Pieces of this server's DATA."""

    def __init__(self, end: socket.socket, asked: Mover = Mover.NAS) -> None:
        self.asked = asked
        self._end = end
        self._count = 0
        self._written = 0
        self._told = 0
        self._complete = False
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    def next(self) -> tuple[int, Piece] | None:
        if self._complete:
            return None
        if self._count - self._told >= _SAY and not self._poll.poll(0):
            self._ask()
        frame = channel.receive(self._end)
        if frame is None or frame.kind is Kind.END:
            self._complete = frame is not None
            return None
        self._count += 1
        return self._count - 1, channel.piece_of(frame)

    def idle(self) -> bool:
        if self._complete or self._poll.poll(0):
            return False
        if self._count > self._told:
            self._ask()
        return not self._poll.poll(STALL)

    def _ask(self) -> None:
        self._told = self._count
        channel.send(self._end, Frame(Kind.MORE, self._count))

    @property
    def complete(self) -> bool:
        """DATA has said that there is no more."""
        return self._complete

    def written(self, pieces: int) -> None:
        # Said again and again while one long piece is written, it would fill the channel.
        if pieces > self._written:
            self._written = pieces
            self._told = max(self._told, pieces)
            channel.send(self._end, Frame(Kind.WRITTEN, pieces))

    def fault(self, number: int, skipped: int, length: int, reason: str) -> None:
        channel.send(self._end, Frame(Kind.FAULT, number, skipped, length, reason.encode()))

    def done(self, offloaded: int, used: str) -> None:
        if self._complete:
            channel.send(self._end, Frame(Kind.DONE, offloaded, payload=used.encode()))
