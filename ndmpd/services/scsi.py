"""SCSI: a device, mostly a media changer, in the hands of the DMA. NDMPv4 3.3.

One reply for every request, and nothing is raised. What the session core has checked (authorised, device open
or not, state) is not checked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from ndmpd.pieces import Inline
from ndmpd.ports import Command, Transport
from ndmpd.services.outcome import FAILURES, error_of
from protocol.ndmp.codes import Error, ScsiDataDir
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.scsi import (
    ExecuteCdbReply,
    ExecuteCdbRequest,
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

log = logging.getLogger(__name__)

MAX_DATA = 1 << 24
"""Most bytes that one pass-through command may move either way: what a 24-bit transfer length can name."""
MAX_CDB = 16
_FOR_EVER = 86400.0
"""Seconds for timeout 0, "wait indefinitely": a day is longer than any command, and ends all the same."""

OpenDevice = Callable[[str], Transport]
"""Opens a device by the name that a DMA uses. Raises NoSuchDevice, DeviceBusy or TransportError."""

ExecuteReply = TypeVar("ExecuteReply", bound=ExecuteCdbReply)


def execute_cdb(transport: Transport, request: ExecuteCdbRequest, reply: type[ExecuteReply]) -> ExecuteReply:
    """Pass one CDB through, unchanged both ways (3.3.5); for SCSI and TAPE alike. May raise TransportError.

    NO_ERR says that the device answered; what it answered is in ``status`` and ``ext_sense``.
    """
    both = int(ScsiDataDir.DATA_IN | ScsiDataDir.DATA_OUT)
    flags = int(request.flags)
    if not 1 <= len(request.cdb) <= MAX_CDB or flags & ~both or flags == both:
        return reply(error=Error.ILLEGAL_ARGS)
    reads, writes = flags == ScsiDataDir.DATA_IN, flags == ScsiDataDir.DATA_OUT
    if (reads and request.datain_len > MAX_DATA) or (writes and len(request.dataout) > MAX_DATA):
        return reply(error=Error.ILLEGAL_ARGS)
    buffer = bytearray(request.datain_len if reads else 0)
    result = transport.execute(Command(
        bytes(request.cdb), (Inline(request.dataout),) if writes and request.dataout else (),
        (Inline(buffer),) if buffer else (), request.timeout / 1000 if request.timeout else _FOR_EVER))
    return reply(
        error=Error.NO_ERR, status=result.status, dataout_len=result.transferred if writes else 0,
        datain=bytes(memoryview(buffer)[:result.transferred]) if reads else b"", ext_sense=result.sense)


class ScsiService:
    """At most one open device. ``device`` is its name, None while none is open."""

    def __init__(self, open_device: OpenDevice) -> None:
        self._open_device = open_device
        self._transport: Transport | None = None
        self.device: str | None = None

    def perform(self, request: Message) -> Message:
        """Carry out one SCSI request; blocks as long as the device takes."""
        action, reply = self._ACTIONS[type(request)]
        try:
            if isinstance(request, ScsiOpenRequest):
                return self._open(request)
            if self._transport is None:
                return reply(error=Error.DEV_NOT_OPEN)
            return action(self, self._transport, request)
        except FAILURES as failure:
            log.warning("%s: %s", type(request).__name__, failure)
            return reply(error=error_of(failure))
        except Exception:
            log.exception("%s failed", type(request).__name__)
            return reply(error=Error.UNDEFINED)

    def close(self) -> None:
        """Let go of the device, if there is one. Idempotent."""
        transport, self._transport = self._transport, None
        self.device = None
        if transport is not None:
            transport.close()

    def _open(self, request: ScsiOpenRequest) -> Reply:
        # 3.3.1: no I/O to the device while it is opened.
        self._transport = self._open_device(request.device)
        self.device = request.device
        return ScsiOpenReply(error=Error.NO_ERR)

    def _close(self, transport: Transport, request: ScsiCloseRequest) -> Reply:
        self.close()
        return ScsiCloseReply(error=Error.NO_ERR)

    def _get_state(self, transport: Transport, request: ScsiGetStateRequest) -> Reply:
        # Devices are found by designator, not by bus address: there are no numbers to tell.
        return ScsiGetStateReply(error=Error.NO_ERR, target_controller=-1, target_id=-1, target_lun=-1)

    def _execute(self, transport: Transport, request: ScsiExecuteCdbRequest) -> Reply:
        return execute_cdb(transport, request, ScsiExecuteCdbReply)

    # Optional in the draft. Several hosts share these buses; a reset would take tapes from under their jobs.

    def _set_target(self, transport: Transport, request: ScsiSetTargetRequest) -> Reply:
        return ScsiSetTargetReply(error=Error.NOT_SUPPORTED)

    def _reset_device(self, transport: Transport, request: ScsiResetDeviceRequest) -> Reply:
        return ScsiResetDeviceReply(error=Error.NOT_SUPPORTED)

    def _reset_bus(self, transport: Transport, request: ScsiResetBusRequest) -> Reply:
        return ScsiResetBusReply(error=Error.NOT_SUPPORTED)

    _ACTIONS: dict[type[Message], tuple[Callable[..., Message], type[Reply]]] = {
        ScsiOpenRequest: (_open, ScsiOpenReply),
        ScsiCloseRequest: (_close, ScsiCloseReply),
        ScsiGetStateRequest: (_get_state, ScsiGetStateReply),
        ScsiSetTargetRequest: (_set_target, ScsiSetTargetReply),
        ScsiResetDeviceRequest: (_reset_device, ScsiResetDeviceReply),
        ScsiResetBusRequest: (_reset_bus, ScsiResetBusReply),
        ScsiExecuteCdbRequest: (_execute, ScsiExecuteCdbReply),
    }
