"""The library map: which cartridge is in which element of the changer. SMC-3 clause 4.

The map is the one place that says where cartridges are, stored as a whole at every move: a process killed
inside a move leaves the cartridge where it was or where it was going. A drive finds out that its cartridge
changed by the ``changes`` of its element, at its next command (``ndmpd.san.tape``).

Locks, in this order: changer, library, drives by address. What is in a drive changes only under that drive's
lock; so a drive may read the map without the library's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace

from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from ndmpd.san.medium import Medium
from ndmpd.san.statefile import StateFile
from protocol.scsi.smc import ElementType

FIRST_ADDRESS = {ElementType.TRANSPORT: 0x0001, ElementType.IMPORT_EXPORT: 0x0010,
                 ElementType.DATA_TRANSFER: 0x0100, ElementType.STORAGE: 0x1000}
MAX_ELEMENTS = {ElementType.TRANSPORT: 1, ElementType.IMPORT_EXPORT: 0xF0, ElementType.DATA_TRANSFER: 0x100,
                ElementType.STORAGE: 0x800}
_PATIENCE = 60.0
"""Seconds to wait for the library: longer than any move takes."""


@dataclass(frozen=True, slots=True)
class Element:
    """``home``: address of the storage element that the cartridge was last in. ``changes`` counts what came
    and went. ``by_operator``: an operator, not the robot, put the cartridge into this import/export element.
    """

    address: int
    type: ElementType
    cartridge: str | None = None
    home: int | None = None
    changes: int = 0
    by_operator: bool = False

    @property
    def stores(self) -> bool:
        """Whether a cartridge in it is at home: a slot or a mail slot."""
        return self.type in (ElementType.STORAGE, ElementType.IMPORT_EXPORT)


class Library:
    """Reads of ``elements`` need no lock, changes are made inside ``locked``."""

    def __init__(self, san: San) -> None:
        self._san = san
        self._state = StateFile(san.path / "library", durable=True)
        self._elements: dict[int, Element] = {}
        self._known = 0

    def close(self) -> None:
        """Close the map's file; a later use opens it again."""
        self._state.file.close()

    @property
    def elements(self) -> dict[int, Element]:
        """By address, ascending."""
        payload = self._state.load()
        if payload is None:
            raise SanError(f"{self._state.file.path} is damaged; restore it from a backup")
        if self._state.sequence != self._known:
            self._elements = {address: Element(address, ElementType(kind), *rest)
                              for address, kind, *rest in json.loads(payload)}
            self._known = self._state.sequence
        return self._elements

    def drive(self, index: int) -> Element:
        return self.elements[FIRST_ADDRESS[ElementType.DATA_TRANSFER] + index]

    def where(self, cartridge: str) -> Element | None:
        return next((one for one in self.elements.values() if one.cartridge == cartridge), None)

    def open_medium(self, cartridge: str, *, readonly: bool = False) -> Medium:
        return Medium(self._san.cartridges / cartridge, self._san.flush, readonly=readonly)

    @contextmanager
    def locked(self) -> Iterator[None]:
        self._state.file.lock(_PATIENCE)
        try:
            yield
        finally:
            self._state.file.unlock()

    def initialize(self, elements: list[Element]) -> None:
        """The map of a new library."""
        self._store({one.address: one for one in elements})

    def move(self, *moves: tuple[int, int]) -> None:
        """Carry cartridges from address to address, all in one step: an exchange is two moves.

        Every destination is empty, or is also a source.
        """
        before = self.elements
        after = dict(before)
        for source, _ in moves:
            after[source] = replace(before[source], cartridge=None, home=None, by_operator=False,
                                    changes=before[source].changes + 1)
        for source, destination in moves:
            carried, to = before[source], after[destination]
            if to.cartridge is not None:
                raise SanError(f"element {destination:#06x} holds {to.cartridge}")
            home = source if carried.stores else carried.home
            after[destination] = replace(to, cartridge=carried.cartridge, home=home,
                                         changes=before[destination].changes + 1)
        self._store(after)

    def _free(self) -> Element:
        """The mail slot or, there being none, the slot that the next new cartridge goes to."""
        for kind in (ElementType.IMPORT_EXPORT, ElementType.STORAGE):
            for one in self.elements.values():
                if one.type is kind and one.cartridge is None:
                    return one
        raise SanError("every slot of the library is full")

    def check_room(self) -> None:
        """SanError where a new cartridge has no place to go."""
        self._free()

    def put(self, cartridge: str) -> Element:
        """A new cartridge, put in by an operator; returns where."""
        free = self._free()
        new = replace(free, cartridge=cartridge, changes=free.changes + 1,
                      by_operator=free.type is ElementType.IMPORT_EXPORT)
        self._store({**self.elements, new.address: new})
        return new

    def touch(self, address: int) -> None:
        """Say that the cartridge there is not what it was: its drive loads it anew."""
        elements = self.elements
        one = elements[address]
        self._store({**elements, address: replace(one, changes=one.changes + 1)})

    def _store(self, elements: dict[int, Element]) -> None:
        self._state.load()
        self._state.store(json.dumps([astuple(one) for one in elements.values()]).encode())


def new_elements(
    cartridges: list[str], drives: int, slots: int, mailslots: int, loaded: int,
) -> list[Element]:
    """A library whose first ``loaded`` cartridges are in the drives and have empty slots to go home to."""
    counts = {ElementType.TRANSPORT: 1, ElementType.IMPORT_EXPORT: mailslots,
              ElementType.DATA_TRANSFER: drives, ElementType.STORAGE: slots}
    for kind, count in counts.items():
        if not 0 <= count <= MAX_ELEMENTS[kind]:
            raise SanError(f"a library has 0 to {MAX_ELEMENTS[kind]} {kind.name} elements, not {count}")
    if len(cartridges) > slots:
        raise SanError(f"{len(cartridges)} cartridges do not fit {slots} slots")
    elements = []
    for kind, count in counts.items():
        for number in range(count):
            cartridge = home = None
            if kind is ElementType.DATA_TRANSFER and number < loaded:
                cartridge, home = cartridges[number], FIRST_ADDRESS[ElementType.STORAGE] + number
            elif kind is ElementType.STORAGE and loaded <= number < len(cartridges):
                cartridge = cartridges[number]
            # A drive whose state knows of no change yet takes the cartridge in at its first command.
            elements.append(Element(FIRST_ADDRESS[kind] + number, kind, cartridge, home, changes=1))
    return sorted(elements, key=lambda one: one.address)
