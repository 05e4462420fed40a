"""One command on its way through a unit, and the tables of the commands that a unit knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ndmpd.datapath import length_of, read_bytes
from ndmpd.ports import Command
from ndmpd.san.dataphase import clip, scatter
from ndmpd.san.errors import CheckCondition, refused
from ndmpd.san.reservations import Access
from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.command import Cdb
from protocol.scsi.sense import Sense, SenseKey, field_pointer

MAX_PARAMETERS = 65536
"""Longest parameter list that is taken into memory."""
_CONTROL, _NACA = 0xFF, 0x04
DATA_PHASE_ERROR = 0x4B00


@dataclass(frozen=True, slots=True)
class Operation:
    """One command that a unit carries out. ``handler(unit, task)``, given a ``Unit`` and a ``Task``, raises
    CheckCondition where it cannot.
    """

    cdb: Cdb
    handler: Callable[[Any, Any], None]
    access: Access = Access.OWNER


@dataclass(slots=True)
class Task:
    """``field``: the CDB's fields by name. ``transferred``: bytes of data moved so far. ``asked``: see
    ``Result``.
    """

    nexus: str
    command: Command
    operation: Operation
    field: dict[str, int]
    transferred: int = 0
    asked: int = 0

    def send(self, data: bytes, allocation: int) -> None:
        """Data-in of a command with an allocation length, which may cut it (SPC-4 4.2.5.6)."""
        self.transferred = scatter(data[:allocation], self.command.data_in)

    def parameters(self, length: int) -> bytes:
        """The parameter list of ``length`` bytes in the data-out."""
        if length > MAX_PARAMETERS:
            raise refused(Asc.PARAMETER_LIST_LENGTH)
        self.expect(length)
        self.transferred = length
        return read_bytes(clip(self.command.data_out, length), self.command.faults)

    def expect(self, length: int) -> None:
        """Make sure that the initiator sends ``length`` bytes of data-out, as the CDB says."""
        self.asked = length
        if length_of(self.command.data_out) < length:
            raise CheckCondition(Sense(SenseKey.ABORTED_COMMAND, DATA_PHASE_ERROR))

    def given(self, length: int, unit: int) -> int:
        """How many of ``length`` bytes of data-out can be taken in wholes of ``unit`` bytes.

        All of them, as a rule. An initiator that sends less than its CDB says is told so by the transport's
        residual overflow (SAM-5 5.4.3), and what it did send is written.
        """
        self.asked = length
        return min(length, length_of(self.command.data_out) // unit * unit)

    def refuse(self, name: str) -> CheckCondition:
        """ILLEGAL REQUEST, INVALID FIELD IN CDB, pointing at the field ``name``."""
        at = self.operation.cdb.layout.fields[name].byte
        return refused(Asc.INVALID_FIELD_IN_CDB, field_pointer(at, in_cdb=True))


class OperationTable:
    """The commands of a device type, found by CDB; the source of REPORT SUPPORTED OPERATION CODES."""

    def __init__(self, *families: Iterable[Operation]) -> None:
        self.all = sorted((one for family in families for one in family),
                          key=lambda one: (one.cdb.opcode, one.cdb.action or 0))
        self._by_opcode: dict[int, list[tuple[Operation, int]]] = {}
        for one in self.all:
            reserved = ~(int.from_bytes(one.cdb.layout.usage(), "big") | _CONTROL)
            self._by_opcode.setdefault(one.cdb.opcode, []).append((one, reserved))

    def find(self, opcode: int, action: int | None = None) -> Operation | None:
        """The operation by its codes; ``action`` None fits only one that has no service action."""
        return next((one for one, _ in self._by_opcode.get(opcode, ()) if one.cdb.action == action), None)

    def has(self, opcode: int) -> bool:
        return opcode in self._by_opcode

    def parse(self, cdb: bytes) -> tuple[Operation, dict[str, int]]:
        """The operation and its fields. CheckCondition for a CDB that no operation here takes."""
        if not cdb or cdb[0] not in self._by_opcode:
            raise refused(Asc.INVALID_OPCODE, field_pointer(0, in_cdb=True))
        for operation, reserved in self._by_opcode[cdb[0]]:
            form = operation.cdb
            if not form.matches(cdb):
                continue
            whole = int.from_bytes(cdb[:form.size], "big")
            # SPC-4 3.3.11: what is set in a reserved field may be an error; not to say so would hide a
            # request.
            if wrong := whole & reserved | cdb[form.size - 1] & _NACA:
                byte = form.size - (wrong.bit_length() + 7) // 8
                raise refused(Asc.INVALID_FIELD_IN_CDB, field_pointer(byte, in_cdb=True))
            try:
                return operation, form.take(cdb)
            except WireError as error:
                raise refused() from error
        raise refused(Asc.INVALID_FIELD_IN_CDB, field_pointer(1, in_cdb=True))
