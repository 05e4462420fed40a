"""Which class is the body of which message, in which version. Bodies to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from protocol.ndmp import config, connect, data, filehist, log, mover, notify, scsi, tape
from protocol.ndmp.codes import Code, Version
from protocol.ndmp.message import Message, Reply
from protocol.xdr import Reader, Writer


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request with its reply; ``only``: the version that has it, None for both."""

    request: type[Message]
    reply: type[Reply] | None
    only: Version | None = None


EXCHANGES: dict[int, Exchange] = {
    Code.CONNECT_OPEN: Exchange(connect.ConnectOpenRequest, connect.ConnectOpenReply),
    Code.CONNECT_CLIENT_AUTH: Exchange(connect.ConnectClientAuthRequest, connect.ConnectClientAuthReply),
    Code.CONNECT_CLOSE: Exchange(connect.ConnectCloseRequest, None),
    Code.CONNECT_SERVER_AUTH: Exchange(connect.ConnectServerAuthRequest, connect.ConnectServerAuthReply),
    Code.CONFIG_GET_HOST_INFO: Exchange(config.ConfigGetHostInfoRequest, config.ConfigGetHostInfoReply),
    Code.CONFIG_GET_CONNECTION_TYPE: Exchange(
        config.ConfigGetConnectionTypeRequest, config.ConfigGetConnectionTypeReply),
    Code.CONFIG_GET_AUTH_ATTR: Exchange(config.ConfigGetAuthAttrRequest, config.ConfigGetAuthAttrReply),
    Code.CONFIG_GET_BUTYPE_INFO: Exchange(config.ConfigGetButypeInfoRequest, config.ConfigGetButypeInfoReply),
    Code.CONFIG_GET_FS_INFO: Exchange(config.ConfigGetFsInfoRequest, config.ConfigGetFsInfoReply),
    Code.CONFIG_GET_TAPE_INFO: Exchange(config.ConfigGetTapeInfoRequest, config.ConfigGetTapeInfoReply),
    Code.CONFIG_GET_SCSI_INFO: Exchange(config.ConfigGetScsiInfoRequest, config.ConfigGetScsiInfoReply),
    Code.CONFIG_GET_SERVER_INFO: Exchange(config.ConfigGetServerInfoRequest, config.ConfigGetServerInfoReply),
    Code.CONFIG_SET_EXT_LIST: Exchange(
        config.ConfigSetExtListRequest, config.ConfigSetExtListReply, only=Version.V4),
    Code.CONFIG_GET_EXT_LIST: Exchange(
        config.ConfigGetExtListRequest, config.ConfigGetExtListReply, only=Version.V4),
    Code.SCSI_OPEN: Exchange(scsi.ScsiOpenRequest, scsi.ScsiOpenReply),
    Code.SCSI_CLOSE: Exchange(scsi.ScsiCloseRequest, scsi.ScsiCloseReply),
    Code.SCSI_GET_STATE: Exchange(scsi.ScsiGetStateRequest, scsi.ScsiGetStateReply),
    Code.SCSI_SET_TARGET: Exchange(scsi.ScsiSetTargetRequest, scsi.ScsiSetTargetReply, only=Version.V3),
    Code.SCSI_RESET_DEVICE: Exchange(scsi.ScsiResetDeviceRequest, scsi.ScsiResetDeviceReply),
    Code.SCSI_RESET_BUS: Exchange(scsi.ScsiResetBusRequest, scsi.ScsiResetBusReply, only=Version.V3),
    Code.SCSI_EXECUTE_CDB: Exchange(scsi.ScsiExecuteCdbRequest, scsi.ScsiExecuteCdbReply),
    Code.TAPE_OPEN: Exchange(tape.TapeOpenRequest, tape.TapeOpenReply),
    Code.TAPE_CLOSE: Exchange(tape.TapeCloseRequest, tape.TapeCloseReply),
    Code.TAPE_GET_STATE: Exchange(tape.TapeGetStateRequest, tape.TapeGetStateReply),
    Code.TAPE_MTIO: Exchange(tape.TapeMtioRequest, tape.TapeMtioReply),
    Code.TAPE_WRITE: Exchange(tape.TapeWriteRequest, tape.TapeWriteReply),
    Code.TAPE_READ: Exchange(tape.TapeReadRequest, tape.TapeReadReply),
    Code.TAPE_EXECUTE_CDB: Exchange(tape.TapeExecuteCdbRequest, tape.TapeExecuteCdbReply),
    Code.DATA_GET_STATE: Exchange(data.DataGetStateRequest, data.DataGetStateReply),
    Code.DATA_START_BACKUP: Exchange(data.DataStartBackupRequest, data.DataStartBackupReply),
    Code.DATA_START_RECOVER: Exchange(data.DataStartRecoverRequest, data.DataStartRecoverReply),
    Code.DATA_ABORT: Exchange(data.DataAbortRequest, data.DataAbortReply),
    Code.DATA_GET_ENV: Exchange(data.DataGetEnvRequest, data.DataGetEnvReply),
    Code.DATA_STOP: Exchange(data.DataStopRequest, data.DataStopReply),
    Code.DATA_LISTEN: Exchange(data.DataListenRequest, data.DataListenReply),
    Code.DATA_CONNECT: Exchange(data.DataConnectRequest, data.DataConnectReply),
    Code.DATA_START_RECOVER_FILEHIST: Exchange(
        data.DataStartRecoverFilehistRequest, data.DataStartRecoverFilehistReply),
    Code.MOVER_GET_STATE: Exchange(mover.MoverGetStateRequest, mover.MoverGetStateReply),
    Code.MOVER_LISTEN: Exchange(mover.MoverListenRequest, mover.MoverListenReply),
    Code.MOVER_CONTINUE: Exchange(mover.MoverContinueRequest, mover.MoverContinueReply),
    Code.MOVER_ABORT: Exchange(mover.MoverAbortRequest, mover.MoverAbortReply),
    Code.MOVER_STOP: Exchange(mover.MoverStopRequest, mover.MoverStopReply),
    Code.MOVER_SET_WINDOW: Exchange(mover.MoverSetWindowRequest, mover.MoverSetWindowReply),
    Code.MOVER_READ: Exchange(mover.MoverReadRequest, mover.MoverReadReply),
    Code.MOVER_CLOSE: Exchange(mover.MoverCloseRequest, mover.MoverCloseReply),
    Code.MOVER_SET_RECORD_SIZE: Exchange(mover.MoverSetRecordSizeRequest, mover.MoverSetRecordSizeReply),
    Code.MOVER_CONNECT: Exchange(mover.MoverConnectRequest, mover.MoverConnectReply),
}

POSTS: dict[int, type[Message]] = {
    Code.NOTIFY_DATA_HALTED: notify.NotifyDataHaltedPost,
    Code.NOTIFY_CONNECTION_STATUS: notify.NotifyConnectionStatusPost,
    Code.NOTIFY_MOVER_HALTED: notify.NotifyMoverHaltedPost,
    Code.NOTIFY_MOVER_PAUSED: notify.NotifyMoverPausedPost,
    Code.NOTIFY_DATA_READ: notify.NotifyDataReadPost,
    Code.LOG_FILE: log.LogFilePost,
    Code.LOG_MESSAGE: log.LogMessagePost,
    Code.FH_ADD_FILE: filehist.FhAddFilePost,
    Code.FH_ADD_DIR: filehist.FhAddDirPost,
    Code.FH_ADD_NODE: filehist.FhAddNodePost,
}

_CODES: dict[type[Message], Code] = {
    **{exchange.request: Code(code) for code, exchange in EXCHANGES.items()},
    **{exchange.reply: Code(code) for code, exchange in EXCHANGES.items() if exchange.reply},
    **{post: Code(code) for code, post in POSTS.items()},
}

_Body = TypeVar("_Body", bound=Message)


def _exchange(code: int, version: Version) -> Exchange | None:
    exchange = EXCHANGES.get(code)
    return exchange if exchange and exchange.only in (None, version) else None


def request_class(code: int, version: Version) -> type[Message] | None:
    """The body of request ``code``; None where ``version`` has no such request."""
    exchange = _exchange(code, version)
    return exchange.request if exchange else None


def reply_class(code: int, version: Version) -> type[Reply] | None:
    """The body of the reply to ``code``; None where there is none."""
    exchange = _exchange(code, version)
    return exchange.reply if exchange else None


def post_class(code: int, version: Version) -> type[Message] | None:
    """The body of post ``code``; None where ``version`` has no such post."""
    return POSTS.get(code)


def code_of(cls: type[Message]) -> Code:
    """The message that ``cls`` is a body of. KeyError for a class that is only part of a body."""
    return _CODES[cls]


def encode(body: Message, version: Version) -> bytes:
    """``body`` in the form of ``version``. Raises WireError where a value does not fit its field."""
    writer = Writer()
    body.put(writer, version)
    return writer.data


def decode(cls: type[_Body], data: bytes, version: Version) -> _Body:
    """The ``cls`` that ``data`` is, all of it. Raises WireError."""
    reader = Reader(data)
    body = cls.take(reader, version)
    reader.done()
    return body
