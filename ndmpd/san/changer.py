"""The media changer of the embedded SAN. SMC-3.

Cartridges are moved by storing a new library map; see ``ndmpd.san.library`` for the order of locks. A
cartridge is taken out of a loaded drive without an unload before, as long as nobody prevents its removal or
owns the drive.
"""

from __future__ import annotations

from contextlib import ExitStack

from ndmpd.san.errors import refused
from ndmpd.san.folder import San
from ndmpd.san.library import Element, Library
from ndmpd.san.modes import ModeRow, Modes
from ndmpd.san.primary import PRIMARY_OPERATIONS
from ndmpd.san.reservations import Access
from ndmpd.san.tape import TapeDrive
from ndmpd.san.task import Operation, OperationTable, Task
from ndmpd.san.unit import Unit
from protocol.scsi import command as scsi
from protocol.scsi import smc
from protocol.scsi.asc import Asc
from protocol.scsi.logs import LogPage, LogParameter
from protocol.scsi.sense import field_pointer
from protocol.scsi.smc import ChangerPage, ElementAddresses, ElementType, put_capabilities
from protocol.scsi.spc import DeviceType

_ALERTS = 32
_DEFAULT_TRANSPORT = 0


def initialize_element_status(changer: Changer, task: Task) -> None:
    """The map is always true: there is nothing to look at."""


def initialize_with_range(changer: Changer, task: Task) -> None:
    if task.field["range"]:
        changer.element(task, "first")


def position_to_element(changer: Changer, task: Task) -> None:
    changer.check_transport(task)
    changer.element(task, "destination")


def read_element_status(changer: Changer, task: Task) -> None:
    field = task.field
    if field["type"] > max(ElementType):
        raise task.refuse("type")
    elements = changer.library.elements
    if field["first"] > max(elements):
        raise refused(Asc.INVALID_ELEMENT_ADDRESS)
    chosen = [one for one in elements.values()
              if one.address >= field["first"] and field["type"] in (ElementType.ALL, one.type)]
    chosen = sorted(chosen, key=lambda one: (one.type, one.address))[:field["elements"]]
    dvcid, voltag = bool(field["dvcid"]), bool(field["voltag"])
    status = tuple(changer.status(one, dvcid) for one in chosen)
    task.send(smc.put_element_status(status, voltag=voltag, dvcid=dvcid), field["allocation"])


def move_medium(changer: Changer, task: Task) -> None:
    changer.check_transport(task)
    if task.field["invert"]:
        raise task.refuse("invert")
    with changer.library.locked():
        source, destination = changer.element(task, "source"), changer.element(task, "destination")
        if source.cartridge is None:
            raise refused(Asc.SOURCE_EMPTY)
        if source.address == destination.address:
            return
        if destination.cartridge is not None:
            raise refused(Asc.DESTINATION_FULL)
        changer.carry(task, (source, destination))


def exchange_medium(changer: Changer, task: Task) -> None:
    changer.check_transport(task)
    for name in ("invert_1", "invert_2"):
        if task.field[name]:
            raise task.refuse(name)
    with changer.library.locked():
        source = changer.element(task, "source")
        first = changer.element(task, "first_destination")
        second = changer.element(task, "second_destination")
        if source.cartridge is None or first.cartridge is None or source.address == first.address:
            raise refused(Asc.SOURCE_EMPTY)
        if second.address == first.address:
            raise refused(Asc.DESTINATION_FULL)
        if second.cartridge is not None and second.address != source.address:
            raise refused(Asc.DESTINATION_FULL)
        changer.carry(task, (source, first), (first, second))


CHANGER_OPERATIONS = (
    Operation(scsi.INITIALIZE_ELEMENT_STATUS, initialize_element_status),
    Operation(scsi.INITIALIZE_ELEMENT_STATUS_WITH_RANGE, initialize_with_range),
    Operation(scsi.POSITION_TO_ELEMENT, position_to_element),
    Operation(scsi.READ_ELEMENT_STATUS, read_element_status, Access.SHARED),
    Operation(scsi.MOVE_MEDIUM, move_medium),
    Operation(scsi.EXCHANGE_MEDIUM, exchange_medium),
)


class Changer(Unit):
    """``library`` is what the changer moves in."""

    device_type = DeviceType.CHANGER
    product = "VIRTUAL CHANGER"
    removable = True
    operations = OperationTable(PRIMARY_OPERATIONS, CHANGER_OPERATIONS)

    def __init__(self, san: San, name: str) -> None:
        super().__init__(san, name)
        self.library = Library(san)
        records = san.of_type(DeviceType.TAPE)
        self._drives = {self.library.drive(one.index).address: TapeDrive(san, one.name, self.library)
                        for one in records}

    def close(self) -> None:
        for drive in self._drives.values():
            drive.close()
        self.library.close()
        super().close()

    def element(self, task: Task, name: str) -> Element:
        """The element that the CDB's field ``name`` addresses; the robot's arm keeps no cartridge."""
        found = self.library.elements.get(task.field[name])
        if found is None or found.type is ElementType.TRANSPORT:
            at = task.operation.cdb.layout.fields[name].byte
            raise refused(Asc.INVALID_ELEMENT_ADDRESS, field_pointer(at, in_cdb=True))
        return found

    def check_transport(self, task: Task) -> None:
        address = task.field["transport"]
        found = self.library.elements.get(address)
        if address != _DEFAULT_TRANSPORT and (found is None or found.type is not ElementType.TRANSPORT):
            raise refused(Asc.INVALID_ELEMENT_ADDRESS)

    def carry(self, task: Task, *moves: tuple[Element, Element]) -> None:
        """Move cartridges, all or none, with the drives they leave and enter at rest."""
        leaving = {source.address for source, _ in moves}
        touched = leaving | {destination.address for _, destination in moves}
        with ExitStack() as locks:
            for address in sorted(touched & self._drives.keys()):
                drive = self._drives[address]
                locks.enter_context(drive.exclusive(task.command.timeout))
                if address in leaving:
                    drive.let_go(task.nexus)
            self.library.move(*((source.address, destination.address) for source, destination in moves))

    def status(self, element: Element, dvcid: bool) -> smc.Element:
        """The element as READ ELEMENT STATUS tells it."""
        drive = self._drives.get(element.address)
        device = self.san.designators(drive.name, drive.product)[1] if drive and dvcid else None
        return smc.Element(element.type, element.address, element.cartridge is not None, source=element.home,
                           barcode=element.cartridge or "", by_operator=element.by_operator, device=device)

    def _extent(self, kind: ElementType) -> tuple[int, int]:
        addresses = [one.address for one in self.library.elements.values() if one.type is kind]
        return (addresses[0], len(addresses)) if addresses else (0, 0)

    def modes(self) -> Modes:
        addresses = ElementAddresses(
            self._extent(ElementType.TRANSPORT), self._extent(ElementType.STORAGE),
            self._extent(ElementType.IMPORT_EXPORT), self._extent(ElementType.DATA_TRANSFER))
        # One arm, which cannot turn a cartridge over and is the first of its set.
        return Modes((ModeRow(ChangerPage.ELEMENT_ADDRESSES, addresses.put()),
                      ModeRow(ChangerPage.TRANSPORT_GEOMETRY, bytes(2)),
                      ModeRow(ChangerPage.CAPABILITIES, put_capabilities())))

    def log_pages(self) -> dict[int, tuple[LogParameter, ...]]:
        return {LogPage.TAPE_ALERT: tuple(LogParameter(flag, b"\0", 3) for flag in range(1, _ALERTS + 1))}
