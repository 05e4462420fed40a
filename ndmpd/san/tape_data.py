"""READ(6), WRITE(6), WRITE FILEMARKS and ERASE of the tape drive. SSC-4 7.4, 6.9, 6.10 and 6.2.

A fixed-block command moves all its records in one bulk copy. Its INFORMATION is the residue in records; that
of a variable-block command is in bytes.

End of medium: once the records on the tape reach ``CartridgeFacts.warn_at`` bytes, early warning is met. A
write that begins before it ends after the record that meets it, with EOM; a write that begins beyond it is
carried out as far as the capacity goes, with EOM as well. A record for which there is no room is VOLUME
OVERFLOW.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ndmpd.datapath import length_of
from ndmpd.san.commands import WRITE_FILEMARKS_16
from ndmpd.san.dataphase import clip
from ndmpd.san.errors import CheckCondition
from ndmpd.san.medium import CartridgeFacts, Medium
from ndmpd.san.task import Operation, Task
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey

if TYPE_CHECKING:
    from ndmpd.san.tape import TapeDrive

_log = logging.getLogger(__name__)

_INFORMATION_MASK = 0xFFFFFFFF


def records_that_fit(facts: CartridgeFacts, used: int, size: int, count: int) -> int:
    """How many of ``count`` records of ``size`` bytes one write puts on a tape that has ``used`` bytes."""
    room = max(0, facts.capacity - used) // size
    if used < facts.warn_at:
        # The first record that brings the tape to early warning is the last.
        room = min(room, -(-(facts.warn_at - used) // size))
    return min(count, room)


@contextmanager
def _failing(drive: TapeDrive, code: int, residue: int) -> Iterator[None]:
    """The store's errors as MEDIUM ERROR: nothing of the command was done, and the position has not moved."""
    try:
        yield
    except OSError as error:
        _log.error("%s, cartridge %s: %s", drive.name, drive.cartridge, error)
        raise CheckCondition(Sense(SenseKey.MEDIUM_ERROR, code, residue)) from error


def write_6(drive: TapeDrive, task: Task) -> None:
    field = task.field
    fixed, length = field["fixed"], field["length"]
    if fixed and not drive.block_length:
        raise task.refuse("fixed")
    medium = drive.writable
    if not length:
        return
    size, count = (drive.block_length, length) if fixed else (length, 1)
    task.expect(size * count)
    drive.go_to_end(medium)
    before = medium.map.used
    number = records_that_fit(medium.facts, before, size, count)
    if number:
        pieces = clip(task.command.data_out, number * size)
        with _failing(drive, Asc.WRITE_ERROR, length):
            medium.append(pieces, size, number, task.command.faults)
        task.transferred = number * size
        drive.state.written += number * size
        if not drive.state.buffered:
            medium.flush()
    residue = count - number if fixed else (count - number) * length
    warned = medium.map.used >= medium.facts.warn_at
    if number < count and (before >= medium.facts.warn_at or not warned):
        raise CheckCondition(Sense(SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM, residue, eom=True))
    if warned:
        raise CheckCondition(Sense(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, residue, eom=True))


def read_6(drive: TapeDrive, task: Task) -> None:
    field = task.field
    fixed, length = field["fixed"], field["length"]
    if fixed and not drive.block_length:
        raise task.refuse("fixed")
    if fixed and field["sili"]:
        raise task.refuse("sili")
    medium = drive.medium
    if not length:
        return
    if fixed:
        _read_fixed(drive, task, medium, length)
    else:
        _read_variable(drive, task, medium, length)


def _take(drive: TapeDrive, task: Task, medium: Medium, offset: int, length: int) -> None:
    """Deliver ``length`` bytes of the data file, as far as the initiator gave room."""
    destinations = task.command.data_in
    if length_of(destinations) != length:
        destinations = clip(destinations, length)
    with _failing(drive, Asc.UNRECOVERED_READ_ERROR, task.field["length"]):
        task.transferred = medium.read(offset, destinations)
    drive.state.read += task.transferred


def _end_of_records(drive: TapeDrive, medium: Medium, place: int, residue: int) -> CheckCondition:
    """What a read meets that finds no record at ``place``: a filemark, which it passes, or end of data."""
    if medium.map.at(place) is None:
        drive.go(place)
        return CheckCondition(Sense(SenseKey.BLANK_CHECK, Asc.END_OF_DATA, residue))
    drive.go(place + 1)
    return CheckCondition(Sense(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, residue, filemark=True))


def _read_fixed(drive: TapeDrive, task: Task, medium: Medium, count: int) -> None:
    size, place = drive.block_length, drive.place(medium)
    run = medium.map.at(place)
    number = min(run.count, count) if run and run.size == size else 0
    if run and number:
        _take(drive, task, medium, run.offset, number * size)
        place += number
        drive.go(place)
        run = medium.map.at(place)
    if number == count:
        return
    if run is None or not run.size:
        raise _end_of_records(drive, medium, place, count - number)
    # A record of another length: it is passed over, and counts neither as read nor towards the residue.
    drive.go(place + 1)
    raise CheckCondition(Sense(SenseKey.NO_SENSE, Asc.NONE, count - number, ili=True))


def _read_variable(drive: TapeDrive, task: Task, medium: Medium, length: int) -> None:
    place = drive.place(medium)
    run = medium.map.at(place)
    if run is None or not run.size:
        raise _end_of_records(drive, medium, place, length)
    _take(drive, task, medium, run.offset, min(run.size, length))
    drive.go(place + 1)
    # SILI suppresses the report of a shorter record, and of a longer one only in variable-block mode.
    silent = task.field["sili"] and (run.size < length or not drive.block_length)
    if run.size != length and not silent:
        raise CheckCondition(
            Sense(SenseKey.NO_SENSE, Asc.NONE, length - run.size & _INFORMATION_MASK, ili=True))


def _write_marks(drive: TapeDrive, task: Task, count: int) -> None:
    medium = drive.writable
    if count:
        drive.go_to_end(medium)
        medium.mark(count)
    if not task.field["immed"]:
        medium.flush()
    # Filemarks take no room: they are written beyond early warning, which is reported all the same.
    if count and medium.map.used >= medium.facts.warn_at:
        raise CheckCondition(Sense(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, 0, eom=True))


def write_filemarks_6(drive: TapeDrive, task: Task) -> None:
    _write_marks(drive, task, task.field["count"])


def write_filemarks_16(drive: TapeDrive, task: Task) -> None:
    if task.field["partition"]:
        raise task.refuse("partition")
    _write_marks(drive, task, task.field["count"])


def erase(drive: TapeDrive, task: Task) -> None:
    """Both forms make the position end of data; LONG also gives the blocks behind it back."""
    medium = drive.writable
    drive.go_to_end(medium)
    if task.field["long"]:
        medium.forget_tail()


DATA_OPERATIONS = (
    Operation(scsi.READ_6_TAPE, read_6),
    Operation(scsi.WRITE_6_TAPE, write_6),
    Operation(scsi.WRITE_FILEMARKS_6, write_filemarks_6),
    Operation(WRITE_FILEMARKS_16, write_filemarks_16),
    Operation(scsi.ERASE_6, erase),
)
