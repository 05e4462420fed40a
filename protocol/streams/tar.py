"""The headers of a tar stream: POSIX ustar blocks, read with the GNU variants as well (IEEE Std 1003.1, pax).

An entry is a header block of 512 bytes, then its data, padded with zeros to a whole block. Two blocks of
zeros end the stream. Extended headers (``x``, ``g``) and GNU's long names (``L``, ``K``) are entries before
the one that they describe; what stands in them is in ``pax``.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from protocol.errors import WireError

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_OCTAL_7 = 0o7777777
MAX_OCTAL_11 = 0o77777777777
_SUM = slice(148, 156)
_ZERO_BLOCK = bytes(BLOCK)
_BLANK_SUM = 8 * 0x20
_SIGN_BYTES = bytes(range(128, 256))


class Type(IntEnum):
    """typeflag. A flag that is none of these stays a plain int and is read as a regular file, as POSIX
    wants.
    """

    OLD_REGULAR = 0
    REGULAR = 0x30
    LINK = 0x31
    SYMLINK = 0x32
    CHARACTER = 0x33
    BLOCK = 0x34
    FOLDER = 0x35
    FIFO = 0x36
    CONTIGUOUS = 0x37
    EXTENDED = 0x78  # "x": pax records for the next entry
    GLOBAL = 0x67  # "g": pax records for all that follow
    GNU_LONG_NAME = 0x4C  # "L"
    GNU_LONG_LINK = 0x4B  # "K"
    GNU_SPARSE = 0x53  # "S": the map is in the header
    GNU_VOLUME = 0x56  # "V"
    GNU_MULTIVOLUME = 0x4D  # "M"
    GNU_DUMPDIR = 0x44  # "D"


WITHOUT_DATA = frozenset((Type.LINK, Type.SYMLINK, Type.CHARACTER, Type.BLOCK, Type.FOLDER, Type.FIFO))
"""Entries that no data follows, whatever their size field says."""

_TYPES: dict[int, Type] = {member.value: member for member in Type}


def padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


@dataclass(slots=True)
class Header:
    """One header block. Names are bytes: tar has no character set. ``mtime`` in seconds.

    Not frozen: a restore makes one per file, and pax records amend it.
    """

    name: bytes
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    type: Type | int = Type.REGULAR
    linkname: bytes = b""
    major: int = 0
    minor: int = 0


def _fit(value: int, most: int) -> int:
    return value if 0 <= value <= most else 0


def block(name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, kind: int,
          linkname: bytes = b"", major: int = 0, minor: int = 0) -> bytes:
    """A header block. Owners by number only. Names at most 100 bytes: a longer one is in a pax record, and so
    is a number too large for its field, which then is 0 here.
    """
    fields = b"%07o\0%07o\0%07o\0%011o\0%011o\0        %c" % (
        mode & 0o7777, _fit(uid, MAX_OCTAL_7), _fit(gid, MAX_OCTAL_7), _fit(size, MAX_OCTAL_11),
        _fit(mtime, MAX_OCTAL_11), kind)
    if major or minor:
        tail = b"ustar\x0000".ljust(72, b"\0") + b"%07o\0%07o\0" % (major & MAX_OCTAL_7, minor & MAX_OCTAL_7)
    else:
        tail = _PLAIN_TAIL
    total = sum(name) + sum(fields) + sum(linkname) + (_PLAIN_TAIL_SUM if tail is _PLAIN_TAIL else sum(tail))
    return b"%b%b%06o\0 %b%b%b" % (name.ljust(100, b"\0"), fields[:48], total, fields[56:],
                                   linkname.ljust(100, b"\0"), tail.ljust(255, b"\0"))


_PLAIN_TAIL = (b"ustar\x0000".ljust(72, b"\0") + b"0000000\0" * 2).ljust(255, b"\0")
_PLAIN_TAIL_SUM = sum(_PLAIN_TAIL)


def number(field: bytes, what: str) -> int:
    """Octal text, or GNU's base 256 for what octal cannot hold."""
    lead = field[0]
    if lead & 0x80:
        value = int.from_bytes(field, "big", signed=False) & ((1 << (8 * len(field) - 1)) - 1)
        if lead == 0xFF:
            value -= 1 << (8 * len(field) - 1)
        return value
    text = field.split(b"\0", 1)[0].strip()
    if not text:
        return 0
    try:
        value = int(text, 8)
    except ValueError:
        raise WireError(f"a tar header has {field!r} as its {what}") from None
    if value < 0 or b"_" in text:
        raise WireError(f"a tar header has {field!r} as its {what}")
    return value


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


@lru_cache(256)
def _octal(field: bytes) -> int:
    """Of a field that is the same in many headers."""
    return int(field, 8)


_FIELDS = struct.Struct("100s7sB7sB7sB11sB11sB6s2sB100s6s2x64x7sB7sB155s12x")
_ADLER = 65521  # the modulus of adler32, whose low half is the sum of the bytes, and one


def take(data: bytes) -> Header | None:
    """The header in a block of 512 bytes; None for a block of zeros. WireError for anything else."""
    if len(data) != BLOCK:
        raise WireError(f"a tar header is {BLOCK} bytes, not {len(data)}")
    if data == _ZERO_BLOCK:
        return None
    (name, mode, end_mode, uid, end_uid, gid, end_gid, size, end_size, mtime, end_mtime, stored, end_stored,
     flag, linkname, magic, major, end_major, minor, end_minor, prefix) = _FIELDS.unpack(data)
    if not (end_mode or end_uid or end_gid or end_size or end_mtime or end_major or end_minor) \
            and end_stored == b"\0 " and magic == b"ustar\0":
        # As POSIX writers make it, and nearly every header is. Anything else is looked at field by field.
        try:
            numbers = (_octal(mode), _octal(uid), _octal(gid), int(size, 8), int(mtime, 8))
            nodes = (0, 0) if major == minor == b"0000000" else (int(major, 8), int(minor, 8))
            total = int(stored, 8) + sum(data[_SUM]) - _BLANK_SUM
        except ValueError:
            return _take_any(data)
        if zlib.adler32(data) & 0xFFFF == (total + 1) % _ADLER and min(numbers) >= 0 and min(nodes) >= 0:
            name = name.rstrip(b"\0") if name[-1] == 0 else name
            if b"\0" in name or prefix[0]:
                name = _text(prefix) + b"/" + _text(name) if prefix[0] else _text(name)
            return Header(name, numbers[0] & 0o7777, numbers[1], numbers[2], numbers[3], numbers[4],
                          _TYPES.get(flag, flag), _text(linkname) if linkname[0] else b"", *nodes)
    return _take_any(data)


def _take_any(data: bytes) -> Header:
    """A header in any of the forms that old and GNU writers give its fields."""
    try:
        stored = number(data[_SUM], "checksum")
    except WireError:
        stored = -1
    total = sum(data) - sum(data[_SUM]) + _BLANK_SUM
    if stored != total:
        # Old writers added the bytes up as signed characters.
        high = len(data) - len(data.translate(None, _SIGN_BYTES))
        high -= 8 - len(data[_SUM].translate(None, _SIGN_BYTES))
        if stored != total - 256 * high:
            raise WireError("a tar header has a wrong checksum: the stream is damaged, or not a tar stream")
    name = _text(data[:100])
    magic = data[257:263]
    if magic == b"ustar\0" and data[345]:
        name = _text(data[345:500]) + b"/" + name
    flag = data[156]
    size = number(data[124:136], "size")
    if size < 0:
        raise WireError("a tar header has a negative size")
    return Header(
        name, number(data[100:108], "mode") & 0o7777, number(data[108:116], "owner"),
        number(data[116:124], "group"), size, number(data[136:148], "time"), _TYPES.get(flag, flag),
        _text(data[157:257]) if data[157] else b"",
        number(data[329:337], "device"), number(data[337:345], "device"))
