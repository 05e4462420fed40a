"""A copy manager's data path (TYPE=SCSI): records go between disk and tape by EXTENDED COPY.

Plans come from ``ndmpd.offload``. After every command READ POSITION says where the tape is, whatever the
answer was; what the copy manager claims is checked against it. What a command did not do is planned again,
by this path or the next one: a record is neither lost nor written twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from ndmpd.devices.copymanager import Copied, CopyGoesOn, CopyManager
from ndmpd.devices.disk import Disk
from ndmpd.devices.errors import DeviceError, PositionLost, TransportError
from ndmpd.devices.leases import Lease, Leases, abandoned
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written, shifted
from ndmpd.devices.tape_position import TapePosition
from ndmpd.errors import NdmpdError
from ndmpd.offload.abilities import Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import CannotCopy, DiskEnd, TapeEnd
from ndmpd.offload.plan import CopyCommand, Direction
from ndmpd.offload.restore import restore_steps
from ndmpd.offload.resume import Outcome, PositionInDoubt, Progress, progress
from ndmpd.pieces import LunExtent, Piece, first
from ndmpd.ports import SourceFault, Transport
from ndmpd.services.head_path import HeadPath
from protocol.ndmp.codes import LogType
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.cscd import MAX_DESIGNATOR
from protocol.scsi.sense import SenseKey
from protocol.scsi.spc import Designator, DesignatorType
from protocol.scsi.xcopy import ListIdUsage

log = logging.getLogger(__name__)

_TRIES = 3
"""Commands in a row that may end with nothing done and nothing wrong: unit attentions, a busy unit."""
_FREE = 0.05
"""Seconds between two looks for a free list identifier."""
_TRANSIENT = frozenset({Status.BUSY, Status.TASK_SET_FULL})


class PathFailed(NdmpdError):
    """This path cannot go on. ``records`` were carried before, ``faults`` met on the way."""

    def __init__(self, reason: str, records: int = 0, faults: tuple[SourceFault, ...] = ()) -> None:
        super().__init__(reason)
        self.records = records
        self.faults = faults


class Run(Protocol):
    """What a path sees of the mover's run that it serves."""

    @property
    def stopped(self) -> bool: ...

    def moving(self, size: int) -> None:
        """So many bytes of the command under way have been moved; 0 once it is over. From any thread."""

    def say(self, kind: LogType, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Restored:
    """``records`` were read into their destinations. ``leave``: so many of the next are for the head."""

    records: int
    leave: int = 0


def best(designators: Sequence[Designator]) -> Designator:
    """The designator that names a unit most surely: NAA, then EUI-64, then T10. CannotCopy where none does.
    """
    for kind in (DesignatorType.NAA, DesignatorType.EUI_64, DesignatorType.T10):
        for one in designators:
            if one.type == kind and 0 < len(one.identifier) <= MAX_DESIGNATOR:
                return one
    raise CannotCopy("the unit has no designator that a copy manager could find it by")


class Disks(Mapping[str, DiskEnd]):
    """The disks of a run as a copy manager knows them: by designator. Each is asked once."""

    def __init__(self, open_disk: Callable[[str], Transport]) -> None:
        self._open_disk = open_disk
        self._known: dict[str, DiskEnd | None] = {}

    def __getitem__(self, name: str) -> DiskEnd:
        if name not in self._known:
            self._known[name] = self._ask(name)
        found = self._known[name]
        if found is None:
            raise KeyError(name)
        return found

    def _ask(self, name: str) -> DiskEnd | None:
        try:
            disk = Disk(self._open_disk(name), name)
        except NdmpdError as failure:
            log.warning("disk %s: %s", name, failure)
            return None
        try:
            disk.open()
            return DiskEnd(name, best(disk.designators()), disk.capacity.block_length, disk.capacity.blocks)
        except (NdmpdError, ValueError) as failure:
            log.warning("disk %s is not for a copy manager: %s", name, failure)
            return None
        finally:
            disk.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class CopyPath:
    """``batch``: bytes that one EXTENDED COPY moves at most. ``head`` carries what is not for a copy manager;
    ``open_disk`` is to ask a disk who it is.
    """

    def __init__(self, leases: Leases, make_manager: Callable[[], CopyManager], batch: int, head: HeadPath,
                 open_disk: Callable[[str], Transport], run: Run) -> None:
        self.name = leases.manager
        self.batch = batch
        self.carried = 0
        """Bytes of records that were moved without passing through the head."""
        self._leases = leases
        self._make_manager = make_manager
        self._manager: CopyManager | None = None
        self._head = head
        self._disks = Disks(open_disk)
        self._run = run
        self._abilities: Abilities | None = None
        self._tape: TapeEnd | None = None
        self._tries = _TRIES
        self.failure: NdmpdError | None = None
        """What ended ``write`` where it had records to report first: the drive cannot be used any more."""

    def open(self, drive: TapeDrive) -> None:
        """Get ready to use ``drive``. PathFailed where nothing can be done for it here."""
        try:
            if self._manager is None:
                self._manager = self._make_manager()
                if not self._manager.copies():
                    raise CannotCopy("it takes no EXTENDED COPY (3PC is not set in its INQUIRY data)")
                self._abilities = Abilities.of(*self._manager.limits())
            self._tape = TapeEnd(drive.name, best(drive.designators()))
        except (NdmpdError, ValueError) as failure:
            raise PathFailed(str(failure)) from failure
        if drive.position.object is None:
            raise PathFailed(f"{drive.name} does not tell its position, so that a copy could not be verified")

    def close(self) -> None:
        if self._manager is not None:
            with suppress(NdmpdError, OSError):
                self._manager.close()

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
            copied = self._send(drive, command, held)
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
            copied = self._send(drive, command, held)
            found, after = self._progress(drive, command, before, copied)
        drive.read_elsewhere(before, found.records)
        self.carried += _blocks(command, found.records)
        if copied.good:
            return found.records, 0
        if _stops_reading(copied) and after is not None and before.object is not None:
            return found.records, max(1, after - before.object - found.records + 1)
        self._judge(command, copied, found)
        return found.records, 0

    # Both.

    @contextmanager
    def _lease(self, drive: str) -> Iterator[Lease | None]:
        """A list identifier for one copy on ``drive``; None where the run is to end before one is free.

        The death of this process, or a copy that does not end, leaves word that it may go on.
        """
        assert self._manager is not None
        while (held := self._leases.take()) is None:
            if self._run.stopped:
                yield None
                return
            for left in abandoned(self._leases.run_dir, manager=self.name):
                try:
                    self._manager.make_sure_it_ended(left.list_id)
                except CopyGoesOn as failure:
                    # Another drive's: whoever opens that one is kept off it.
                    raise PathFailed(str(failure)) from failure
                left.end()
            time.sleep(_FREE)
        with closing(held):
            held.begin(drive)
            yield held

    def _send(self, drive: TapeDrive, command: CopyCommand, held: Lease) -> Copied:
        assert self._manager is not None
        order = command.parameter_list(held.list_id, ListIdUsage.DISCARD)
        try:
            copied = self._manager.copy(order, stopped=lambda: self._run.stopped, moved=self._run.moving)
        except CopyGoesOn as failure:
            drive.settle(ask=False)
            raise PositionLost(str(failure)) from failure
        finally:
            # From here on it is the tape's position that counts.
            self._run.moving(0)
        held.end()
        if copied.good:
            self._tries = _TRIES
        return copied

    def _progress(self, drive: TapeDrive, command: CopyCommand, before: TapePosition,
                  copied: Copied) -> tuple[Progress, int | None]:
        """What was done, by the tape's position above all; and that position. Raises PositionLost where it
        cannot be said, DeviceError where the cartridge may be another one.
        """
        tape = copied.source if command.direction is Direction.RESTORE else copied.destination
        sense = tape.sense if tape is not None else None
        if sense is not None and sense.code == Asc.MEDIUM_MAY_HAVE_CHANGED:
            # The copy manager has heard what the drive would otherwise have told us.
            drive.settle()
            raise DeviceError(f"{drive.name}, copied by {self.name}", Status.CHECK_CONDITION, sense)
        after = drive.whereabouts()
        try:
            return progress(command, before.object, after, Outcome(copied.status, copied.sense)), after
        except PositionInDoubt as doubt:
            drive.settle()
            raise PositionLost(f"{drive.name}, copied by {self.name}: {doubt} "
                               f"({copied.reason or 'it reported no error'})") from doubt

    def _judge(self, command: CopyCommand, copied: Copied, found: Progress) -> None:
        """A command failed: whether it is worth another try, by a plan that may do with less. PathFailed."""
        assert self._abilities is not None
        if self._run.stopped:
            return
        self._tries = _TRIES if found.records else self._tries - 1
        if _transient(copied) and self._tries:
            log.info("%s: %s; once more", self.name, copied.reason)
            return
        less = None if copied.sense is None else self._abilities.learn(copied.sense, command)
        if less is None:
            raise PathFailed(copied.reason or f"status {copied.status}", found.records)
        self._run.say(LogType.NORMAL, f"data mover {self.name} (SCSI): {copied.reason}; it goes on with "
                                      f"{self._abilities.narrowed(less)}")
        self._abilities = less


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


def _transient(copied: Copied) -> bool:
    if copied.status in _TRANSIENT:
        return True
    if copied.sense is None:
        return False
    if copied.sense.key is SenseKey.UNIT_ATTENTION:
        return True
    return any(report.status in _TRANSIENT
               or (report.sense is not None and report.sense.key is SenseKey.UNIT_ATTENTION)
               for report in (copied.source, copied.destination) if report is not None)
