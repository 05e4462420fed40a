"""LOG: posts for people to read (4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import Error, HasAssociatedMessage, LogType, RecoveryStatus, Version
from protocol.ndmp.forms import U32
from protocol.ndmp.message import V4_ONLY, InV3, Message
from protocol.xdr import Reader, Writer

V3_RECOVERY_ERRORS: dict[int, Error] = {
    RecoveryStatus.SUCCESSFUL: Error.NO_ERR,
    RecoveryStatus.FAILED_PERMISSION: Error.PERMISSION,
    RecoveryStatus.FAILED_NOT_FOUND: Error.FILE_NOT_FOUND,
    RecoveryStatus.FAILED_NO_DIRECTORY: Error.BAD_FILE,
    RecoveryStatus.FAILED_OUT_OF_MEMORY: Error.NO_MEM,
    RecoveryStatus.FAILED_IO_ERROR: Error.IO,
}
"""The errors by which version 3 tells the outcome; any other status is UNDEFINED, and any other error is
FAILED_UNDEFINED_ERROR. NO_DIRECTORY has no error of its own: BAD_FILE is ndmjob's reading."""

_V3_RECOVERY_STATUS: dict[int, RecoveryStatus] = {
    error: RecoveryStatus(status) for status, error in V3_RECOVERY_ERRORS.items()
}


class _V3RecoveryError:
    """An ``ndmp_error`` for a recovery status."""

    def put(self, value: RecoveryStatus | int, writer: Writer, version: Version) -> None:
        writer.sint(V3_RECOVERY_ERRORS.get(value, Error.UNDEFINED))

    def take(self, reader: Reader, version: Version) -> RecoveryStatus:
        return _V3_RECOVERY_STATUS.get(reader.sint(), RecoveryStatus.FAILED_UNDEFINED_ERROR)

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class LogMessagePost(Message):
    """4.2.1. ``entry`` is the text, ``message_id`` the server's own number for it."""

    log_type: LogType | int
    message_id: U32
    entry: str
    associated_message_valid: Annotated[HasAssociatedMessage | int, V4_ONLY] = (
        HasAssociatedMessage.NO_ASSOCIATED_MESSAGE
    )
    associated_message_sequence: Annotated[U32, V4_ONLY] = 0


@dataclass(frozen=True, slots=True)
class LogFilePost(Message):
    """4.2.2. What became of one name that was to be recovered."""

    name: str
    recovery_status: Annotated[RecoveryStatus | int, InV3(_V3RecoveryError())]
