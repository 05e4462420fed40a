"""The stream of another mover of this server, which reads it off its tape: tape to tape.

Records go from tape to tape by a copy manager where that can be. The rest, and what is left of a record,
comes as bytes through the head.
"""

from __future__ import annotations

import select
from collections import Counter
from contextlib import suppress

from ndmpd.devices.errors import PositionLost
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written
from ndmpd.errors import NdmpdError, StreamError
from ndmpd.offload.ends import TapeEnd
from ndmpd.pieces import Inline, Piece
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.copy_ends import best
from ndmpd.services.mover_backup import BackupRun
from ndmpd.services.sources import STALL, Source
from ndmpd.services.tape_offer import NOWHERE, Copied, Flag, Offer
from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import LogType

_ASK = 1 << 20
"""Bytes that are asked for at a time, at most, unless a record is longer."""
_OFFER = 1 << 30
"""Bytes of records that are offered at a time, at most; the other mover copies fewer with one command."""


class MoverSource(Source):
    """``run`` is the one that the stream is for."""

    asked = Mover.AUTO

    def __init__(self, run: BackupRun) -> None:
        self._run = run
        self._end = run.connection
        self._count = 0
        self._taken = 0
        """Bytes that came, through the head or not."""
        self._offloaded: Counter[str] = Counter()
        """Bytes by data mover."""
        self._asked_for = False
        """An answer with bytes is on its way."""
        self._over = False
        self._by_head = 0
        """So many records are to come as bytes before the tape is offered again."""
        self._head_only = False
        self._poll = select.poll()
        self._poll.register(self._end, select.POLLIN)

    def next(self) -> tuple[int, Piece] | None:
        self._ask()
        frame = None if self._over else channel.receive(self._end)
        self._asked_for = False
        if frame is None:
            self._over = True
            return None
        if frame.kind is not Kind.FILLED:
            raise StreamError(f"the other mover sent {frame.kind.name} where bytes were due")
        self._taken += len(frame.payload)
        self._by_head -= len(frame.payload) // self._run.window.record_size
        if self._head_only:
            # The other tape is read while this one is written.
            self._ask()
        self._count += 1
        return self._count - 1, Inline(frame.payload)

    def idle(self) -> bool:
        if self._over:
            return False
        if not self._head_only and self._by_head <= 0:
            # What is there is written first: only whole records that come next can go from tape to tape.
            return True
        self._ask()
        return not self._poll.poll(STALL)

    def _ask(self) -> None:
        if self._asked_for or self._over:
            return
        record = self._run.window.record_size
        size = -self._taken % record or record
        if self._head_only:
            size = max(size, _ASK // record * record + size % record)
        elif self._by_head > 1:
            size = max(size, min(_ASK // record, self._by_head) * record)
        try:
            channel.send(self._end, Frame(Kind.PULL, NOWHERE, size))
        except BrokenPipeError:
            self._over = True
            return
        self._asked_for = True

    def copy(self, drive: TapeDrive, record_size: int, records: int) -> Written | None:
        if (self._head_only or self._by_head > 0 or self._asked_for or self._over
                or self._taken % record_size):
            return None
        try:
            end = TapeEnd(drive.name, best(drive.designators()))
        except NdmpdError:
            self._head_only = True
            return None
        before = drive.position
        if before.object is None or self._run.transfer.loans is None:
            self._head_only = True
            return None
        records = min(records, max(1, _OFFER // record_size))
        answer = self._offered(Offer(end, record_size, records))
        if answer is None:
            # It went, or this run was stopped: what it may still have under way must end before the tape is
            # touched.
            self._run.transfer.loans.await_copies(drive.name)
        after = drive.whereabouts()
        written = None if after is None else after - before.object
        if written is None or not 0 <= written <= records or (
                answer is not None and answer.records not in (None, written)):
            drive.settle()
            raise PositionLost(f"{drive.name}, copied to by another session: its position went from "
                               f"{before.object} to {after}, and {answer.records if answer else 'unknown'} "
                               "records are said to be written; verify the tape")
        flags = answer.flags if answer is not None else Flag.NONE
        met = drive.wrote_elsewhere(before, written, record_size, early_warning=Flag.END in flags)
        self._taken += written * record_size
        if answer is not None:
            self._offloaded[answer.mover] += written * record_size
            self._head_only = Flag.NEVER in flags
            self._by_head = answer.leave
            with suppress(BrokenPipeError):
                channel.send(self._end, Frame(Kind.KEPT, written))
        return Written(written, early_warning=met)

    @property
    def carried(self) -> dict[str, int]:
        return {name: size for name, size in dict(self._offloaded).items() if size}

    def _offered(self, offer: Offer) -> Copied | None:
        """The other mover's answer; None where there will be none."""
        try:
            offer.send(self._end)
            frame = channel.receive(self._end)
        except (BrokenPipeError, ConnectionResetError):
            frame = None
        if frame is None:
            self._over = True
            return None
        return Copied.take(frame)

    def done(self, offloaded: int, used: str) -> None:
        """There is no environment that could tell how a copy was made: the log does."""
        by = [f"{size} bytes by {Mover.SCSI} {name}" for name, size in self.carried.items()]
        head = self._taken - self._offloaded.total()
        self._run.say(LogType.NORMAL, f"copied: {', '.join([*by, f'{head} through the head'])}")
