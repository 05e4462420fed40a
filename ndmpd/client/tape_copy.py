"""A tape copied to another: a mover that reads feeds one that writes (draft 2.3.5.2, 3.6.2.5).

Tape file by tape file, each with its own record size and its file mark. The copy begins where a cartridge
begins; where the destination's is full, the next one takes the rest of the tape file.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from ndmpd.client.agents import MoverAgent, TapeAgent
from ndmpd.client.connection import Connection
from ndmpd.client.copies import CopyReport, Look, Pairing
from ndmpd.client.errors import ClientError, JobFailed, MediaError, Refused
from ndmpd.client.history import HistoryWriter
from ndmpd.client.media import TapeStation
from ndmpd.client.observer import Observer
from ndmpd.client.posts import Posts
from protocol.ndmp.address import Address
from protocol.ndmp.codes import (
    AddrType,
    Code,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.mover import MoverGetStateReply

ALL = (1 << 64) - 1
LONGEST = 4 << 20
"""Bytes of the longest record that is looked for."""


@dataclass(frozen=True, slots=True)
class TapeCopyOrder:
    """``files``: how many tape files, None for all; ``skip`` of the source's are left out first. ``append``:
    behind what the destination holds. ``swapped``: the side that reads listens.
    """

    files: int | None = None
    skip: int = 0
    append: bool = False
    swapped: bool = False


class MoverSide:
    """``copies.Side``. ``state`` is the last that was seen."""

    halted_post = Code.NOTIFY_MOVER_HALTED

    def __init__(self, connection: Connection, mode: MoverMode) -> None:
        self.mover = MoverAgent(connection)
        self.mode = mode
        self.state = MoverGetStateReply()

    @property
    def connection(self) -> Connection:
        return self.mover.connection

    def look(self) -> Look:
        self.state = state = self.mover.get_state()
        return Look(state.state == MoverState.HALTED, state.state == MoverState.IDLE,
                    state.halt_reason == MoverHaltReason.CONNECT_CLOSED,
                    getattr(state.halt_reason, "name", str(state.halt_reason)),
                    (state.bytes_moved, state.record_num), state.state == MoverState.PAUSED)

    def abort(self) -> None:
        self.mover.abort()

    def stop(self) -> None:
        self.mover.stop()

    def listen(self) -> Address:
        """The address; version 3 knows windows of a listening mover only, version 4 of an idle one."""
        late = self.connection.version == Version.V3
        if not late:
            self.mover.set_window(0, ALL)
        address = self.mover.listen(self.mode, AddrType.TCP)
        if late:
            self.mover.set_window(0, ALL)
        return address


class TapeCopy:
    """One copy. The stations are those of the drives that ``source`` reads and ``destination`` writes."""

    def __init__(self, source: MoverSide, destination: MoverSide, stations: tuple[TapeStation, TapeStation],
                 order: TapeCopyOrder, observer: Observer) -> None:
        self._source = source
        self._destination = destination
        self._from, self._to = stations
        self._order = order
        self._observer = observer
        self._posts = Posts(observer, HistoryWriter(None, 0))
        self._written = 0
        """Cartridges of the destination that were used."""
        self.report = CopyReport("tape", whole=True)

    def run(self) -> CopyReport:
        """Copy. Whatever goes wrong, both sides are stopped and the drives let go of."""
        begun = time.monotonic()
        pairing = Pairing((self._source, self._destination), self._posts)
        try:
            self._mount()
            while self.report.whole and self._order.files != self.report.files:
                size = self._next_file()
                if size is None:
                    break
                if size:
                    self._file(pairing, size)
                if self.report.whole:
                    self._to.write_filemark()
                    self.report.files += 1
            for station in (self._from, self._to):
                station.dismount()
        except BaseException:
            pairing.abandon()
            for station in (self._from, self._to):
                # Closing the control connection, which follows, closes the drive as well (draft 3.4.1).
                with suppress(ClientError):
                    station.dismount()
            raise
        self.report.seconds = time.monotonic() - begun
        self.report.messages, self.report.lost = self._posts.messages, self._posts.errors
        return self.report

    def _mount(self) -> None:
        order = self._order
        loaded = self._from.mount(0, TapeOpenMode.READ)
        self.report.source = loaded.cartridge or loaded.drive
        self._from.skip_files(order.skip)
        loaded = self._to.mount(0, TapeOpenMode.RDWR)
        self.report.destination = loaded.cartridge or loaded.drive
        if order.append:
            self._to.skip_all()
        self._to.announce()

    def _next_file(self) -> int | None:
        """The record size of the tape file that comes next, 0 for an empty one, None where there is none."""
        tape = self._from.tape
        size, error = tape.record_length(LONGEST)
        if error == Error.EOM:
            if not self.report.files:
                raise MediaError(f"there is nothing on {self.report.source} to copy")
            return None
        if error == Error.EOF:
            self._behind_mark(tape)
            return 0
        tape.mtio(TapeMtioOp.BSR)
        return size

    @staticmethod
    def _behind_mark(tape: TapeAgent) -> None:
        """Version 4 stops in front of a file mark, version 3 behind it."""
        if tape.connection.version != Version.V3:
            tape.mtio(TapeMtioOp.FSF)

    def _file(self, pairing: Pairing, size: int) -> None:
        """One tape file, of records of ``size`` bytes, up to its file mark or the end of what is recorded."""
        before, met_mark = self.report.size, False
        self._join(size)
        while True:
            looks = pairing.looks()
            source, destination = looks
            self._observer.amount(before + destination.progress[0], 0, destination.paused)
            if source.halted and destination.halted:
                break
            if destination.paused:
                self._next_cartridge(self._destination.state)
            elif source.paused:
                met_mark = self._source_ended(self._source.state)
            elif source.halted and not source.whole:
                with suppress(Refused):
                    self._destination.abort()
            pairing.hurry(looks)
        pairing.settle()
        pairing.posts.seen.clear()
        for side in pairing.sides:
            side.stop()
        self._judge(source, destination, before)
        if met_mark:
            self._behind_mark(self._from.tape)

    def _judge(self, source: Look, destination: Look, before: int) -> None:
        report = self.report
        report.source_halt, report.destination_halt = source.reason, destination.reason
        report.size = before + destination.progress[0]
        if source.progress[0] != destination.progress[0] and source.whole and destination.whole:
            raise JobFailed(f"{source.progress[0]} bytes were read and {destination.progress[0]} written; "
                            "the copy cannot be trusted")
        report.whole = source.whole and destination.whole

    def _join(self, size: int) -> None:
        source, destination = self._source, self._destination
        for side in (source, destination):
            side.mover.set_record_size(size)
        listens, calls = (source, destination) if self._order.swapped else (destination, source)
        address = listens.listen()
        calls.mover.set_window(0, ALL)
        calls.mover.connect(calls.mode, address)
        source.mover.read(0, ALL)

    def _source_ended(self, state: MoverGetStateReply) -> bool:
        """The source met the end of its tape file: that of the stream. Whether a file mark was there."""
        if state.pause_reason not in (MoverPauseReason.EOF, MoverPauseReason.EOM):
            reason = getattr(state.pause_reason, "name", str(state.pause_reason))
            raise JobFailed(f"the source's mover paused for {reason}, for which a copy has no remedy")
        self._source.mover.close()
        return state.pause_reason == MoverPauseReason.EOF

    def _next_cartridge(self, state: MoverGetStateReply) -> None:
        """The destination's cartridge is full: the tape file goes on with the next."""
        if state.pause_reason != MoverPauseReason.EOM:
            reason = getattr(state.pause_reason, "name", str(state.pause_reason))
            raise JobFailed(f"the destination's mover paused for {reason}, for which a copy has no remedy")
        with suppress(Refused):
            self._to.write_filemark()
        self._written += 1
        self._to.mount(self._written, TapeOpenMode.RDWR)
        self._to.announce()
        moved = state.bytes_moved
        self._destination.mover.set_window(moved, ALL - moved)
        self._destination.mover.resume()
