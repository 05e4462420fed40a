"""A virtual tape drive: its state, its cartridge, and what it says of itself. SSC-4.

A cartridge that the changer puts in is loaded at once, at beginning of medium. Which cartridge is in the
drive is the library map's to say; the drive compares the ``changes`` of its element at every command.

The position is an object number, or ``END``, which stands for "at end of data" whatever is there. It is
``END`` while records are appended: then a process that dies between a record and its state leaves no wrong
position.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ndmpd.san.copymanager.commands import THIRD_PARTY_OPERATIONS
from ndmpd.san.errors import CheckCondition, SanError, not_ready, refused
from ndmpd.san.folder import San
from ndmpd.san.library import Library
from ndmpd.san.medium import Medium
from ndmpd.san.modes import TASK_ABORTED_STATUS, ModeRow, Modes
from ndmpd.san.primary import PRIMARY_OPERATIONS
from ndmpd.san.tape_data import DATA_OPERATIONS
from ndmpd.san.tape_motion import MOTION_OPERATIONS
from ndmpd.san.tape_reports import DENSITY, REPORT_OPERATIONS, log_pages
from ndmpd.san.task import OperationTable
from ndmpd.san.unit import Unit, UnitState
from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.logs import LogParameter
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import BlockDescriptor, DeviceType, ModeParameters
from protocol.scsi.ssc import Compression, Configuration, TapePage, TapeSpecific
from protocol.streams.cartridge import MAX_RECORD

END = -1
MEDIUM_TYPE = 0x88
_ANY_DENSITY, _SAME_DENSITY = 0x00, 0x7F
_BUFFERED = (0, 1)


@dataclass
class TapeState(UnitState):
    """``changes``: the element's count when the cartridge was last looked at. ``place``: position, see above.

    ``loaded``: the cartridge is threaded, not just in the drive. ``block_length`` 0: variable. ``loads``,
    ``written`` and ``read``: since the drive was made; the latter two in bytes.
    """

    changes: int = 0
    loaded: bool = False
    place: int = 0
    block_length: int = 0
    buffered: int = 1
    loads: int = 0
    written: int = 0
    read: int = 0


class TapeDrive(Unit):
    """``medium`` is the cartridge, while one is loaded."""

    device_type = DeviceType.TAPE
    product = "VIRTUAL TAPE"
    removable = True
    third_party = True
    state_type = TapeState
    operations: ClassVar[OperationTable] = OperationTable(
        PRIMARY_OPERATIONS, DATA_OPERATIONS, MOTION_OPERATIONS, REPORT_OPERATIONS, THIRD_PARTY_OPERATIONS)
    state: TapeState

    def __init__(self, san: San, name: str, library: Library | None = None) -> None:
        super().__init__(san, name)
        self.library = library or Library(san)
        self._own_library = library is None
        self.index = san.unit(name).index
        self._medium: Medium | None = None
        self._medium_changes = 0
        self.lent_length = 0
        """Block length for the commands of a copy manager, whose initiator must not find the mode changed."""

    def close(self) -> None:
        self.forget()
        if self._own_library:
            self.library.close()
        super().close()

    def forget(self) -> None:
        if self._medium is not None:
            self._medium.close()
            self._medium = None

    @property
    def block_length(self) -> int:
        """What FIXED=1 reads and writes count in."""
        return self.lent_length or self.state.block_length

    # The cartridge.

    @property
    def cartridge(self) -> str | None:
        """Barcode of what is in the drive, loaded or not."""
        return self.library.drive(self.index).cartridge

    def refresh(self) -> None:
        element = self.library.drive(self.index)
        if element.changes != self.state.changes:
            self.state.changes = element.changes
            self._take_in(element.cartridge)

    def _take_in(self, cartridge: str | None) -> None:
        self.forget()
        self.state.place = 0
        self.state.loaded = cartridge is not None
        if cartridge is not None:
            self.state.loads += 1
            self.alert(Asc.MEDIUM_MAY_HAVE_CHANGED)

    def load(self, nexus: str) -> None:
        """LOAD UNLOAD, load: rewinds where the cartridge is loaded already."""
        if self.cartridge is None:
            raise not_ready()
        if not self.state.loaded:
            self.state.loads += 1
            self.alert(Asc.MEDIUM_MAY_HAVE_CHANGED, but=nexus)
        self.state.loaded, self.state.place = True, 0

    def unload(self) -> None:
        if self.state.loaded:
            if self.removal_prevented():
                raise refused(Asc.MEDIUM_REMOVAL_PREVENTED)
            self.medium.flush()
        self.state.loaded, self.state.place = False, 0

    def let_go(self, nexus: str) -> None:
        """The changer is about to take the cartridge; the caller has the drive to itself.

        CheckCondition where its removal is prevented or another nexus owns the drive: pulling the tape from
        under a job would be of no use to anyone.
        """
        self.refresh()
        owned = self.owner() not in (None, nexus) and not self.registrants.gives_access(nexus)
        if self.removal_prevented() or owned:
            raise refused(Asc.MEDIUM_REMOVAL_PREVENTED)
        if self.state.loaded:
            try:
                medium = self.medium
            except CheckCondition:
                return
            medium.flush()
            medium.compact()
            self.forget()

    @property
    def medium(self) -> Medium:
        """The loaded cartridge, with all that other processes wrote on it."""
        if not self.state.loaded:
            raise not_ready()
        try:
            if self._medium is not None and self._medium_changes == self.state.changes:
                self._medium.refresh()
                return self._medium
            self.forget()
            cartridge = self.cartridge
            if cartridge is None:
                raise not_ready()
            self._medium, self._medium_changes = self.library.open_medium(cartridge), self.state.changes
            self._medium.compact()
            return self._medium
        except (WireError, SanError) as error:
            raise CheckCondition(Sense(SenseKey.MEDIUM_ERROR, Asc.MEDIUM_FORMAT_CORRUPTED)) from error

    @property
    def writable(self) -> Medium:
        medium = self.medium
        if medium.facts.protected:
            raise CheckCondition(Sense(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED))
        return medium

    def place(self, medium: Medium) -> int:
        """The position as an object number."""
        return medium.map.objects if self.state.place == END else min(self.state.place, medium.map.objects)

    def go(self, place: int) -> None:
        self.state.place = place

    def go_to_end(self, medium: Medium) -> None:
        """Make the position the end of data: what lies after it is no longer on the tape."""
        if self.state.place != END:
            medium.truncate(self.place(medium))
            self.state.place = END
            self._store()

    # What the drive says of itself.

    def check_ready(self) -> None:
        if not self.state.loaded:
            raise not_ready()

    def failure(self, error: Exception) -> Sense:
        return Sense(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)

    def modes(self) -> Modes:
        protected = self.state.loaded and self.medium.facts.protected
        exceptions = bytes((0x08, 0x03)) + bytes(8)
        return Modes(
            rows=(ModeRow(TapePage.ERROR_RECOVERY, bytes(10)),
                  ModeRow(TapePage.DISCONNECT, bytes(14)),
                  ModeRow(TapePage.CONTROL, TASK_ABORTED_STATUS),
                  ModeRow(TapePage.COMPRESSION, Compression().put()),
                  ModeRow(TapePage.CONFIGURATION, Configuration(early_warning_synchronizes=True).put()),
                  ModeRow(TapePage.INFORMATIONAL_EXCEPTIONS, exceptions)),
            medium_type=MEDIUM_TYPE if self.state.loaded else 0,
            specific=TapeSpecific(protected, self.state.buffered).put(),
            block=BlockDescriptor(DENSITY, 0, self.state.block_length))

    def select(self, asked: ModeParameters) -> bool:
        specific = TapeSpecific.take(asked.specific)
        length = self.state.block_length
        if specific.buffered not in _BUFFERED or specific.speed:
            raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
        for block in asked.descriptors:
            if block.density not in (_ANY_DENSITY, DENSITY, _SAME_DENSITY) or block.length > MAX_RECORD:
                raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
            length = block.length
        before = self.state.buffered, self.state.block_length
        self.state.buffered, self.state.block_length = specific.buffered, length
        return before != (specific.buffered, length)

    def log_pages(self) -> dict[int, tuple[LogParameter, ...]]:
        return log_pages(self)
