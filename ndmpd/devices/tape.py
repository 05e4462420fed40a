"""A tape drive: records in and out, filemarks, motion. All drive logic, once, on CDBs. SSC-4.

Batches are one FIXED=1 command with the record size as block length; the records on the tape are the same as
if each had been written alone. One command at a time; callers serialise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ndmpd.devices.errors import DeviceError, PositionLost, TransportError
from ndmpd.devices.tape_motion import TapeMotion
from ndmpd.devices.tape_outcome import ReadOutcome, Record, Stop, Written, shifted
from ndmpd.devices.tape_position import UNKNOWN, TapePosition
from ndmpd.devices.tape_unit import MAX_LENGTH, RESET, SUCCESS
from ndmpd.devices.unit import LONG, Answer
from ndmpd.pieces import Inline, Piece, split
from ndmpd.ports import SourceFault, Transport
from protocol.scsi import command
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey


class TapeDrive(TapeMotion):
    """``largest_transfer``: most bytes moved by one command, where that is less than the transport's own."""

    def __init__(self, transport: Transport, name: str = "tape", largest_transfer: int | None = None) -> None:
        super().__init__(transport, name)
        self._largest = min((limit for limit in (largest_transfer, transport.most) if limit is not None),
                            default=None)
        self._fixed_refused = False

    # Writing.

    def write(self, data: bytes | bytearray | memoryview) -> Written:
        """One record."""
        return self._write_record((Inline(data),), len(data))

    def write_records(self, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """``count`` records of ``record_size`` bytes, whose bytes are ``pieces``.

        Stops after the first record that meets early warning, as far as the drive lets it.
        ``Written.records`` is exact: where the drive's accounts contradict each other, PositionLost is raised
        instead. DeviceError where writing failed; the position is then what the drive says.
        """
        done = 0
        faults: tuple[SourceFault, ...] = ()
        for batch, part in self._batches(pieces, record_size, count):
            outcome = self._write_batch(part, record_size, batch)
            faults += shifted(done * record_size, outcome.faults)
            done += outcome.records
            if outcome.early_warning or outcome.end_of_medium:
                return Written(done, outcome.early_warning, outcome.end_of_medium, faults)
        return Written(done, faults=faults)

    def _write_batch(self, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """At most one command's worth."""
        if self.early_warning is None:
            self.find_position()
        # In the zone every record is told of, and ends the transfer: one by one, so that none follows it.
        if count == 1 or self.early_warning or not self._fixed(record_size):
            return self._write_each(pieces, record_size, count)
        before = self.position
        cdb = command.WRITE_6_TAPE.put(fixed=1, length=count)
        answer = self.send(f"write {count} records of {record_size} bytes", cdb, out=pieces, timeout=LONG)
        if self._refuses_fixed(answer):
            return self._write_each(pieces, record_size, count)
        return self._written(answer, before, record_size, count, fixed=True)

    def _write_each(self, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        faults: tuple[SourceFault, ...] = ()
        for number, part in enumerate(_portions(pieces, record_size, count)):
            outcome = self._write_record(part, record_size)
            faults += shifted(number * record_size, outcome.faults)
            if outcome.early_warning or outcome.end_of_medium:
                return Written(number + outcome.records, outcome.early_warning, outcome.end_of_medium, faults)
        return Written(count, faults=faults)

    def _write_record(self, pieces: Sequence[Piece], size: int) -> Written:
        before = self.position
        cdb = command.WRITE_6_TAPE.put(length=size)
        answer = self.send(f"write a record of {size} bytes", cdb, out=pieces, timeout=LONG)
        return self._written(answer, before, size, 1, fixed=False)

    def _written(self, answer: Answer, before: TapePosition, size: int, count: int, *,
                 fixed: bool) -> Written:
        done, early, full = self._count_written(
            answer, before, count, fixed=fixed, doing=f"write {count} records of {size} bytes")
        self.position = before.records(done)
        self.written += done * size
        self.unmarked = self.unmarked or done > 0
        self.early_warning = early or full
        return Written(done, early, full, answer.faults)

    def _count_written(self, answer: Answer, before: TapePosition, count: int, *, fixed: bool,
                       doing: str) -> tuple[int, bool, bool]:
        """Records or filemarks written; whether early warning was met; whether the medium is full."""
        sense = answer.sense
        if sense is None:
            return count, False, False
        overflow = sense.key is SenseKey.VOLUME_OVERFLOW
        if not overflow and sense.key not in SUCCESS:
            self.settle()
            raise self.failure(doing, answer)
        self.recovered(sense)
        if not fixed:
            claimed: int | None = 0 if overflow else count
        elif sense.residue is not None:
            claimed = count - sense.residue
        else:
            claimed = None if overflow or sense.eom else count
        return self._confirmed(before, claimed, count), sense.eom and not overflow, overflow

    def _confirmed(self, before: TapePosition, claimed: int | None, count: int) -> int:
        """How many objects were written since ``before``, by READ POSITION; the drive's claim must agree."""
        try:
            _, now = self.read_position()
        except (DeviceError, TransportError):
            self.settle()
            raise
        measured = None if now is None or before.object is None else now - before.object
        if measured is None:
            measured = claimed
        if measured is None or not 0 <= measured <= count or claimed not in (None, measured):
            self.settle()
            raise PositionLost(f"{self.name}: asked to write {count}, the drive claims {claimed} "
                               f"and its position went from {before.object} to {now}; verify the tape")
        return measured

    def write_filemarks(self, count: int = 1) -> Written:
        """``Written.records`` counts filemarks here. What is buffered goes onto the medium first."""
        done = 0
        early = False
        while True:
            batch = min(count - done, MAX_LENGTH)
            before = self.position
            doing = f"write {batch} filemarks" if batch else "flush the buffer"
            answer = self.send(doing, command.WRITE_FILEMARKS_6.put(count=batch), timeout=LONG)
            wrote, met, full = self._count_written(answer, before, batch, fixed=True, doing=doing)
            self.position = before.marks(wrote)
            self.unmarked = self.unmarked and not wrote
            done, early = done + wrote, early or met
            if full or done >= count:
                return Written(done, early, full)

    def flush(self) -> None:
        """Have everything that was written on the medium, and find out how much space is left."""
        self.write_filemarks(0)
        self.find_space()

    # What a copy manager did with the tape, between ``before`` and now; for after ``whereabouts``.

    def wrote_elsewhere(self, before: TapePosition, records: int, record_size: int, *,
                        early_warning: bool) -> bool:
        """``records`` were written. Whether the tape has met its end with them: by early warning, where the
        copy manager told of it, or else by where the drive says that it stands.
        """
        self.position = before.records(records)
        self.written += records * record_size
        self.unmarked = self.unmarked or records > 0
        met = early_warning or (records > 0 and bool(self.early_warning))
        self.early_warning = self.early_warning or early_warning
        return met

    def read_elsewhere(self, before: TapePosition, records: int) -> None:
        """Records were read, of which ``records`` count: the tape is brought behind those. PositionLost where
        that cannot be.
        """
        wanted = before.records(records)
        if wanted.object is None:
            raise PositionLost(f"{self.name} does not say where its tape stands")
        if wanted.object != self.whereabouts():
            self.locate(wanted.object)
        self.position = wanted
        self.unmarked = False

    def whereabouts(self) -> int | None:
        """The logical object number where the tape stands, whoever moved it; None where the drive cannot say.

        A reset, of which the drive tells here first, is for the caller to see in that number. DeviceError
        where the cartridge may be another one.
        """
        self.position = UNKNOWN
        self.early_warning = False
        try:
            return self.read_position()[1]
        except DeviceError as error:
            if error.sense is None or error.sense.asc != RESET:
                raise
            return self.position.object

    # Reading.

    def read(self, size: int) -> Record:
        """The next record, at most ``size`` bytes of it; the rest of a longer one is passed over."""
        buffer = bytearray(size)
        before = self.position
        doing = f"read a record of at most {size} bytes"
        answer = self.send(doing, command.READ_6_TAPE.put(length=size), into=(Inline(buffer),), timeout=LONG)
        sense = answer.sense
        length: int | None = size
        if sense is not None:
            stop = self._read_stop(sense)
            if stop is Stop.WRONG_LENGTH:
                length = None if sense.residue is None else size - sense.residue
            elif stop is not None:
                self._stopped(before, 0, stop)
                return Record(b"", None, stop)
            elif not self.recovered(sense) and sense.key is not SenseKey.NO_SENSE:
                self.settle()
                raise self.failure(doing, answer, 0)
        self.position = before.records(1)
        self.unmarked = False
        delivered = min(size, answer.result.transferred if length is None else length)
        return Record(bytes(memoryview(buffer)[:delivered]), length)

    def read_records(self, destinations: Sequence[Piece], record_size: int, count: int) -> ReadOutcome:
        """Up to ``count`` records of exactly ``record_size`` bytes, in sequence into ``destinations``.

        Where it stops early the tape stands behind the last whole record (behind the mark, after FILEMARK).
        DeviceError with ``records`` where reading failed behind so many.
        """
        done = 0
        for batch, part in self._batches(destinations, record_size, count):
            try:
                outcome = self._read_batch(part, record_size, batch)
            except DeviceError as error:
                error.records = None if error.records is None else error.records + done
                raise
            done += outcome.records
            if outcome.stop is not None:
                return ReadOutcome(done, outcome.stop)
        return ReadOutcome(done)

    def _read_batch(self, destinations: Sequence[Piece], record_size: int, count: int) -> ReadOutcome:
        if not self._fixed(record_size):
            for number, part in enumerate(_portions(destinations, record_size, count)):
                outcome = self._read_some(part, record_size, 1, fixed=False)
                if outcome is None or outcome.stop is not None:
                    return ReadOutcome(number, outcome.stop if outcome else None)
            return ReadOutcome(count)
        outcome = self._read_some(destinations, record_size, count, fixed=True)
        return outcome if outcome is not None else self._read_batch(destinations, record_size, count)

    def _read_some(self, destinations: Sequence[Piece], record_size: int, count: int, *,
                   fixed: bool) -> ReadOutcome | None:
        """One READ. None where the drive refuses fixed block lengths, and has done nothing."""
        before = self.position
        doing = f"read {count} records of {record_size} bytes"
        cdb = command.READ_6_TAPE.put(fixed=fixed, length=count if fixed else record_size)
        answer = self.send(doing, cdb, into=destinations, timeout=LONG)
        if fixed and self._refuses_fixed(answer):
            return None
        sense = answer.sense
        stop = None if sense is None else self._read_stop(sense)
        if sense is None or (stop is None and (self.recovered(sense) or sense.key is SenseKey.NO_SENSE)):
            self.position = before.records(count)
            self.unmarked = False
            return ReadOutcome(count)
        residue = sense.residue if fixed else 1
        done = None if residue is None or not 0 <= residue <= count else count - residue
        if stop is None:
            self.settle()
            raise self.failure(doing, answer, done)
        if done is None:
            done = self._measured_read(before, count, stop)
        self._stopped(before, done, stop)
        if stop is Stop.WRONG_LENGTH:
            self.space_records(-1)
        return ReadOutcome(done, stop)

    def _read_stop(self, sense: Sense) -> Stop | None:
        """What ended a READ, where it is part of the trade."""
        if sense.key is SenseKey.BLANK_CHECK:
            return Stop.END_OF_DATA
        if sense.key in SUCCESS:
            return Stop.FILEMARK if sense.filemark else Stop.WRONG_LENGTH if sense.ili else None
        at_end = sense.key is SenseKey.MEDIUM_ERROR and sense.eom and sense.code == Asc.END_OF_MEDIUM
        return Stop.END_OF_MEDIUM if at_end else None

    def _measured_read(self, before: TapePosition, count: int, stop: Stop) -> int:
        """Records read, by READ POSITION: for drives that give no INFORMATION."""
        _, now = self.read_position()
        crossed = stop in (Stop.FILEMARK, Stop.WRONG_LENGTH)
        if now is None or before.object is None or not 0 <= now - before.object - crossed <= count:
            raise PositionLost(f"{self.name} does not say how many of {count} records it read; "
                               "position the tape anew")
        return now - before.object - crossed

    def _stopped(self, before: TapePosition, done: int, stop: Stop) -> None:
        """Count what a READ passed over: ``done`` records, and what stopped it."""
        position = before.records(done)
        if stop is Stop.FILEMARK:
            position = position.marks(1)
        elif stop is Stop.WRONG_LENGTH:
            position = position.records(1)
        if position.object != before.object:
            self.unmarked = False
        self.position = position

    # Batches.

    def _fixed(self, record_size: int) -> bool:
        """Whether records of this size can go many at a time; sets the block length."""
        if self._fixed_refused or not self.limits.allow(record_size):
            return False
        if self.block_length != record_size:
            try:
                self.set_block_length(record_size)
            except DeviceError as error:
                if not error.refused:
                    raise
                self._fixed_refused = True
                return False
        return True

    def _refuses_fixed(self, answer: Answer) -> bool:
        """ILLEGAL REQUEST to a FIXED=1 command: nothing was done, and records go one by one from now on."""
        refused = answer.sense is not None and answer.sense.key is SenseKey.ILLEGAL_REQUEST
        self._fixed_refused = self._fixed_refused or refused
        return refused

    def _batches(self, pieces: Sequence[Piece], record_size: int,
                 count: int) -> Iterator[tuple[int, Sequence[Piece]]]:
        """Cut a transfer into what one command may carry: (records, pieces)."""
        most = MAX_LENGTH if self._largest is None else max(1, min(MAX_LENGTH, self._largest // record_size))
        if count <= most:
            if count:
                yield count, pieces
            return
        rest: Sequence[Piece] = pieces
        while count:
            batch = min(most, count)
            part, rest = _cut(rest, batch * record_size)
            count -= batch
            yield batch, part


def _portions(pieces: Sequence[Piece], size: int, count: int) -> Iterator[Sequence[Piece]]:
    """``count`` portions of ``size`` bytes."""
    rest = pieces
    for _ in range(count):
        part, rest = _cut(rest, size)
        yield part


def _cut(pieces: Sequence[Piece], size: int) -> tuple[list[Piece], list[Piece]]:
    """The first ``size`` bytes, and the rest. ValueError where there are fewer."""
    first: list[Piece] = []
    for number, piece in enumerate(pieces):
        if size == 0:
            return first, list(pieces[number:])
        if piece.length > size:
            head, tail = split(piece, size)
            return [*first, head], [tail, *pieces[number + 1:]]
        first.append(piece)
        size -= piece.length
    if size:
        raise ValueError(f"{size} bytes missing from the pieces of a batch")
    return first, []
