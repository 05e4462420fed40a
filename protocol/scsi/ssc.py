"""Data of the sequential-access commands: block limits, positions, tape mode parameters. SSC-4."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.command import SPACE_6

MAX_SPACE = 0x7FFFFF
"""Most blocks or filemarks that one SPACE(6) goes forward."""


class SpaceCode(IntEnum):
    """CODE of SPACE. SSC-4 table 49."""

    BLOCKS = 0
    FILEMARKS = 1
    SEQUENTIAL_FILEMARKS = 2
    END_OF_DATA = 3


def put_space(code: SpaceCode, count: int) -> bytes:
    """SPACE(6); ``count`` is signed, 24 bits (SSC-4 7.12). ValueError for one that does not fit."""
    if not -MAX_SPACE - 1 <= count <= MAX_SPACE:
        raise ValueError(f"SPACE cannot carry a count of {count}")
    return SPACE_6.put(code=code, count=count & 0xFFFFFF)


def take_space(cdb: Buffer) -> tuple[int, int]:
    """CODE and signed COUNT of SPACE(6)."""
    field = SPACE_6.take(cdb)
    count = field["count"]
    return field["code"], count - (1 << 24) if count >> 23 else count


class PositionForm(IntEnum):
    """Service action of READ POSITION. SSC-4 table 38."""

    SHORT = 0x00
    SHORT_VENDOR = 0x01
    LONG = 0x06
    EXTENDED = 0x08


class LocateTo(IntEnum):
    """DEST_TYPE of LOCATE(16). SSC-4 table 33."""

    OBJECT = 0
    FILE = 1
    END_OF_DATA = 3


_LIMITS = Layout(6, granularity=Bits(0, 5), longest=Bits(1, 24), shortest=Bits(4, 16))


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """READ BLOCK LIMITS (SSC-4 7.5): block lengths in bytes. ``longest`` 0 means no limit is given.

    Lengths are multiples of 2 ** ``granularity``.
    """

    shortest: int
    longest: int
    granularity: int = 0

    def put(self) -> bytes:
        return _LIMITS.put(granularity=self.granularity, longest=self.longest, shortest=self.shortest)

    @classmethod
    def take(cls, data: Buffer) -> BlockLimits:
        field = _LIMITS.take(data)
        return cls(field["shortest"], field["longest"], field["granularity"])

    def allow(self, length: int) -> bool:
        """Whether a block of ``length`` bytes may be written."""
        return (max(self.shortest, 1) <= length and (not self.longest or length <= self.longest)
                and length % (1 << self.granularity) == 0)


_SHORT = Layout(20, bop=Bits(0, 1, 7), eop=Bits(0, 1, 6), locu=Bits(0, 1, 5), bycu=Bits(0, 1, 4),
                lolu=Bits(0, 1, 2), perr=Bits(0, 1, 1), partition=Bits(1, 8), first=Bits(4, 32),
                last=Bits(8, 32), buffered_objects=Bits(13, 24), buffered_bytes=Bits(16, 32))
_LONG = Layout(32, bop=Bits(0, 1, 7), eop=Bits(0, 1, 6), mpu=Bits(0, 1, 3), lonu=Bits(0, 1, 2),
               partition=Bits(4, 32), object=Bits(8, 64), file=Bits(16, 64))


@dataclass(frozen=True, slots=True)
class ShortPosition:
    """READ POSITION, short form (SSC-4 7.6.2). ``first`` and ``last`` are logical object numbers.

    ``first`` is where the next command acts, ``last`` what has reached the medium; None where unknown (LOLU)
    or too large for the form (PERR).
    """

    first: int | None
    last: int | None
    partition: int = 0
    bop: bool = False
    eop: bool = False
    buffered_objects: int | None = 0
    buffered_bytes: int | None = 0

    def put(self) -> bytes:
        unknown = self.first is None or self.last is None
        too_large = not unknown and max(self.first or 0, self.last or 0) >> 32 > 0
        given = not unknown and not too_large
        return _SHORT.put(
            bop=self.bop, eop=self.eop, locu=self.buffered_objects is None, bycu=self.buffered_bytes is None,
            lolu=unknown, perr=too_large, partition=self.partition, first=self.first or 0 if given else 0,
            last=self.last or 0 if given else 0, buffered_objects=self.buffered_objects or 0,
            buffered_bytes=self.buffered_bytes or 0)

    @classmethod
    def take(cls, data: Buffer) -> ShortPosition:
        field = _SHORT.take(data)
        known = not field["lolu"] and not field["perr"]
        return cls(field["first"] if known else None, field["last"] if known else None, field["partition"],
                   bool(field["bop"]), bool(field["eop"]),
                   None if field["locu"] else field["buffered_objects"],
                   None if field["bycu"] else field["buffered_bytes"])


@dataclass(frozen=True, slots=True)
class LongPosition:
    """READ POSITION, long form (SSC-4 7.6.3).

    ``object``: logical object number, counting blocks and filemarks from the beginning of the partition; None
    where LONU. ``file``: filemarks before the position; None where MPU.
    """

    object: int | None
    file: int | None
    partition: int = 0
    bop: bool = False
    eop: bool = False

    def put(self) -> bytes:
        return _LONG.put(bop=self.bop, eop=self.eop, mpu=self.file is None, lonu=self.object is None,
                         partition=self.partition, object=self.object or 0, file=self.file or 0)

    @classmethod
    def take(cls, data: Buffer) -> LongPosition:
        field = _LONG.take(data)
        return cls(None if field["lonu"] else field["object"], None if field["mpu"] else field["file"],
                   field["partition"], bool(field["bop"]), bool(field["eop"]))


_SPECIFIC = Layout(1, write_protected=Bits(0, 1, 7), buffered=Bits(0, 3, 4), speed=Bits(0, 4))


@dataclass(frozen=True, slots=True)
class TapeSpecific:
    """Device-specific parameter of a tape's mode header (SSC-4 8.4.1). ``buffered`` 1: write-behind."""

    write_protected: bool = False
    buffered: int = 1
    speed: int = 0

    def put(self) -> int:
        return _SPECIFIC.put(write_protected=self.write_protected, buffered=self.buffered,
                             speed=self.speed)[0]

    @classmethod
    def take(cls, value: int) -> TapeSpecific:
        field = _SPECIFIC.take(bytes((value & 0xFF,)))
        return cls(bool(field["write_protected"]), field["buffered"], field["speed"])


class TapePage(IntEnum):
    """Mode pages of a tape drive. SSC-4 table 74."""

    ERROR_RECOVERY = 0x01
    DISCONNECT = 0x02
    CONTROL = 0x0A
    COMPRESSION = 0x0F
    CONFIGURATION = 0x10
    PARTITION = 0x11
    INFORMATIONAL_EXCEPTIONS = 0x1C


_COMPRESSION = Layout(14, dce=Bits(0, 1, 7), dcc=Bits(0, 1, 6), dde=Bits(1, 1, 7), red=Bits(1, 2, 5),
                      compression=Bits(2, 32), decompression=Bits(6, 32))


@dataclass(frozen=True, slots=True)
class Compression:
    """Body of the data compression page 0Fh (SSC-4 8.4.2)."""

    capable: bool = False
    enabled: bool = False
    algorithm: int = 0

    def put(self) -> bytes:
        return _COMPRESSION.put(dce=self.enabled, dcc=self.capable, dde=self.capable,
                                compression=self.algorithm, decompression=self.algorithm)

    @classmethod
    def take(cls, body: Buffer) -> Compression:
        field = _COMPRESSION.take(body)
        return cls(bool(field["dcc"]), bool(field["dce"]), field["compression"])


_CONFIGURATION = Layout(14, partition=Bits(1, 8), write_delay=Bits(4, 16), lois=Bits(6, 1, 6),
                        sew=Bits(8, 1, 3), select_compression=Bits(12, 8))


@dataclass(frozen=True, slots=True)
class Configuration:
    """Body of the device configuration page 10h (SSC-4 8.4.3), as far as this software looks.

    ``early_warning_synchronizes`` (SEW): what is buffered is written out when early warning is met.
    """

    partition: int = 0
    write_delay: int = 0
    early_warning_synchronizes: bool = False
    compression: int = 0

    def put(self) -> bytes:
        return _CONFIGURATION.put(partition=self.partition, write_delay=self.write_delay, lois=1,
                                  sew=self.early_warning_synchronizes, select_compression=self.compression)

    @classmethod
    def take(cls, body: Buffer) -> Configuration:
        field = _CONFIGURATION.take(body)
        return cls(field["partition"], field["write_delay"], bool(field["sew"]), field["select_compression"])
