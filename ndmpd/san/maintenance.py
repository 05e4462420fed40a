"""What an operator does with cartridges while sessions use the SAN: look, take at rest, add, tell drives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from ndmpd.san.changer import Changer
from ndmpd.san.creation import add_cartridge
from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from ndmpd.san.library import Element, Library
from ndmpd.san.medium import Medium, early_warning_zone
from ndmpd.san.nexus import Nexus
from ndmpd.san.tape import TapeDrive
from protocol.scsi.asc import Asc
from protocol.scsi.smc import ElementType
from protocol.scsi.spc import DeviceType

_PATIENCE = 10.0
_BARCODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Holding:
    """A cartridge and where it is: ``place`` is a drive's name, or the kind and address of a slot."""

    barcode: str
    place: str
    used: int
    capacity: int
    records: int
    marks: int
    protected: bool
    label: str


def holdings(san: San) -> list[Holding]:
    """All cartridges of the library by barcode. A tape that is being written shows what is on it so far."""
    library = Library(san)
    found = []
    for element in library.elements.values():
        if element.cartridge is None:
            continue
        with closing(library.open_medium(element.cartridge, readonly=True)) as medium:
            facts, tape = medium.facts, medium.map
            found.append(Holding(facts.barcode, _place(san, library, element), tape.used, facts.capacity,
                                 tape.objects - tape.marks, tape.marks, facts.protected, facts.label))
    return sorted(found, key=lambda one: one.barcode)


def _drive_at(san: San, library: Library, element: Element) -> str | None:
    return next((one.name for one in san.of_type(DeviceType.TAPE)
                 if library.drive(one.index).address == element.address), None)


def _place(san: San, library: Library, element: Element) -> str:
    kind = "mail slot" if element.type is ElementType.IMPORT_EXPORT else "slot"
    return _drive_at(san, library, element) or f"{kind} {element.address:04X}h"


@contextmanager
def at_rest(san: San, cartridge: str, *, changing: bool) -> Iterator[Medium]:
    """A cartridge that nobody else touches meanwhile. With ``changing`` its drive loads it anew afterwards.

    One that is in a drive is owned by a reservation, so that the drive still answers; one in a slot keeps the
    robot waiting. SanError where the library has no such cartridge, or a session uses it.
    """
    library = Library(san)
    with library.locked():
        element = library.where(cartridge)
        if element is None:
            raise SanError(f"the library has no cartridge {cartridge}; `ndmpd tape list` names those it has")
        name = _drive_at(san, library, element)
        if name is None:
            with closing(library.open_medium(cartridge)) as medium:
                yield medium
            return
        drive, nexus = TapeDrive(san, name, library), Nexus(san.path)
        _own(drive, nexus, cartridge)
    try:
        with closing(library.open_medium(cartridge)) as medium:
            yield medium
    finally:
        with library.locked(), drive.exclusive(_PATIENCE):
            if changing:
                library.touch(element.address)
            drive.release(nexus.id)
            drive.prevent(nexus.id, False)
        drive.close()
        nexus.close()


def _own(drive: TapeDrive, nexus: Nexus, cartridge: str) -> None:
    """Reserve the drive and keep the robot off. SanError, and nothing is owned, where a session has it."""
    with drive.exclusive(_PATIENCE):
        drive.refresh()
        free = drive.owner() is None and not drive.removal_prevented()
        if free:
            drive.reserve(nexus.id)
            drive.prevent(nexus.id, True)
    if not free:
        drive.close()
        nexus.close()
        raise SanError(f"{cartridge} is in {drive.name}, which a session uses; see `ndmpd sessions`")


def add(san: San, cartridge: str, capacity: int) -> None:
    """A new blank cartridge, put into a mail slot or slot as an operator does."""
    if not _BARCODE.fullmatch(cartridge):
        raise SanError(f"{cartridge!r} cannot be a barcode: up to 32 letters, digits, dots, dashes")
    library = Library(san)
    with library.locked():
        if library.where(cartridge) is not None:
            raise SanError(f"the library has a cartridge {cartridge} already")
        library.check_room()
        add_cartridge(san, cartridge, capacity, early_warning_zone(capacity))
        element = library.put(cartridge)
    if element.by_operator:
        for record in san.of_type(DeviceType.CHANGER):
            changer = Changer(san, record.name)
            with changer.exclusive(_PATIENCE):
                changer.alert(Asc.IMPORT_EXPORT_ACCESSED)
            changer.close()
