"""MOVER: carrying a stream between a data connection and the tape (3.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, MoverHaltReason, MoverMode, MoverPauseReason, MoverState
from protocol.ndmp.forms import U32, U64
from protocol.ndmp.message import V4_ONLY, Message, Reply


@dataclass(frozen=True, slots=True)
class MoverSetRecordSizeRequest(Message):
    """3.6.2.1. ``len`` in bytes."""

    len: U32


@dataclass(frozen=True, slots=True)
class MoverSetRecordSizeReply(Reply):
    """3.6.2.1."""


@dataclass(frozen=True, slots=True)
class MoverSetWindowRequest(Message):
    """3.6.2.2. In bytes of the stream; all ones as length: to its end."""

    offset: U64
    length: U64


@dataclass(frozen=True, slots=True)
class MoverSetWindowReply(Reply):
    """3.6.2.2."""


@dataclass(frozen=True, slots=True)
class MoverConnectRequest(Message):
    """3.6.2.3."""

    mode: MoverMode | int
    addr: Address


@dataclass(frozen=True, slots=True)
class MoverConnectReply(Reply):
    """3.6.2.3."""


@dataclass(frozen=True, slots=True)
class MoverListenRequest(Message):
    """3.6.2.4."""

    mode: MoverMode | int
    addr_type: AddrType | int


@dataclass(frozen=True, slots=True)
class MoverListenReply(Reply):
    """3.6.2.4. Version 3 calls the address ``data_connection_addr``."""

    connect_addr: Address = LOCAL


@dataclass(frozen=True, slots=True)
class MoverReadRequest(Message):
    """3.6.2.5. In bytes of the stream."""

    offset: U64
    length: U64


@dataclass(frozen=True, slots=True)
class MoverReadReply(Reply):
    """3.6.2.5."""


@dataclass(frozen=True, slots=True)
class MoverGetStateRequest(Message):
    """3.6.2.6. No body."""


@dataclass(frozen=True, slots=True)
class MoverGetStateReply(Reply):
    """3.6.2.6. All in bytes, but for ``record_num``. Version 3 calls ``bytes_moved`` ``data_written``."""

    mode: Annotated[MoverMode | int, V4_ONLY] = MoverMode.NOACTION
    state: MoverState | int = MoverState.IDLE
    pause_reason: MoverPauseReason | int = MoverPauseReason.NA
    halt_reason: MoverHaltReason | int = MoverHaltReason.NA
    record_size: U32 = 0
    record_num: U32 = 0
    bytes_moved: U64 = 0
    seek_position: U64 = 0
    bytes_left_to_read: U64 = 0
    window_offset: U64 = 0
    window_length: U64 = 0
    data_connection_addr: Address = LOCAL


@dataclass(frozen=True, slots=True)
class MoverContinueRequest(Message):
    """3.6.2.7. No body."""


@dataclass(frozen=True, slots=True)
class MoverContinueReply(Reply):
    """3.6.2.7."""


@dataclass(frozen=True, slots=True)
class MoverCloseRequest(Message):
    """3.6.2.8. No body."""


@dataclass(frozen=True, slots=True)
class MoverCloseReply(Reply):
    """3.6.2.8."""


@dataclass(frozen=True, slots=True)
class MoverAbortRequest(Message):
    """3.6.2.9. No body."""


@dataclass(frozen=True, slots=True)
class MoverAbortReply(Reply):
    """3.6.2.9."""


@dataclass(frozen=True, slots=True)
class MoverStopRequest(Message):
    """3.6.2.10. No body."""


@dataclass(frozen=True, slots=True)
class MoverStopReply(Reply):
    """3.6.2.10."""
