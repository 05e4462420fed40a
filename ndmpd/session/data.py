"""DATA: its state table (2.11.5, figure 7) and the variables that it answers for (3.5.1.1).

Pure bookkeeping. Which request may be acted on is ``admission``'s, what it makes happen is
``data_requests``', what it does to MOVER is ``joint``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from ndmpd.session.figures import DataFigures
from ndmpd.session.machine import Machine, Step
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, DataHaltReason, DataOperation, DataState, DataUnsupported
from protocol.ndmp.data import DataGetStateReply


class DataInput(Enum):
    """Requests by the names of their messages, then what happens to DATA by itself."""

    GET_STATE = auto()
    LISTEN = auto()
    CONNECT = auto()
    START_BACKUP = auto()
    START_RECOVER = auto()
    START_RECOVER_FILEHIST = auto()
    GET_ENV = auto()
    ABORT = auto()
    STOP = auto()

    PEER_CONNECTED = auto()
    """The listening socket was called, or MOVER of this session connected."""
    ENDED = auto()
    """The job is over, or the connection broke."""


_S, _I = DataState, DataInput

DATA: Machine[DataState, DataInput] = Machine({
    (_S.IDLE, _I.LISTEN): Step(_S.LISTEN, "3.5.2.2"),
    (_S.IDLE, _I.CONNECT): Step(_S.CONNECTED, "3.5.2.1"),

    (_S.LISTEN, _I.PEER_CONNECTED): Step(_S.CONNECTED, "2.11.5"),
    (_S.LISTEN, _I.ENDED): Step(_S.HALTED, "2.11.5"),
    (_S.LISTEN, _I.ABORT): Step(_S.HALTED, "3.5.2.9"),

    (_S.CONNECTED, _I.START_BACKUP): Step(_S.ACTIVE, "3.5.2.3"),
    (_S.CONNECTED, _I.START_RECOVER): Step(_S.ACTIVE, "3.5.2.4"),
    (_S.CONNECTED, _I.START_RECOVER_FILEHIST): Step(_S.ACTIVE, "3.5.2.5"),
    (_S.CONNECTED, _I.ENDED): Step(_S.HALTED, "2.11.5"),
    (_S.CONNECTED, _I.ABORT): Step(_S.HALTED, "3.5.2.9"),

    (_S.ACTIVE, _I.GET_ENV): Step(_S.ACTIVE, "3.5.2.7"),
    (_S.ACTIVE, _I.ENDED): Step(_S.HALTED, "2.11.5"),
    (_S.ACTIVE, _I.ABORT): Step(_S.HALTED, "3.5.2.9"),

    (_S.HALTED, _I.GET_ENV): Step(_S.HALTED, "3.5.2.7, after a recover as well"),
    (_S.HALTED, _I.ABORT): Step(_S.HALTED, "3.5.2.9: any state except IDLE; no second notice"),
    (_S.HALTED, _I.STOP): Step(_S.IDLE, "3.5.2.8"),

    **{(state, _I.GET_STATE): Step(state, "3.5.2.6") for state in _S},
})

OPERATIONS = {
    DataInput.START_BACKUP: DataOperation.BACKUP,
    DataInput.START_RECOVER: DataOperation.RECOVER,
    DataInput.START_RECOVER_FILEHIST: DataOperation.RECOVER_FILEHIST,
}


@dataclass(slots=True)
class Data:
    """The variables of 3.5.1.1, except the running figures. ``reset`` is what entering IDLE does."""

    state: DataState = DataState.IDLE
    operation: DataOperation = DataOperation.NOACTION
    halt_reason: DataHaltReason = DataHaltReason.NA
    address: Address = LOCAL
    environment: list[tuple[str, str]] = field(default_factory=list)
    read_offset: int = 0
    read_length: int = 0

    @property
    def local(self) -> bool:
        return self.address.addr_type == AddrType.LOCAL

    @property
    def recovering(self) -> bool:
        return self.operation in (DataOperation.RECOVER, DataOperation.RECOVER_FILEHIST)

    def reset(self) -> None:
        self.state = DataState.IDLE
        self.operation = DataOperation.NOACTION
        self.halt_reason = DataHaltReason.NA
        self.address = LOCAL
        self.environment = []
        self.read_offset = self.read_length = 0

    def start(self, operation: DataOperation, to: DataState) -> None:
        self.operation, self.state = operation, to

    def halt(self, reason: DataHaltReason) -> None:
        self.state, self.halt_reason = DataState.HALTED, reason

    def want(self, offset: int, length: int) -> int:
        """Note which bytes of the stream the job asks for; their length as a request may state it.

        All ones mean to the end of the stream, but offset plus length must not overflow (3.6.2.5).
        """
        self.read_offset, self.read_length = offset, min(length, ALL_ONES - offset)
        return self.read_length

    def set_variable(self, name: str, value: str) -> None:
        """Give ``name`` its value wherever it was sent, so that all readings agree; add it if it was not."""
        if any(sent == name for sent, _ in self.environment):
            self.environment = [(sent, value if sent == name else old) for sent, old in self.environment]
        else:
            self.environment.append((name, value))

    def describe(self, figures: DataFigures) -> DataGetStateReply:
        """3.5.2.6. Estimates that nobody made are marked as unsupported."""
        unsupported = DataUnsupported(0)
        if figures.est_bytes_remain is None:
            unsupported |= DataUnsupported.EST_BYTES_REMAIN
        if figures.est_time_remain is None:
            unsupported |= DataUnsupported.EST_TIME_REMAIN
        return DataGetStateReply(
            unsupported=unsupported,
            operation=self.operation,
            state=self.state,
            halt_reason=self.halt_reason,
            bytes_processed=figures.bytes_processed,
            est_bytes_remain=figures.est_bytes_remain or 0,
            est_time_remain=min(figures.est_time_remain or 0, 0xFFFFFFFF),
            data_connection_addr=self.address,
            read_offset=self.read_offset,
            read_length=self.read_length,
        )

