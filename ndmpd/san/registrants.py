"""Persistent reservations of one unit: who is registered, who holds it, and what each service action changes.

SPC-4 5.13. Values alone: a change makes new ones, and the unit keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from ndmpd.san.admission import Admission
from ndmpd.san.errors import Conflict, refused
from ndmpd.san.statefile import StateFile
from protocol.scsi.asc import Asc
from protocol.scsi.reservations import ReservationType

_BOOT = Path("/proc/sys/kernel/random/boot_id")
MAX_REGISTRATIONS = 128
"""Nexuses that one unit keeps keys of. They outlive the nexus, so the dead count as well."""


@dataclass(frozen=True)
class Registrants:
    """``keys``: the key of each registered nexus, oldest first. ``holder``: None where all of them hold it.

    ``generation``: PRGENERATION. ``aptpl``: all of this outlasts a loss of power.
    """

    keys: dict[str, int] = field(default_factory=dict)
    type: ReservationType | None = None
    holder: str | None = None
    generation: int = 0
    aptpl: bool = False

    # Who may do what.

    @cached_property
    def holders(self) -> tuple[str, ...]:
        """The nexuses that hold the reservation."""
        if self.type is None:
            return ()
        return tuple(self.keys) if self.type.held_by_all else (self.holder or "",)

    def gives_access(self, nexus: str) -> bool:
        """Whether there is a reservation, and one that lets this nexus do everything."""
        return self.type is not None and (
            nexus == self.holder or (self.type.admits_registrants and nexus in self.keys))

    def admits(self, nexus: str, wanted: Admission) -> bool:
        """Whether a command of this kind may be carried out for the nexus."""
        if self.type is None or wanted is Admission.ANYONE or self.gives_access(nexus):
            return True
        return wanted is Admission.READERS and not self.type.keeps_readers_out

    # Service actions. Each raises Conflict, or CheckCondition, where it may not be.

    def register(self, nexus: str, key: int | None, fresh: int, *, aptpl: bool) -> Change:
        """REGISTER, and with ``key`` None REGISTER AND IGNORE EXISTING KEY. ``fresh`` 0: unregister."""
        known = self.keys.get(nexus)
        if key is not None and key != (known or 0):
            raise Conflict
        if known is None and not fresh:
            return Change(self)
        left = replace(self, generation=self._next, aptpl=aptpl)
        if fresh:
            return Change(replace(left, keys=self._with(nexus, fresh)))
        return left._without([nexus], nexus)

    def reserve(self, nexus: str, key: int, kind: ReservationType) -> Change:
        self._must_be_registered(nexus, key)
        if self.type is None:
            return Change(replace(self, type=kind, holder=None if kind.held_by_all else nexus))
        if kind is not self.type or nexus not in self.holders:
            raise Conflict
        return Change(self)

    def release(self, nexus: str, key: int, kind: ReservationType) -> Change:
        self._must_be_registered(nexus, key)
        if nexus not in self.holders:
            return Change(self)
        if kind is not self.type:
            raise refused(Asc.INVALID_RELEASE)
        return self._released(nexus)

    def clear(self, nexus: str, key: int) -> Change:
        self._must_be_registered(nexus, key)
        return Change(Registrants(generation=self._next, aptpl=self.aptpl),
                      _tell([one for one in self.keys if one != nexus], Asc.RESERVATIONS_PREEMPTED))

    def preempt(self, nexus: str, key: int, other: int, kind: ReservationType) -> Change:
        """Take away the registrations of ``other``, and the reservation if that is its holder's.

        ``other`` 0: of all but ``nexus``, where all hold the reservation.
        """
        self._must_be_registered(nexus, key)
        if self.type is not None and self.type.held_by_all:
            takes = other == 0
        else:
            takes = self.holder is not None and self.keys[self.holder] == other
            if not other:
                raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
        victims = [one for one, its in self.keys.items() if other in (0, its)]
        if takes:
            # Whoever takes a reservation keeps the registration to hold it with.
            victims = [one for one in victims if one != nexus]
        else:
            if not victims:
                raise Conflict
            left = replace(self, generation=self._next)
            change = left._without(victims, nexus, Asc.REGISTRATIONS_PREEMPTED)
            return replace(change, victims=tuple(victims))
        keys = {one: its for one, its in self.keys.items() if one not in victims}
        told = _tell(victims, Asc.REGISTRATIONS_PREEMPTED)
        if kind is not self.type:
            told += _tell([one for one in keys if one != nexus], Asc.RESERVATIONS_RELEASED)
        return Change(replace(self, keys=keys, type=kind, holder=None if kind.held_by_all else nexus,
                              generation=self._next), told, tuple(victims))

    def move(self, nexus: str, key: int, to: str, fresh: int, *, unregister: bool, aptpl: bool) -> Change:
        """REGISTER AND MOVE: the reservation goes to ``to``, which is registered with ``fresh``."""
        self._must_be_registered(nexus, key)
        if self.type is None:
            raise refused()
        if nexus != self.holder:
            raise Conflict
        if not fresh or to == nexus:
            raise refused(Asc.INVALID_FIELD_IN_PARAMETERS)
        keys = self._with(to, fresh)
        if unregister:
            del keys[nexus]
        return Change(replace(self, keys=keys, holder=to, generation=self._next, aptpl=aptpl))

    @property
    def _next(self) -> int:
        return self.generation + 1 & 0xFFFFFFFF

    def _must_be_registered(self, nexus: str, key: int) -> None:
        if self.keys.get(nexus) != key:
            raise Conflict

    def _with(self, nexus: str, key: int) -> dict[str, int]:
        if nexus not in self.keys and len(self.keys) >= MAX_REGISTRATIONS:
            raise refused(Asc.INSUFFICIENT_REGISTRATION_RESOURCES)
        return {**self.keys, nexus: key}

    def _without(self, gone: list[str], nexus: str, told: Asc | None = None) -> Change:
        """``gone`` are registered no more; those of them that are not ``nexus`` are told so."""
        keys = {one: its for one, its in self.keys.items() if one not in gone}
        left = replace(self, keys=keys)
        attentions = _tell([one for one in gone if one != nexus], told) if told else ()
        if self.holder in gone or not keys:
            released = left._released(nexus)
            return replace(released, attentions=attentions + released.attentions)
        return Change(left, attentions)

    def _released(self, nexus: str) -> Change:
        """No reservation any more, which those hear that had access without being its only holder."""
        change = Change(replace(self, type=None, holder=None))
        if self.type is None or not self.type.admits_registrants:
            return change
        told = [one for one in self.keys if one != nexus]
        return replace(change, attentions=_tell(told, Asc.RESERVATIONS_RELEASED))

    # As it is kept.

    def put(self, boot: str) -> bytes:
        """``boot``: which time it is that power came on."""
        return json.dumps({"boot": boot, "keys": self.keys, "type": self.type, "holder": self.holder,
                           "generation": self.generation, "aptpl": self.aptpl}).encode()

    @classmethod
    def take(cls, payload: bytes | None, boot: str) -> Registrants:
        """What is true in this ``boot``: after a loss of power nothing, unless APTPL says otherwise."""
        if payload is None:
            return cls()
        kept = json.loads(payload)
        before = kept.pop("boot")
        found = cls(**{**kept, "type": None if kept["type"] is None else ReservationType(kept["type"])})
        if before == boot:
            return found
        return replace(found, generation=0) if found.aptpl else cls()


class RegistrantsFile:
    """Where a unit's are kept; for whoever has the unit to himself."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path)
        self._sequence = -1
        self._kept = Registrants()

    def load(self) -> Registrants:
        payload = self._file.load()
        if self._sequence != self._file.sequence:
            self._kept = Registrants.take(payload, _boot())
            self._sequence = self._file.sequence
        return self._kept

    @property
    def sequence(self) -> int:
        """Number of those last loaded or stored."""
        return self._sequence

    def stands(self) -> bool:
        """Whether they are still those."""
        return self._sequence == self._file.sequence and self._file.stands()

    def store(self, registrants: Registrants) -> None:
        """Keep them, where they are others than before; safe from a loss of power where that is asked for."""
        if registrants is not self._kept:
            lasting = registrants.aptpl or self._kept.aptpl
            self._file.store(registrants.put(_boot()), durable=lasting)
            self._kept, self._sequence = registrants, self._file.sequence

    def forget(self) -> None:
        """What was begun is not kept: load anew."""
        self._sequence = -1

    def close(self) -> None:
        self._file.file.close()


@cache
def _boot() -> str:
    """The units have power for as long as this machine runs."""
    return _BOOT.read_text().strip()


@dataclass(frozen=True, slots=True)
class Change:
    """``attentions``: what nexuses are to be told. ``victims``: those that lost their registration to a
    preemption, and with PREEMPT AND ABORT what they were doing.
    """

    registrants: Registrants
    attentions: tuple[tuple[str, Asc], ...] = ()
    victims: tuple[str, ...] = ()


def _tell(nexuses: Iterable[str], code: Asc) -> tuple[tuple[str, Asc], ...]:
    return tuple((one, code) for one in nexuses)
