"""Another SAN, whose units the copy manager reaches by transports that fail where told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import TransportError
from ndmpd.ports import Command, Result
from ndmpd.san import San
from ndmpd.san.copymanager.contact import Foreign
from ndmpd.san.nexus import Nexus
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense

Fault = Callable[["Far", str, bytes], Result | None]
"""Given unit and CDB: what is answered instead of carrying the command out. May raise TransportError."""


def sane(far: Far, unit: str, cdb: bytes) -> None:
    """No fault."""


@dataclass
class Far:
    """``most``: bytes that a path takes with one command. ``up``: whether paths can be made."""

    san: San
    most: int | None = 64 << 10
    up: bool = True
    fault: Fault = sane
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    sent: list[tuple[str, int]] = field(default_factory=list)
    swapped: dict[str, str] = field(default_factory=dict)
    """What stands in a unit's place now."""

    def units(self) -> list[Foreign]:
        return [Foreign(f"far {name}", record.type, lambda name=name: FarPath(self, name))
                for name, record in self.san.units.items()]

    def count(self, unit: str, opcode: int) -> int:
        return self.sent.count((unit, opcode))


class FarPath:
    """One nexus of its own, as over iSCSI."""

    def __init__(self, far: Far, unit: str) -> None:
        far.opened.append(unit)
        if not far.up:
            raise TransportError("nobody is at home")
        self.most = far.most
        self._far = far
        self._unit = unit
        self._nexus = Nexus(far.san.path)
        self._transport = EmbeddedTransport(far.san.path, unit, self._nexus)

    def execute(self, command: Command) -> Result:
        self._far.sent.append((self._unit, command.cdb[0]))
        size = sum(piece.length for piece in (*command.data_out, *command.data_in))
        assert self.most is None or size <= self.most
        if not self._far.up:
            raise TransportError("nobody is at home any more")
        result = self._far.fault(self._far, self._unit, command.cdb)
        if result is None and (other := self._far.swapped.get(self._unit)):
            self._transport.close()
            self._transport = EmbeddedTransport(self._far.san.path, other, self._nexus)
        return result or self._transport.execute(command)

    def backing(self, lba: int, blocks: int) -> None:
        return None

    def close(self) -> None:
        self._far.closed.append(self._unit)
        self._transport.close()
        self._nexus.close()


def check(sense: Sense) -> Result:
    return Result(Status.CHECK_CONDITION, sense.put())


@contextmanager
def bad_block(far: Far, lba: int, sense: Sense) -> Iterator[None]:
    """Every READ (16) of that block of disk0 fails."""
    def fault(_: Far, unit: str, cdb: bytes) -> Result | None:
        start, blocks = int.from_bytes(cdb[2:10], "big"), int.from_bytes(cdb[10:14], "big")
        bad = unit == "disk0" and cdb[0] == 0x88 and start <= lba < start + blocks
        return check(sense) if bad else None

    far.fault = fault
    yield
    far.fault = sane
