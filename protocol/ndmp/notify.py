"""NOTIFY: posts by which the server says that something happened (4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import ConnectionStatusReason, DataHaltReason, MoverHaltReason, MoverPauseReason
from protocol.ndmp.forms import U16, U64
from protocol.ndmp.message import V3_ONLY, Message


@dataclass(frozen=True, slots=True)
class NotifyDataHaltedPost(Message):
    """4.1.1."""

    reason: DataHaltReason | int
    text_reason: Annotated[str, V3_ONLY] = ""


@dataclass(frozen=True, slots=True)
class NotifyConnectionStatusPost(Message):
    """4.1.2; version 3's NOTIFY_CONNECTED. The first message of every session."""

    reason: ConnectionStatusReason | int
    protocol_version: U16
    text_reason: str


@dataclass(frozen=True, slots=True)
class NotifyMoverHaltedPost(Message):
    """4.1.3."""

    reason: MoverHaltReason | int
    text_reason: Annotated[str, V3_ONLY] = ""


@dataclass(frozen=True, slots=True)
class NotifyMoverPausedPost(Message):
    """4.1.4. ``seek_position``: byte of the stream."""

    reason: MoverPauseReason | int
    seek_position: U64


@dataclass(frozen=True, slots=True)
class NotifyDataReadPost(Message):
    """4.1.5. Bytes of the stream that the DMA is to have read; all ones as length: to its end."""

    offset: U64
    length: U64
