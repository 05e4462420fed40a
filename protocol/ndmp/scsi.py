"""SCSI: pass-through to a device, mostly a media changer (3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.ndmp.codes import ScsiDataDir
from protocol.ndmp.forms import I16, U8, U16, U32
from protocol.ndmp.message import Message, Reply


@dataclass(frozen=True, slots=True)
class ScsiOpenRequest(Message):
    """3.3.1."""

    device: str


@dataclass(frozen=True, slots=True)
class ScsiOpenReply(Reply):
    """3.3.1."""


@dataclass(frozen=True, slots=True)
class ScsiCloseRequest(Message):
    """3.3.2. No body."""


@dataclass(frozen=True, slots=True)
class ScsiCloseReply(Reply):
    """3.3.2."""


@dataclass(frozen=True, slots=True)
class ScsiGetStateRequest(Message):
    """3.3.3. No body."""


@dataclass(frozen=True, slots=True)
class ScsiGetStateReply(Reply):
    """3.3.3."""

    target_controller: I16 = 0
    target_id: I16 = 0
    target_lun: I16 = 0


@dataclass(frozen=True, slots=True)
class ScsiSetTargetRequest(Message):
    """Version 3 alone."""

    device: str
    target_controller: U16
    target_id: U16
    target_lun: U16


@dataclass(frozen=True, slots=True)
class ScsiSetTargetReply(Reply):
    """Version 3 alone."""


@dataclass(frozen=True, slots=True)
class ScsiResetDeviceRequest(Message):
    """3.3.4. No body."""


@dataclass(frozen=True, slots=True)
class ScsiResetDeviceReply(Reply):
    """3.3.4."""


@dataclass(frozen=True, slots=True)
class ScsiResetBusRequest(Message):
    """Version 3 alone. No body."""


@dataclass(frozen=True, slots=True)
class ScsiResetBusReply(Reply):
    """Version 3 alone."""


@dataclass(frozen=True, slots=True)
class ExecuteCdbRequest(Message):
    """``ndmp_execute_cdb_request``. ``timeout`` in milliseconds; ``datain_len``: bytes expected."""

    flags: ScsiDataDir
    timeout: U32
    datain_len: U32
    cdb: bytes
    dataout: bytes


@dataclass(frozen=True, slots=True)
class ExecuteCdbReply(Reply):
    """``ndmp_execute_cdb_reply``. ``status``: the SAM status byte; ``dataout_len``: bytes the device took."""

    status: U8 = 0
    dataout_len: U32 = 0
    datain: bytes = b""
    ext_sense: bytes = b""


@dataclass(frozen=True, slots=True)
class ScsiExecuteCdbRequest(ExecuteCdbRequest):
    """3.3.5."""


@dataclass(frozen=True, slots=True)
class ScsiExecuteCdbReply(ExecuteCdbReply):
    """3.3.5."""
