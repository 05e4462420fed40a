"""The values that the golden files of CONNECT, CONFIG, SCSI and TAPE stand for, by title.

A title behind "v3 " or "v4 " holds for that version; without, for both.
"""

from __future__ import annotations

from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    ButypeAttr,
    Error,
    FsInfoUnsupported,
    ScsiDataDir,
    TapeAttr,
    TapeFlags,
    TapeMtioOp,
    TapeOpenMode,
    TapeUnsupported,
)
from protocol.ndmp.config import (
    ButypeInfo,
    ClassList,
    ClassVersion,
    ConfigGetAuthAttrReply,
    ConfigGetAuthAttrRequest,
    ConfigGetButypeInfoReply,
    ConfigGetButypeInfoRequest,
    ConfigGetConnectionTypeReply,
    ConfigGetConnectionTypeRequest,
    ConfigGetExtListReply,
    ConfigGetExtListRequest,
    ConfigGetFsInfoReply,
    ConfigGetFsInfoRequest,
    ConfigGetHostInfoReply,
    ConfigGetHostInfoRequest,
    ConfigGetScsiInfoReply,
    ConfigGetScsiInfoRequest,
    ConfigGetServerInfoReply,
    ConfigGetServerInfoRequest,
    ConfigGetTapeInfoReply,
    ConfigGetTapeInfoRequest,
    ConfigSetExtListReply,
    ConfigSetExtListRequest,
    DeviceCapability,
    DeviceInfo,
    FsInfo,
)
from protocol.ndmp.connect import (
    AuthAttr,
    AuthData,
    ConnectClientAuthReply,
    ConnectClientAuthRequest,
    ConnectCloseRequest,
    ConnectOpenReply,
    ConnectOpenRequest,
    ConnectServerAuthReply,
    ConnectServerAuthRequest,
)
from protocol.ndmp.message import Message, Pval
from protocol.ndmp.scsi import (
    ScsiCloseReply,
    ScsiCloseRequest,
    ScsiExecuteCdbReply,
    ScsiExecuteCdbRequest,
    ScsiGetStateReply,
    ScsiGetStateRequest,
    ScsiOpenReply,
    ScsiOpenRequest,
    ScsiResetBusReply,
    ScsiResetBusRequest,
    ScsiResetDeviceReply,
    ScsiResetDeviceRequest,
    ScsiSetTargetReply,
    ScsiSetTargetRequest,
)
from protocol.ndmp.tape import (
    TapeCloseReply,
    TapeCloseRequest,
    TapeExecuteCdbReply,
    TapeExecuteCdbRequest,
    TapeGetStateReply,
    TapeGetStateRequest,
    TapeMtioReply,
    TapeMtioRequest,
    TapeOpenReply,
    TapeOpenRequest,
    TapeReadReply,
    TapeReadRequest,
    TapeWriteReply,
    TapeWriteRequest,
)

_MD5 = AuthData(AuthType.MD5, "backup", auth_digest=bytes(range(0xA0, 0xB0)))
_CHALLENGE = AuthAttr(AuthType.MD5, bytes(range(64)))

CONNECT: dict[str, Message] = {
    "v3 CONNECT_OPEN request": ConnectOpenRequest(3),
    "v4 CONNECT_OPEN request": ConnectOpenRequest(4),
    "CONNECT_OPEN reply": ConnectOpenReply(Error.ILLEGAL_ARGS),
    "CONNECT_CLIENT_AUTH request: none": ConnectClientAuthRequest(AuthData(AuthType.NONE)),
    "CONNECT_CLIENT_AUTH request: text": ConnectClientAuthRequest(
        AuthData(AuthType.TEXT, "backup", "s3cret!")),
    "CONNECT_CLIENT_AUTH request: md5": ConnectClientAuthRequest(_MD5),
    "CONNECT_CLIENT_AUTH reply": ConnectClientAuthReply(Error.NOT_AUTHORIZED),
    "CONNECT_CLOSE request": ConnectCloseRequest(),
    "CONNECT_SERVER_AUTH request: none": ConnectServerAuthRequest(AuthAttr(AuthType.NONE)),
    "CONNECT_SERVER_AUTH request: text": ConnectServerAuthRequest(AuthAttr(AuthType.TEXT)),
    "CONNECT_SERVER_AUTH request: md5": ConnectServerAuthRequest(_CHALLENGE),
    "CONNECT_SERVER_AUTH reply: none": ConnectServerAuthReply(Error.NOT_SUPPORTED, AuthData(AuthType.NONE)),
    "CONNECT_SERVER_AUTH reply: md5": ConnectServerAuthReply(Error.NO_ERR, _MD5),
}

_ALIKE = (ButypeAttr.BACKUP_FILELIST | ButypeAttr.RECOVER_FILELIST | ButypeAttr.RECOVER_DIRECT
          | ButypeAttr.BACKUP_INCREMENTAL | ButypeAttr.BACKUP_UTF8)
_HISTORY = (ButypeAttr.BACKUP_FH_FILE | ButypeAttr.BACKUP_FH_DIR | ButypeAttr.RECOVER_FILEHIST
            | ButypeAttr.RECOVER_FH_FILE | ButypeAttr.RECOVER_FH_DIR)


def _butypes() -> ConfigGetButypeInfoReply:
    return ConfigGetButypeInfoReply(butype_info=(
        ButypeInfo("tar", (Pval("HIST", "n"), Pval("LEVEL", "0")), _ALIKE | _HISTORY),
        ButypeInfo("image", (), ButypeAttr.BACKUP_DIRECT | ButypeAttr.RECOVER_DIRECT),
    ))


def _tapes(unload: TapeAttr) -> ConfigGetTapeInfoReply:
    return ConfigGetTapeInfoReply(tape_info=(DeviceInfo("ULTRIUM-TD8", (
        DeviceCapability("tape0", TapeAttr.REWIND,
                         (Pval("EXECUTE_CDB", "b"), Pval("SERIAL_NUMBER", "TD000001"))),
        DeviceCapability("tape0u", unload, ()),
    )),))


CONFIG: dict[str, Message] = {
    "CONFIG_GET_HOST_INFO request": ConfigGetHostInfoRequest(),
    "CONFIG_GET_HOST_INFO reply": ConfigGetHostInfoReply(
        hostname="filer1", os_type="Linux", os_vers="6.1.0-13", hostid="12a4"),
    "CONFIG_GET_CONNECTION_TYPE request": ConfigGetConnectionTypeRequest(),
    "CONFIG_GET_CONNECTION_TYPE reply": ConfigGetConnectionTypeReply(
        addr_types=(AddrType.LOCAL, AddrType.TCP, AddrType.IPC)),
    "CONFIG_GET_AUTH_ATTR request": ConfigGetAuthAttrRequest(AuthType.MD5),
    "CONFIG_GET_AUTH_ATTR reply: text": ConfigGetAuthAttrReply(server_attr=AuthAttr(AuthType.TEXT)),
    "CONFIG_GET_AUTH_ATTR reply: md5": ConfigGetAuthAttrReply(server_attr=_CHALLENGE),
    "CONFIG_GET_BUTYPE_INFO request": ConfigGetButypeInfoRequest(),
    "CONFIG_GET_BUTYPE_INFO reply": _butypes(),
    "CONFIG_GET_FS_INFO request": ConfigGetFsInfoRequest(),
    "CONFIG_GET_FS_INFO reply": ConfigGetFsInfoReply(fs_info=(FsInfo(
        FsInfoUnsupported.TOTAL_INODES | FsInfoUnsupported.USED_INODES,
        "ext4", "/vol/disk0", "/dev/sda1", 10 << 30, 4 << 30, 6 << 30, 0, 0, (Pval("LOCAL", "y"),), "online",
    ),)),
    "CONFIG_GET_TAPE_INFO request": ConfigGetTapeInfoRequest(),
    "v3 CONFIG_GET_TAPE_INFO reply": _tapes(TapeAttr.UNLOAD),
    "v4 CONFIG_GET_TAPE_INFO reply": _tapes(TapeAttr.UNLOAD | TapeAttr.RAW),
    "CONFIG_GET_SCSI_INFO request": ConfigGetScsiInfoRequest(),
    "CONFIG_GET_SCSI_INFO reply": ConfigGetScsiInfoReply(scsi_info=(
        DeviceInfo("LIBRARY", (DeviceCapability("mc0", TapeAttr.NONE, ()),)), DeviceInfo("", ()))),
    "CONFIG_GET_SERVER_INFO request": ConfigGetServerInfoRequest(),
    "CONFIG_GET_SERVER_INFO reply": ConfigGetServerInfoReply(
        vendor_name="ACME", product_name="Filer", revision_number="1.0",
        auth_type=(AuthType.TEXT, AuthType.MD5)),
    "CONFIG_SET_EXT_LIST request": ConfigSetExtListRequest(
        (ClassVersion(0x2050, 2), ClassVersion(0x7FF0, 1))),
    "CONFIG_SET_EXT_LIST reply": ConfigSetExtListReply(Error.EXT_DUPL_CLASSES),
    "CONFIG_GET_EXT_LIST request": ConfigGetExtListRequest(),
    "CONFIG_GET_EXT_LIST reply": ConfigGetExtListReply(
        class_list=(ClassList(0x2050, (2, 1)), ClassList(0x7FF0, ()))),
}

_INQUIRY = (ScsiDataDir.DATA_IN, 300_000, 36, bytes([0x12, 0, 0, 0, 36, 0]), b"")
_MODE_SELECT = (ScsiDataDir.DATA_OUT, 0, 0, bytes([0x15, 0x10, 0, 0, 5, 0]), b"\1\2\3\4\5")
_GOOD = (Error.NO_ERR, 0, 0, bytes([0x08, 0x80, 5, 2, 0x1F]), b"")
_CHECK_CONDITION = (Error.NO_ERR, 2, 5, b"", bytes.fromhex("70000600 0000000a 00000000 29000000 0000"))

SCSI: dict[str, Message] = {
    "SCSI_OPEN request": ScsiOpenRequest("mc0"),
    "SCSI_OPEN reply": ScsiOpenReply(Error.DEVICE_OPENED),
    "SCSI_CLOSE request": ScsiCloseRequest(),
    "SCSI_CLOSE reply": ScsiCloseReply(Error.DEV_NOT_OPEN),
    "SCSI_GET_STATE request": ScsiGetStateRequest(),
    "SCSI_GET_STATE reply": ScsiGetStateReply(Error.NO_ERR, 1, -1, 32767),
    "SCSI_SET_TARGET request": ScsiSetTargetRequest("mc0", 1, 65535, 2),
    "SCSI_SET_TARGET reply": ScsiSetTargetReply(Error.NO_BUS),
    "SCSI_RESET_DEVICE request": ScsiResetDeviceRequest(),
    "SCSI_RESET_DEVICE reply": ScsiResetDeviceReply(Error.NOT_SUPPORTED),
    "SCSI_RESET_BUS request": ScsiResetBusRequest(),
    "SCSI_RESET_BUS reply": ScsiResetBusReply(Error.NO_BUS),
    "SCSI_EXECUTE_CDB request": ScsiExecuteCdbRequest(*_INQUIRY),
    "SCSI_EXECUTE_CDB request: data out": ScsiExecuteCdbRequest(*_MODE_SELECT),
    "SCSI_EXECUTE_CDB reply": ScsiExecuteCdbReply(*_GOOD),
    "SCSI_EXECUTE_CDB reply: check condition": ScsiExecuteCdbReply(*_CHECK_CONDITION),
}


def _tape_state(unsupported: TapeUnsupported, partition: int) -> TapeGetStateReply:
    return TapeGetStateReply(
        Error.NO_ERR, TapeUnsupported.SOFT_ERRORS | unsupported, TapeFlags.NOREWIND | TapeFlags.WR_PROT,
        file_num=3, block_size=10240, blockno=77, total_space=8 << 30, space_remain=(8 << 30) - 16,
        partition=partition)


TAPE: dict[str, Message] = {
    "TAPE_OPEN request": TapeOpenRequest("tape0", TapeOpenMode.RDWR),
    "TAPE_OPEN request: raw": TapeOpenRequest("tape0", TapeOpenMode.RAW),
    "TAPE_OPEN reply": TapeOpenReply(Error.NO_TAPE_LOADED),
    "TAPE_CLOSE request": TapeCloseRequest(),
    "TAPE_CLOSE reply": TapeCloseReply(Error.IO),
    "TAPE_GET_STATE request": TapeGetStateRequest(),
    "v3 TAPE_GET_STATE reply": _tape_state(TapeUnsupported.PARTITION, partition=9),
    "v4 TAPE_GET_STATE reply": _tape_state(TapeUnsupported.NONE, partition=0),
    "TAPE_MTIO request": TapeMtioRequest(TapeMtioOp.BSF, 2),
    "TAPE_MTIO request: test unit ready": TapeMtioRequest(TapeMtioOp.TUR, 0),
    "TAPE_MTIO reply": TapeMtioReply(Error.EOF, 1),
    "TAPE_WRITE request": TapeWriteRequest(b"VOL1\0\xff"),
    "TAPE_WRITE reply": TapeWriteReply(Error.EOM, 6),
    "TAPE_READ request": TapeReadRequest(262_144),
    "TAPE_READ reply": TapeReadReply(Error.NO_ERR, b"\x80\x81\x82"),
    "TAPE_EXECUTE_CDB request": TapeExecuteCdbRequest(*_INQUIRY),
    "TAPE_EXECUTE_CDB request: data out": TapeExecuteCdbRequest(*_MODE_SELECT),
    "TAPE_EXECUTE_CDB reply": TapeExecuteCdbReply(*_GOOD),
    "TAPE_EXECUTE_CDB reply: check condition": TapeExecuteCdbReply(*_CHECK_CONDITION),
}
