"""RECEIVE COPY RESULTS for one-byte list identifiers: progress, held data, limits, failures. SPC-4 6.21-6.25.

What is taken is bounded by the bytes that came, never by the length they state: copy managers in the field
miscount AVAILABLE DATA, and a pass-through may add what it had in its buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError
from protocol.scsi.command import Cdb, Opcode
from protocol.scsi.sense import MAX_SENSE, CopySense


def _receive(action: int, **fields: Bits) -> Cdb:
    return Cdb(Opcode.RECEIVE_COPY_RESULTS, action, allocation=Bits(10, 32), **fields)


RECEIVE_COPY_STATUS = _receive(0x00, list_id=Bits(2, 8))
RECEIVE_COPY_DATA = _receive(0x01, list_id=Bits(2, 8))
RECEIVE_OPERATING_PARAMETERS = _receive(0x03)
RECEIVE_FAILURE_DETAILS = _receive(0x04, list_id=Bits(2, 8))


class CopyState(IntEnum):
    """COPY COMMAND STATUS. SPC-4 table 254."""

    RUNNING = 0x00
    DONE = 0x01
    FAILED = 0x02


BLOCKS = 0xF1
"""TRANSFER COUNT UNITS: blocks of the copy destination. SPC-4 table 251."""
_MAX_BINARY_UNIT = 6

_AVAILABLE = 4
_STATUS = Layout(12, available=Bits(0, 32), held_discarded=Bits(4, 1, 7), status=Bits(4, 7),
                 segments=Bits(5, 16), units=Bits(7, 8), count=Bits(8, 32))


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """How far a copy is. ``segments`` processed, with the one in work; ``count`` written, in ``units``.

    ``status`` is a plain int where the standard has no name for it.
    """

    held_discarded: bool
    status: int
    segments: int
    units: int
    count: int

    @classmethod
    def of_bytes(cls, status: CopyState, segments: int, moved: int, *,
                 held_discarded: bool = False) -> CopyStatus:
        """``moved`` bytes, in the smallest unit that holds them, rounded down."""
        units = 0
        while moved >> 10 * units > 0xFFFFFFFF:
            units += 1
        return cls(held_discarded, status, segments, units, moved >> 10 * units)

    @property
    def bytes_moved(self) -> int | None:
        """Bytes written; None where they are counted in blocks of the destination or a unit unknown."""
        return self.count << 10 * self.units if self.units <= _MAX_BINARY_UNIT else None

    def put(self) -> bytes:
        return _STATUS.put(available=_STATUS.size - _AVAILABLE, held_discarded=self.held_discarded,
                           status=self.status, segments=self.segments, units=self.units, count=self.count)

    @classmethod
    def take(cls, data: Buffer) -> CopyStatus:
        field = _STATUS.take(data)
        status = field["status"]
        known = status in CopyState._value2member_map_
        return cls(bool(field["held_discarded"]), CopyState(status) if known else status, field["segments"],
                   field["units"], field["count"])


@dataclass(frozen=True, slots=True)
class HeldData:
    """What segments with ``held`` left. ``available``: how much there is, of which ``data`` came."""

    data: bytes
    available: int

    def put(self) -> bytes:
        return self.available.to_bytes(_AVAILABLE, "big") + self.data

    @classmethod
    def take(cls, data: Buffer) -> HeldData:
        if len(data) < _AVAILABLE:
            raise WireError(f"held data of {len(data)} bytes ends before its length")
        available = int.from_bytes(data[:_AVAILABLE], "big")
        return cls(bytes(data[_AVAILABLE:_AVAILABLE + available]), available)


_PARAMETERS = Layout(44, available=Bits(0, 32), snlid=Bits(4, 1), max_cscds=Bits(8, 16),
                     max_segments=Bits(10, 16), max_list_length=Bits(12, 32), max_segment_length=Bits(16, 32),
                     max_inline_length=Bits(20, 32), held_limit=Bits(24, 32),
                     max_stream_transfer=Bits(28, 32), total_concurrent=Bits(34, 16),
                     max_concurrent=Bits(36, 8), data_granularity=Bits(37, 8), inline_granularity=Bits(38, 8),
                     held_granularity=Bits(39, 8), types_length=Bits(43, 8))
_GRANULARITIES = ("data_granularity", "inline_granularity", "held_granularity")


def exponent(granularity: int) -> int:
    """A granularity in bytes as the wire has it. ValueError where it is no power of two."""
    if granularity < 1 or granularity & granularity - 1:
        raise ValueError(f"granularity {granularity} is no power of two")
    return granularity.bit_length() - 1


@dataclass(frozen=True, slots=True)
class OperatingParameters:
    """The limits of a copy manager (SPC-4 6.22). Lengths and granularities in bytes.

    ``snlid``: takes lists without identifier. ``max_segment_length`` 0: no limit; ``total_concurrent`` counts
    such lists too and is 0 without ``snlid``. ``types``: codes of the segment and CSCD descriptors it takes.
    """

    max_cscds: int
    max_segments: int
    max_list_length: int
    types: tuple[int, ...]
    snlid: bool = False
    max_segment_length: int = 0
    max_inline_length: int = 0
    held_limit: int = 0
    max_stream_transfer: int = 0
    total_concurrent: int = 0
    max_concurrent: int = 1
    data_granularity: int = 1
    inline_granularity: int = 1
    held_granularity: int = 1

    def put(self) -> bytes:
        fields = {name: int(getattr(self, name)) for name in _PARAMETERS.fields
                  if name not in ("available", "types_length")}
        fields |= {name: exponent(fields[name]) for name in _GRANULARITIES}
        types = bytes(sorted(self.types))
        return _PARAMETERS.put(available=_PARAMETERS.size - _AVAILABLE + len(types), types_length=len(types),
                               **fields) + types

    @classmethod
    def take(cls, data: Buffer) -> OperatingParameters:
        """WireError where the data ends before the list of types; of that, what came is taken."""
        field = _PARAMETERS.take(data)
        del field["available"]
        types = tuple(bytes(data[_PARAMETERS.size:_PARAMETERS.size + field.pop("types_length")]))
        field |= {name: 1 << field[name] for name in _GRANULARITIES}
        return cls(types=types, snlid=bool(field.pop("snlid")), **field)


_FAILURE = Layout(60, available=Bits(0, 32), status=Bits(56, 8), sense_length=Bits(58, 16))


@dataclass(frozen=True, slots=True)
class FailedSegment:
    """How a copy ended that failed: the status of EXTENDED COPY, and its sense data as it was."""

    status: int
    sense: bytes

    @property
    def reason(self) -> CopySense | None:
        """The sense data as a value; None where it cannot be read."""
        try:
            return CopySense.take(self.sense)
        except WireError:
            return None

    def put(self) -> bytes:
        return _FAILURE.put(available=_FAILURE.size - _AVAILABLE + len(self.sense), status=self.status,
                            sense_length=len(self.sense)) + self.sense

    @classmethod
    def take(cls, data: Buffer) -> FailedSegment | None:
        """None where the copy manager has no details (or no more)."""
        if len(data) < _AVAILABLE:
            raise WireError(f"failed segment details of {len(data)} bytes end before their length")
        if not int.from_bytes(data[:_AVAILABLE], "big"):
            return None
        field = _FAILURE.take(data)
        length = min(field["sense_length"], MAX_SENSE)
        return cls(field["status"], bytes(data[_FAILURE.size:_FAILURE.size + length]))


NO_FAILURE = bytes(_AVAILABLE)
"""The answer to RECEIVE_FAILURE_DETAILS where there are none."""
