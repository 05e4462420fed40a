"""A SCSI command on its way: its data-out as it comes in, and whether anybody still wants its end.

RFC 7143 4.2.4 and 11.7. Data comes in bursts: one that the initiator sends unasked, then one for each R2T.
Each burst has a buffer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from ndmpd.pieces import Inline
from ndmpd.san.target.buffers import Buffers
from protocol.iscsi.pdu import RESERVED_TAG, DataOut, ScsiCommand


class Phase(Enum):
    COLLECTING = auto()
    """Data-out is still to come."""
    QUEUED = auto()
    RUNNING = auto()
    ENDED = auto()


class DataPhaseError(Exception):
    """Data-out that is not what was asked for. The text is for the log."""


class Exchange:
    """``cdb``: whole. ``aborted``: its response is not sent any more, but for a word that it was aborted,
    where that is ``owed``; ``watchers`` are called when it has really ended.
    """

    __slots__ = ("_buffers", "_burst", "_burst_at", "_burst_end", "_data_sn", "_r2t_sn", "_transfer_tag",
                 "aborted", "cdb", "command", "owed", "phase", "pieces", "received", "taken", "watchers")

    def __init__(self, command: ScsiCommand, cdb: bytes, buffers: Buffers) -> None:
        self.command = command
        self.cdb = cdb
        self.phase = Phase.COLLECTING
        self.aborted = self.owed = False
        self.watchers: list[Callable[[], None]] = []
        self.pieces: list[Inline] = []
        self.received = 0
        self.taken: list[memoryview] = []
        self._buffers = buffers
        self._burst = memoryview(b"")
        self._burst_at = self._burst_end = 0
        self._data_sn = self._r2t_sn = 0
        self._transfer_tag = RESERVED_TAG

    @property
    def tag(self) -> int:
        return self.command.task_tag

    @property
    def missing(self) -> int:
        """Bytes of data-out that have not come yet."""
        return self.command.length - self.received if self.command.write else 0

    def expect(self, length: int, transfer_tag: int = RESERVED_TAG) -> int:
        """Make room for a burst of up to ``length`` bytes; returns the number of its R2T, if it has one."""
        buffer = self._buffers.take(length)
        self.taken.append(buffer)
        self._burst, self._transfer_tag, self._data_sn = buffer, transfer_tag, 0
        self._burst_at, self._burst_end = self.received, self.received + length
        number = self._r2t_sn
        self._r2t_sn += transfer_tag != RESERVED_TAG
        return number

    def immediate(self, length: int) -> memoryview:
        """Where ``length`` bytes go that came with the command."""
        return self._advance(length)

    def place(self, data: DataOut, length: int) -> memoryview:
        """Where ``length`` bytes of a Data-Out go. DataPhaseError where they are not the next."""
        if data.transfer_tag != self._transfer_tag:
            raise DataPhaseError(f"target transfer tag {data.transfer_tag:08X}h")
        if data.data_sn != self._data_sn or data.offset != self.received:
            raise DataPhaseError(f"DataSN {data.data_sn} offset {data.offset} instead of "
                                 f"{self._data_sn} and {self.received}")
        if self.received + length > self._burst_end:
            raise DataPhaseError(f"{length} bytes from {data.offset} are more than the burst has")
        solicited = self._transfer_tag != RESERVED_TAG
        if solicited and data.final != (self.received + length == self._burst_end):
            raise DataPhaseError("the last PDU of a burst is not the one that is marked so")
        self._data_sn += 1
        return self._advance(length)

    def _advance(self, length: int) -> memoryview:
        at = self.received - self._burst_at
        self.received += length
        return self._burst[at:at + length]

    def close_burst(self) -> None:
        """The burst has come, whole or as far as the initiator sent it."""
        size = self.received - self._burst_at
        if size:
            self.pieces.append(Inline(self._burst[:size]))
        self._burst, self._burst_at = memoryview(b""), self.received

    def release(self) -> None:
        """Give the memory back. Nobody may use it any more."""
        self.pieces, self._burst = [], memoryview(b"")
        taken, self.taken = self.taken, []
        for buffer in taken:
            self._buffers.give_back(buffer)
