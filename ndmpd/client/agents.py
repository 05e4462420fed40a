"""The server's DATA, MOVER and TAPE, each as an object with one method per request.

Every method raises what ``Connection.call`` raises. Offsets and lengths are bytes of the backup stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from ndmpd.client.connection import DEVICE_TIMEOUT, Connection
from ndmpd.client.errors import Refused
from protocol.ndmp.address import Address
from protocol.ndmp.codes import AddrType, Code, Error, MoverMode, TapeMtioOp, TapeOpenMode
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
from protocol.ndmp.message import Pval
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
from protocol.ndmp.tape import (
    TapeCloseReply,
    TapeCloseRequest,
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

Environment = Sequence[tuple[str, str]]


def pairs(environment: Environment) -> tuple[Pval, ...]:
    return tuple(Pval(name, value) for name, value in environment)


class DataAgent:
    """The side that reads or writes the file system (draft 3.5)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_state(self) -> DataGetStateReply:
        return self.connection.call(Code.DATA_GET_STATE, DataGetStateRequest(), DataGetStateReply)

    def listen(self, kind: AddrType) -> Address:
        reply = self.connection.call(Code.DATA_LISTEN, DataListenRequest(kind), DataListenReply)
        return reply.connect_addr

    def connect(self, address: Address) -> None:
        self.connection.call(Code.DATA_CONNECT, DataConnectRequest(address), DataConnectReply)

    def start_backup(self, butype: str, environment: Environment) -> None:
        self.connection.call(Code.DATA_START_BACKUP, DataStartBackupRequest(butype, pairs(environment)),
                             DataStartBackupReply)

    def start_recover(self, butype: str, environment: Environment, names: Sequence[Name]) -> None:
        self.connection.call(Code.DATA_START_RECOVER,
                             DataStartRecoverRequest(pairs(environment), tuple(names), butype),
                             DataStartRecoverReply)

    def start_recover_filehist(self, butype: str, environment: Environment) -> None:
        self.connection.call(Code.DATA_START_RECOVER_FILEHIST,
                             DataStartRecoverFilehistRequest(pairs(environment), (), butype),
                             DataStartRecoverFilehistReply)

    def get_env(self) -> list[tuple[str, str]]:
        reply = self.connection.call(Code.DATA_GET_ENV, DataGetEnvRequest(), DataGetEnvReply)
        return [(each.name, each.value) for each in reply.env]

    def abort(self) -> None:
        self.connection.call(Code.DATA_ABORT, DataAbortRequest(), DataAbortReply)

    def stop(self) -> None:
        self.connection.call(Code.DATA_STOP, DataStopRequest(), DataStopReply)


class MoverAgent:
    """The side that moves between the data connection and the tape (draft 3.6)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get_state(self) -> MoverGetStateReply:
        return self.connection.call(Code.MOVER_GET_STATE, MoverGetStateRequest(), MoverGetStateReply)

    def set_record_size(self, size: int) -> None:
        self.connection.call(Code.MOVER_SET_RECORD_SIZE, MoverSetRecordSizeRequest(size),
                             MoverSetRecordSizeReply)

    def set_window(self, offset: int, length: int) -> None:
        self.connection.call(Code.MOVER_SET_WINDOW, MoverSetWindowRequest(offset, length),
                             MoverSetWindowReply)

    def listen(self, mode: MoverMode, kind: AddrType) -> Address:
        reply = self.connection.call(Code.MOVER_LISTEN, MoverListenRequest(mode, kind), MoverListenReply)
        return reply.connect_addr

    def connect(self, mode: MoverMode, address: Address) -> None:
        self.connection.call(Code.MOVER_CONNECT, MoverConnectRequest(mode, address), MoverConnectReply)

    def read(self, offset: int, length: int) -> bool:
        """Ask for stream bytes; False if an earlier request is still under way."""
        reply = self.connection.call(Code.MOVER_READ, MoverReadRequest(offset, length), MoverReadReply,
                                     accept=(Error.READ_IN_PROGRESS,))
        return reply.error == Error.NO_ERR

    def resume(self) -> None:
        self.connection.call(Code.MOVER_CONTINUE, MoverContinueRequest(), MoverContinueReply)

    def close(self) -> None:
        self.connection.call(Code.MOVER_CLOSE, MoverCloseRequest(), MoverCloseReply)

    def abort(self) -> None:
        self.connection.call(Code.MOVER_ABORT, MoverAbortRequest(), MoverAbortReply)

    def stop(self) -> None:
        self.connection.call(Code.MOVER_STOP, MoverStopRequest(), MoverStopReply)


class TapeAgent:
    """One tape drive (draft 3.4)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def open(self, device: str, mode: TapeOpenMode) -> None:
        self.connection.call(Code.TAPE_OPEN, TapeOpenRequest(device, mode), TapeOpenReply,
                             timeout=DEVICE_TIMEOUT)

    def close(self) -> None:
        self.connection.call(Code.TAPE_CLOSE, TapeCloseRequest(), TapeCloseReply, timeout=DEVICE_TIMEOUT)

    def get_state(self) -> TapeGetStateReply:
        return self.connection.call(Code.TAPE_GET_STATE, TapeGetStateRequest(), TapeGetStateReply,
                                    timeout=DEVICE_TIMEOUT)

    def mtio(self, operation: TapeMtioOp, count: int = 1, accept: Sequence[Error] = ()) -> int:
        """Carry out a tape operation; returns how many of ``count`` were not done."""
        reply = self.connection.call(Code.TAPE_MTIO, TapeMtioRequest(operation, count), TapeMtioReply,
                                     accept=accept, timeout=DEVICE_TIMEOUT)
        return reply.resid_count

    def read(self, count: int) -> bytes | None:
        """The next record, cut to ``count`` bytes; None at a file mark or at the end of what is recorded."""
        reply = self.connection.call(Code.TAPE_READ, TapeReadRequest(count), TapeReadReply,
                                     accept=(Error.EOF, Error.EOM), timeout=DEVICE_TIMEOUT)
        return reply.data_in if reply.error == Error.NO_ERR else None

    def record_length(self, most: int) -> tuple[int, Error]:
        """How long the next record is, up to ``most`` bytes; it is passed over. With EOF there is a file mark
        instead, which version 3 passes over as well, with EOM the end of what is recorded.
        """
        reply = self.connection.call(Code.TAPE_READ, TapeReadRequest(most), TapeReadReply,
                                     accept=(Error.EOF, Error.EOM), timeout=DEVICE_TIMEOUT)
        return len(reply.data_in), Error(reply.error)

    def write(self, data: bytes) -> None:
        """Write one record. Raises Refused where the tape took less than all of it."""
        reply = self.connection.call(Code.TAPE_WRITE, TapeWriteRequest(data), TapeWriteReply,
                                     timeout=DEVICE_TIMEOUT)
        if reply.count != len(data):
            raise Refused(Code.TAPE_WRITE.name, Error.IO, f"{reply.count} of {len(data)} bytes written")
