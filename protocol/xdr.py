"""XDR (RFC 4506) with every length checked before anything is allocated.

``Writer`` and ``Reader`` mirror each other, method for method. Both raise ``WireError`` and nothing else: the
reader for bytes that are not what was asked for, the writer for a value that has no such form. Padding is
written as zeros and skipped unread, as the C library does.

The conversion itself is xdrlib3's; this module adds the ranges and the bounds that it leaves out. Batches too
hot for it (file history) are packed with ``struct`` where they are declared.
"""

from __future__ import annotations

import xdrlib3

from protocol.errors import WireError


class Writer:
    """Appends values to a buffer that ``data`` returns."""

    __slots__ = ("_packer",)

    def __init__(self) -> None:
        self._packer = xdrlib3.Packer()

    @property
    def data(self) -> bytes:
        """All that was written so far."""
        return bytes(self._packer.get_buffer())

    def uint(self, value: int, bits: int = 32) -> None:
        """An unsigned integer below 2**bits, in four bytes whatever ``bits`` is (u_char, u_short, u_long)."""
        self._packer.pack_uint(_within(value, 0, (1 << bits) - 1))

    def sint(self, value: int, bits: int = 32) -> None:
        """A signed integer of ``bits`` bits, in four bytes (short, int, enum)."""
        self._packer.pack_int(_within(value, -(1 << bits - 1), (1 << bits - 1) - 1))

    def uhyper(self, value: int) -> None:
        """An unsigned integer in eight bytes, the high half first."""
        self._packer.pack_uhyper(_within(value, 0, (1 << 64) - 1))

    def opaque(self, data: bytes) -> None:
        """Bytes of any number, their count in front."""
        self._packer.pack_opaque(data)

    def fixed(self, data: bytes, size: int) -> None:
        """Exactly ``size`` bytes, without a count."""
        if len(data) != size:
            raise WireError(f"{len(data)} bytes where exactly {size} belong")
        self._packer.pack_fopaque(size, data)

    def string(self, text: str) -> None:
        """Text as UTF-8; bytes that ``Reader.string`` could not decode are restored."""
        try:
            self._packer.pack_string(text.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError as error:
            raise WireError(f"text that has no bytes: {error}") from None


class Reader:
    """Takes values from ``data`` in order; ``done`` says that nothing may be left."""

    __slots__ = ("_size", "_unpacker")

    def __init__(self, data: bytes) -> None:
        self._size = len(data)
        self._unpacker = xdrlib3.Unpacker(data)

    @property
    def left(self) -> int:
        """Bytes not yet taken."""
        return self._size - int(self._unpacker.get_position())

    def uint(self, bits: int = 32) -> int:
        """An unsigned integer below 2**bits, from four bytes."""
        self._need(4)
        return _within(self._unpacker.unpack_uint(), 0, (1 << bits) - 1)

    def sint(self, bits: int = 32) -> int:
        """A signed integer of ``bits`` bits, from four bytes."""
        self._need(4)
        return _within(self._unpacker.unpack_int(), -(1 << bits - 1), (1 << bits - 1) - 1)

    def uhyper(self) -> int:
        """An unsigned integer from eight bytes."""
        self._need(8)
        return int(self._unpacker.unpack_uhyper())

    def count(self, least: int) -> int:
        """The number of elements that follow, each of ``least`` bytes or more.

        A count that the rest of the data cannot hold is refused here, before room is made for its elements.
        """
        number = self.uint()
        if number * least > self.left:
            raise WireError(f"{number} elements announced where {self.left} bytes are left")
        return number

    def opaque(self) -> bytes:
        """Bytes with their count in front."""
        return self.fixed(self.count(1))

    def fixed(self, size: int) -> bytes:
        """Exactly ``size`` bytes and their padding."""
        self._need(size + -size % 4)
        return bytes(self._unpacker.unpack_fopaque(size))

    def string(self) -> str:
        """Text; bytes that are not UTF-8 survive as lone surrogates (``os.fsencode`` knows them)."""
        return self.opaque().decode("utf-8", "surrogateescape")

    def done(self) -> None:
        """Refuse what is left over."""
        if self.left:
            raise WireError(f"{self.left} bytes too many")

    def _need(self, size: int) -> None:
        if size > self.left:
            raise WireError(f"{size} bytes needed where {self.left} are left")


def _within(value: int, lowest: int, highest: int) -> int:
    if not lowest <= value <= highest:
        raise WireError(f"{value} is not between {lowest} and {highest}")
    return value
