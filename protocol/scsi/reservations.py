"""PERSISTENT RESERVE IN and OUT: their CDBs and parameter data. SPC-4 6.15 and 6.16."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.command import Cdb, Opcode
from protocol.scsi.sense import ParameterError
from protocol.scsi.transportid import TransportId, take_transport_id


class InAction(IntEnum):
    """Service actions of PERSISTENT RESERVE IN. SPC-4 table 217."""

    READ_KEYS = 0
    READ_RESERVATION = 1
    REPORT_CAPABILITIES = 2
    READ_FULL_STATUS = 3


class OutAction(IntEnum):
    """Service actions of PERSISTENT RESERVE OUT. SPC-4 table 229."""

    REGISTER = 0
    RESERVE = 1
    RELEASE = 2
    CLEAR = 3
    PREEMPT = 4
    PREEMPT_AND_ABORT = 5
    REGISTER_AND_IGNORE = 6
    REGISTER_AND_MOVE = 7


class ReservationType(IntEnum):
    """SPC-4 table 221. ``_REGISTRANTS``: all that are registered have access; ``_ALL``: and hold it."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS = 5
    EXCLUSIVE_ACCESS_REGISTRANTS = 6
    WRITE_EXCLUSIVE_ALL = 7
    EXCLUSIVE_ACCESS_ALL = 8

    @property
    def keeps_readers_out(self) -> bool:
        return self in _KEEP_READERS_OUT

    @property
    def admits_registrants(self) -> bool:
        return self >= ReservationType.WRITE_EXCLUSIVE_REGISTRANTS

    @property
    def held_by_all(self) -> bool:
        return self >= ReservationType.WRITE_EXCLUSIVE_ALL


_KEEP_READERS_OUT = (ReservationType.EXCLUSIVE_ACCESS, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS,
                     ReservationType.EXCLUSIVE_ACCESS_ALL)
LOGICAL_UNIT_SCOPE = 0

RESERVE_IN = {action: Cdb(Opcode.PERSISTENT_RESERVE_IN, action, allocation=Bits(7, 16))
              for action in InAction}
RESERVE_OUT = {action: Cdb(Opcode.PERSISTENT_RESERVE_OUT, action, scope=Bits(2, 4, 4), type=Bits(2, 4),
                           length=Bits(5, 32)) for action in OutAction}

_HEAD = Layout(8, generation=Bits(0, 32), length=Bits(4, 32))
_KEY = 8


def _body(data: Buffer) -> tuple[int, bytes]:
    """PRGENERATION, and what follows the header: as much as its length says, if that much came."""
    head = _HEAD.take(data)
    return head["generation"], bytes(data[_HEAD.size:_HEAD.size + head["length"]])


@dataclass(frozen=True, slots=True)
class Keys:
    """READ KEYS (6.15.2): a key for every registered nexus, so that one may come several times."""

    generation: int
    keys: tuple[int, ...] = ()

    def put(self) -> bytes:
        body = b"".join(key.to_bytes(_KEY, "big") for key in self.keys)
        return _HEAD.put(generation=self.generation, length=len(body)) + body

    @classmethod
    def take(cls, data: Buffer) -> Keys:
        """As many keys as came whole."""
        generation, body = _body(data)
        return cls(generation, tuple(int.from_bytes(body[at:at + _KEY], "big")
                                     for at in range(0, len(body) - _KEY + 1, _KEY)))


_RESERVATION = Layout(16, key=Bits(0, 64), scope=Bits(13, 4, 4), type=Bits(13, 4))


@dataclass(frozen=True, slots=True)
class CurrentReservation:
    """READ RESERVATION (6.15.3). ``type`` None: there is none. ``key`` 0: all that are registered hold it."""

    generation: int
    type: int | None = None
    key: int = 0

    def put(self) -> bytes:
        body = b"" if self.type is None else _RESERVATION.put(key=self.key, type=self.type)
        return _HEAD.put(generation=self.generation, length=len(body)) + body

    @classmethod
    def take(cls, data: Buffer) -> CurrentReservation:
        generation, body = _body(data)
        if not body:
            return cls(generation)
        field = _RESERVATION.take(body)
        return cls(generation, field["type"], field["key"])


_CAPABILITIES = Layout(8, length=Bits(0, 16), compatible=Bits(2, 1, 4), specify_ports=Bits(2, 1, 3),
                       all_ports=Bits(2, 1, 2), aptpl=Bits(2, 1), mask_valid=Bits(3, 1, 7),
                       allowed_commands=Bits(3, 3, 4), aptpl_active=Bits(3, 1), types=Bits(4, 16))
_TYPE_BITS = {
    ReservationType.WRITE_EXCLUSIVE_ALL: 15, ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS: 14,
    ReservationType.WRITE_EXCLUSIVE_REGISTRANTS: 13, ReservationType.EXCLUSIVE_ACCESS: 11,
    ReservationType.WRITE_EXCLUSIVE: 9, ReservationType.EXCLUSIVE_ACCESS_ALL: 0}
_TEST_UNIT_READY_ALLOWED = 1


@dataclass(frozen=True, slots=True)
class Capabilities:
    """REPORT CAPABILITIES (6.15.4). ``types`` None: the unit does not say.

    ``compatible`` (CRH): RESERVE and RELEASE of those that have access end with GOOD. ``aptpl`` (PTPL_C):
    registrations can outlast a loss of power, and with ``aptpl_active`` (PTPL_A) they will.
    """

    types: frozenset[ReservationType] | None = frozenset(ReservationType)
    compatible: bool = True
    aptpl: bool = True
    aptpl_active: bool = False

    def put(self) -> bytes:
        mask = sum(1 << _TYPE_BITS[one] for one in self.types or ())
        return _CAPABILITIES.put(length=_CAPABILITIES.size, compatible=self.compatible, aptpl=self.aptpl,
                                 mask_valid=self.types is not None, aptpl_active=self.aptpl_active,
                                 allowed_commands=_TEST_UNIT_READY_ALLOWED, types=mask)

    @classmethod
    def take(cls, data: Buffer) -> Capabilities:
        field = _CAPABILITIES.take(data)
        types = frozenset(one for one, bit in _TYPE_BITS.items() if field["types"] >> bit & 1)
        return cls(types if field["mask_valid"] else None, bool(field["compatible"]), bool(field["aptpl"]),
                   bool(field["aptpl_active"]))


_REGISTRANT = Layout(24, key=Bits(0, 64), all_ports=Bits(12, 1, 1), holder=Bits(12, 1), scope=Bits(13, 4, 4),
                     type=Bits(13, 4), relative_port=Bits(18, 16), length=Bits(20, 32))


@dataclass(frozen=True, slots=True)
class Registrant:
    """One registered nexus. ``type``: of the reservation that it holds, None where it holds none."""

    key: int
    port: TransportId
    type: int | None = None
    relative_port: int = 1

    def put(self) -> bytes:
        port = self.port.put()
        return _REGISTRANT.put(key=self.key, holder=self.type is not None, type=self.type or 0,
                               relative_port=self.relative_port, length=len(port)) + port


@dataclass(frozen=True, slots=True)
class FullStatus:
    """READ FULL STATUS (6.15.5)."""

    generation: int
    registrants: tuple[Registrant, ...] = ()

    def put(self) -> bytes:
        body = b"".join(one.put() for one in self.registrants)
        return _HEAD.put(generation=self.generation, length=len(body)) + body

    @classmethod
    def take(cls, data: Buffer) -> FullStatus:
        """All registrants; WireError where the data ends in the middle of one."""
        generation, body = _body(data)
        found: list[Registrant] = []
        at = 0
        while at < len(body):
            field = _REGISTRANT.take(body, at)
            at += _REGISTRANT.size
            end = at + field["length"]
            if end > len(body):
                raise WireError("the full status ends in a TransportID")
            port, _ = take_transport_id(body[at:end])
            found.append(Registrant(field["key"], port, field["type"] if field["holder"] else None,
                                    field["relative_port"]))
            at = end
        return cls(generation, tuple(found))


_PARAMETERS = Layout(24, key=Bits(0, 64), action_key=Bits(8, 64), specify_ports=Bits(20, 1, 3),
                     all_ports=Bits(20, 1, 2), aptpl=Bits(20, 1))
_FLAGS_AT = 20


@dataclass(frozen=True, slots=True)
class OutParameters:
    """Parameter list of every service action but REGISTER AND MOVE (6.16.3).

    ``action_key``: the key to register, or the one to preempt. Registering other ports than the sender's
    (SPEC_I_PT), or for all ports of the target (ALL_TG_PT), is not part of it.
    """

    key: int = 0
    action_key: int = 0
    aptpl: bool = False

    def put(self) -> bytes:
        return _PARAMETERS.put(key=self.key, action_key=self.action_key, aptpl=self.aptpl)

    @classmethod
    def take(cls, data: Buffer) -> OutParameters:
        """ParameterError for another length, SPEC_I_PT and ALL_TG_PT."""
        if len(data) < _PARAMETERS.size:
            raise ParameterError(f"a list of {len(data)} bytes", 0, Asc.PARAMETER_LIST_LENGTH)
        field = _PARAMETERS.take(data)
        if field["specify_ports"] or field["all_ports"]:
            raise ParameterError("SPEC_I_PT and ALL_TG_PT are not supported", _FLAGS_AT)
        if len(data) > _PARAMETERS.size:
            raise ParameterError(f"a list of {len(data)} bytes", 0, Asc.PARAMETER_LIST_LENGTH)
        return cls(field["key"], field["action_key"], bool(field["aptpl"]))


_MOVE = Layout(24, key=Bits(0, 64), action_key=Bits(8, 64), unregister=Bits(17, 1, 1), aptpl=Bits(17, 1),
               relative_port=Bits(18, 16), length=Bits(20, 32))
_MOVE_LENGTH_AT = 20


@dataclass(frozen=True, slots=True)
class MoveParameters:
    """Parameter list of REGISTER AND MOVE (6.16.4): the reservation goes to ``port``, with ``action_key``."""

    key: int
    action_key: int
    port: TransportId
    relative_port: int = 1
    unregister: bool = False
    aptpl: bool = False

    def put(self) -> bytes:
        port = self.port.put()
        return _MOVE.put(key=self.key, action_key=self.action_key, unregister=self.unregister,
                         aptpl=self.aptpl, relative_port=self.relative_port, length=len(port)) + port

    @classmethod
    def take(cls, data: Buffer) -> MoveParameters:
        """ParameterError where it is cut off or has no proper TransportID."""
        if len(data) < _MOVE.size:
            raise ParameterError(f"a list of {len(data)} bytes", 0, Asc.PARAMETER_LIST_LENGTH)
        field = _MOVE.take(data)
        if field["length"] != len(data) - _MOVE.size:
            raise ParameterError("TransportID of another length", _MOVE_LENGTH_AT, Asc.PARAMETER_LIST_LENGTH)
        port, end = take_transport_id(data, _MOVE.size)
        if end != len(data):
            raise ParameterError("more than one TransportID", _MOVE_LENGTH_AT)
        return cls(field["key"], field["action_key"], port, field["relative_port"],
                   bool(field["unregister"]), bool(field["aptpl"]))
