"""Tape drives as copy sources and destinations. SPC-4 6.4.5.4.

What the standard has done by one READ or WRITE for each record goes many records at a time wherever that
makes no difference: on records of one length, before early warning. There every record is a command of its
own, so that what the drive says of it is what an initiator would have heard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ndmpd.pieces import FileExtent, OpenFile, Piece, Zeros
from ndmpd.ports import Result, SourceFault
from ndmpd.san.copymanager.ends import End, sense_of
from ndmpd.san.copymanager.failure import UNREADABLE, CopyFailure, field_failure
from ndmpd.san.copymanager.pace import RUN
from ndmpd.san.errors import CheckCondition, UnitBusy
from ndmpd.san.tape import TapeDrive
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.cscd import StreamDevice
from protocol.scsi.sense import SenseKey
from protocol.scsi.spc import DeviceType
from protocol.scsi.ssc import SpaceCode

_PATIENCE = 60.0
_READ_SIZE = 1
"""Of a READ that is to meet a filemark or the end of data: there is no record to be cut."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """What lies at the tape's position: ``count`` records of ``size`` bytes, from ``offset`` of ``data`` on.

    ``size`` 0: no record, but a filemark or the end.
    """

    size: int = 0
    count: int = 0
    data: OpenFile | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """What was read whatever its length: records of ``size`` bytes, or a mark, or the end of data."""

    pieces: list[Piece] = field(default_factory=list)
    size: int = 0
    mark: bool = False


class Stream:
    """A drive, or the null stream device. Raises CopyFailure for an end that is no stream device.

    ``unit``: what residues count in, bytes or blocks. ``variable``: whatever the descriptor says.
    """

    def __init__(self, end: End, at: int, *, variable: bool = False) -> None:
        if end.kind is not DeviceType.TAPE:
            raise field_failure(at, Asc.INVALID_COPY_OPERATION)
        self.end = end
        self.drive = end.unit if isinstance(end.unit, TapeDrive) else None
        stated = end.parameters
        self.block = 0
        if isinstance(stated, StreamDevice) and not variable:
            self.block = stated.block_length
        self.unit = self.block or 1

    def transfer(self, length: int, at: int) -> int:
        """Bytes of one READ or WRITE with this transfer length, which byte ``at`` of the segment gives."""
        size = length * self.unit
        if not length:
            raise field_failure(at)
        return size

    @contextmanager
    def _looking(self) -> Iterator[TapeDrive]:
        drive = self.drive
        if drive is None:
            raise CopyFailure(Asc.UNREACHABLE_COPY_TARGET)
        try:
            with drive.exclusive(_PATIENCE):
                drive.refresh()
                yield drive
        except UnitBusy as error:
            raise CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, self.end.pointer) from error

    def ahead(self) -> Ahead:
        """See ``Ahead``. Where the drive is not ready there is nothing, and a command will say why."""
        with self._looking() as drive:
            try:
                medium = drive.medium
            except CheckCondition:
                return Ahead()
            run = medium.map.at(drive.place(medium))
            if run is None or not run.size:
                return Ahead()
            return Ahead(run.size, run.count, medium.open_data(), run.offset)

    def room(self) -> int:
        """Bytes that can be written from here before early warning is met; none where it has been."""
        with self._looking() as drive:
            try:
                medium = drive.medium
            except CheckCondition:
                return 0
            return max(0, medium.facts.warn_at - medium.map.used_before(drive.place(medium)))

    def _room(self) -> int:
        known = None if self.drive is None else self.end.known.room(self.drive)
        return self.room() if known is None else known

    def read(self, size: int, most: int) -> list[Piece]:
        """The data of one READ of ``size`` bytes after the other, at most ``most`` of them.

        They are read only as far as the drive's position goes on; their bytes stay on the cartridge, for the
        kernel to copy. CopyFailure where the first does not give just ``size`` bytes.
        """
        ahead = self.ahead()
        record = self.block or size
        reads = 1
        if ahead.size == record:
            reads = max(1, min(most, RUN // size, ahead.count * record // size))
        self._lend(record)
        if self.block or reads > 1:
            cdb = scsi.READ_6_TAPE.put(fixed=1, length=reads * size // record)
        else:
            cdb = scsi.READ_6_TAPE.put(length=size)
        length = reads * size
        result, _ = self.end.send(cdb, into=[Zeros(length)])
        if result.status != Status.GOOD:
            raise self.end.source_failure(result)
        if result.transferred != length or ahead.data is None:
            raise CopyFailure(Asc.COPY_TARGET_UNDERRUN, self.end.pointer)
        return [FileExtent(ahead.data, ahead.offset, length, strict=True)]

    def passed(self) -> Passed:
        """The records of one length, or the mark, at the position, which is then behind it."""
        ahead = self.ahead()
        if ahead.size:
            most = max(1, min(ahead.count, RUN // ahead.size))
            return Passed(self.read(ahead.size, most), ahead.size)
        result, _ = self.end.send(scsi.READ_6_TAPE.put(length=_READ_SIZE), into=[Zeros(_READ_SIZE)])
        sense = sense_of(result)
        if sense is None:
            raise CopyFailure(Asc.COPY_TARGET_OVERRUN, self.end.pointer)
        if sense.key is not SenseKey.BLANK_CHECK and not sense.filemark:
            raise self.end.source_failure(result)
        return Passed(mark=sense.key is not SenseKey.BLANK_CHECK)

    def write(self, pieces: Sequence[Piece], size: int, most: int) -> tuple[int, CopyFailure | None]:
        """WRITEs of ``size`` bytes each, at most ``most``, from the head of ``pieces``.

        Returns the bytes that are on tape, and what ended it early; less than all without a failure where the
        rest is to be asked for again.
        """
        record = self.block or size
        # As many as end before early warning; the one that meets it goes alone.
        room = self._room()
        writes = max(1, min(most, self.end.pace.run // size, (room - 1) // size))
        self._lend(record)
        if self.block or writes > 1:
            cdb = scsi.WRITE_6_TAPE.put(fixed=1, length=writes * size // record)
        else:
            cdb = scsi.WRITE_6_TAPE.put(length=size)
        length = writes * size
        with self.end.pace.timed(length):
            result, faults = self.end.send(cdb, pieces)
        if result.status == Status.GOOD:
            if self.drive is not None:
                self.end.known.set_room(self.drive, room - length)
            return self._without(faults, length, record)
        return self.landed(result, length, record if cdb[1] & 1 else 0), self.end.destination_failure(result)

    @staticmethod
    def landed(result: Result, length: int, block: int) -> int:
        """Bytes of ``length`` that a WRITE which ended badly has on tape; ``block`` 0: one record."""
        sense = sense_of(result)
        if sense is None or not sense.eom:
            return 0
        if sense.residue is not None:
            # A record that ended with EOM is on tape all the same.
            return length - min(length, max(0, sense.residue * (block or 1)))
        return 0 if sense.key is SenseKey.VOLUME_OVERFLOW else length

    def _lend(self, record: int) -> None:
        if self.drive is not None:
            self.drive.lent_length = record

    def _without(self, faults: list[SourceFault], length: int,
                 record: int) -> tuple[int, CopyFailure | None]:
        """Go back before the records that have zeros for what could not be read."""
        first = min((fault.skipped for fault in faults), default=length)
        if first >= length:
            return length, None
        sound = first // record * record
        self.end.send(scsi.SPACE_6.put(code=SpaceCode.BLOCKS, count=-((length - sound) // record) & 0xFFFFFF))
        return sound, CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, source=UNREADABLE)

    def command(self, cdb: bytes) -> None:
        """A command without data that the destination is to carry out."""
        result, _ = self.end.send(cdb)
        if result.status != Status.GOOD:
            raise self.end.destination_failure(result)
