"""The values that the golden files of DATA, MOVER, NOTIFY, LOG and FH stand for, by title.

A title behind "v3 " or "v4 " holds for that version; without, for both.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.ndmp.address import LOCAL, Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    ConnectionStatusReason,
    DataHaltReason,
    DataOperation,
    DataState,
    DataUnsupported,
    Error,
    FileStatUnsupported,
    FileType,
    FsType,
    HasAssociatedMessage,
    LogType,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    RecoveryStatus,
)
from protocol.ndmp.data import (
    DataAbortReply,
    DataAbortRequest,
    DataConnectReply,
    DataConnectRequest,
    DataGetEnvReply,
    DataGetEnvRequest,
    DataGetStateReply,
    DataGetStateRequest,
    DataListenReply,
    DataListenRequest,
    DataStartBackupReply,
    DataStartBackupRequest,
    DataStartRecoverFilehistReply,
    DataStartRecoverFilehistRequest,
    DataStartRecoverReply,
    DataStartRecoverRequest,
    DataStopReply,
    DataStopRequest,
    Name,
)
from protocol.ndmp.filehist import (
    UNKNOWN_POSITION,
    Dir,
    FhAddDirPost,
    FhAddFilePost,
    FhAddNodePost,
    File,
    FileName,
    FileStat,
    Node,
)
from protocol.ndmp.log import LogFilePost, LogMessagePost
from protocol.ndmp.message import Message, Pval
from protocol.ndmp.mover import (
    MoverAbortReply,
    MoverAbortRequest,
    MoverCloseReply,
    MoverCloseRequest,
    MoverConnectReply,
    MoverConnectRequest,
    MoverContinueReply,
    MoverContinueRequest,
    MoverGetStateReply,
    MoverGetStateRequest,
    MoverListenReply,
    MoverListenRequest,
    MoverReadReply,
    MoverReadRequest,
    MoverSetRecordSizeReply,
    MoverSetRecordSizeRequest,
    MoverSetWindowReply,
    MoverSetWindowRequest,
    MoverStopReply,
    MoverStopRequest,
)
from protocol.ndmp.notify import (
    NotifyConnectionStatusPost,
    NotifyDataHaltedPost,
    NotifyDataReadPost,
    NotifyMoverHaltedPost,
    NotifyMoverPausedPost,
)

_ALL_ONES = (1 << 64) - 1
_ONE = Address(AddrType.TCP, (TcpAddress(0xC0000201, 49152),))
_TWO = Address(AddrType.TCP, (
    TcpAddress(0xC0000201, 49152, (("NIC", "e0a"), ("SPEED", "10G"))), TcpAddress(0xC6336402, 65535)))
_ENV = (Pval("FILESYSTEM", "/vol/disk0"), Pval("HIST", "y"), Pval("EMPTY", ""))
_NLIST = (
    Name("/home/alice", "/export/home", "alice.new", "", 0x1122, 0x1_0000_0200),
    Name("", "/export/all", "", "", _ALL_ONES, _ALL_ONES),
)

DATA: dict[str, Message] = {
    "DATA_GET_STATE request": DataGetStateRequest(),
    "DATA_GET_STATE reply": DataGetStateReply(
        Error.NO_ERR, DataUnsupported.EST_BYTES_REMAIN, DataOperation.RECOVER, DataState.ACTIVE,
        DataHaltReason.NA, 0x1_0203_0405, 7, 60, _ONE, 0x400, _ALL_ONES),
    "DATA_GET_STATE reply: halted": DataGetStateReply(
        unsupported=DataUnsupported.EST_BYTES_REMAIN | DataUnsupported.EST_TIME_REMAIN,
        operation=DataOperation.BACKUP, state=DataState.HALTED, halt_reason=DataHaltReason.CONNECT_ERROR),
    "DATA_START_BACKUP request": DataStartBackupRequest("tar", _ENV),
    "DATA_START_BACKUP reply": DataStartBackupReply(Error.ILLEGAL_STATE),
    "DATA_START_RECOVER request": DataStartRecoverRequest(_ENV, _NLIST, "dump"),
    "DATA_START_RECOVER request: nothing named": DataStartRecoverRequest((), (), "tar"),
    "DATA_START_RECOVER reply": DataStartRecoverReply(Error.FILE_NOT_FOUND),
    "DATA_ABORT request": DataAbortRequest(),
    "DATA_ABORT reply": DataAbortReply(Error.ILLEGAL_STATE),
    "DATA_GET_ENV request": DataGetEnvRequest(),
    "DATA_GET_ENV reply": DataGetEnvReply(env=_ENV),
    "DATA_STOP request": DataStopRequest(),
    "DATA_STOP reply": DataStopReply(),
    "DATA_LISTEN request": DataListenRequest(AddrType.TCP),
    "DATA_LISTEN reply: tcp": DataListenReply(connect_addr=_ONE),
    "DATA_LISTEN reply: two addresses": DataListenReply(connect_addr=_TWO),
    "DATA_LISTEN reply: local": DataListenReply(connect_addr=LOCAL),
    "DATA_CONNECT request: local": DataConnectRequest(LOCAL),
    "DATA_CONNECT request: tcp": DataConnectRequest(_ONE),
    "DATA_CONNECT request: two addresses": DataConnectRequest(_TWO),
    "DATA_CONNECT request: no address": DataConnectRequest(Address(AddrType.TCP)),
    "DATA_CONNECT request: ipc": DataConnectRequest(Address(AddrType.IPC, ipc=b"/run/x")),
    "DATA_CONNECT request: fibre channel": DataConnectRequest(Address(AddrType.FC, loop_id=0x01020304)),
    "DATA_CONNECT reply": DataConnectReply(Error.CONNECT),
    "DATA_START_RECOVER_FILEHIST request": DataStartRecoverFilehistRequest(_ENV, _NLIST, "dump"),
    "DATA_START_RECOVER_FILEHIST request: nothing named": DataStartRecoverFilehistRequest((), (), "tar"),
    "DATA_START_RECOVER_FILEHIST reply": DataStartRecoverFilehistReply(Error.NOT_SUPPORTED),
}


def _paused(mode: MoverMode) -> MoverGetStateReply:
    return MoverGetStateReply(
        Error.NO_ERR, mode, MoverState.PAUSED, MoverPauseReason.EOW, MoverHaltReason.NA, 64512, 130, 1 << 32,
        0x2000, 1, 64512, _ALL_ONES - 64512, _ONE)


def _halted(mode: MoverMode, reason: MoverHaltReason) -> MoverGetStateReply:
    return MoverGetStateReply(
        mode=mode, state=MoverState.HALTED, halt_reason=reason, record_size=10240, record_num=1,
        bytes_moved=10240)


MOVER: dict[str, Message] = {
    "MOVER_GET_STATE request": MoverGetStateRequest(),
    "v3 MOVER_GET_STATE reply": _paused(MoverMode.NOACTION),
    "v4 MOVER_GET_STATE reply": _paused(MoverMode.WRITE),
    "v3 MOVER_GET_STATE reply: halted": _halted(MoverMode.NOACTION, MoverHaltReason.INTERNAL_ERROR),
    "v4 MOVER_GET_STATE reply: halted": _halted(MoverMode.READ, MoverHaltReason.MEDIA_ERROR),
    "MOVER_LISTEN request": MoverListenRequest(MoverMode.READ, AddrType.LOCAL),
    "MOVER_LISTEN reply: tcp": MoverListenReply(connect_addr=_ONE),
    "MOVER_LISTEN reply: two addresses": MoverListenReply(connect_addr=_TWO),
    "v3 MOVER_LISTEN reply: refused": MoverListenReply(Error.ILLEGAL_STATE),
    "v4 MOVER_LISTEN reply: refused": MoverListenReply(Error.PRECONDITION),
    "MOVER_CONTINUE request": MoverContinueRequest(),
    "MOVER_CONTINUE reply": MoverContinueReply(Error.ILLEGAL_STATE),
    "MOVER_ABORT request": MoverAbortRequest(),
    "MOVER_ABORT reply": MoverAbortReply(),
    "MOVER_STOP request": MoverStopRequest(),
    "MOVER_STOP reply": MoverStopReply(Error.ILLEGAL_STATE),
    "MOVER_SET_WINDOW request": MoverSetWindowRequest(1 << 32, 64512),
    "MOVER_SET_WINDOW reply": MoverSetWindowReply(Error.ILLEGAL_ARGS),
    "MOVER_READ request": MoverReadRequest(512, _ALL_ONES),
    "MOVER_READ reply": MoverReadReply(Error.ILLEGAL_STATE),
    "MOVER_READ reply: busy": MoverReadReply(Error.READ_IN_PROGRESS),
    "MOVER_CLOSE request": MoverCloseRequest(),
    "MOVER_CLOSE reply": MoverCloseReply(Error.ILLEGAL_STATE),
    "MOVER_SET_RECORD_SIZE request": MoverSetRecordSizeRequest(64512),
    "MOVER_SET_RECORD_SIZE reply": MoverSetRecordSizeReply(Error.NO_MEM),
    "MOVER_CONNECT request: tcp": MoverConnectRequest(MoverMode.WRITE, _ONE),
    "MOVER_CONNECT request: two addresses": MoverConnectRequest(MoverMode.WRITE, _TWO),
    "MOVER_CONNECT reply": MoverConnectReply(Error.PERMISSION),
}

NOTIFY: dict[str, Message] = {
    "v3 NOTIFY_DATA_HALTED post": NotifyDataHaltedPost(DataHaltReason.ABORTED, "on request"),
    "v4 NOTIFY_DATA_HALTED post": NotifyDataHaltedPost(DataHaltReason.ABORTED),
    "NOTIFY_CONNECTION_STATUS post": NotifyConnectionStatusPost(ConnectionStatusReason.CONNECTED, 4, ""),
    "NOTIFY_CONNECTION_STATUS post: refused": NotifyConnectionStatusPost(
        ConnectionStatusReason.REFUSED, 4, "64 sessions are open"),
    "v3 NOTIFY_MOVER_HALTED post": NotifyMoverHaltedPost(MoverHaltReason.CONNECT_CLOSED, "end of data"),
    "v4 NOTIFY_MOVER_HALTED post": NotifyMoverHaltedPost(MoverHaltReason.CONNECT_CLOSED),
    "NOTIFY_MOVER_PAUSED post": NotifyMoverPausedPost(MoverPauseReason.SEEK, 0x3_0000_0000),
    "NOTIFY_MOVER_PAUSED post: media error": NotifyMoverPausedPost(MoverPauseReason.MEDIA_ERROR, 0),
    "NOTIFY_DATA_READ post": NotifyDataReadPost(0x1400, 0x200),
}

LOG: dict[str, Message] = {
    "v3 LOG_MESSAGE post": LogMessagePost(LogType.WARNING, 17, "héllo"),
    "v4 LOG_MESSAGE post": LogMessagePost(
        LogType.WARNING, 17, "héllo", HasAssociatedMessage.HAS_ASSOCIATED_MESSAGE, 42),
    "LOG_MESSAGE post: of nothing": LogMessagePost(LogType.NORMAL, 0, ""),
    "LOG_FILE post": LogFilePost("/etc/passwd", RecoveryStatus.FAILED_NOT_FOUND),
    "LOG_FILE post: recovered": LogFilePost("/caf\udce9", RecoveryStatus.SUCCESSFUL),
}

_STAT = FileStat(FileStatUnsupported.NONE, FsType.UNIX, FileType.REG, 0x60000001, 0x60000002, 0x60000003,
                 1000, 100, 0o644, 0x1_2345_6789, 2)


def _unix(name: str) -> tuple[FileName, ...]:
    return (FileName(FsType.UNIX, name),)


FILEHIST: dict[str, Message] = {
    "FH_ADD_FILE post": FhAddFilePost((
        File(_unix("/etc/passwd"), (_STAT,), 140, 0x1_0000_0A00),
        File(_unix("/a"),
             (replace(_STAT, unsupported=FileStatUnsupported.ATIME, ftype=FileType.DIR, atime=0, fattr=0o755,
                      size=4096),), 141, UNKNOWN_POSITION),
    )),
    "FH_ADD_FILE post: of two kinds": FhAddFilePost((File(
        (FileName(FsType.UNIX, "/long name"), FileName(FsType.NT, "\\long name", "\\LONGNA~1"),
         FileName(FsType.OTHER, "odd")),
        (_STAT,
         replace(_STAT, fs_type=FsType.NT, ftype=FileType.OTHER, fattr=0x20,
                 unsupported=(FileStatUnsupported.ATIME | FileStatUnsupported.CTIME
                              | FileStatUnsupported.GROUP))), 0, 0),)),
    "FH_ADD_FILE post: empty": FhAddFilePost(()),
    "FH_ADD_DIR post": FhAddDirPost((Dir(_unix("."), 2, 2), Dir(_unix("etc"), 0x1_0000_0083, 2))),
    "FH_ADD_NODE post": FhAddNodePost((
        Node((replace(_STAT, ftype=FileType.DIR),), 2, 0), Node((_STAT,), 0x1_0000_0083, 1024))),
}
