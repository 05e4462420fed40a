"""MODE SENSE and MODE SELECT: one table of pages for each device type. SPC-4 6.11 to 6.14 and 7.5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndmpd.san.errors import CheckCondition, refused
from ndmpd.san.task import Operation, Task
from protocol.errors import WireError
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import (
    ALL_PAGES,
    ALL_SUBPAGES,
    BlockDescriptor,
    ModeControl,
    ModePage,
    ModeParameters,
)

if TYPE_CHECKING:
    from ndmpd.san.unit import Unit


TASK_ABORTED_STATUS = bytes((0, 0, 0, 0x40, *bytes(6)))
"""Control mode page with TAS (SPC-4 7.5.8): commands that are aborted for another initiator end with status
TASK ABORTED, and not without a word.
"""


@dataclass(frozen=True, slots=True)
class ModeRow:
    """One page: its body now, which of its bits MODE SELECT may change, and its body after a power on."""

    page: int
    current: bytes
    changeable: bytes | None = None
    default: bytes | None = None

    def body(self, control: int) -> bytes:
        if control == ModeControl.CHANGEABLE:
            return self.changeable or bytes(len(self.current))
        if control == ModeControl.DEFAULT and self.default is not None:
            return self.default
        return self.current

    def refuses(self, body: bytes) -> bool:
        """Whether ``body`` has another length, or changes what cannot be changed."""
        if len(body) != len(self.current):
            return True
        mask = int.from_bytes(self.body(ModeControl.CHANGEABLE), "big")
        return bool((int.from_bytes(body, "big") ^ int.from_bytes(self.current, "big")) & ~mask)


@dataclass(frozen=True, slots=True)
class Modes:
    """What a unit's mode data is at this moment. ``block`` None: no block descriptor."""

    rows: tuple[ModeRow, ...]
    medium_type: int = 0
    specific: int = 0
    block: BlockDescriptor | None = None

    def row(self, page: int) -> ModeRow | None:
        return next((one for one in self.rows if one.page == page), None)


def _sense(unit: Unit, task: Task) -> ModeParameters:
    asked = task.field
    control, page, modes = asked["control"], asked["page"], unit.modes()
    if control == ModeControl.SAVED:
        raise CheckCondition(Sense(SenseKey.ILLEGAL_REQUEST, Asc.SAVING_NOT_SUPPORTED))
    if asked["subpage"] not in (0, ALL_SUBPAGES):
        raise task.refuse("subpage")
    rows = modes.rows if page == ALL_PAGES else [one for one in modes.rows if one.page == page]
    # Page 00h with no page of that code is how initiators ask for the header and block descriptor alone.
    if not rows and page:
        raise task.refuse("page")
    blocks = () if asked["dbd"] or modes.block is None else (modes.block,)
    return ModeParameters(modes.medium_type, modes.specific, blocks,
                          tuple(ModePage(one.page, one.body(control)) for one in rows))


def mode_sense_6(unit: Unit, task: Task) -> None:
    task.send(_sense(unit, task).put_6(), task.field["allocation"])


def mode_sense_10(unit: Unit, task: Task) -> None:
    task.send(_sense(unit, task).put_10(), task.field["allocation"])


def _select(unit: Unit, task: Task, *, short: bool) -> None:
    if task.field["sp"]:
        raise task.refuse("sp")
    length = task.field["length"]
    if not length:
        return
    data = task.parameters(length)
    try:
        asked = (ModeParameters.take_6 if short else ModeParameters.take_10)(data, select=True)
    except WireError as error:
        raise refused(Asc.PARAMETER_LIST_LENGTH) from error
    if len(asked.put_6(select=True) if short else asked.put_10(select=True)) != length:
        raise refused(Asc.PARAMETER_LIST_LENGTH)
    modes = unit.modes()
    if len(asked.descriptors) > (modes.block is not None):
        raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
    for page in asked.pages:
        row = modes.row(page.page)
        if row is None or page.subpage or row.refuses(page.body):
            raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
    if unit.select(asked):
        unit.alert(Asc.MODE_PARAMETERS_CHANGED, but=task.nexus)


def mode_select_6(unit: Unit, task: Task) -> None:
    _select(unit, task, short=True)


def mode_select_10(unit: Unit, task: Task) -> None:
    _select(unit, task, short=False)


MODE_OPERATIONS = (
    Operation(scsi.MODE_SENSE_6, mode_sense_6),
    Operation(scsi.MODE_SENSE_10, mode_sense_10),
    Operation(scsi.MODE_SELECT_6, mode_select_6),
    Operation(scsi.MODE_SELECT_10, mode_select_10),
)
