"""MOVER: its state table (2.11.6, figure 8) and the variables that it answers for (3.6.1.1).

Pure bookkeeping, as ``data`` is. Differences between the versions are rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ndmpd.session.figures import MoverFigures
from ndmpd.session.machine import Machine, Step
from ndmpd.session.spans import reach
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import (
    AddrType,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    Version,
)
from protocol.ndmp.mover import MoverGetStateReply


class MoverInput(Enum):
    """Requests by the names of their messages, then what happens to MOVER by itself."""

    GET_STATE = auto()
    SET_RECORD_SIZE = auto()
    SET_WINDOW = auto()
    LISTEN = auto()
    CONNECT = auto()
    READ = auto()
    CONTINUE = auto()
    CLOSE = auto()
    ABORT = auto()
    STOP = auto()

    PEER_CONNECTED = auto()
    """The listening socket was called, or DATA of this session connected."""
    INTERRUPTED = auto()
    """End of media, of file or of window, or a position outside the window."""
    ENDED = auto()
    """The connection was closed or broke, or the tape failed."""


_S, _I = MoverState, MoverInput

MOVER: Machine[MoverState, MoverInput] = Machine({
    (_S.IDLE, _I.SET_RECORD_SIZE): Step(_S.IDLE, "3.6.2.1"),
    (_S.IDLE, _I.SET_WINDOW): Step(_S.IDLE, "3.6.2.2"),
    (_S.IDLE, _I.LISTEN): Step(_S.LISTEN, "3.6.2.4"),
    (_S.IDLE, _I.CONNECT): Step(_S.ACTIVE, "3.6.2.3"),

    (_S.LISTEN, _I.SET_WINDOW): Step(_S.LISTEN, "version 3 listens before it sets the window", Version.V3),
    (_S.LISTEN, _I.PEER_CONNECTED): Step(_S.ACTIVE, "2.11.6"),
    (_S.LISTEN, _I.ENDED): Step(_S.HALTED, "2.11.6"),
    (_S.LISTEN, _I.ABORT): Step(_S.HALTED, "3.6.2.9"),

    (_S.ACTIVE, _I.READ): Step(_S.ACTIVE, "3.6.2.5"),
    (_S.ACTIVE, _I.INTERRUPTED): Step(_S.PAUSED, "2.11.6"),
    (_S.ACTIVE, _I.ENDED): Step(_S.HALTED, "2.11.6"),
    (_S.ACTIVE, _I.CLOSE): Step(_S.HALTED, "3.6.2.8 says PAUSED; clients close once DATA halted (see joint)"),
    (_S.ACTIVE, _I.ABORT): Step(_S.HALTED, "3.6.2.9"),

    (_S.PAUSED, _I.SET_WINDOW): Step(_S.PAUSED, "3.6.2.2"),
    (_S.PAUSED, _I.CONTINUE): Step(_S.ACTIVE, "3.6.2.7"),
    (_S.PAUSED, _I.CLOSE): Step(_S.HALTED, "3.6.2.8"),
    (_S.PAUSED, _I.ENDED): Step(_S.HALTED, "2.11.6"),
    (_S.PAUSED, _I.ABORT): Step(_S.HALTED, "3.6.2.9"),

    (_S.HALTED, _I.ABORT): Step(_S.HALTED, "3.6.2.9: any state except IDLE; no second notice"),
    (_S.HALTED, _I.STOP): Step(_S.IDLE, "3.6.2.10"),

    **{(state, _I.GET_STATE): Step(state, "3.6.2.6") for state in _S},
})

CONTINUE_NEEDS_WINDOW = frozenset({Version.V4})
"""Versions where MOVER_CONTINUE wants a window set since the pause (3.6.2.7); elsewhere the old one holds."""

_U32 = 0xFFFFFFFF


@dataclass(slots=True)
class Mover:
    """The variables of 3.6.1.1, except the running figures. ``reset`` is what entering IDLE does.

    ``record_size`` is 0 until the DMA sets it, and outlives ``reset``. ``window_fresh``: the window was set
    since the mover last stopped. ``started``: figures of this run exist. ``wanted``: a range that local DATA
    asked for while the mover was paused.
    """

    state: MoverState = MoverState.IDLE
    mode: MoverMode = MoverMode.NOACTION
    pause_reason: MoverPauseReason = MoverPauseReason.NA
    halt_reason: MoverHaltReason = MoverHaltReason.NA
    address: Address = LOCAL
    record_size: int = 0
    window_offset: int = 0
    window_length: int = 0
    window_fresh: bool = False
    seek_position: int = 0
    started: bool = False
    wanted: tuple[int, int] | None = None

    @property
    def local(self) -> bool:
        return self.address.addr_type == AddrType.LOCAL

    @property
    def reach(self) -> int:
        """The window's length for the services, all ones where it has no end."""
        return reach(self.window_offset, self.window_length)

    def reset(self) -> None:
        self.state = MoverState.IDLE
        self.mode = MoverMode.NOACTION
        self.pause_reason = MoverPauseReason.NA
        self.halt_reason = MoverHaltReason.NA
        self.address = LOCAL
        self.window_offset = self.window_length = 0
        self.window_fresh = False
        self.seek_position = 0
        self.started = False
        self.wanted = None

    def set_record_size(self, size: int) -> None:
        """3.6.2.1: a window counted in other records is no longer valid."""
        self.record_size = size
        self.window_offset = self.window_length = 0
        self.window_fresh = False

    def set_window(self, offset: int, length: int) -> None:
        self.window_offset, self.window_length = offset, length
        self.window_fresh = True

    def run(self) -> None:
        """Enter ACTIVE, for the first time or again."""
        self.state = MoverState.ACTIVE
        self.pause_reason = MoverPauseReason.NA
        self.window_fresh = False
        self.started = True

    def pause(self, reason: MoverPauseReason) -> None:
        self.state, self.pause_reason = MoverState.PAUSED, reason
        self.window_fresh = False

    def halt(self, reason: MoverHaltReason) -> None:
        self.state, self.halt_reason = MoverState.HALTED, reason
        self.pause_reason = MoverPauseReason.NA
        self.wanted = None

    def describe(self, figures: MoverFigures) -> MoverGetStateReply:
        """3.6.2.6. A window just set says which record comes next (3.6.1.1, record_number)."""
        if self.window_fresh or not self.started:
            record_num = self.window_offset // self.record_size if self.record_size else 0
        else:
            record_num = figures.record_num
        return MoverGetStateReply(
            mode=self.mode,
            state=self.state,
            pause_reason=self.pause_reason,
            halt_reason=self.halt_reason,
            record_size=self.record_size,
            record_num=record_num & _U32,
            bytes_moved=figures.bytes_moved if self.started else 0,
            seek_position=self.seek_position,
            bytes_left_to_read=figures.bytes_left_to_read if self.started else 0,
            window_offset=self.window_offset,
            window_length=self.window_length,
            data_connection_addr=self.address,
        )
