"""A copy manager's data path (TYPE=SCSI): records go between disk and tape, or tapes, by EXTENDED COPY.

Plans come from ``ndmpd.offload``. After every command READ POSITION says where the tape is, whatever the
answer was; what the copy manager claims is checked against it. What a command did not do is planned again,
by this path or the next one: a record is neither lost nor written twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ndmpd.devices.copymanager import Copied, CopyGoesOn, CopyManager
from ndmpd.devices.errors import DeviceError, PositionLost, TransportError
from ndmpd.devices.leases import Lease, Leases
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written, shifted
from ndmpd.devices.tape_position import TapePosition
from ndmpd.errors import NdmpdError
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import CannotCopy, TapeEnd
from ndmpd.offload.plan import CopyCommand, Direction
from ndmpd.offload.restore import restore_steps
from ndmpd.offload.resume import Outcome, PositionInDoubt, Progress, progress
from ndmpd.offload.tapes import tape_steps
from ndmpd.pieces import LunExtent, Piece, first
from ndmpd.ports import SourceFault, Transport
from ndmpd.services.copy_ends import Disks, best
from ndmpd.services.copying import Copying, PathFailed, Run
from ndmpd.services.head_path import HeadPath
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Reported, SenseKey


@dataclass(frozen=True, slots=True)
class Restored:
    """``records`` were read into their destinations. ``leave``: so many of the next are for the head."""

    records: int
    leave: int = 0


Settle = Callable[[str, int | None, bool, int], int]
"""Given the data mover, how many records a copy to another session's tape claims to have written (None where
it does not say), whether that tape met its end, and how many of the next are for the head: how many are on
that tape.
"""


class CopyPath(Copying):
    """``head`` carries what is not for a copy manager; ``open_disk`` is to ask a disk who it is."""

    def __init__(self, leases: Leases, make_manager: Callable[[], CopyManager], batch: int, head: HeadPath,
                 open_disk: Callable[[str], Transport], run: Run) -> None:
        super().__init__(leases, make_manager, batch, run)
        self._head = head
        self._disks = Disks(open_disk)
        self._drive: TapeDrive | None = None
        self._tape: TapeEnd | None = None
        self.failure: NdmpdError | None = None
        """What ended ``write`` where it had records to report first: the drive cannot be used any more."""

    def open(self, drive: TapeDrive) -> None:
        """Get ready to use ``drive``. PathFailed where nothing can be done for it here."""
        self.open_manager()
        try:
            if self._drive is not drive:
                self._tape = TapeEnd(drive.name, best(drive.designators()))
                self._drive = drive
        except (NdmpdError, ValueError) as failure:
            raise PathFailed(str(failure)) from failure
        if drive.position.object is None:
            raise PathFailed(f"{drive.name} does not tell its position, so that a copy could not be verified")

    # Backup.

    def write(self, drive: TapeDrive, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """As ``TapeDrive.write_records``; fewer records where it is worth planning again, or stopped.

        Where the drive's position is lost behind records that are certain, those are reported, and
        ``failure`` says why nothing may follow them.
        """
        assert self._abilities is not None and self._tape is not None
        done = 0
        faults: tuple[SourceFault, ...] = ()
        try:
            for step in backup_steps(pieces, record_size, self._tape, self._disks, self._abilities,
                                     self.batch):
                if self._run.stopped:
                    break
                if isinstance(step, CopyCommand):
                    records, end = self._write_copy(drive, step)
                    done += records
                    if end or records < step.records:
                        return Written(done, early_warning=end, faults=faults)
                    continue
                written = self._head.write(drive, step.pieces, record_size, step.records)
                faults += shifted(done * record_size, written.faults)
                done += written.records
                if written.early_warning or written.end_of_medium:
                    return Written(done, written.early_warning, written.end_of_medium, faults)
        except PathFailed as failure:
            raise PathFailed(str(failure), done + failure.records, faults) from failure
        except CannotCopy as failure:
            raise PathFailed(str(failure), done, faults) from failure
        except (DeviceError, TransportError, PositionLost) as failure:
            if not done or drive.position.object is not None:
                raise
            self.failure = failure
        return Written(done, faults=faults)

    def _write_copy(self, drive: TapeDrive, command: CopyCommand) -> tuple[int, bool]:
        """One command: records on tape, and whether the tape met its end with the last of them."""
        before = drive.position
        with self._lease(drive.name) as held:
            if held is None:
                return 0, False
            copied = self._carry_out(drive, command, held)
            found, _ = self._progress(drive, command, before, copied)
        # An answer that was lost, or that leaves early warning out, must not make the cartridge a longer one.
        end = drive.wrote_elsewhere(before, found.records, command.record_size,
                                    early_warning=_ends_tape(copied))
        self.carried += _blocks(command, found.records)
        if not (copied.good or end):
            self._judge(command, copied, found)
        return found.records, end

    # Restore.

    def read(self, drive: TapeDrive, destinations: Sequence[Piece], record_size: int) -> Restored:
        """Whole records from the tape's position into ``destinations``, which they fill exactly.

        The tape then stands behind the records read. Fewer come where the tape has a mark or an end, which
        the head is left to meet, or where it is worth planning again.
        """
        assert self._abilities is not None and self._tape is not None
        done = 0
        try:
            for step in restore_steps(destinations, record_size, self._tape, self._disks, self._abilities,
                                      self.batch):
                if self._run.stopped:
                    break
                if not isinstance(step, CopyCommand):
                    return Restored(done, step.records)
                records, leave = self._read_copy(drive, step)
                done += records
                if records < step.records:
                    return Restored(done, leave)
        except PathFailed as failure:
            raise PathFailed(str(failure), done + failure.records) from failure
        except CannotCopy as failure:
            raise PathFailed(str(failure), done) from failure
        return Restored(done)

    def _read_copy(self, drive: TapeDrive, command: CopyCommand) -> tuple[int, int]:
        """One command: records in their places, and how many of the next the head is to read."""
        before = drive.position
        with self._lease(drive.name) as held:
            if held is None:
                return 0, 0
            copied = self._carry_out(drive, command, held)
            found, after = self._progress(drive, command, before, copied)
        drive.read_elsewhere(before, found.records)
        self.carried += _blocks(command, found.records)
        if copied.good:
            return found.records, 0
        if _stops_reading(copied) and after is not None and before.object is not None:
            return found.records, max(1, after - before.object - found.records + 1)
        self._judge(command, copied, found)
        return found.records, 0

    # Tape to tape.

    def copy(self, drive: TapeDrive, to: TapeEnd, record_size: int, records: int, settle: Settle) -> Restored:
        """Records from the tape's position onto the tape of ``to``, by one command at most. Fewer are done
        where the tape has a mark or an end, or ``to`` has.

        What is on that tape, ``settle`` finds out. Raises PathFailed, and whatever ``settle`` does.
        """
        assert self._abilities is not None and self._tape is not None
        try:
            step = next(tape_steps(records, record_size, self._tape, to, self._abilities, self.batch))
        except CannotCopy as failure:
            raise PathFailed(str(failure)) from failure
        if not isinstance(step, CopyCommand):
            return Restored(0, step.records)
        before = drive.position
        with self._lease(drive.name, to.name) as held:
            # Whoever lends the other drive looks at leases behind its close: one of the two sees the other.
            if held is None or self._run.stopped:
                return Restored(0)
            copied = self._carry_out(drive, step, held)
        self._refuse_change(drive, copied.source)
        after = drive.whereabouts()
        if before.object is None or after is None or not 0 <= after - before.object <= step.records + 1:
            drive.settle()
            raise PositionLost(f"{drive.name}, copied by {self.name}: its position went from {before.object} "
                               f"to {after} while {step.records} records were to be copied")
        read = after - before.object
        drive.position = before.records(read)
        leave = 1 if _stops_reading(copied) else 0
        end = _ends_tape(copied)
        kept = settle(self.name, step.records if copied.good else None, end, leave)
        found = self._written(drive, step, copied, kept)
        if found.records > read:
            drive.settle()
            raise PositionLost(f"{drive.name}, copied by {self.name}: {found.records} records were written "
                               f"to {to.name}, and {read} read")
        drive.read_elsewhere(before, found.records)
        self.carried += found.records * record_size
        if not (copied.good or end or leave):
            self._judge(step, copied, found)
        return Restored(found.records, leave)

    def _written(self, drive: TapeDrive, command: CopyCommand, copied: Copied, records: int) -> Progress:
        try:
            return progress(command, 0, records, Outcome(copied.status, copied.sense))
        except PositionInDoubt as doubt:
            raise PositionLost(f"{drive.name}, copied by {self.name}: {doubt} "
                               f"({copied.reason or 'it reported no error'})") from doubt

    # All.

    def _carry_out(self, drive: TapeDrive, command: CopyCommand, held: Lease) -> Copied:
        try:
            return self._send(command, held)
        except CopyGoesOn as failure:
            drive.settle(ask=False)
            raise PositionLost(str(failure)) from failure

    def _progress(self, drive: TapeDrive, command: CopyCommand, before: TapePosition,
                  copied: Copied) -> tuple[Progress, int | None]:
        """What was done, by the tape's position above all; and that position. Raises PositionLost where it
        cannot be said, DeviceError where the cartridge may be another one.
        """
        self._refuse_change(drive, copied.source if command.direction is Direction.RESTORE
                            else copied.destination)
        after = drive.whereabouts()
        try:
            return progress(command, before.object, after, Outcome(copied.status, copied.sense)), after
        except PositionInDoubt as doubt:
            drive.settle()
            raise PositionLost(f"{drive.name}, copied by {self.name}: {doubt} "
                               f"({copied.reason or 'it reported no error'})") from doubt
    def _refuse_change(self, drive: TapeDrive, tape: Reported | None) -> None:
        """DeviceError where the cartridge may be another one."""
        sense = tape.sense if tape is not None else None
        if sense is not None and sense.code == Asc.MEDIUM_MAY_HAVE_CHANGED:
            # The copy manager has heard what the drive would otherwise have told us.
            drive.settle()
            raise DeviceError(f"{drive.name}, copied by {self.name}", Status.CHECK_CONDITION, sense)


def _blocks(command: CopyCommand, records: int) -> int:
    """Bytes of disk blocks among the first ``records`` records: what did not pass through the head."""
    return sum(piece.length for piece in first(command.pieces, records * command.record_size)
               if isinstance(piece, LunExtent))


def blocks_among(pieces: Sequence[Piece]) -> bool:
    """Whether there is anything that a copy manager could carry."""
    return any(isinstance(piece, LunExtent) for piece in pieces)


def _ends_tape(copied: Copied) -> bool:
    """Whether the tape met early warning while it was written: no fault of anybody's."""
    sense = copied.destination.sense if copied.destination else None
    return sense is not None and sense.eom and sense.key in (SenseKey.NO_SENSE, SenseKey.RECOVERED_ERROR,
                                                            SenseKey.VOLUME_OVERFLOW)


def _stops_reading(copied: Copied) -> bool:
    """Whether the tape met a mark, an end or another record length: for the head to meet as well."""
    sense = copied.source.sense if copied.source else None
    return sense is not None and (sense.key is SenseKey.BLANK_CHECK or sense.filemark or sense.ili
                                  or sense.eom)
