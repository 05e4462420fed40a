"""What the session core wants done. Frozen values; the shell carries them out strictly in order.

Rules of order, which the core keeps and the shell relies on: a state is changed before its notice is sent; a
reply precedes the notices it causes; nothing of a job is sent after its HALTED notice.

``Perform``, ``DataListen``, ``DataConnect``, ``DataStart``, ``MoverListen`` and ``MoverConnect`` leave a
request unanswered: the shell gives the session no further record until the matching event (``events``) came
back and ``Session.busy`` is false again. So one request is under way at a time, and each gets one reply.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.ndmp.address import TcpAddress
from protocol.ndmp.codes import DataOperation, LogType, MoverMode
from protocol.ndmp.message import Message


@dataclass(frozen=True, slots=True)
class Send:
    """One encoded NDMP record (header and body, without record marks) for the control connection.

    ``delay``: seconds to hold it back, and to read nothing meanwhile (a wrong password costs time).
    """

    record: bytes
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Perform:
    """Carry out an admitted CONFIG, SCSI or TAPE request; answered by ``events.Performed``.

    SCSI_CLOSE ends the hold on the device whatever error its reply has; TAPE_CLOSE that fails leaves the
    drive open (3.4.3), unless it says DEV_NOT_OPEN.
    """

    request: Message


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the server's own log."""

    kind: LogType
    text: str


@dataclass(frozen=True, slots=True)
class JoinLocal:
    """DATA and MOVER of this session are now connected: make their local channel."""


@dataclass(frozen=True, slots=True)
class DataListen:
    """Answered by ``DataListening`` or ``DataFailed``; later by ``DataAccepted``."""


@dataclass(frozen=True, slots=True)
class DataConnect:
    """Answered by ``DataConnected`` or ``DataFailed``. The addresses are tried in order."""

    addresses: tuple[TcpAddress, ...]


@dataclass(frozen=True, slots=True)
class DataStart:
    """Start a backup or recover on the connection that is there: ``DataStarted`` or ``DataFailed`` answers.

    ``environment``: as the DMA sent it, in order, names possibly repeated. ``nlist``: the wire entries.
    """

    operation: DataOperation
    butype: str
    environment: tuple[tuple[str, str], ...]
    nlist: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class DataAbort:
    """End the job and close its connection or listening socket. No event of it may follow."""


@dataclass(frozen=True, slots=True)
class DataRelease:
    """Forget the halted job (DATA_STOP)."""


@dataclass(frozen=True, slots=True)
class MoverListen:
    """Answered by ``MoverListening`` or ``MoverFailed``; later by ``MoverAccepted``."""

    mode: MoverMode


@dataclass(frozen=True, slots=True)
class MoverConnect:
    """Answered by ``MoverConnected`` or ``MoverFailed``."""

    mode: MoverMode
    addresses: tuple[TcpAddress, ...]


@dataclass(frozen=True, slots=True)
class MoverStart:
    """The mover became ACTIVE on a fresh connection.

    WRITE (recover): wait for ``MoverRead``. The window is [window_offset, window_offset + window_length) of
    the stream, and the tape stands at the record for ``window_offset``.

    READ (backup): take the stream, write records. The window is the next ``window_length`` bytes of it; the
    offset only numbers the records (3.6.1.1 gives it no meaning here; clients send 0 or the bytes so far).

    All ones as length: to the end of the stream.
    """

    mode: MoverMode
    record_size: int
    window_offset: int
    window_length: int


@dataclass(frozen=True, slots=True)
class MoverContinue:
    """Leave PAUSED: go on with the (possibly new) window, from wherever the tape now stands.

    The window means what it does in ``MoverStart``. In version 3 it may be the one from before the pause.
    """

    window_offset: int
    window_length: int


@dataclass(frozen=True, slots=True)
class MoverRead:
    """Send stream bytes [offset, offset + length) to the data connection (all ones: to the end)."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class MoverClose:
    """Close the data connection; the core is HALTED/CONNECT_CLOSED already. No event may follow."""


@dataclass(frozen=True, slots=True)
class MoverAbort:
    """Stop moving, close the connection or listening socket. No event of this run may follow."""


@dataclass(frozen=True, slots=True)
class MoverRelease:
    """Forget the halted run (MOVER_STOP): counters start anew."""


@dataclass(frozen=True, slots=True)
class ReleaseAll:
    """The session is over: abort both sides, close every device it holds. No event is heard after this.

    Comes before ``Disconnect``, so that what a peer sees closed is free for its next connection.
    """


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the control connection once what was sent has gone out."""


Effect = (
    Send | Perform | Note | JoinLocal | DataListen | DataConnect | DataStart | DataAbort | DataRelease
    | MoverListen | MoverConnect | MoverStart | MoverContinue | MoverRead | MoverClose | MoverAbort
    | MoverRelease | ReleaseAll | Disconnect
)
