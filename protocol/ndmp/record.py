"""RPC record marking (RFC 5531, section 11): how messages are told apart in a TCP stream (2.6).

A record is sent as fragments, each behind a word of 31 bits of length and one bit that marks the last one.
"""

from __future__ import annotations

import struct

from protocol.errors import WireError

_MARK = struct.Struct(">I")
_LAST = 1 << 31

MAX_EMPTY_FRAGMENTS = 16
"""Empty fragments that one record may have: they say nothing, and would keep a reader busy for ever."""


def frame(record: bytes) -> bytes:
    """``record`` as a single fragment."""
    if len(record) >= _LAST:
        raise WireError(f"a record of {len(record)} bytes does not fit one fragment")
    return _MARK.pack(_LAST | len(record)) + record


class Unframer:
    """Finds the records in a stream that arrives in pieces of any size.

    No record grows beyond ``max_record`` bytes: the length of a fragment is checked when its mark arrives,
    before room is made for it. ``max_record`` may be changed between calls (an unknown peer needs little).
    After a WireError nobody knows where the next record begins: close the connection.
    """

    __slots__ = ("_broken", "_empty", "_last", "_left", "_mark", "_record", "max_record")

    def __init__(self, max_record: int) -> None:
        self.max_record = max_record
        self._mark = bytearray()  # what has arrived of the next mark
        self._record = bytearray()
        self._left = 0  # bytes of the fragment still to come; 0: a mark is next
        self._last = False
        self._empty = 0
        self._broken: WireError | None = None

    @property
    def broken(self) -> WireError | None:
        """Why nothing more is read; None as long as all is well."""
        return self._broken

    def feed(self, data: bytes) -> list[bytes]:
        """The records that ``data`` completes, in order.

        Raises WireError for a mark that cannot be honoured. Records before it in the same ``data`` are
        returned first, and the next call raises: how TCP cut the stream makes no difference to them.
        """
        records: list[bytes] = []
        try:
            self._advance(data, records)
        except WireError as error:
            self._broken = error
            if not records:
                raise
        return records

    def _advance(self, data: bytes, records: list[bytes]) -> None:
        if self._broken:
            raise self._broken
        rest = memoryview(data)
        while rest:
            if self._left:
                part, rest = rest[: self._left], rest[self._left :]
                self._record += part
                self._left -= len(part)
            else:
                missing = _MARK.size - len(self._mark)
                part, rest = rest[:missing], rest[missing:]
                self._mark += part
                if len(self._mark) < _MARK.size:
                    break
                self._begin_fragment()
            if self._last and not self._left:
                records.append(bytes(self._record))
                self._record = bytearray()
                self._last = False
                self._empty = 0

    def _begin_fragment(self) -> None:
        (word,) = _MARK.unpack(self._mark)
        self._mark.clear()
        self._last = bool(word & _LAST)
        self._left = word & ~_LAST
        if len(self._record) + self._left > self.max_record:
            raise WireError(f"a record of more than {self.max_record} bytes")
        if not self._left and not self._last:
            self._empty += 1
            if self._empty > MAX_EMPTY_FRAGMENTS:
                raise WireError(f"a record with more than {MAX_EMPTY_FRAGMENTS} empty fragments")
