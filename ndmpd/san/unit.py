"""A logical unit of the embedded SAN: what happens around every command, whatever the device type.

Several processes have an object of this class for one unit. Each command takes the unit's lock, loads the
state that the last command of any of them left, is carried out, and stores the state it leaves. So nothing is
known only in memory, and a process that dies leaves the unit as it was before its command or after it.
"""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result
from ndmpd.san.admission import admission
from ndmpd.san.copymanager.link import clear_copies
from ndmpd.san.copymanager.profile import load_profile
from ndmpd.san.errors import CheckCondition, Conflict, SanError, refused
from ndmpd.san.folder import VENDOR, San
from ndmpd.san.modes import Modes
from ndmpd.san.nexus import alive
from ndmpd.san.registrants import Change, Registrants, RegistrantsFile
from ndmpd.san.reservations import Access, Reservation
from ndmpd.san.statefile import StateFile
from ndmpd.san.task import Operation, OperationTable, Task
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.logs import LogParameter
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import (
    DeviceType,
    Inquiry,
    ModeParameters,
    Vpd,
    VpdPage,
    put_identification,
    put_serial,
)

_log = logging.getLogger(__name__)

REVISION = "0001"
MAX_NEXUSES = 1000
MAX_ATTENTIONS = 8
"""Unit attentions kept for one nexus; what comes on top is dropped, the oldest kept."""


@dataclass
class UnitState:
    """What a unit remembers from command to command, kept as JSON.

    ``attentions``: codes waiting, oldest first, of every nexus that has sent a command. ``holder``: see
    ``Reservation``. ``preventing``: nexuses that prevent the removal of the medium.
    """

    attentions: dict[str, list[int]] = field(default_factory=dict)
    holder: str | None = None
    preventing: list[str] = field(default_factory=list)


class Unit:
    """``execute`` is all that transports use; the rest is for the handlers of commands.

    ``registrants``: persistent reservations. They have a file of their own, so that what is to outlast a loss
    of power is made safe when it changes, and not with every command.

    A subclass gives ``device_type``, ``product``, ``operations`` and ``state_type``, and overrides what
    differs.
    """

    device_type: ClassVar[DeviceType]
    product: ClassVar[str]
    operations: ClassVar[OperationTable]
    state_type: ClassVar[type[UnitState]] = UnitState
    removable: ClassVar[bool] = False
    third_party: ClassVar[bool] = False
    """Whether it takes EXTENDED COPY (``ndmpd.san.copymanager``)."""
    admits_copies = False
    """Whether whoever has opened it carries such commands out."""

    def __init__(self, san: San, name: str) -> None:
        self.san = san
        self.name = name
        self.state = self.state_type()
        self._file = StateFile(san.state_path(name))
        self._known = -1
        self._stored = self._look = b""
        self.registrants = Registrants()
        self._registrants_file = RegistrantsFile(san.state_path(f"{name}.reservations"))
        self._cleared: tuple[str, ...] = ()

    def execute(self, nexus: str, command: Command) -> Result:
        """Carry out a command of ``nexus``. UnitBusy where the unit stays locked for ``command.timeout``."""
        self._file.file.lock(command.timeout)
        try:
            self._load()
            self._cleared = ()
            result = self._answer(nexus, command)
            self._store()
        except BaseException:
            self._break_off()
            raise
        finally:
            self._file.file.unlock()
        if self._cleared:
            clear_copies(self.san.path, self.name, self._cleared)
        return result

    @contextmanager
    def exclusive(self, timeout: float) -> Iterator[None]:
        """The unit to oneself: locked, its state loaded, and stored at the end unless an exception comes."""
        self._file.file.lock(timeout)
        try:
            self._load()
            yield
            self._store()
        except BaseException:
            self._break_off()
            raise
        finally:
            self._file.file.unlock()

    def _break_off(self) -> None:
        """What was begun is not stored, so it must not be remembered either."""
        self._known = -1
        self._registrants_file.forget()
        self.forget()

    @property
    def seen(self) -> tuple[int, int]:
        """What the last command by this object has left, as numbers: of the state, and of reservations."""
        return self._known, self._registrants_file.sequence

    def stands(self) -> bool:
        """Whether it is still so, and a command would be admitted, or refused, as it was. For whoever has not
        the unit to himself: at this moment.
        """
        return self._known >= 0 and self._file.stands() and self._registrants_file.stands()

    def close(self) -> None:
        self._file.file.close()
        self._registrants_file.close()

    def _load(self) -> None:
        self.registrants = self._registrants_file.load()
        payload = self._file.load()
        if self._known == self._file.sequence and self._known >= 0:
            return
        self.state = self.state_type(**json.loads(payload)) if payload else self.state_type()
        self._known, self._stored, self._look = self._file.sequence, payload or b"", b""

    def _store(self) -> None:
        # Most commands leave the state as it is, which takes a quarter of the time to see this way.
        look = pickle.dumps(self.state.__dict__)
        if look != self._look:
            payload = json.dumps(self.state.__dict__).encode()
            if payload != self._stored:
                self._file.store(payload)
                self._known, self._stored = self._file.sequence, payload
            self._look = look
        # After the unit attentions of a change: none may be lost that came true.
        self._registrants_file.store(self.registrants)

    def _answer(self, nexus: str, command: Command) -> Result:
        task: Task | None = None
        try:
            self.refresh()
            operation, fields = self.operations.parse(command.cdb)
            # Who has only asked what the unit is has not yet met it: its first command is still to come.
            if operation.access is not Access.ALWAYS and (waiting := self._attentions_of(nexus)):
                raise CheckCondition(Sense(SenseKey.UNIT_ATTENTION, waiting.pop(0)))
            if self.conflicts(nexus, operation, fields):
                raise Conflict
            task = Task(nexus, command, operation, fields)
            operation.handler(self, task)
            return Result(Status.GOOD, transferred=task.transferred, asked=task.asked)
        except Conflict:
            return Result(Status.RESERVATION_CONFLICT)
        except CheckCondition as check:
            sense = check.sense
        except (OSError, SanError) as error:
            _log.error("%s: command %s failed: %s", self.name, command.cdb.hex(" "), error)
            sense = self.failure(error)
        return Result(Status.CHECK_CONDITION, sense.put(), *((task.transferred, task.asked) if task else ()))

    def failure(self, error: Exception) -> Sense:
        """What an error of the store behind the unit is to an initiator."""
        return Sense(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE)

    def forget(self) -> None:
        """Called when a command broke off in the middle: drop what is known of files besides the state."""

    def refresh(self) -> None:
        """Called before each command: take in what has changed outside the unit's own state."""

    # Unit attentions.

    def _attentions_of(self, nexus: str) -> list[int]:
        known = self.state.attentions
        if nexus not in known:
            for other in [one for one in known if not alive(self.san.path, one)]:
                del known[other]
            if len(known) >= MAX_NEXUSES:
                raise refused(Asc.INSUFFICIENT_RESOURCES)
            known[nexus] = [Asc.POWER_ON]
        return known[nexus]

    def alert(self, code: int, but: str | None = None) -> None:
        """A unit attention for every nexus known, except ``but``."""
        for nexus in self.state.attentions:
            if nexus != but:
                self._alert(nexus, code)

    def _alert(self, nexus: str, code: int) -> None:
        # A nexus that is not known hears of a power on when it comes, and expects anything.
        waiting = self.state.attentions.get(nexus)
        if waiting is not None and code not in waiting and len(waiting) < MAX_ATTENTIONS:
            waiting.append(int(code))

    def take_attention(self, nexus: str) -> int | None:
        """The oldest unit attention of the nexus, which counts as reported."""
        waiting = self._attentions_of(nexus)
        return waiting.pop(0) if waiting else None

    # Ownership.

    def _reservation(self) -> Reservation:
        return Reservation(self.san.path, self.state.holder)

    def conflicts(self, nexus: str, operation: Operation, fields: dict[str, int]) -> bool:
        """Whether a reservation, of either kind, keeps the nexus from this command."""
        if self.state.holder is not None:
            reservation = self._reservation()
            conflict = reservation.conflicts(nexus, operation.access)
            self.state.holder = reservation.holder
            if conflict:
                return True
        return self.registrants.type is not None and not self.registrants.admits(
            nexus, admission(operation.cdb, fields))

    def reserved(self) -> bool:
        """Whether a live nexus holds the unit by RESERVE."""
        reservation = self._reservation()
        self.state.holder = reservation.owner()
        return self.state.holder is not None

    def owner(self) -> str | None:
        """The live nexus that owns the unit, by RESERVE or persistent reservation."""
        if self.reserved():
            return self.state.holder
        return next((one for one in self.registrants.holders if alive(self.san.path, one)), None)

    def change(self, change: Change, *, abort: bool = False) -> None:
        """Take over a change of persistent reservations; with ``abort`` what the victims copy is ended."""
        for nexus, code in change.attentions:
            self._alert(nexus, code)
        self.registrants = change.registrants
        if abort:
            self._cleared = change.victims

    def reserve(self, nexus: str) -> None:
        reservation = self._reservation()
        reservation.reserve(nexus)
        self.state.holder = reservation.holder

    def release(self, nexus: str) -> None:
        reservation = self._reservation()
        reservation.release(nexus)
        self.state.holder = reservation.holder

    # What happens to nexuses and the whole unit; for the holder of ``exclusive``.

    def lose(self, nexus: str) -> None:
        """I_T nexus loss (SAM-5 6.3.4): what the nexus held is free, and it hears of it if it comes again.

        Persistent reservations stay.
        """
        self.release(nexus)
        self.prevent(nexus, False)
        self.state.attentions.pop(nexus, None)

    def reset(self) -> None:
        """Logical unit reset (SAM-5 6.3.3): nobody holds anything, but persistent reservations."""
        self.state.holder = None
        self.state.preventing = []
        self.alert(Asc.DEVICE_RESET)

    # Removal of the medium.

    def prevent(self, nexus: str, on: bool) -> None:
        preventing = self.state.preventing
        if on and nexus not in preventing:
            preventing.append(nexus)
        elif not on and nexus in preventing:
            preventing.remove(nexus)

    def removal_prevented(self) -> bool:
        """Whether a live nexus prevents it."""
        if self.state.preventing:
            self.state.preventing = [one for one in self.state.preventing if alive(self.san.path, one)]
        return bool(self.state.preventing)

    # What the device types differ in.

    def check_ready(self) -> None:
        """CheckCondition where TEST UNIT READY must say so."""

    def inquiry(self) -> Inquiry:
        return Inquiry(self.device_type, VENDOR, self.product, REVISION, removable=self.removable,
                       third_party_copy=self.third_party, command_queue=False)

    def vpd(self) -> dict[int, bytes]:
        """The vital product data pages by code, whole, without page 00h."""
        designators = self.san.designators(self.name, self.product)
        pages: dict[int, bytes] = {
            Vpd.SERIAL_NUMBER: put_serial(self.device_type, self.san.serial(self.name)),
            Vpd.IDENTIFICATION: put_identification(self.device_type, designators)}
        if self.third_party and (page := load_profile(self.san, self.name).page(self.device_type)):
            pages[Vpd.THIRD_PARTY_COPY] = page
        return pages

    def vpd_page(self, page: int) -> bytes | None:
        pages = self.vpd()
        if page == Vpd.SUPPORTED:
            return VpdPage(self.device_type, Vpd.SUPPORTED, bytes(sorted((Vpd.SUPPORTED, *pages)))).put()
        return pages.get(page)

    def modes(self) -> Modes:
        return Modes(())

    def select(self, asked: ModeParameters) -> bool:
        """Take over mode parameters that fit ``modes``; returns whether anything changed."""
        return False

    def log_pages(self) -> dict[int, tuple[LogParameter, ...]]:
        """Log pages by code, without page 00h."""
        return {}

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        """See ``ports.Transport``."""
        return None
