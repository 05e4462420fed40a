"""Pax extended headers, and the sparse maps that GNU tar keeps with their help (IEEE Std 1003.1, pax; GNU tar
manual, "Storing Sparse Files", formats 0.0 to 1.0 and the old one in the header).

A record is ``LENGTH KEYWORD=VALUE\\n``, where LENGTH counts itself. Values are bytes of any kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocol.errors import WireError
from protocol.streams.tar import BLOCK, number, padded

MAX_HEADER = 16 << 20
"""Bytes of one extended header: extended attributes of a file, at most."""
MAX_MAP = 1 << 20
"""Data ranges of one sparse file."""
MAX_NAME = 1 << 20
"""Bytes of a path."""
_MAX_DIGITS = 20
Ranges = list[tuple[int, int]]


def record(keyword: bytes, value: bytes) -> bytes:
    """One record."""
    size = len(keyword) + len(value) + 3
    total = size + len(str(size))
    if len(str(total)) != len(str(size)):
        total = size + len(str(total))
    return b"%d %b=%b\n" % (total, keyword, value)


def put(records: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The body of an extended header, unpadded."""
    return b"".join([record(keyword, value) for keyword, value in records])


def take(data: bytes) -> dict[bytes, bytes]:
    """The records in the body of an extended header; of a keyword that occurs twice the last counts.

    GNU's sparse format 0.0 repeats two keywords, one pair for each range; they come joined by commas under
    ``GNU.sparse.map`` as in format 0.1.
    """
    if len(data) == 30 and data[:9] == b"30 mtime=" and data[29] == 0x0A:
        return {b"mtime": data[9:29]}  # all that most files have
    found: dict[bytes, bytes] = {}
    pairs: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        blank = data.find(b" ", at, at + _MAX_DIGITS)
        text = data[at:blank] if blank > at else b""
        if not text.isdigit():
            raise WireError("an extended tar header has a record without a length")
        stop = at + int(text)
        equals = data.find(b"=", blank + 1, stop)
        if stop > end or stop <= blank + 1 or equals < 0 or data[stop - 1] != 0x0A:
            raise WireError("an extended tar header has a record that does not end where it says")
        keyword = data[blank + 1:equals]
        value = data[equals + 1:stop - 1]
        if keyword in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(value)
        else:
            found[keyword] = value
        at = stop
    if pairs:
        found[b"GNU.sparse.map"] = b",".join(pairs)
    return found


def put_time(nanoseconds: int) -> bytes:
    """A time in decimal seconds; no trailing zeros."""
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), 1_000_000_000)
    if not rest:
        return b"%b%d" % (sign, seconds)
    return b"%b%d.%b" % (sign, seconds, (b"%09d" % rest).rstrip(b"0"))


def take_time(value: bytes) -> int:
    """Decimal seconds as nanoseconds; further digits are cut."""
    if len(value) == 20 and value[10] == 0x2E and value[:10].isdigit() and value[11:].isdigit():
        return int(value[:10]) * 1_000_000_000 + int(value[11:])
    negative = value.startswith(b"-")
    whole, _, part = value[negative:].partition(b".")
    if not whole.isdigit() or len(whole) > _MAX_DIGITS or (part and not part.isdigit()):
        raise WireError(f"an extended tar header has {value[:40]!r} as a time")
    total = int(whole) * 1_000_000_000 + int(part[:9].ljust(9, b"0") or b"0")
    return -total if negative else total


def take_number(value: bytes) -> int:
    """A decimal number, not negative."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise WireError(f"an extended tar header has {value[:40]!r} where a number belongs")
    return int(value)


def put_map(ranges: Ranges) -> bytes:
    """A sparse map of format 1.0 as it precedes the data: numbers a line each, padded to whole blocks."""
    lines = [b"%d\n" % len(ranges)]
    lines += [b"%d\n%d\n" % pair for pair in ranges]
    body = b"".join(lines)
    return body.ljust(padded(len(body)), b"\0")


class MapReader:
    """Takes a map of format 1.0 block by block, since only its content says how long it is."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._left = -1
        self._partial = b""

    def feed(self, data: bytes) -> bool:
        """Take one block; True once the map is whole."""
        text = self._partial + data
        lines = text.split(b"\n")
        self._partial = lines.pop()
        for line in lines:
            self._numbers.append(take_number(line))
            if self._left < 0:
                if self._numbers[0] > MAX_MAP:
                    raise WireError(f"a sparse file has more than {MAX_MAP} ranges")
                self._left = 2 * self._numbers[0] + 1
            if len(self._numbers) == self._left:
                return True
        if len(self._partial) > BLOCK:
            raise WireError("a sparse map has a line without an end")
        return False

    def ranges(self) -> Ranges:
        numbers = self._numbers
        return list(zip(numbers[1::2], numbers[2::2], strict=True))


def take_joined_map(value: bytes) -> Ranges:
    """A map of format 0.1: numbers separated by commas."""
    if value.count(b",") > 2 * MAX_MAP:
        raise WireError(f"a sparse file has more than {MAX_MAP} ranges")
    numbers = [take_number(text) for text in value.split(b",")] if value else []
    if len(numbers) % 2:
        raise WireError("a sparse map has an odd count of numbers")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def take_old_map(data: bytes, first: bool) -> tuple[Ranges, bool]:
    """Ranges in an old GNU header block (``first``) or one of its extensions, and whether another follows."""
    start, count, more = (386, 4, 482) if first else (0, 21, 504)
    found: Ranges = []
    for at in range(start, start + 24 * count, 24):
        if not data[at]:
            break
        found.append((number(data[at:at + 12], "sparse map"), number(data[at + 12:at + 24], "sparse map")))
    return found, data[more] not in (0, 0x30)


def check_map(ranges: Ranges, real_size: int, stored: int) -> Ranges:
    """``ranges`` without empty ones. WireError unless they ascend within ``real_size`` and hold ``stored``
    bytes.
    """
    end = total = 0
    found: Ranges = []
    for offset, length in ranges:
        if offset < end or length < 0 or offset + length > real_size:
            raise WireError("a sparse map has ranges that overlap or lie outside the file")
        end = offset + length
        total += length
        if length:
            found.append((offset, length))
    if total != stored:
        raise WireError(f"a sparse map announces {total} bytes, but {stored} are stored")
    return found


def is_text(value: bytes) -> bool:
    """Whether ``value`` is UTF-8, as pax records are unless ``hdrcharset`` says otherwise."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def attributes(records: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Extended attributes among the records, by their real names."""
    prefix = b"SCHILY.xattr."
    return {_unquoted(keyword[len(prefix):]): value for keyword, value in records.items()
            if keyword.startswith(prefix)}


def attribute(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The record of one extended attribute. GNU tar writes "%" and "=" in names as %25 and %3D."""
    return b"SCHILY.xattr." + name.replace(b"%", b"%25").replace(b"=", b"%3D"), value


def _unquoted(name: bytes) -> bytes:
    return name.replace(b"%3D", b"=").replace(b"%25", b"%") if b"%" in name else name
