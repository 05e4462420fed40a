"""The one device that a connection may have open (2.11.4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocol.ndmp.codes import Error, TapeOpenMode
from protocol.ndmp.message import Reply
from protocol.ndmp.scsi import ScsiCloseReply, ScsiOpenReply
from protocol.ndmp.tape import TapeCloseReply, TapeOpenReply, TapeOpenRequest


class DeviceKind(Enum):
    NONE = "no device"
    TAPE = "a tape drive"
    SCSI = "a SCSI device"


@dataclass(slots=True)
class Device:
    """``writable`` tells whether a tape drive was opened for writing."""

    kind: DeviceKind = DeviceKind.NONE
    writable: bool = False

    def learn(self, request: object, reply: Reply) -> None:
        """Follow what a performed request did.

        TAPE_CLOSE that fails leaves the drive open, for another TAPE_CLOSE (3.4.3); SCSI_CLOSE never does.
        """
        done = reply.error == Error.NO_ERR
        match reply:
            case TapeOpenReply() if done and isinstance(request, TapeOpenRequest):
                self.kind, self.writable = DeviceKind.TAPE, request.mode != TapeOpenMode.READ
            case ScsiOpenReply() if done:
                self.kind, self.writable = DeviceKind.SCSI, False
            case TapeCloseReply() if not done and reply.error != Error.DEV_NOT_OPEN:
                pass
            case TapeCloseReply() | ScsiCloseReply():
                self.kind, self.writable = DeviceKind.NONE, False
