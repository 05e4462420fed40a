"""Data of the block commands: capacity, provisioning, block limits. SBC-3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError

_CAPACITY_10 = Layout(8, last=Bits(0, 32), block_length=Bits(4, 32))
_CAPACITY_16 = Layout(32, last=Bits(0, 64), block_length=Bits(8, 32), protection=Bits(12, 1),
                      physical_exponent=Bits(13, 4), provisioned=Bits(14, 1, 7), reads_zeros=Bits(14, 1, 6),
                      lowest_aligned=Bits(14, 14))


@dataclass(frozen=True, slots=True)
class Capacity:
    """READ CAPACITY (SBC-3 5.15, 5.16): ``blocks`` of ``block_length`` bytes.

    ``provisioned`` (LBPME): the unit knows unmapped blocks; ``reads_zeros`` (LBPRZ): these read as zeros.
    ``physical_exponent``: a physical block is 2 ** this many logical ones.
    """

    blocks: int
    block_length: int
    provisioned: bool = False
    reads_zeros: bool = False
    physical_exponent: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blocks * self.block_length

    def put_10(self) -> bytes:
        """The last address is all ones where it does not fit: ask for the 16-byte form."""
        return _CAPACITY_10.put(last=min(self.blocks - 1, 0xFFFFFFFF), block_length=self.block_length)

    def put_16(self) -> bytes:
        return _CAPACITY_16.put(last=self.blocks - 1, block_length=self.block_length,
                                physical_exponent=self.physical_exponent, provisioned=self.provisioned,
                                reads_zeros=self.reads_zeros)

    @classmethod
    def take_10(cls, data: Buffer) -> Capacity:
        field = _CAPACITY_10.take(data)
        return cls._checked(field["last"] + 1, field["block_length"])

    @classmethod
    def take_16(cls, data: Buffer) -> Capacity:
        """Old units send as few as 12 bytes; what is missing counts as zero."""
        if len(data) < 12:
            raise WireError("READ CAPACITY data ends before the block length")
        field = _CAPACITY_16.take(bytes(data).ljust(_CAPACITY_16.size, b"\0"))
        return cls._checked(field["last"] + 1, field["block_length"], bool(field["provisioned"]),
                            bool(field["reads_zeros"]), field["physical_exponent"])

    @classmethod
    def _checked(cls, blocks: int, block_length: int, provisioned: bool = False, reads_zeros: bool = False,
                 exponent: int = 0) -> Capacity:
        if not block_length:
            raise WireError("a disk with blocks of no bytes")
        return cls(blocks, block_length, provisioned, reads_zeros, exponent)


class Provisioning(IntEnum):
    """PROVISIONING STATUS. SBC-3 table 44. Unmapped blocks of a unit with LBPRZ are zeros."""

    MAPPED = 0
    DEALLOCATED = 1
    ANCHORED = 2


_LBA_STATUS = Layout(8, length=Bits(0, 32))
_LBA_RUN = Layout(16, lba=Bits(0, 64), blocks=Bits(8, 32), status=Bits(12, 4))


@dataclass(frozen=True, slots=True)
class LbaRun:
    """``blocks`` blocks from ``lba`` with one provisioning status."""

    lba: int
    blocks: int
    status: int


def put_lba_status(runs: tuple[LbaRun, ...]) -> bytes:
    """Parameter data of GET LBA STATUS (SBC-3 5.3.2)."""
    body = b"".join(_LBA_RUN.put(lba=one.lba, blocks=one.blocks, status=one.status) for one in runs)
    return _LBA_STATUS.put(length=4 + len(body)) + body


def take_lba_status(data: Buffer) -> tuple[LbaRun, ...]:
    """The whole descriptors. WireError where the header is cut."""
    end = min(len(data), 4 + _LBA_STATUS.take(data)["length"])
    return tuple(_lba_runs(data, end))


def _lba_runs(data: Buffer, end: int) -> Iterator[LbaRun]:
    for at in range(_LBA_STATUS.size, end - _LBA_RUN.size + 1, _LBA_RUN.size):
        field = _LBA_RUN.take(data, at)
        yield LbaRun(field["lba"], field["blocks"], field["status"])


_LIMITS = Layout(60, write_same_nonzero=Bits(0, 1), granularity=Bits(2, 16), longest=Bits(4, 32),
                 optimal=Bits(8, 32), unmap_blocks=Bits(16, 32), unmap_descriptors=Bits(20, 32),
                 unmap_granularity=Bits(24, 32), write_same=Bits(32, 64))


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Body of VPD page B0h of a disk (SBC-3 6.6.3), in blocks. 0 means that no limit is given."""

    longest: int = 0
    optimal: int = 0
    granularity: int = 0
    unmap_blocks: int = 0
    unmap_descriptors: int = 0
    unmap_granularity: int = 0
    write_same: int = 0

    def put(self) -> bytes:
        return _LIMITS.put(longest=self.longest, optimal=self.optimal, granularity=self.granularity,
                           unmap_blocks=self.unmap_blocks, unmap_descriptors=self.unmap_descriptors,
                           unmap_granularity=self.unmap_granularity, write_same=self.write_same)

    @classmethod
    def take(cls, body: Buffer) -> TransferLimits:
        """SBC-2 units send 12 bytes; what is missing counts as zero."""
        if len(body) < 12:
            raise WireError("block limits end before the optimal transfer length")
        field = _LIMITS.take(bytes(body).ljust(_LIMITS.size, b"\0"))
        return cls(field["longest"], field["optimal"], field["granularity"], field["unmap_blocks"],
                   field["unmap_descriptors"], field["unmap_granularity"], field["write_same"])


_PROVISIONING = Layout(4, threshold=Bits(0, 8), unmap=Bits(1, 1, 7), write_same_16=Bits(1, 1, 6),
                       write_same_10=Bits(1, 1, 5), reads_zeros=Bits(1, 1, 2), anchors=Bits(1, 1, 1),
                       type=Bits(2, 3))


def put_provisioning(*, unmap: bool, write_same: bool, reads_zeros: bool, thin: bool) -> bytes:
    """Body of VPD page B2h (SBC-3 6.6.4)."""
    return _PROVISIONING.put(unmap=unmap, write_same_16=write_same, reads_zeros=reads_zeros, type=2 * thin)


_SPECIFIC = Layout(1, write_protected=Bits(0, 1, 7), fua=Bits(0, 1, 4))


@dataclass(frozen=True, slots=True)
class DiskSpecific:
    """Device-specific parameter of a disk's mode header (SBC-3 6.4.1). ``fua``: DPO and FUA work."""

    write_protected: bool = False
    fua: bool = False

    def put(self) -> int:
        return _SPECIFIC.put(write_protected=self.write_protected, fua=self.fua)[0]

    @classmethod
    def take(cls, value: int) -> DiskSpecific:
        field = _SPECIFIC.take(bytes((value & 0xFF,)))
        return cls(bool(field["write_protected"]), bool(field["fua"]))


_UNMAP = Layout(8, length=Bits(0, 16), descriptors=Bits(2, 16))
_UNMAP_RUN = Layout(16, lba=Bits(0, 64), blocks=Bits(8, 32))


def put_unmap(runs: tuple[tuple[int, int], ...]) -> bytes:
    """Parameter list of UNMAP (SBC-3 5.28.2) for runs of (lba, blocks)."""
    body = b"".join(_UNMAP_RUN.put(lba=lba, blocks=blocks) for lba, blocks in runs)
    return _UNMAP.put(length=6 + len(body), descriptors=len(body)) + body


def take_unmap(data: Buffer) -> tuple[tuple[int, int], ...]:
    """Runs of (lba, blocks). WireError where the list is cut."""
    field = _UNMAP.take(data)
    if field["descriptors"] > len(data) - _UNMAP.size:
        raise WireError("an UNMAP list shorter than it says")
    runs = (_UNMAP_RUN.take(data, _UNMAP.size + at)
            for at in range(0, field["descriptors"] // _UNMAP_RUN.size * _UNMAP_RUN.size, _UNMAP_RUN.size))
    return tuple((run["lba"], run["blocks"]) for run in runs)
