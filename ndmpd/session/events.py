"""What happens to a session, besides records from the DMA. Frozen values, made by the services."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.ndmp.address import TcpAddress
from protocol.ndmp.codes import (
    DataHaltReason,
    Error,
    LogType,
    MoverHaltReason,
    MoverPauseReason,
    RecoveryStatus,
)
from protocol.ndmp.message import Message


@dataclass(frozen=True, slots=True)
class Performed:
    """The outcome of ``Perform``: the complete reply body, its error code inside."""

    reply: Message


@dataclass(frozen=True, slots=True)
class DataListening:
    """The reachable address comes first."""

    addresses: tuple[TcpAddress, ...]


@dataclass(frozen=True, slots=True)
class DataAccepted:
    """A peer connected to the listening DATA; ``address`` is the peer's."""

    address: TcpAddress


@dataclass(frozen=True, slots=True)
class DataConnected:
    address: TcpAddress


@dataclass(frozen=True, slots=True)
class DataStarted:
    pass


@dataclass(frozen=True, slots=True)
class DataFailed:
    """LISTEN, CONNECT or START could not be done; goes into the reply, the text into a LOG_MESSAGE."""

    error: Error
    text: str


@dataclass(frozen=True, slots=True)
class DataWants:
    """The butype asks for stream bytes [offset, offset + length)."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class DataVariable:
    """Add or replace a variable of the environment that DATA_GET_ENV returns."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class DataHalted:
    """The job ended by itself (the last event of a job)."""

    reason: DataHaltReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class Log:
    """A LOG_MESSAGE for the DMA."""

    kind: LogType
    text: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """A LOG_FILE for the DMA."""

    name: str
    status: RecoveryStatus


@dataclass(frozen=True, slots=True)
class History:
    """One file-history post, its body already packed for the session's version."""

    message: int
    body: bytes


@dataclass(frozen=True, slots=True)
class MoverListening:
    addresses: tuple[TcpAddress, ...]


@dataclass(frozen=True, slots=True)
class MoverAccepted:
    address: TcpAddress


@dataclass(frozen=True, slots=True)
class MoverConnected:
    address: TcpAddress


@dataclass(frozen=True, slots=True)
class MoverFailed:
    """LISTEN or CONNECT could not be done."""

    error: Error
    text: str


@dataclass(frozen=True, slots=True)
class MoverPaused:
    """The mover stopped by itself; figures are settled and the drive's buffer is flushed."""

    reason: MoverPauseReason
    seek_position: int = 0


@dataclass(frozen=True, slots=True)
class MoverHalted:
    """The mover ended by itself (the last event of a run)."""

    reason: MoverHaltReason
    text: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """This side ends the session: the server stops, or an operator wants it gone."""


Event = (
    Performed | DataListening | DataAccepted | DataConnected | DataStarted | DataFailed | DataWants
    | DataVariable | DataHalted | Log | Recovered | History | MoverListening | MoverAccepted | MoverConnected
    | MoverFailed | MoverPaused | MoverHalted | ConnectionLost | Shutdown
)
