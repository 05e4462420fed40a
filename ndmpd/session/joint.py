"""DATA and MOVER of one session joined by NDMP LOCAL: which pairs of states there are, what couples them.

A TCP connection couples nothing here, even where both its ends are in this session: each side then learns of
the other from its socket, as it would from another host. Joined sides learn most things that way too, from
their channel; the tables hold only what no channel can tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.session.data import Data
from ndmpd.session.mover import Mover
from ndmpd.session.refused import Refused
from protocol.ndmp.codes import DataHaltReason, DataOperation, DataState, Error, MoverMode, MoverState

_D, _M = DataState, MoverState

JOIN: dict[tuple[DataState, MoverState], tuple[DataState, MoverState]] = {
    (_D.IDLE, _M.LISTEN): (_D.CONNECTED, _M.ACTIVE),
    (_D.LISTEN, _M.IDLE): (_D.CONNECTED, _M.ACTIVE),
}
"""What a local DATA_CONNECT (3.5.2.1) and a local MOVER_CONNECT (3.6.2.3) make of both sides."""

JOINED: dict[tuple[DataState, MoverState], str] = {
    (_D.CONNECTED, _M.ACTIVE): "joined, no job yet",
    (_D.CONNECTED, _M.PAUSED): "the mover met the end of its window or medium before there was a job",
    (_D.ACTIVE, _M.ACTIVE): "the stream flows",
    (_D.ACTIVE, _M.PAUSED): "the DMA changes tape or window",
    (_D.ACTIVE, _M.HALTED): "the job finds its connection closed next",
    (_D.HALTED, _M.ACTIVE): "the mover writes what it still has, or is closed by the DMA",
    (_D.HALTED, _M.PAUSED): "the mover holds the last record for the next tape",
    (_D.HALTED, _M.HALTED): "done",
}
"""The pairs that a joined session can be in, after each turn. STOP on either side ends the join."""

CONSEQUENCES: dict[tuple[DataState, MoverState], DataHaltReason] = {
    (_D.CONNECTED, _M.HALTED): DataHaltReason.CONNECT_ERROR,
}
"""Pairs that do not last: DATA halts for the reason given, as 2.11.5 has it when the connection is lost;
there is no job yet that would notice."""

MODES = {
    DataOperation.BACKUP: MoverMode.READ,
    DataOperation.RECOVER: MoverMode.WRITE,
    DataOperation.RECOVER_FILEHIST: MoverMode.WRITE,
}
"""The direction in which MOVER must run for each operation of a joined DATA."""


@dataclass(slots=True)
class Joint:
    """The two sides, and whether they are joined."""

    data: Data
    mover: Mover
    joined: bool = False

    @property
    def pair(self) -> tuple[DataState, MoverState]:
        return self.data.state, self.mover.state

    @property
    def data_listens(self) -> bool:
        return self.data.state == DataState.LISTEN and self.data.local

    @property
    def mover_listens(self) -> bool:
        return self.mover.state == MoverState.LISTEN and self.mover.local

    def check_listen(self) -> None:
        """One side listens, the other connects: were both to listen, neither could."""
        if self.data_listens or self.mover_listens:
            raise Refused(Error.ILLEGAL_STATE)

    def check_data_connect(self) -> None:
        if not self.mover_listens:
            raise Refused(Error.CONNECT, "no mover of this session listens; send MOVER_LISTEN with a local "
                                         "address first")

    def check_mover_connect(self) -> None:
        if not self.data_listens:
            raise Refused(Error.CONNECT, "DATA of this session does not listen; send DATA_LISTEN with a "
                                         "local address first")

    def check_start(self, operation: DataOperation) -> None:
        """A joined mover runs in one direction already."""
        if self.joined and self.mover.mode != MODES[operation]:
            raise Refused(Error.ILLEGAL_STATE, f"the mover of this session runs in mode "
                                               f"{MoverMode(self.mover.mode).name}, a {operation.name} needs "
                                               f"{MODES[operation].name}")

    def check_close(self) -> None:
        """MOVER_CLOSE in ACTIVE. 3.6.2.8 wants PAUSED, but clients end a recover so once DATA has halted.

        DATA on another connection cannot be seen from here and is taken to have halted. A backup's mover ends
        by itself when its peer closes: closed from here, it would leave records unwritten.
        """
        if self.mover.state != MoverState.ACTIVE:
            return
        if self.mover.mode != MoverMode.WRITE or (self.joined and self.data.state != DataState.HALTED):
            raise Refused(Error.ILLEGAL_STATE)

    def join(self) -> None:
        """Both checks passed: one side listens, the other connects."""
        self.data.state, _ = JOIN[self.pair]
        self.mover.run()
        self.joined = True

    def part(self) -> None:
        """One side went IDLE."""
        self.joined = False

    def consequence(self) -> DataHaltReason | None:
        """Why DATA must halt now, if it must."""
        return CONSEQUENCES.get(self.pair) if self.joined else None
