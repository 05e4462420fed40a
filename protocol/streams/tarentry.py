"""One entry of a tar stream: its header together with the records that extend it.

What a ustar header cannot say goes into pax records, which replace it: names longer than 100 bytes or not
ASCII (``hdrcharset=BINARY`` where they are not UTF-8), fractions of a second, owners above 2097151, sizes
from 8 GiB. Two keywords are this project's own: ``NDMPD.links`` marks an entry that other names of the same
file follow, ``NDMPD.data`` in a later name is the stream offset of the entry with the data. Readers that do
not know them ignore them, as POSIX wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.errors import WireError
from protocol.streams import pax, tar
from protocol.streams.tar import BLOCK, Header, Type

LINKS = b"NDMPD.links"
DATA = b"NDMPD.data"
Records = list[tuple[bytes, bytes]]

_EXTENDED_NAME = b"././@PaxHeader"
_BILLION = 1_000_000_000
_LONGEST = (1 << 63) - 1
_EARLY, _LATE = 1_000_000_000, 9_999_999_999  # seconds of ten digits
_extended_blocks: dict[int, bytes] = {}


def extended_header(body: bytes) -> bytes:
    """An ``x`` entry: the records ``body``, padded, behind their header."""
    size = len(body)
    header = _extended_blocks.get(size)
    if header is None:
        header = tar.block(_EXTENDED_NAME, 0o644, 0, 0, size, 0, Type.EXTENDED)
        if size <= BLOCK:
            _extended_blocks[size] = header
    return header + body.ljust(tar.padded(size), b"\0")


def put(name: bytes, mode: int, uid: int, gid: int, size: int, mtime_ns: int, kind: int,
        linkname: bytes = b"", major: int = 0, minor: int = 0, records: Records | None = None) -> bytes:
    """Header blocks of an entry, pax records first where it needs them. ``size``: bytes that follow.

    ``records``: further ones, such as attributes. The result is a function of the arguments alone.
    """
    seconds, fraction = divmod(mtime_ns, _BILLION)
    body = b""
    if fraction or not 0 <= seconds <= tar.MAX_OCTAL_11:
        if _EARLY <= seconds <= _LATE:
            body = b"30 mtime=%d.%09d\n" % (seconds, fraction)
        else:
            body = pax.record(b"mtime", pax.put_time(mtime_ns))
    if len(name) > 100 or len(linkname) > 100 or not name.isascii() or not linkname.isascii():
        body += pax.put(_names(name, linkname))
        name, linkname = name[:100], linkname[:100]
    if uid > tar.MAX_OCTAL_7:
        body += pax.record(b"uid", b"%d" % uid)
    if gid > tar.MAX_OCTAL_7:
        body += pax.record(b"gid", b"%d" % gid)
    if size > tar.MAX_OCTAL_11:
        body += pax.record(b"size", b"%d" % size)
    if records:
        body += pax.put(records)
    header = tar.block(name, mode, uid, gid, size, seconds, kind, linkname, major, minor)
    return extended_header(body) + header if body else header


def _names(name: bytes, linkname: bytes) -> Records:
    found: Records = []
    if not (pax.is_text(name) and pax.is_text(linkname)):
        found.append((b"hdrcharset", b"BINARY"))
    if len(name) > 100 or not name.isascii():
        found.append((b"path", name))
    if len(linkname) > 100 or not linkname.isascii():
        found.append((b"linkpath", linkname))
    return found


@dataclass(slots=True)
class Entry:
    """An entry as read. ``offset``: where it begins in the stream, its extended headers included. ``stored``:
    bytes of data that follow, unpadded. ``size``: of the file; more than ``stored`` where it has holes.

    ``sparse``: the data ranges where they are known from the header; ``map_follows``: they precede the data.
    """

    name: bytes
    type: Type | int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    linkname: bytes
    major: int
    minor: int
    offset: int
    stored: int
    records: Mapping[bytes, bytes] = field(default_factory=dict)
    sparse: pax.Ranges | None = None
    map_follows: bool = False
    old_map_follows: bool = False

    @property
    def shared(self) -> bool:
        """Whether other names of this file may follow."""
        return LINKS in self.records

    @property
    def data_offset(self) -> int | None:
        """Of a hard link: where the entry with the data begins, if the stream says so."""
        value = self.records.get(DATA)
        return None if value is None else pax.take_number(value)


_NOTHING: dict[bytes, bytes] = {}


def take(header: Header, block: bytes, offset: int, records: dict[bytes, bytes] | None = None,
         long_name: bytes | None = None, long_link: bytes | None = None) -> Entry:
    """An entry of its header (and the ``block`` it came from) and what preceded it. WireError where they
    clash.
    """
    kind = header.type
    if kind in (Type.REGULAR, Type.OLD_REGULAR):
        kind = Type.FOLDER if header.name.endswith(b"/") and kind == Type.OLD_REGULAR else Type.REGULAR
    size = 0 if kind in tar.WITHOUT_DATA else header.size
    entry = Entry(header.name, kind, header.mode, header.uid, header.gid, size, header.mtime * _BILLION,
                  header.linkname, header.major, header.minor, offset, size, records or _NOTHING)
    if long_name is not None:
        entry.name = long_name
    if long_link is not None:
        entry.linkname = long_link
    if kind == Type.GNU_SPARSE:
        ranges, entry.old_map_follows = pax.take_old_map(block, first=True)
        entry.sparse, entry.size = ranges, tar.number(block[483:495], "real size")
    if records:
        _amend(entry, records)
    if len(entry.name) > pax.MAX_NAME or len(entry.linkname) > pax.MAX_NAME:
        raise WireError(f"an entry's name is longer than {pax.MAX_NAME} bytes")
    if b"\0" in entry.name or b"\0" in entry.linkname:
        raise WireError("an entry's name has a NUL in it")
    return entry


def _amend(entry: Entry, records: dict[bytes, bytes]) -> None:
    sparse = False
    for keyword, value in records.items():
        if keyword == b"mtime":
            entry.mtime_ns = pax.take_time(value)
        elif keyword == b"path":
            entry.name = value
        elif keyword == b"linkpath":
            entry.linkname = value
        elif keyword == b"uid":
            entry.uid = pax.take_number(value)
        elif keyword == b"gid":
            entry.gid = pax.take_number(value)
        elif keyword == b"size":
            if entry.type not in tar.WITHOUT_DATA:
                entry.size = entry.stored = pax.take_number(value)
        elif keyword.startswith(b"GNU.sparse."):
            sparse = True
    if entry.stored > _LONGEST:
        raise WireError("an entry's data is longer than a file can be")
    if sparse:
        _amend_sparse(entry, records)


def _amend_sparse(entry: Entry, records: dict[bytes, bytes]) -> None:
    entry.name = records.get(b"GNU.sparse.name", entry.name)
    size = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    if size is not None:
        entry.size = pax.take_number(size)
    if records.get(b"GNU.sparse.major") == b"1":
        entry.map_follows = True
    elif (joined := records.get(b"GNU.sparse.map")) is not None:
        entry.sparse = pax.take_joined_map(joined)
    if entry.size > _LONGEST:
        raise WireError("a sparse file is longer than a file can be")
