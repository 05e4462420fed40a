"""TAPE: the drive in the hands of the DMA (3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import TapeFlags, TapeMtioOp, TapeOpenMode, TapeUnsupported
from protocol.ndmp.forms import U32, U64
from protocol.ndmp.message import V3_ONLY, Leads, Message, Reply
from protocol.ndmp.scsi import ExecuteCdbReply, ExecuteCdbRequest


@dataclass(frozen=True, slots=True)
class TapeOpenRequest(Message):
    """3.4.2."""

    device: str
    mode: TapeOpenMode | int


@dataclass(frozen=True, slots=True)
class TapeOpenReply(Reply):
    """3.4.2."""


@dataclass(frozen=True, slots=True)
class TapeCloseRequest(Message):
    """3.4.3. No body."""


@dataclass(frozen=True, slots=True)
class TapeCloseReply(Reply):
    """3.4.3."""


@dataclass(frozen=True, slots=True)
class TapeGetStateRequest(Message):
    """3.4.4. No body."""


@dataclass(frozen=True, slots=True)
class TapeGetStateReply(Reply):
    """3.4.4. Spaces and ``block_size`` in bytes; a field named in ``unsupported`` carries no value."""

    unsupported: Annotated[TapeUnsupported, Leads] = TapeUnsupported.NONE
    flags: TapeFlags = TapeFlags.NONE
    file_num: U32 = 0
    soft_errors: U32 = 0
    block_size: U32 = 0
    blockno: U32 = 0
    total_space: U64 = 0
    space_remain: U64 = 0
    partition: Annotated[U32, V3_ONLY] = 0


@dataclass(frozen=True, slots=True)
class TapeMtioRequest(Message):
    """3.4.5."""

    tape_op: TapeMtioOp | int
    count: U32


@dataclass(frozen=True, slots=True)
class TapeMtioReply(Reply):
    """3.4.5."""

    resid_count: U32 = 0


@dataclass(frozen=True, slots=True)
class TapeWriteRequest(Message):
    """3.4.6. One record."""

    data_out: bytes


@dataclass(frozen=True, slots=True)
class TapeWriteReply(Reply):
    """3.4.6. ``count``: bytes written."""

    count: U32 = 0


@dataclass(frozen=True, slots=True)
class TapeReadRequest(Message):
    """3.4.7. ``count``: bytes wanted of the next record."""

    count: U32


@dataclass(frozen=True, slots=True)
class TapeReadReply(Reply):
    """3.4.7."""

    data_in: bytes = b""


@dataclass(frozen=True, slots=True)
class TapeExecuteCdbRequest(ExecuteCdbRequest):
    """3.4.8."""


@dataclass(frozen=True, slots=True)
class TapeExecuteCdbReply(ExecuteCdbReply):
    """3.4.8."""
