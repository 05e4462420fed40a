"""CONFIG: what this server is and has (3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    ButypeAttr,
    FsInfoUnsupported,
    TapeAttr,
    Version,
)
from protocol.ndmp.connect import NO_CHALLENGE, AuthAttr
from protocol.ndmp.forms import U16, U64
from protocol.ndmp.message import InV3, Message, Pval, Reply
from protocol.xdr import Reader, Writer

V3_HISTORY_ATTRS = (
    (0x0001, ButypeAttr.BACKUP_FH_FILE | ButypeAttr.BACKUP_FH_DIR),
    (0x0200, ButypeAttr.RECOVER_FILEHIST | ButypeAttr.RECOVER_FH_FILE | ButypeAttr.RECOVER_FH_DIR),
)
"""Bits by which version 3 says that there is history, not of which kind (its BACKUP_FILE_HISTORY and
RECOVER_FILE_HISTORY)."""

_ALIKE_ATTRS = ButypeAttr(0x01FE)


class _V3ButypeAttrs:
    """Version 3's bits for the attributes of version 4; taken, one history bit means every kind."""

    def put(self, value: ButypeAttr, writer: Writer, version: Version) -> None:
        writer.uint(value & _ALIKE_ATTRS | sum(bit for bit, attrs in V3_HISTORY_ATTRS if value & attrs))

    def take(self, reader: Reader, version: Version) -> ButypeAttr:
        bits = reader.uint()
        value = ButypeAttr(bits & _ALIKE_ATTRS)
        for bit, attrs in V3_HISTORY_ATTRS:
            if bits & bit:
                value |= attrs
        return value

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class ConfigGetHostInfoRequest(Message):
    """3.2.1. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetHostInfoReply(Reply):
    """3.2.1."""

    hostname: str = ""
    os_type: str = ""
    os_vers: str = ""
    hostid: str = ""


@dataclass(frozen=True, slots=True)
class ConfigGetServerInfoRequest(Message):
    """3.2.2. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetServerInfoReply(Reply):
    """3.2.2."""

    vendor_name: str = ""
    product_name: str = ""
    revision_number: str = ""
    auth_type: tuple[AuthType | int, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigGetConnectionTypeRequest(Message):
    """3.2.3. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetConnectionTypeReply(Reply):
    """3.2.3."""

    addr_types: tuple[AddrType | int, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigGetAuthAttrRequest(Message):
    """3.2.4."""

    auth_type: AuthType | int


@dataclass(frozen=True, slots=True)
class ConfigGetAuthAttrReply(Reply):
    """3.2.4."""

    server_attr: AuthAttr = NO_CHALLENGE


@dataclass(frozen=True, slots=True)
class ButypeInfo(Message):
    """``ndmp_butype_info``."""

    butype_name: str
    default_env: tuple[Pval, ...]
    attrs: Annotated[ButypeAttr, InV3(_V3ButypeAttrs())]


@dataclass(frozen=True, slots=True)
class ConfigGetButypeInfoRequest(Message):
    """3.2.5. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetButypeInfoReply(Reply):
    """3.2.5; the draft's XDR calls it ``ndmp_config_get_butype_attr_reply``, after version 2's message."""

    butype_info: tuple[ButypeInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class FsInfo(Message):
    """``ndmp_fs_info``. Sizes in bytes; a field named in ``unsupported`` carries no value."""

    unsupported: FsInfoUnsupported
    fs_type: str
    fs_logical_device: str
    fs_physical_device: str
    total_size: U64
    used_size: U64
    avail_size: U64
    total_inodes: U64
    used_inodes: U64
    fs_env: tuple[Pval, ...]
    fs_status: str


@dataclass(frozen=True, slots=True)
class ConfigGetFsInfoRequest(Message):
    """3.2.6. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetFsInfoReply(Reply):
    """3.2.6."""

    fs_info: tuple[FsInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceCapability(Message):
    """``ndmp_device_capability``: one name under which a device can be opened. ``attr`` is for tapes only."""

    device: str
    attr: TapeAttr
    capability: tuple[Pval, ...]


@dataclass(frozen=True, slots=True)
class DeviceInfo(Message):
    """``ndmp_device_info``: devices of one model."""

    model: str
    caplist: tuple[DeviceCapability, ...]


@dataclass(frozen=True, slots=True)
class ConfigGetTapeInfoRequest(Message):
    """3.2.7. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetTapeInfoReply(Reply):
    """3.2.7."""

    tape_info: tuple[DeviceInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigGetScsiInfoRequest(Message):
    """3.2.8. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetScsiInfoReply(Reply):
    """3.2.8."""

    scsi_info: tuple[DeviceInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassList(Message):
    """``ndmp_class_list``: an extension and its versions, the preferred one first."""

    ext_class_id: U16
    ext_version: tuple[U16, ...]


@dataclass(frozen=True, slots=True)
class ClassVersion(Message):
    """``ndmp_class_version``: an extension in one version."""

    ext_class_id: U16
    ext_version: U16


@dataclass(frozen=True, slots=True)
class ConfigGetExtListRequest(Message):
    """3.2.9, v4. No body."""


@dataclass(frozen=True, slots=True)
class ConfigGetExtListReply(Reply):
    """3.2.9, v4."""

    class_list: tuple[ClassList, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigSetExtListRequest(Message):
    """3.2.10, v4. The draft's form; ndmjob describes another, with an error code and lists of versions."""

    ndmp_selected_ext: tuple[ClassVersion, ...]


@dataclass(frozen=True, slots=True)
class ConfigSetExtListReply(Reply):
    """3.2.10, v4."""
