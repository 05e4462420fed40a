"""The ends of a copy: what a copy manager is told of a tape drive and of a disk.

Both are named by designator (CSCD type E4h), never by a path: a path is of one initiator, and the copy
manager is another.
"""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.errors import NdmpdError
from protocol.scsi.cscd import MAX_DESIGNATOR, BlockDevice, Identification, StreamDevice
from protocol.scsi.spc import Designator, DeviceType

MAX_BLOCK_LENGTH = (1 << 24) - 1
"""DISK BLOCK LENGTH has 24 bits. SPC-4 6.4.5.3."""


class CannotCopy(NdmpdError):
    """A copy manager can do nothing for this copy; the text says why, and what to change if anything."""


def _check(name: str, designator: Designator) -> None:
    if not 0 < len(designator.identifier) <= MAX_DESIGNATOR:
        raise CannotCopy(f"{name}: designator {designator.text} does not fit a copy descriptor of "
                         f"{MAX_DESIGNATOR} bytes; give the unit a NAA, EUI-64 or short T10 designator")


@dataclass(frozen=True, slots=True)
class TapeEnd:
    """A drive with variable records. ``relative_port``: of the copy manager's initiator ports, 0 for any.

    Raises CannotCopy where the designator is too long for a descriptor.
    """

    name: str
    designator: Designator
    relative_port: int = 0

    def __post_init__(self) -> None:
        _check(self.name, self.designator)

    def cscd(self) -> Identification:
        # PAD stays off on both ends: a remainder that was not planned is to be an error, not zeros on a tape.
        return Identification(self.designator, DeviceType.TAPE, StreamDevice(), self.relative_port)


@dataclass(frozen=True, slots=True)
class DiskEnd:
    """A disk of ``blocks`` logical blocks of ``block_length`` bytes. Raises CannotCopy as ``TapeEnd``."""

    name: str
    designator: Designator
    block_length: int
    blocks: int
    relative_port: int = 0

    def __post_init__(self) -> None:
        _check(self.name, self.designator)
        if not 0 < self.block_length <= MAX_BLOCK_LENGTH:
            raise CannotCopy(f"{self.name}: a copy descriptor cannot carry blocks of {self.block_length} "
                             "bytes")

    @property
    def capacity(self) -> int:
        """In bytes."""
        return self.blocks * self.block_length

    def cscd(self) -> Identification:
        return Identification(self.designator, DeviceType.DISK, BlockDevice(self.block_length),
                              self.relative_port)
