"""Copy sources and destinations: the units that CSCD descriptors name. SPC-4 6.4.5 and 6.4.6.1.

Every command to a unit of the SAN goes there in the name of the nexus that sent the EXTENDED COPY, so that
the unit's reservation decides for each of them whether the copy may go on. To units of other targets
(``reach``) the copy manager is an initiator of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ndmpd.pieces import Piece
from ndmpd.ports import Command, Result, SourceFault
from ndmpd.san.copymanager.contact import Contact
from ndmpd.san.copymanager.failure import CopyFailure, field_failure
from ndmpd.san.copymanager.known import Known
from ndmpd.san.copymanager.pace import Pace
from ndmpd.san.copymanager.reach import FAILURES, Reach
from ndmpd.san.errors import UnitBusy
from ndmpd.san.folder import San
from ndmpd.san.registry import UNIT_CLASSES, open_unit
from ndmpd.san.unit import Unit
from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.cscd import COPY_MANAGER, NULL_BLOCK, NULL_STREAM, DeviceParameters, Identification
from protocol.scsi.sense import Reported, SegmentPointer, Sense, SenseKey
from protocol.scsi.spc import Designator, DeviceType
from protocol.scsi.xcopy import ParameterList, cscd_offset

_log = logging.getLogger(__name__)

_PATIENCE = 60.0
"""Seconds that a unit may be busy with another command, or take for one on another target."""
_WINDING = 3600.0
"""Seconds for whatever may wind a tape of another target from end to end."""


class Units:
    """The units that one thread works with, each opened when it is first wanted."""

    def __init__(self, san: San, reach: Reach) -> None:
        self.san = san
        self.pace = Pace()
        self._reach = reach
        self._contacts: dict[str, Contact] = {}
        self.met: dict[str, bool] = {}
        """Whether a unit has told the thread's nexus of its power on, or did so before it was asked."""
        self.known = Known()
        self._open: dict[str, Unit] = {}
        self._names: dict[Designator, str] = {}

    def get(self, name: str) -> Unit:
        """SanError where the SAN has none of that name."""
        if name not in self._open:
            self._open[name] = open_unit(self.san, name)
        return self._open[name]

    def find(self, cscd: Identification) -> Unit | None:
        """The unit that gives this designator of itself."""
        if not self._names:
            self._names = {designator: name for name, record in self.san.units.items()
                           for designator in self.san.designators(name, UNIT_CLASSES[record.type].product)}
        name = self._names.get(cscd.designator)
        return None if name is None else self.get(name)

    def contact(self, cscd: Identification, nexus: str) -> Contact | None:
        """A path to the unit of another target that gives this designator of itself, for copies of ``nexus``.

        FAILURES where it does not answer.
        """
        unit = self._reach.find(cscd.designator)
        if unit is None:
            return None
        contact = self._contacts.get(unit.name)
        if contact is not None and (contact.broken or cscd.designator not in contact.designators):
            self._reach.give(self._contacts.pop(unit.name))
            contact = None
        if contact is None:
            contact = self._contacts[unit.name] = self._reach.take(unit, cscd.designator, nexus)
        return contact

    def close(self) -> None:
        for unit in self._open.values():
            unit.close()
        self._open.clear()
        for contact in self._contacts.values():
            self._reach.give(contact)
        self._contacts.clear()


class End:
    """One id of a parameter list. ``unit`` is None for a null unit, and for one of another target.

    ``pointer``: the descriptor that names it, for the sense data of what goes wrong there.
    """

    contact: Contact | None = None
    """The path to a unit of another target."""

    def __init__(self, nexus: str, unit: Unit | None, kind: DeviceType, parameters: DeviceParameters | None,
                 pointer: SegmentPointer | None, units: Units) -> None:
        self.nexus = nexus
        self.pace = units.pace
        self.unit = unit
        self.kind = kind
        self.parameters = parameters
        self.pointer = pointer
        self.known = units.known
        self._met = units.met

    @property
    def null(self) -> bool:
        """Whether it is no device at all."""
        return self.unit is None and self.contact is None

    @property
    def pad(self) -> bool:
        return bool(getattr(self.parameters, "pad", False))

    def send(self, cdb: bytes, out: Sequence[Piece] = (),
             into: Sequence[Piece] = ()) -> tuple[Result, list[SourceFault]]:
        """One command and the gaps in what it was given.

        The power-on attention of a unit that the nexus has never spoken to says nothing, and is passed over;
        every other one is the initiator's to hear of: its tape may stand somewhere else since.
        """
        if self.unit is None:
            raise CopyFailure(Asc.UNREACHABLE_COPY_TARGET)
        try:
            met = self._met.get(self.unit.name)
            if met is None:
                with self.unit.exclusive(_PATIENCE):
                    met = self._met[self.unit.name] = self.nexus in self.unit.state.attentions
            command = Command(cdb, out, into, _PATIENCE)
            result = self.unit.execute(self.nexus, command)
            if not met and _power_on(result):
                command = Command(cdb, out, into, _PATIENCE)
                result = self.unit.execute(self.nexus, command)
            if cdb[0] != Opcode.INQUIRY:
                # INQUIRY alone is answered whatever there is to tell.
                self._met[self.unit.name] = True
        except UnitBusy as error:
            raise CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, self.pointer) from error
        return result, command.faults

    def source_failure(self, result: Result) -> CopyFailure:
        return CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, self.pointer,
                           source=Reported(result.status, result.sense))

    def destination_failure(self, result: Result) -> CopyFailure:
        return CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, self.pointer,
                           destination=Reported(result.status, result.sense))


class ForeignEnd(End):
    """A unit of another target, to which commands go in the copy manager's own name."""

    def __init__(self, nexus: str, contact: Contact, parameters: DeviceParameters | None,
                 pointer: SegmentPointer, units: Units) -> None:
        super().__init__(nexus, None, contact.unit.type, parameters, pointer, units)
        self.contact = contact

    def send(self, cdb: bytes, out: Sequence[Piece] = (),
             into: Sequence[Piece] = ()) -> tuple[Result, list[SourceFault]]:
        assert self.contact is not None
        patience = _WINDING if self.kind is DeviceType.TAPE else _PATIENCE
        command = Command(cdb, out, into, patience)
        try:
            return self.contact.execute(command), command.faults
        except FAILURES as failure:
            _log.warning("%s: %s", self.contact.unit.name, failure)
            raise CopyFailure(Asc.COPY_TARGET_NOT_REACHABLE, self.pointer) from failure


def sense_of(result: Result) -> Sense | None:
    try:
        return Sense.take(result.sense)
    except WireError:
        return None


def _power_on(result: Result) -> bool:
    sense = sense_of(result) if result.status == Status.CHECK_CONDITION else None
    return sense is not None and (sense.key, sense.code) == (SenseKey.UNIT_ATTENTION, Asc.POWER_ON)


class Ends:
    """The ends of one parameter list by id. ``unit_name``: whom the EXTENDED COPY was sent to."""

    def __init__(self, units: Units, nexus: str, unit_name: str, found: ParameterList) -> None:
        self._units = units
        self._nexus = nexus
        self._unit_name = unit_name
        self._list = found
        self._known: dict[int, End] = {}

    def get(self, ident: int, at: int) -> End:
        """The end that byte ``at`` of a segment names. CopyFailure where there is none."""
        if ident not in self._known:
            self._known[ident] = self._find(ident, at)
        return self._known[ident]

    def _find(self, ident: int, at: int) -> End:
        if ident == COPY_MANAGER:
            unit = self._units.get(self._unit_name)
            return End(self._nexus, unit, unit.device_type, None, None, self._units)
        if ident in (NULL_BLOCK, NULL_STREAM):
            kind = DeviceType.DISK if ident == NULL_BLOCK else DeviceType.TAPE
            return End(self._nexus, None, kind, None, None, self._units)
        cscd = self._list.cscd(ident)
        if not isinstance(cscd, Identification):
            raise field_failure(at, Asc.UNREACHABLE_COPY_TARGET)
        pointer = SegmentPointer(cscd_offset(ident))
        found = self._units.find(cscd)
        if found is None:
            return self._foreign(cscd, pointer)
        if cscd.device_type != found.device_type:
            raise CopyFailure(Asc.INCORRECT_COPY_TARGET_TYPE, pointer)
        return End(self._nexus, found, found.device_type, cscd.parameters, pointer, self._units)

    def _foreign(self, cscd: Identification, pointer: SegmentPointer) -> End:
        try:
            contact = self._units.contact(cscd, self._nexus)
        except FAILURES as failure:
            _log.warning("%s: %s", cscd.designator.text, failure)
            contact = None
        if contact is None:
            raise CopyFailure(Asc.COPY_TARGET_NOT_REACHABLE, pointer)
        if cscd.device_type != contact.unit.type:
            raise CopyFailure(Asc.INCORRECT_COPY_TARGET_TYPE, pointer)
        return ForeignEnd(self._nexus, contact, cscd.parameters, pointer, self._units)
