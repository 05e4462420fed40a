"""Positioning of the tape drive: REWIND, SPACE, LOCATE, READ POSITION, LOAD UNLOAD. SSC-4 clauses 6 and 7.

Motion takes no time here, so IMMED makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndmpd.san.commands import SPACE_16, put_extended_position
from ndmpd.san.errors import CheckCondition
from ndmpd.san.medium import Medium
from ndmpd.san.task import Operation, Task
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.ssc import (
    LocateTo,
    LongPosition,
    PositionForm,
    ShortPosition,
    SpaceCode,
    take_space,
)

if TYPE_CHECKING:
    from ndmpd.san.tape import TapeDrive


def rewind(drive: TapeDrive, task: Task) -> None:
    drive.medium  # noqa: B018 - not ready without one
    drive.go(0)


def _blank(residue: int | None = None) -> CheckCondition:
    return CheckCondition(Sense(SenseKey.BLANK_CHECK, Asc.END_OF_DATA, residue))


def _at_mark(residue: int) -> CheckCondition:
    return CheckCondition(Sense(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, residue, filemark=True))


def _at_beginning(residue: int) -> CheckCondition:
    return CheckCondition(Sense(SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, residue, eom=True))


def _space_blocks(drive: TapeDrive, medium: Medium, count: int) -> None:
    """Over records; a filemark on the way is passed over and ends the command."""
    place, left = drive.place(medium), abs(count)
    while left:
        run = medium.map.at(place) if count > 0 else medium.map.before(place)
        if run is None:
            drive.go(place)
            raise _blank(left) if count > 0 else _at_beginning(left)
        if not run.size:
            drive.go(place + 1 if count > 0 else place - 1)
            raise _at_mark(left)
        step = min(run.count, left)
        place += step if count > 0 else -step
        left -= step
    drive.go(place)


def _space_marks(drive: TapeDrive, medium: Medium, count: int) -> None:
    """Over filemarks: forwards the position ends after the last of them, backwards before it."""
    if not count:
        return
    passed = medium.map.marks_before(drive.place(medium))
    if count > 0:
        if passed + count > medium.map.marks:
            drive.go(medium.map.objects)
            raise _blank(count - (medium.map.marks - passed))
        drive.go(medium.map.mark(passed + count - 1) + 1)
    else:
        if passed + count < 0:
            drive.go(0)
            raise _at_beginning(-count - passed)
        drive.go(medium.map.mark(passed + count))


def _space(drive: TapeDrive, task: Task, count: int) -> None:
    medium = drive.medium
    match task.field["code"]:
        case SpaceCode.BLOCKS:
            _space_blocks(drive, medium, count)
        case SpaceCode.FILEMARKS:
            _space_marks(drive, medium, count)
        case SpaceCode.END_OF_DATA:
            drive.go(medium.map.objects)
        case _:
            raise task.refuse("code")


def space_6(drive: TapeDrive, task: Task) -> None:
    _space(drive, task, take_space(task.command.cdb)[1])


def space_16(drive: TapeDrive, task: Task) -> None:
    if task.field["length"]:
        raise task.refuse("length")
    count = task.field["count"]
    _space(drive, task, count - (1 << 64) if count >> 63 else count)


def _locate_object(drive: TapeDrive, place: int) -> None:
    medium = drive.medium
    if place > medium.map.objects:
        drive.go(medium.map.objects)
        raise _blank()
    drive.go(place)


def locate_10(drive: TapeDrive, task: Task) -> None:
    if task.field["cp"] and task.field["partition"]:
        raise task.refuse("partition")
    _locate_object(drive, task.field["block"])


def locate_16(drive: TapeDrive, task: Task) -> None:
    field = task.field
    if field["cp"] and field["partition"]:
        raise task.refuse("partition")
    medium = drive.medium
    match field["dest_type"]:
        case LocateTo.OBJECT:
            _locate_object(drive, field["block"])
        case LocateTo.FILE:
            # File n begins after the n-th filemark; where it does not exist, end of data is where to stop.
            number = field["block"]
            if number > medium.map.marks:
                drive.go(medium.map.objects)
                raise _blank()
            drive.go(medium.map.mark(number - 1) + 1 if number else 0)
        case LocateTo.END_OF_DATA:
            drive.go(medium.map.objects)
        case _:
            raise task.refuse("dest_type")


def read_position(drive: TapeDrive, task: Task) -> None:
    """Nothing stays in a buffer here: the first and last object are the same."""
    medium = drive.medium
    place = drive.place(medium)
    beginning = place == 0
    ending = medium.map.used_before(place) >= medium.facts.warn_at
    match task.field["action"]:
        case PositionForm.SHORT | PositionForm.SHORT_VENDOR:
            data = ShortPosition(place, place, bop=beginning, eop=ending).put()
        case PositionForm.LONG:
            data = LongPosition(place, medium.map.marks_before(place), bop=beginning, eop=ending).put()
        case PositionForm.EXTENDED:
            data = put_extended_position(place, bop=beginning, eop=ending)[:task.field["allocation"]]
        case _:
            raise task.refuse("action")
    # The short and the long form have no allocation length.
    task.send(data, len(data))


def load_unload(drive: TapeDrive, task: Task) -> None:
    field = task.field
    if field["load"]:
        if field["eot"]:
            raise task.refuse("eot")
        drive.load(task.nexus)
    else:
        drive.unload()


MOTION_OPERATIONS = (
    Operation(scsi.REWIND, rewind),
    Operation(scsi.SPACE_6, space_6),
    Operation(SPACE_16, space_16),
    Operation(scsi.LOCATE_10, locate_10),
    Operation(scsi.LOCATE_16, locate_16),
    Operation(scsi.READ_POSITION, read_position),
    Operation(scsi.LOAD_UNLOAD, load_unload),
)
