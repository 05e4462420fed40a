"""DATA: making a backup stream, or taking one apart (3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, DataHaltReason, DataOperation, DataState, DataUnsupported
from protocol.ndmp.forms import U32, U64
from protocol.ndmp.message import Leads, Message, Pval, Reply


@dataclass(frozen=True, slots=True)
class DataConnectRequest(Message):
    """3.5.2.1."""

    addr: Address


@dataclass(frozen=True, slots=True)
class DataConnectReply(Reply):
    """3.5.2.1."""


@dataclass(frozen=True, slots=True)
class DataListenRequest(Message):
    """3.5.2.2."""

    addr_type: AddrType | int


@dataclass(frozen=True, slots=True)
class DataListenReply(Reply):
    """3.5.2.2."""

    connect_addr: Address = LOCAL


@dataclass(frozen=True, slots=True)
class DataStartBackupRequest(Message):
    """3.5.2.3."""

    butype_name: str
    env: tuple[Pval, ...]


@dataclass(frozen=True, slots=True)
class DataStartBackupReply(Reply):
    """3.5.2.3."""


@dataclass(frozen=True, slots=True)
class Name(Message):
    """``ndmp_name`` (3.5.2.4): something to recover, and where to.

    The layout is the same in both versions, the meaning is not. Version 4: ``destination_path`` is the whole
    new name, or the folder for ``new_name`` (the draft's ``name``) where that is not empty. Version 3:
    ``destination_path`` (its ``destination_dir``) is put before ``original_path``, and ``new_name`` counts in
    direct access only. ``fh_info`` all ones or 0: unknown.
    """

    original_path: str
    destination_path: str
    new_name: str
    other_name: str
    node: U64
    fh_info: U64


@dataclass(frozen=True, slots=True)
class DataStartRecoverRequest(Message):
    """3.5.2.4."""

    env: tuple[Pval, ...]
    nlist: tuple[Name, ...]
    butype_name: str


@dataclass(frozen=True, slots=True)
class DataStartRecoverReply(Reply):
    """3.5.2.4."""


@dataclass(frozen=True, slots=True)
class DataStartRecoverFilehistRequest(DataStartRecoverRequest):
    """3.5.2.5."""


@dataclass(frozen=True, slots=True)
class DataStartRecoverFilehistReply(Reply):
    """3.5.2.5."""


@dataclass(frozen=True, slots=True)
class DataGetStateRequest(Message):
    """3.5.2.6. No body."""


@dataclass(frozen=True, slots=True)
class DataGetStateReply(Reply):
    """3.5.2.6. Sizes and offsets in bytes, time in seconds; a field named in ``unsupported`` has no value."""

    unsupported: Annotated[DataUnsupported, Leads] = DataUnsupported.NONE
    operation: DataOperation | int = DataOperation.NOACTION
    state: DataState | int = DataState.IDLE
    halt_reason: DataHaltReason | int = DataHaltReason.NA
    bytes_processed: U64 = 0
    est_bytes_remain: U64 = 0
    est_time_remain: U32 = 0
    data_connection_addr: Address = LOCAL
    read_offset: U64 = 0
    read_length: U64 = 0


@dataclass(frozen=True, slots=True)
class DataGetEnvRequest(Message):
    """3.5.2.7. No body."""


@dataclass(frozen=True, slots=True)
class DataGetEnvReply(Reply):
    """3.5.2.7."""

    env: tuple[Pval, ...] = ()


@dataclass(frozen=True, slots=True)
class DataStopRequest(Message):
    """3.5.2.8. No body."""


@dataclass(frozen=True, slots=True)
class DataStopReply(Reply):
    """3.5.2.8."""


@dataclass(frozen=True, slots=True)
class DataAbortRequest(Message):
    """3.5.2.9. No body."""


@dataclass(frozen=True, slots=True)
class DataAbortReply(Reply):
    """3.5.2.9."""
