"""CDBs and parameter data of commands that the units answer and no initiator of this software sends.

SPC-4, SSC-4, SBC-3. Those that both sides use are in ``protocol.scsi``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import cast

from protocol.bits import Bits, Layout, padded
from protocol.scsi.command import Cdb, Opcode


class UnitOpcode(IntEnum):
    WRITE_AND_VERIFY_10 = 0x2E
    VERIFY_10 = 0x2F
    PRE_FETCH_10 = 0x34
    WRITE_FILEMARKS_16 = 0x80
    WRITE_AND_VERIFY_16 = 0x8E
    VERIFY_16 = 0x8F
    PRE_FETCH_16 = 0x90
    SPACE_16 = 0x91
    READ_12 = 0xA8
    WRITE_12 = 0xAA
    WRITE_AND_VERIFY_12 = 0xAE
    VERIFY_12 = 0xAF


def _cdb(opcode: UnitOpcode, /, **fields: Bits) -> Cdb:
    # ``Cdb`` asks no more of an operation code than its number and name.
    return Cdb(cast(Opcode, opcode), **fields)


WRITE_FILEMARKS_16 = _cdb(UnitOpcode.WRITE_FILEMARKS_16, immed=Bits(1, 1), partition=Bits(3, 8),
                          count=Bits(12, 24))
SPACE_16 = _cdb(UnitOpcode.SPACE_16, code=Bits(1, 4), count=Bits(4, 64), length=Bits(12, 16))
READ_12 = _cdb(UnitOpcode.READ_12, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3),
               lba=Bits(2, 32), blocks=Bits(6, 32))
WRITE_12 = _cdb(UnitOpcode.WRITE_12, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3),
                lba=Bits(2, 32), blocks=Bits(6, 32))
WRITE_AND_VERIFY_10 = _cdb(UnitOpcode.WRITE_AND_VERIFY_10, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4),
                           check=Bits(1, 2, 1), lba=Bits(2, 32), blocks=Bits(7, 16))
WRITE_AND_VERIFY_12 = _cdb(UnitOpcode.WRITE_AND_VERIFY_12, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4),
                           check=Bits(1, 2, 1), lba=Bits(2, 32), blocks=Bits(6, 32))
WRITE_AND_VERIFY_16 = _cdb(UnitOpcode.WRITE_AND_VERIFY_16, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4),
                           check=Bits(1, 2, 1), lba=Bits(2, 64), blocks=Bits(10, 32))
PRE_FETCH_10 = _cdb(UnitOpcode.PRE_FETCH_10, immed=Bits(1, 1, 1), lba=Bits(2, 32), group=Bits(6, 5),
                    blocks=Bits(7, 16))
PRE_FETCH_16 = _cdb(UnitOpcode.PRE_FETCH_16, immed=Bits(1, 1, 1), lba=Bits(2, 64), blocks=Bits(10, 32),
                    group=Bits(14, 5))
VERIFY_12 = _cdb(UnitOpcode.VERIFY_12, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), check=Bits(1, 2, 1),
                 lba=Bits(2, 32), blocks=Bits(6, 32))
VERIFY_10 = _cdb(UnitOpcode.VERIFY_10, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), check=Bits(1, 2, 1),
                 lba=Bits(2, 32), blocks=Bits(7, 16))
VERIFY_16 = _cdb(UnitOpcode.VERIFY_16, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), check=Bits(1, 2, 1),
                 lba=Bits(2, 64), blocks=Bits(10, 32))


_EXTENDED = Layout(32, bop=Bits(0, 1, 7), eop=Bits(0, 1, 6), partition=Bits(1, 8), additional=Bits(2, 16),
                   buffered_objects=Bits(5, 24), first=Bits(8, 64), last=Bits(16, 64),
                   buffered_bytes=Bits(24, 64))


def put_extended_position(place: int, *, bop: bool, eop: bool) -> bytes:
    """READ POSITION, extended form (SSC-4 7.6.4), of a drive with nothing in its buffer."""
    return _EXTENDED.put(bop=bop, eop=eop, additional=28, first=place, last=place)


_DENSITY = Layout(52, primary=Bits(0, 8), secondary=Bits(1, 8), writable=Bits(2, 1, 7),
                  duplicate=Bits(2, 1, 6), default=Bits(2, 1, 5), length=Bits(3, 16), per_mm=Bits(5, 24),
                  width=Bits(8, 16), tracks=Bits(10, 16), capacity=Bits(12, 32))


@dataclass(frozen=True, slots=True)
class Density:
    """A density support data block descriptor (SSC-4 7.7.2). ``capacity`` in megabytes of 10**6 bytes."""

    code: int
    capacity: int
    name: str
    description: str
    organization: str = "LTO-CVE"

    def put(self) -> bytes:
        data = bytearray(_DENSITY.put(primary=self.code, secondary=self.code, writable=1, default=1,
                                      width=127, tracks=1, capacity=min(self.capacity, 0xFFFFFFFF)))
        data[16:52] = padded(self.organization, 8) + padded(self.name, 8) + padded(self.description, 20)
        return bytes(data)


def put_densities(densities: tuple[Density, ...]) -> bytes:
    """Parameter data of REPORT DENSITY SUPPORT."""
    body = b"".join(one.put() for one in densities)
    return (len(body) + 2).to_bytes(2, "big") + bytes(2) + body
