"""FH: file history (4.3). The same bytes in both versions, which differ in field names only.

Two ways to the wire: message classes, for taking history apart and for small posts, and packers that append
one entry each to a ``bytearray``. A backup sends an entry per file: a packer makes no Python call per field::

    entries = bytearray()
    pack_dir(entries, b"etc", node=131, parent=2)
    pack_dir(entries, b"passwd", node=140, parent=131)
    body = post_body(2, entries)                  # of Code.FH_ADD_DIR

Units: sizes in bytes, times in seconds since 1970, ``node`` an inode number (0 where there is none, all ones
is reserved), ``fh_info`` the byte of the stream where the entry begins (all ones: unknown). ``fattr`` is the
mode without the type bits. Names are bytes as the file system has them. ADD_FILE takes paths from the root of
the backup, beginning with a separator (4.3.1); ADD_DIR single names, the first one the root's "." (4.3.2).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import FileStatUnsupported, FileType, FsType
from protocol.ndmp.forms import U32, U64
from protocol.ndmp.message import Case, Message

UNKNOWN_POSITION = (1 << 64) - 1
"""``fh_info`` of an entry that cannot be reached directly."""


@dataclass(frozen=True, slots=True)
class FileName(Message):
    """``ndmp_file_name``. For NT ``name`` is the long one."""

    fs_type: FsType | int
    name: str
    dos_path: Annotated[str, Case(FsType.NT)] = ""


@dataclass(frozen=True, slots=True)
class FileStat(Message):
    """``ndmp_file_stat``. For NT, ``fattr`` is its attribute word, ``owner`` and ``group`` mean nothing."""

    unsupported: FileStatUnsupported
    fs_type: FsType | int
    ftype: FileType | int
    mtime: U32
    atime: U32
    ctime: U32
    owner: U32
    group: U32
    fattr: U32
    size: U64
    links: U32


@dataclass(frozen=True, slots=True)
class File(Message):
    """``ndmp_file``. One file may have a name and attributes for each kind of file system."""

    name: tuple[FileName, ...]
    stat: tuple[FileStat, ...]
    node: U64
    fh_info: U64


@dataclass(frozen=True, slots=True)
class Dir(Message):
    """``ndmp_dir``: a name in the folder ``parent``."""

    name: tuple[FileName, ...]
    node: U64
    parent: U64


@dataclass(frozen=True, slots=True)
class Node(Message):
    """``ndmp_node``: the attributes of what a ``Dir`` named."""

    stats: tuple[FileStat, ...]
    node: U64
    fh_info: U64


@dataclass(frozen=True, slots=True)
class FhAddFilePost(Message):
    """4.3.1."""

    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class FhAddDirPost(Message):
    """4.3.2."""

    dirs: tuple[Dir, ...]


@dataclass(frozen=True, slots=True)
class FhAddNodePost(Message):
    """4.3.3."""

    nodes: tuple[Node, ...]


_COUNT = struct.Struct(">I")
_ONE_NAME = struct.Struct(">III")  # names<>: 1; fs_type; length of the name that follows
_ONE_STAT = struct.Struct(">10IQIQQ")  # stats<>: 1; the FileStat; node; fh_info
_ENDS = struct.Struct(">QQ")  # node; parent
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4

_U32_MAX = (1 << 32) - 1
_U64_MAX = (1 << 64) - 1


def post_body(count: int, entries: bytes | bytearray) -> bytes:
    """The body of a post of ``count`` packed entries."""
    return _COUNT.pack(count) + entries


def pack_file(
    out: bytearray, path: bytes, ftype: int, mtime: int, atime: int, ctime: int, owner: int, group: int,
    fattr: int, size: int, links: int, node: int, fh_info: int, unsupported: int = 0,
) -> None:
    """Append one ``ndmp_file`` of ADD_FILE with one UNIX name. Numbers out of range become the nearest."""
    try:
        stat = _ONE_STAT.pack(1, unsupported, 0, ftype, mtime, atime, ctime, owner, group, fattr, size, links,
                              node, fh_info)
    except struct.error:
        stat = _nearest_stat(1, unsupported, 0, ftype, mtime, atime, ctime, owner, group, fattr, size, links,
                             node, fh_info)
    length = len(path)
    out += _ONE_NAME.pack(1, 0, length) + path + _PADDING[length & 3] + stat


def pack_dir(out: bytearray, name: bytes, node: int, parent: int) -> None:
    """Append one ``ndmp_dir`` of ADD_DIR with one UNIX name."""
    length = len(name)
    out += _ONE_NAME.pack(1, 0, length) + name + _PADDING[length & 3] + _ENDS.pack(node, parent)


def pack_node(
    out: bytearray, ftype: int, mtime: int, atime: int, ctime: int, owner: int, group: int,
    fattr: int, size: int, links: int, node: int, fh_info: int, unsupported: int = 0,
) -> None:
    """Append one ``ndmp_node`` of ADD_NODE. Numbers out of range become the nearest."""
    try:
        out += _ONE_STAT.pack(1, unsupported, 0, ftype, mtime, atime, ctime, owner, group, fattr, size, links,
                              node, fh_info)
    except struct.error:
        out += _nearest_stat(1, unsupported, 0, ftype, mtime, atime, ctime, owner, group, fattr, size, links,
                             node, fh_info)


def _nearest_stat(*numbers: int) -> bytes:
    """A file of before 1970 or after 2106 has a time that 32 unsigned bits cannot say."""
    *words, size, links, node, fh_info = numbers
    return _ONE_STAT.pack(
        *(min(max(word, 0), _U32_MAX) for word in words),
        min(max(size, 0), _U64_MAX), min(max(links, 0), _U32_MAX), node, fh_info,
    )
