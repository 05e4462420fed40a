"""The mover in mode READ: the stream becomes records on tape (2.3.5.1.5, 3.6.1).

Pieces are gathered into batches of whole records; one tape command carries a batch. What a batch holds is
kept until the drive has taken it: where a cartridge ends inside, the rest goes onto the next one. A pause
comes only when there is a further byte to write: a stream that just fits needs no more window or cartridge.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ndmpd.devices.errors import DeviceError, PositionLost, TransportError
from ndmpd.devices.tape_outcome import Written
from ndmpd.pieces import FileExtent, Inline, Piece, Zeros, split
from ndmpd.ports import SourceFault
from ndmpd.services.mover_run import BATCH, MoverRun
from ndmpd.services.sources import Source
from ndmpd.services.transfer import MakeTransfer, Mover, Transfer
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import MoverPauseReason

log = logging.getLogger(__name__)

_MOST_OPEN = 256
"""Extents of files, and so descriptors, that a batch is made of at most, unless a record needs more."""
_MOST_HELD = 8 << 20
"""Bytes in memory that a batch is made of, likewise: they should be in the processor's cache when written."""


OpenSource = Callable[["BackupRun"], Source]
"""Finds out what is at the other end of a run's connection; may wait for it."""


class BackupRun(MoverRun):
    """``make_transfer``: see ``MakeTransfer``; the other arguments are ``MoverRun``'s."""

    def __init__(self, open_source: OpenSource, make_transfer: MakeTransfer, *run: Any) -> None:
        super().__init__(*run)
        self._open_source = open_source
        self._source: Source | None = None
        self._make_transfer = make_transfer
        self._numbers: deque[tuple[int, Piece]] = deque()
        """Pieces not yet on tape with their numbers, in order; the first may be a rest."""
        self._waiting = 0
        self._extents = 0
        self._held = 0
        """Of the bytes that wait, those in memory."""
        self._begun = -1, 0
        """The last piece of which something is on tape, and how many bytes of it are."""
        self._faulty = -1
        """The last piece that was reported. One report names the file; one for every batch would not help."""
        self._ended = False
        self._full = False
        """The cartridge is at its end: no further record."""
        self._flushed = False
        """Everything is on tape, and the run ends."""

    def move(self) -> None:
        try:
            self.check_stopped()
            if self.source.asked is Mover.SCSI:
                # While DATA looks at the disk that the blocks are to come from.
                self.transfer.prepare(self.drive)
            while self._copied() or self._gather():
                if not self._waiting:
                    continue
                if self._full or self._room() == 0:
                    self._turn_over()
                else:
                    self._write(self._batch())
        finally:
            if self._transfer is not None:
                self._transfer.close()

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self._open_source(self)
        return self._source

    @property
    def transfer(self) -> Transfer:
        """Who carries the records: DATA says what the DMA asked for."""
        if self._transfer is None:
            self._transfer = self._make_transfer(self.source.asked, self)
        return self._transfer

    def carried(self) -> dict[str, int]:
        elsewhere = self._source.carried if self._source is not None else {}
        return {**super().carried(), **elsewhere}

    def settle(self) -> None:
        """Everything is on tape and out of the drive's buffer before the peer hears so."""
        self.check_stopped()
        self.drive.flush()
        self._flushed = True
        if self._source is None:
            return
        try:
            self._source.done(self.transfer.offloaded, self.transfer.used)
        except OSError as failure:
            log.info("DATA has closed already: %s", failure)

    def leave(self) -> None:
        """Aborted or broken off, what was counted is on the medium all the same.

        What waits is dropped: it may keep files open.
        """
        if self._source is not None:
            self._source.close()
        self._numbers.clear()
        self._parts = iter(())
        if self.drive.unmarked and not self._flushed:
            self.drive.flush()

    def _room(self) -> int | None:
        records = self.window.records
        return None if records is None else records - self.records

    def _batch(self) -> int:
        """Records to write now, at most."""
        batch = BATCH if self._transfer is None else self._transfer.batch or BATCH
        most = max(1, batch // self.window.record_size)
        room = self._room()
        return most if room is None else min(most, room)

    def _copied(self) -> bool:
        """Whether the source has put records onto the tape itself."""
        room = self._room()
        if self._waiting or self._full or self._ended or room == 0:
            return False
        self.check_stopped()
        size = self.window.record_size
        written = self.source.copy(self.drive, size, ALL_ONES if room is None else room)
        if written is None:
            return False
        self._count(written.records, size, 0)
        self._full = written.early_warning
        self.check_stopped()
        return True

    def _gather(self) -> bool:
        """Have the bytes of a batch, or all there are; False where there is nothing left to write."""
        record = self.window.record_size
        # Where no record can be written now, one byte more is enough to ask the DMA for room.
        wanted = 1 if self._full else max(1, self._batch() * record)
        self.check_stopped()
        while self._waiting < wanted and not self._ended:
            enough = self._extents >= _MOST_OPEN or self._held >= _MOST_HELD
            if self._waiting >= record and (enough or self.source.idle()):
                break
            found = self.source.next()
            if found is None:
                self._ended = True
            elif found[1].length:
                self._numbers.append(found)
                self._weigh(found[1], 1)
            self.check_stopped()
        return self._waiting > 0

    def _weigh(self, piece: Piece, sign: int) -> None:
        """``piece`` waits from now on (1), or no longer (-1)."""
        self._waiting += sign * piece.length
        if isinstance(piece, FileExtent):
            self._extents += sign
        elif isinstance(piece, Inline):
            self._held += sign * piece.length

    def _turn_over(self) -> None:
        """Window or cartridge is full and a byte waits: pause until the DMA has another."""
        self.drive.flush()
        reason = MoverPauseReason.EOM if self._full else MoverPauseReason.EOW
        self._full = False
        self.pause(reason)

    def _write(self, most: int) -> None:
        """Write what waits as whole records, the stream's last one filled up with zeros."""
        size = self.window.record_size
        count = min(most, self._waiting // size)
        pad = 0
        if count < most and self._ended and self._waiting % size:
            count += 1
            pad = count * size - self._waiting
        pieces = self._take(count * size - pad)
        if pad:
            pieces.append((-1, Zeros(pad)))
        before = self.drive.position.object
        try:
            outcome = self.transfer.write(self.drive, [piece for _, piece in pieces], size, count)
        except (DeviceError, TransportError, PositionLost):
            # What went onto the tape before it failed is there, and counts.
            now = self.drive.position.object
            if before is not None and now is not None and 0 < now - before <= count:
                self._count(now - before, size, pad if now - before == count else 0)
            raise
        self._account(pieces, outcome, size, count, pad)

    def _count(self, records: int, size: int, pad: int) -> None:
        self.records += records
        self.bytes_moved += records * size - pad

    def _take(self, size: int) -> list[tuple[int, Piece]]:
        """The first ``size`` waiting bytes."""
        taken: list[tuple[int, Piece]] = []
        while size:
            number, piece = self._numbers.popleft()
            self._weigh(piece, -1)
            if piece.length > size:
                piece, rest = split(piece, size)
                self._numbers.appendleft((number, rest))
                self._weigh(rest, 1)
            taken.append((number, piece))
            size -= piece.length
        return taken

    def _account(self, pieces: list[tuple[int, Piece]], outcome: Written, size: int, count: int,
                 pad: int) -> None:
        """Count what is on tape; what is not goes back to the head of what waits."""
        done = outcome.records * size
        for fault in outcome.faults:
            if fault.skipped < done:
                self._report(pieces, fault)
        rest = count * size - done
        if rest:
            tail: list[tuple[int, Piece]] = []
            while rest:
                number, piece = pieces.pop()
                if piece.length > rest:
                    piece, back = split(piece, piece.length - rest)
                    pieces.append((number, piece))
                    piece = back
                rest -= piece.length
                if number >= 0:
                    tail.append((number, piece))
                    self._weigh(piece, 1)
            self._numbers.extendleft(tail)
            pad = 0
        self._begun = self._reached(pieces)
        self._count(outcome.records, size, pad)
        self._full = outcome.early_warning or outcome.end_of_medium
        if self._numbers:
            self.source.written(self._numbers[0][0])
        elif numbers := [number for number, _ in pieces if number >= 0]:
            self.source.written(numbers[-1] + 1)

    def _reached(self, pieces: list[tuple[int, Piece]]) -> tuple[int, int]:
        """The last of ``pieces`` but padding, and how many bytes of it they hold with what is on tape."""
        last, size = -1, 0
        for number, piece in reversed(pieces):
            if number < 0:
                continue
            if last < 0:
                last = number
            if number != last:
                return last, size
            size += piece.length
        begun, before = self._begun
        if last < 0:
            return self._begun
        return last, size + before if last == begun else size

    def _report(self, pieces: list[tuple[int, Piece]], fault: SourceFault) -> None:
        """Name the piece that a gap lies in, and where in it."""
        start = 0
        for index, (number, piece) in enumerate(pieces):
            if start <= fault.skipped < start + piece.length:
                _, reached = self._reached(pieces[: index + 1])
                self._report_once(number, reached - piece.length + fault.skipped - start, fault.length,
                                  fault.reason)
                return
            start += piece.length

    def _report_once(self, number: int, skipped: int, length: int, reason: str) -> None:
        if number > self._faulty:
            self._faulty = number
            self.source.fault(number, skipped, length, reason)
