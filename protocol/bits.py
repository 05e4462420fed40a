"""Bit-field layouts declared as tables: one declaration serves both putting and taking.

SCSI standards draw CDBs and parameter data as byte-by-bit tables. A ``Layout`` is such a table:

    SPACE = Layout(6, opcode=Bits(0, 8), code=Bits(1, 4), count=Bits(2, 24))

Integers only, big-endian. Byte strings (names, designators) are sliced by the module that knows them.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import WireError

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Bits:
    """A field of ``bits`` bits whose most significant bit lies in byte ``byte``.

    ``low`` is the bit number, within the field's last byte, of its least significant bit.
    """

    byte: int
    bits: int
    low: int = 0

    @property
    def end(self) -> int:
        """The byte after the field."""
        return self.byte + (self.bits + self.low + 7) // 8

    @property
    def mask(self) -> int:
        """The field's bits, as they lie in the bytes [byte, end)."""
        return ((1 << self.bits) - 1) << self.low


class Layout:
    """A fixed-size structure of named integer fields. Bytes and bits without a name are reserved: zero.

    Raises ValueError where the declaration itself is wrong (a field outside, or two that overlap).
    """

    __slots__ = ("_places", "fields", "size")

    def __init__(self, size: int, /, **fields: Bits) -> None:
        self.size = size
        self.fields = fields
        used = 0
        for name, field in fields.items():
            if field.bits < 1 or field.low < 0 or field.end > size:
                raise ValueError(f"field {name} does not lie inside {size} bytes")
            place = field.mask << 8 * (size - field.end)
            if used & place:
                raise ValueError(f"field {name} overlaps another")
            used |= place
        # Where each field lies in the structure as one number: shift, and how many bits as a mask.
        self._places = {name: (field.low + 8 * (size - field.end), (1 << field.bits) - 1)
                        for name, field in fields.items()}

    def put(self, **values: int) -> bytes:
        """The structure with these fields, the others zero.

        ValueError for a value that does not fit: the caller chose it, no peer did.
        """
        whole = 0
        for name, value in values.items():
            shift, mask = self._places[name]
            if not 0 <= value <= mask:
                raise ValueError(f"{name}={value} does not fit {self.fields[name].bits} bits")
            whole |= value << shift
        return whole.to_bytes(self.size, "big")

    def take(self, data: Buffer, offset: int = 0) -> dict[str, int]:
        """The fields of the structure at ``offset``. WireError where the data ends before it does."""
        if offset < 0 or len(data) - offset < self.size:
            raise WireError(f"{max(0, len(data) - offset)} bytes where {self.size} are needed")
        whole = int.from_bytes(data[offset:offset + self.size], "big")
        return {name: whole >> shift & mask for name, (shift, mask) in self._places.items()}

    def usage(self) -> bytes:
        """One bit for each bit that a field uses (the CDB usage data of REPORT SUPPORTED OPERATION CODES)."""
        whole = 0
        for field in self.fields.values():
            whole |= field.mask << 8 * (self.size - field.end)
        return whole.to_bytes(self.size, "big")


def text(data: Buffer) -> str:
    """An ASCII field, without its padding of blanks or NULs. Bytes that are not ASCII become "?"."""
    return bytes(data).split(b"\0", 1)[0].decode("ascii", "replace").replace("\ufffd", "?").strip()


def padded(value: str, size: int) -> bytes:
    """``value`` as a left-aligned ASCII field of ``size`` bytes filled with blanks, cut where longer."""
    return value.encode("ascii", "replace")[:size].ljust(size)
