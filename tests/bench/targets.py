"""The node as an iSCSI target, against Debian's tgtd: the same commands by the same initiator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from ndmpd.devices import libiscsi
from ndmpd.devices.iscsi_login import Login
from protocol.scsi import command
from tests.bench.initiator import Initiator
from tests.bench.place import MIB, Node, Place
from tests.bench.rows import Row, Subject
from tests.bench.series import AtLeast, Unit
from tests.peers.tgt import TARGET

MOST = 256 * MIB
"""Bytes of one run: the same of disk or tape again and again, from the page cache."""
SIZES = {"64k": 64 << 10, "256k": 256 << 10, "1m": 1 << 20}
_BLOCK = 512
_NAME = "iqn.2026-11.io.ndmpd:bench"
_REWIND, _READY = bytes((1, 0, 0, 0, 0, 0)), bytes(6)


class Kind(Enum):
    """Names of units of the node, and their numbers at tgtd."""

    DISK = ("disk0", 1)
    TAPE = ("tape0", 2)


@dataclass(frozen=True, slots=True)
class Load:
    """Commands of ``transfer`` bytes, one behind the other, ``depth`` of them in flight."""

    kind: Kind
    writes: bool
    transfer: int
    depth: int

    def cdbs(self, size: int) -> Iterator[bytes]:
        count = size // self.transfer
        if self.kind is Kind.TAPE:
            cdb = (command.WRITE_6_TAPE if self.writes else command.READ_6_TAPE).put(length=self.transfer)
            return iter([cdb] * count)
        blocks = self.transfer // _BLOCK
        layout = command.WRITE_16 if self.writes else command.READ_16
        return iter([layout.put(lba=number * blocks, blocks=blocks) for number in range(count)])

    def run(self, login: Login, lun: int, size: int) -> float:
        """Seconds for ``size`` bytes, from the beginning."""
        direction = libiscsi.WRITE if self.writes else libiscsi.READ
        with Initiator(login, lun) as initiator:
            initiator.command(_READY if self.kind is Kind.DISK else _REWIND)
            return initiator.stream(self.cdbs(size), direction, self.transfer, self.depth)


def rows() -> list[Row]:
    """Disks with one and eight commands in flight; a drive is never given two."""
    loads = [(Kind.DISK, depth) for depth in (1, 8)] + [(Kind.TAPE, 1)]
    return [_row(name, Load(kind, writes, transfer, depth))
            for kind, depth in loads for writes in (True, False) for name, transfer in SIZES.items()]


def _row(size: str, load: Load) -> Row:
    unit, verb = load.kind.name.lower(), "write" if load.writes else "read"
    flight = f", {load.depth} in flight" if load.kind is Kind.DISK else ""
    return Row(f"{unit}-{verb}-{size}{f'-{load.depth}' if flight else ''}",
               f"a {unit} of our iSCSI target, commands to {verb} {size}{flight}, against tgtd's", Unit.BYTES,
               (AtLeast("tgtd", 1.0),), "the Python of each command, and waking the initiator for each answer"
               if load.transfer < MIB else "the copies through the socket",
               lambda place: _subjects(place, load))


def _subjects(place: Place, load: Load) -> list[Subject]:
    tgt, node = place.tgt, place.node
    if tgt is None:
        return []
    size = min(place.scale.size, MOST)
    if load.kind is Kind.DISK:
        place.fill_file(node.disk)
    name, lun = load.kind.value
    ends = {"tgtd": (Login("127.0.0.1", tgt.port, TARGET, _NAME), lun),
            "ndmpd": (Login("127.0.0.1", node.port, Node.target(name), _NAME), 0)}
    if load.kind is Kind.TAPE and not load.writes:
        for login, number in ends.values():
            Load(load.kind, True, load.transfer, 1).run(login, number, size)
    return [Subject(who, _by(load, *end, size), size) for who, end in ends.items()]


def _by(load: Load, login: Login, lun: int, size: int) -> Callable[[], float]:
    return lambda: load.run(login, lun, size)
