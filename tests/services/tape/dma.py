"""A DMA's hands on a TapeService."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ndmpd.ports import Transport
from ndmpd.services.tape import TapeService
from protocol.ndmp.codes import Error, ScsiDataDir, TapeMtioOp, TapeOpenMode, Version
from protocol.ndmp.message import Message
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

MIB = 1 << 20
UNKNOWN = 0xFFFFFFFF
ReplyType = TypeVar("ReplyType", bound=Message)
READ, RDWR, RAW = TapeOpenMode.READ, TapeOpenMode.RDWR, TapeOpenMode.RAW


class Dma:
    """One control connection's TAPE requests, in short words. Replies are checked for their class."""

    def __init__(self, open_device: Callable[[str], Transport], version: Version) -> None:
        self.service = TapeService(open_device, version)
        self.version = version

    def _perform(self, request: Message, reply: type[ReplyType]) -> ReplyType:
        answer = self.service.perform(request)
        assert type(answer) is reply
        return answer

    def open(self, mode: int = RDWR, device: str = "tape0") -> int:
        return self._perform(TapeOpenRequest(device, mode), TapeOpenReply).error

    def close(self) -> int:
        return self._perform(TapeCloseRequest(), TapeCloseReply).error

    def state(self) -> TapeGetStateReply:
        return self._perform(TapeGetStateRequest(), TapeGetStateReply)

    def at(self) -> tuple[int, int]:
        """File and block number."""
        state = self.state()
        assert state.error == Error.NO_ERR
        return state.file_num, state.blockno

    def mtio(self, operation: int, count: int = 1) -> tuple[int, int]:
        """Error and residual count."""
        reply = self._perform(TapeMtioRequest(operation, count), TapeMtioReply)
        return reply.error, reply.resid_count

    def move(self, operation: TapeMtioOp, count: int = 1) -> int:
        """Residual count of an operation that succeeds."""
        error, left = self.mtio(operation, count)
        assert error == Error.NO_ERR
        return left

    def write(self, data: bytes) -> tuple[int, int]:
        """Error and count."""
        reply = self._perform(TapeWriteRequest(data), TapeWriteReply)
        return reply.error, reply.count

    def read(self, count: int) -> tuple[int, bytes]:
        """Error and data."""
        reply = self._perform(TapeReadRequest(count), TapeReadReply)
        return reply.error, reply.data_in

    def cdb(self, cdb: bytes, *, data_in: int = 0, data_out: bytes = b"") -> TapeExecuteCdbReply:
        flags = ScsiDataDir.DATA_IN if data_in else ScsiDataDir.DATA_OUT if data_out else ScsiDataDir(0)
        return self._perform(TapeExecuteCdbRequest(flags, 0, data_in, cdb, data_out), TapeExecuteCdbReply)
