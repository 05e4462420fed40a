"""Whose a drive or changer is, among the heads that share it: persistent reservations. SPC-4 5.13.

Every process of a head registers the same key, by the nexus it has. The type is Exclusive Access, Registrants
Only: one nexus holds the reservation, so that it can be taken over as a whole when its session is dead, and
with that session's key go all other nexuses that had it; yet whoever is registered with the head's key has
access while it stands, as the nexus of a session that lends the drive for its copies (``Borrowed``). All
Registrants would leave nobody to take it over from, and Exclusive Access would keep copies out.

Whoever takes a unit dismisses what is registered besides, if a head made it: leftovers of a session that died
must not write. A unit that knows no persistent reservations is reserved by RESERVE(6). Sessions of one head
exclude each other by a lock of this machine; what is here is between heads.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from ndmpd.devices.claims import Claim
from ndmpd.devices.errors import DeviceBusy, DeviceError, TransportError
from ndmpd.devices.heads import Head, made_by_a_head
from ndmpd.devices.unit import Unit
from ndmpd.pieces import FileExtent, Inline
from ndmpd.ports import Command, Result, Transport
from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.reservations import (
    RESERVE_IN,
    RESERVE_OUT,
    CurrentReservation,
    FullStatus,
    InAction,
    Keys,
    OutAction,
    OutParameters,
    Registrant,
    ReservationType,
)
from protocol.scsi.sense import Sense, SenseKey

log = logging.getLogger(__name__)

TYPE = ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS
RESERVATION_LOST = (Asc.RESERVATIONS_PREEMPTED, Asc.RESERVATIONS_RELEASED, Asc.REGISTRATIONS_PREEMPTED)
"""Unit attentions that say that others had a hand in the unit's reservations."""
_MOST = 0xFFFF
_ATTEMPTS = 3
"""Times that a reservation may turn out to be another's in the moment it is taken."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a unit: keys (of several where all registrants hold it) and, for people, initiator ports."""

    keys: frozenset[int]
    all: bool = False
    ports: tuple[str, ...] = ()


class Ownership:
    """Of one unit by ``head``. ``preempt``: names of heads that it is taken from even while they hold it.

    For one thread; commands go by ``unit``, so that unit attentions are cleared as ever.
    """

    def __init__(self, unit: Unit, head: Head, preempt: Collection[str] = ()) -> None:
        self._unit = unit
        self._head = head
        self._preempt = preempt
        self._by_reserve = False
        self.held = False

    def take(self, *, from_anyone: bool = False) -> None:
        """Own the unit, anew where a reset ended that. DeviceBusy, with the holder's name, where it is
        another's; with ``from_anyone`` it is taken from whomever.
        """
        try:
            if not self._by_reserve and not (self.held and self._still()):
                self._acquire(from_anyone)
        except DeviceError as error:
            if not error.refused:
                raise
            self._by_reserve = True
        if self._by_reserve:
            self._unit.reserve()
        self.held = True

    def give_up(self) -> None:
        """Let the unit go; harmless where it has been taken away."""
        self.held = False
        if self._by_reserve:
            self._unit.release()
        else:
            self._unregister()

    def seize(self) -> str | None:
        """Take the unit from whomever; returns who held it, None for nobody."""
        holder = None
        try:
            holder = self.holder()
        except DeviceError as error:
            if not error.refused:
                raise
        self.take(from_anyone=True)
        return None if holder is None else self.describe(holder)

    def holder(self) -> Holder | None:
        """Who holds the unit by a persistent reservation. DeviceError, refused, where it knows of none."""
        found = CurrentReservation.take(self._ask(InAction.READ_RESERVATION))
        if found.type is None:
            return None
        registrants: tuple[Registrant, ...] = ()
        # Who it is is for people; older units tell keys alone.
        with suppress(DeviceError, WireError):
            registrants = FullStatus.take(self._ask(InAction.READ_FULL_STATUS)).registrants
        holding = [one for one in registrants if one.type is not None]
        ports = tuple(one.port.text for one in holding)
        if found.key:
            return Holder(frozenset((found.key,)), False, ports)
        return Holder(frozenset(self._keys()), True, ports)

    def describe(self, holder: Holder) -> str:
        """The holder's name, as far as it can be told."""
        names = sorted({self._name(key) for key in holder.keys})
        ports = f", initiator {' and '.join(holder.ports)}" if holder.ports else ""
        keys = " and ".join(f"{key:016x}" for key in sorted(holder.keys))
        return f"{' and '.join(names)} (key {keys}{ports})"

    def _name(self, key: int) -> str:
        if key == self._head.key:
            return "another session of this head"
        name = self._head.name_of(key, self._preempt)
        if name is not None:
            return f"head {name}"
        return "another head" if made_by_a_head(key) else "a host of another kind"

    # Steps.

    def _acquire(self, from_anyone: bool) -> None:
        # Looked at before anything is changed: a registrant would have access to what another head holds.
        self._check(self.holder(), from_anyone)
        self._register()
        try:
            self._reserve(from_anyone)
            self._dismiss(from_anyone)
        except BaseException:
            with suppress(DeviceError, TransportError):
                self._unregister()
            raise

    def _still(self) -> bool:
        """Whether the unit is this nexus's yet; False where a loss of power made it nobody's. DeviceBusy."""
        if self._out(OutAction.RESERVE):
            return True
        # A unit counts from 0 when power comes on: whoever was there since may have used it.
        if Keys.take(self._ask(InAction.READ_KEYS)).generation:
            raise DeviceBusy(f"{self._unit.name} was taken from this session by another head or host")
        return False

    def _check(self, holder: Holder | None, from_anyone: bool) -> None:
        """DeviceBusy where the holder is one that nothing is taken from."""
        if holder is None or from_anyone:
            return
        for key in holder.keys:
            if key != self._head.key and self._head.name_of(key, self._preempt) in (None, self._head.name):
                raise self._busy(holder)

    def _reserve(self, from_anyone: bool) -> None:
        holder: Holder | None = None
        for _ in range(_ATTEMPTS):
            if self._out(OutAction.RESERVE):
                return
            holder = self.holder()
            self._check(holder, from_anyone)
            if holder is not None:
                log.warning("%s: taken over from %s", self._unit.name, self.describe(holder))
                other = 0 if holder.all else min(holder.keys)
                if self._out(OutAction.PREEMPT_AND_ABORT, other):
                    return
            # Somebody was quicker, and may have dismissed this nexus.
            self._register()
        raise self._busy(holder)

    def _dismiss(self, everybody: bool) -> None:
        """See to it that no other nexus has access: none of this head's dead, none of another head's."""
        keys = self._keys()
        own = self._head.key
        doubtful = [own] if keys.count(own) > 1 else []
        doubtful += sorted({key for key in keys if key != own and (everybody or made_by_a_head(key))})
        for key in doubtful:
            log.info("%s: key %016x, which was left registered, is dismissed", self._unit.name, key)
            if not self._out(OutAction.PREEMPT_AND_ABORT, key) and not self._out(OutAction.RESERVE):
                raise self._busy(self.holder())

    def _register(self) -> None:
        if not self._out(OutAction.REGISTER_AND_IGNORE, self._head.key):
            raise self._busy(None)

    def _unregister(self) -> None:
        """With the registration goes the reservation, if this nexus holds it."""
        self._out(OutAction.REGISTER_AND_IGNORE, 0)

    def _busy(self, holder: Holder | None) -> DeviceBusy:
        name = self._unit.name
        if holder is None:
            return DeviceBusy(f"{name} is reserved by another host or session")
        return DeviceBusy(f"{name} is held by {self.describe(holder)}; if that is gone for good, free it by "
                          f"`ndmpd devices --release {name}`")

    # Commands.

    def _keys(self) -> tuple[int, ...]:
        return Keys.take(self._ask(InAction.READ_KEYS)).keys

    def _ask(self, action: InAction) -> bytes:
        """PERSISTENT RESERVE IN. DeviceBusy where another holds the unit by RESERVE."""
        try:
            return self._unit.ask("ask for reservations", RESERVE_IN[action].put(allocation=_MOST), _MOST)
        except DeviceError as error:
            if error.status == Status.RESERVATION_CONFLICT:
                raise self._busy(None) from error
            raise

    def _out(self, action: OutAction, other: int = 0) -> bool:
        """PERSISTENT RESERVE OUT with this head's key; False for a conflict."""
        return reserve_out(self._unit, action, self._head.key, other)


def reserve_out(unit: Unit, action: OutAction, key: int, other: int = 0) -> bool:
    """PERSISTENT RESERVE OUT; False where it ended with RESERVATION CONFLICT."""
    data = OutParameters(key, other).put()
    doing = action.name.lower().replace("_", " ")
    try:
        unit.must(doing, RESERVE_OUT[action].put(type=TYPE, length=len(data)), out=(Inline(data),))
    except DeviceError as error:
        if error.status == Status.RESERVATION_CONFLICT:
            return False
        raise
    return True


class Exclusive:
    """A transport to a unit that this session alone uses, on this machine and among heads, until ``close``.

    ``claim``: the lock among sessions of this machine. Unit attentions that came in answer to the reservation
    are for whoever opened the unit, and are answered to the first commands that would have met them.

    Once the unit says that it was taken away, every command ends with RESERVATION CONFLICT, also when whoever
    took it has gone: what it did with the unit is not known here.
    """

    def __init__(self, transport: Transport, claim: Claim, name: str, head: Head,
                 preempt: Collection[str] = ()) -> None:
        self._transport = transport
        self._claim = claim
        self._listening = _Listening(transport, name)
        self._ownership = Ownership(self._listening, head, preempt)
        self._lost = False

    @property
    def most(self) -> int | None:
        return self._transport.most

    def own(self) -> None:
        """Own the unit, or make sure of it after a reset. Raises DeviceBusy, DeviceError, TransportError."""
        if self._lost:
            raise DeviceBusy(f"{self._listening.name} was taken from this session by another head or host")
        self._claim.own()
        try:
            self._ownership.take()
        except DeviceBusy:
            self._claim.disown()
            raise

    def seize(self) -> str | None:
        """Own the unit whoever held it; who that was."""
        self._claim.own()
        return self._ownership.seize()

    def disown(self) -> None:
        """Let other heads have it; this session's claim stays until ``close``."""
        self._ownership.give_up()
        self._claim.disown()

    def execute(self, command: Command) -> Result:
        if command.cdb[:1] not in _ATTENTION_FREE:
            if self._lost:
                return Result(Status.RESERVATION_CONFLICT)
            if self._listening.heard:
                return Result(Status.CHECK_CONDITION, self._listening.heard.pop(0).put())
        result = self._transport.execute(command)
        if result.status == Status.CHECK_CONDITION and _tells_of_loss(result.sense):
            log.warning("%s was taken from this session by another head or host", self._listening.name)
            self._lost = True
        return result

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self._transport.backing(lba, blocks)

    def close(self) -> None:
        try:
            if self._ownership.held:
                self.disown()
        except (DeviceError, TransportError) as error:
            log.warning("%s may be reserved yet: %s", self._listening.name, error)
        finally:
            try:
                self._transport.close()
            finally:
                self._claim.close()


_ATTENTION_FREE = frozenset(bytes((opcode,)) for opcode in (
    Opcode.INQUIRY, Opcode.REPORT_LUNS, Opcode.REQUEST_SENSE))


def _tells_of_loss(sense: bytes) -> bool:
    try:
        found = Sense.take(sense)
    except WireError:
        return False
    return found.key is SenseKey.UNIT_ATTENTION and found.code in RESERVATION_LOST


class _Listening(Unit):
    """Keeps the unit attentions that it meets, but for those of reservations, which are its own affair."""

    def __init__(self, transport: Transport, name: str) -> None:
        super().__init__(transport, name)
        self.heard: list[Sense] = []

    def attention(self, doing: str, cdb: bytes, sense: Sense) -> None:
        if sense.code not in RESERVATION_LOST:
            self.heard.append(sense)


class Borrowed:
    """A transport to a drive that another session of this head owns, and access to it, until ``close``.

    For a session whose copies use a drive that is another session's: the copy manager has the access of the
    nexus that sends it the copy. DeviceBusy where the drive is not this head's.
    """

    def __init__(self, transport: Transport, name: str, head: Head) -> None:
        self._transport = transport
        self._unit = Unit(transport, name)
        self._key = head.key
        self._registered = False
        try:
            self._join(head)
        except BaseException:
            transport.close()
            raise

    def _join(self, head: Head) -> None:
        ownership = Ownership(self._unit, head)
        try:
            holder = ownership.holder()
            if holder is None or self._key not in holder.keys:
                whose = "nobody" if holder is None else ownership.describe(holder)
                raise DeviceBusy(f"{self._unit.name} is to be lent by a session of this head, and is held by "
                                 f"{whose}")
            # A conflict says that the nexus is registered already: it is the owner's, and stays so.
            self._registered = reserve_out(self._unit, OutAction.REGISTER, 0, self._key)
        except DeviceError as error:
            if not error.refused:
                raise
            raise DeviceBusy(f"{self._unit.name} knows no persistent reservations, so it cannot be "
                             "lent") from error

    @property
    def most(self) -> int | None:
        return self._transport.most

    def execute(self, command: Command) -> Result:
        return self._transport.execute(command)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self._transport.backing(lba, blocks)

    def close(self) -> None:
        """Give access up; what was copied must have ended."""
        try:
            if self._registered:
                self._registered = False
                reserve_out(self._unit, OutAction.REGISTER, self._key, 0)
        except (DeviceError, TransportError) as error:
            log.warning("%s: this session may be registered yet: %s", self._unit.name, error)
        finally:
            self._transport.close()
