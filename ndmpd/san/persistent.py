"""PERSISTENT RESERVE IN and OUT. SPC-4 5.13, 6.15 and 6.16.

Every unit has one target port, and every nexus a TransportID: a nexus with the name of an iSCSI initiator
port that name, any other one made up from its id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndmpd.san.errors import CheckCondition, Conflict, refused
from ndmpd.san.nexus import nexus_of, port_of
from ndmpd.san.task import Operation, Task
from protocol.scsi.asc import Asc
from protocol.scsi.reservations import (
    LOGICAL_UNIT_SCOPE,
    RESERVE_IN,
    RESERVE_OUT,
    Capabilities,
    CurrentReservation,
    FullStatus,
    InAction,
    Keys,
    MoveParameters,
    OutAction,
    OutParameters,
    Registrant,
    ReservationType,
)
from protocol.scsi.sense import ParameterError

if TYPE_CHECKING:
    from ndmpd.san.unit import Unit

_RELATIVE_PORT = 1
_MAX_MOVE = 4096


def _check_reserve(unit: Unit) -> None:
    """RESERVE(6) of whomever, and persistent reservations do not mix (SPC-2 5.5.1)."""
    if unit.reserved():
        raise Conflict


def read_keys(unit: Unit, task: Task) -> None:
    _check_reserve(unit)
    found = unit.registrants
    task.send(Keys(found.generation, tuple(found.keys.values())).put(), task.field["allocation"])


def read_reservation(unit: Unit, task: Task) -> None:
    _check_reserve(unit)
    found = unit.registrants
    key = found.keys[found.holder] if found.holder else 0
    task.send(CurrentReservation(found.generation, found.type, key).put(), task.field["allocation"])


def report_capabilities(unit: Unit, task: Task) -> None:
    _check_reserve(unit)
    task.send(Capabilities(aptpl_active=unit.registrants.aptpl).put(), task.field["allocation"])


def read_full_status(unit: Unit, task: Task) -> None:
    _check_reserve(unit)
    found = unit.registrants
    registrants = tuple(
        Registrant(key, port_of(nexus), found.type if nexus in found.holders else None, _RELATIVE_PORT)
        for nexus, key in found.keys.items())
    task.send(FullStatus(found.generation, registrants).put(), task.field["allocation"])


def _parameters(unit: Unit, task: Task) -> OutParameters:
    _check_reserve(unit)
    try:
        return OutParameters.take(task.parameters(task.field["length"]))
    except ParameterError as error:
        raise CheckCondition(error.sense()) from error


def _type(task: Task) -> ReservationType:
    """The type in the CDB, which must be for the whole unit."""
    if task.field["scope"] != LOGICAL_UNIT_SCOPE:
        raise task.refuse("scope")
    try:
        return ReservationType(task.field["type"])
    except ValueError:
        raise task.refuse("type") from None


def register(unit: Unit, task: Task) -> None:
    asked = _parameters(unit, task)
    unit.change(unit.registrants.register(task.nexus, asked.key, asked.action_key, aptpl=asked.aptpl))


def register_and_ignore(unit: Unit, task: Task) -> None:
    asked = _parameters(unit, task)
    unit.change(unit.registrants.register(task.nexus, None, asked.action_key, aptpl=asked.aptpl))


def reserve(unit: Unit, task: Task) -> None:
    asked, kind = _parameters(unit, task), _type(task)
    unit.change(unit.registrants.reserve(task.nexus, asked.key, kind))


def release(unit: Unit, task: Task) -> None:
    asked, kind = _parameters(unit, task), _type(task)
    unit.change(unit.registrants.release(task.nexus, asked.key, kind))


def clear(unit: Unit, task: Task) -> None:
    unit.change(unit.registrants.clear(task.nexus, _parameters(unit, task).key))


def preempt(unit: Unit, task: Task) -> None:
    asked, kind = _parameters(unit, task), _type(task)
    unit.change(unit.registrants.preempt(task.nexus, asked.key, asked.action_key, kind))


def preempt_and_abort(unit: Unit, task: Task) -> None:
    """A command of the preempted is over before this one begins, since each has the unit to itself. What is
    left to abort are copies, which go on from command to command.
    """
    asked, kind = _parameters(unit, task), _type(task)
    unit.change(unit.registrants.preempt(task.nexus, asked.key, asked.action_key, kind), abort=True)


def register_and_move(unit: Unit, task: Task) -> None:
    _check_reserve(unit)
    length = task.field["length"]
    if length > _MAX_MOVE:
        raise refused(Asc.PARAMETER_LIST_LENGTH)
    try:
        asked = MoveParameters.take(task.parameters(length))
    except ParameterError as error:
        raise CheckCondition(error.sense()) from error
    to = nexus_of(asked.port)
    if to is None or asked.relative_port != _RELATIVE_PORT:
        raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
    unit.change(unit.registrants.move(task.nexus, asked.key, to, asked.action_key,
                                      unregister=asked.unregister, aptpl=asked.aptpl))


PERSISTENT_OPERATIONS = (
    Operation(RESERVE_IN[InAction.READ_KEYS], read_keys),
    Operation(RESERVE_IN[InAction.READ_RESERVATION], read_reservation),
    Operation(RESERVE_IN[InAction.REPORT_CAPABILITIES], report_capabilities),
    Operation(RESERVE_IN[InAction.READ_FULL_STATUS], read_full_status),
    Operation(RESERVE_OUT[OutAction.REGISTER], register),
    Operation(RESERVE_OUT[OutAction.RESERVE], reserve),
    Operation(RESERVE_OUT[OutAction.RELEASE], release),
    Operation(RESERVE_OUT[OutAction.CLEAR], clear),
    Operation(RESERVE_OUT[OutAction.PREEMPT], preempt),
    Operation(RESERVE_OUT[OutAction.PREEMPT_AND_ABORT], preempt_and_abort),
    Operation(RESERVE_OUT[OutAction.REGISTER_AND_IGNORE], register_and_ignore),
    Operation(RESERVE_OUT[OutAction.REGISTER_AND_MOVE], register_and_move),
)
