"""The third-party copy commands of every unit, as far as the unit itself has a say. SPC-4 5.17.3.

The unit decides whether the nexus may send them at all: reserved bits, unit attentions, reservations. What
they do is done by the copy manager, which asks the unit first and may copy to that same unit afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndmpd.san.errors import not_ready
from ndmpd.san.task import Operation, Task
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import (
    RECEIVE_COPY_DATA,
    RECEIVE_COPY_STATUS,
    RECEIVE_FAILURE_DETAILS,
    RECEIVE_OPERATING_PARAMETERS,
)
from protocol.scsi.xcopy import COPY_OPERATION_ABORT, EXTENDED_COPY

if TYPE_CHECKING:
    from ndmpd.san.unit import Unit


def admit(unit: Unit, task: Task) -> None:
    """GOOD to the copy manager: it may go on. Nobody else carries these commands out."""
    if not unit.admits_copies:
        raise not_ready(Asc.NOT_READY)


THIRD_PARTY_OPERATIONS = (
    Operation(EXTENDED_COPY, admit),
    Operation(COPY_OPERATION_ABORT, admit),
    Operation(RECEIVE_COPY_STATUS, admit),
    Operation(RECEIVE_COPY_DATA, admit),
    Operation(RECEIVE_OPERATING_PARAMETERS, admit),
    Operation(RECEIVE_FAILURE_DETAILS, admit),
)
OPCODES = frozenset(int(one.cdb.opcode) for one in THIRD_PARTY_OPERATIONS)
