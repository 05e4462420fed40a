"""The common form of file history taken apart without a Python call per field.

A backup of millions of files posts an entry for each; the message classes take 20 us for one, this takes 2.
Common means one UNIX name and one set of attributes an entry, which is what servers send. A post with
anything else in it, or with anything wrong, is left to the message classes: every function here then returns
None.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from protocol.ndmp.codes import FileStatUnsupported, FsType

_COUNT = struct.Struct(">I")
_NAME = struct.Struct(">III")  # names<>: 1; fs_type; length of the name that follows
_STAT = struct.Struct(">10IQIQQ")  # stats<>: 1; the ndmp_file_stat; node; fh_info
_ENDS = struct.Struct(">QQ")  # node; parent

Stats = tuple[int, int, int, int, int | None, int]
"""Type, size, mtime, owner, group, mode."""


class FileEntry(NamedTuple):
    path: str
    stats: Stats
    node: int
    fh_info: int


class DirEntry(NamedTuple):
    name: str
    node: int
    parent: int


class NodeEntry(NamedTuple):
    stats: Stats
    node: int
    fh_info: int


def take_files(body: bytes) -> list[FileEntry] | None:
    """The entries of an FH_ADD_FILE body."""
    entries: list[FileEntry] = []
    try:
        at = _COUNT.size
        for _ in range(_count(body)):
            name, at = _take_name(body, at)
            stats, node, fh_info = _take_stats(body, at)
            at += _STAT.size
            entries.append(FileEntry(name, stats, node, fh_info))
    except (struct.error, _Uncommon):
        return None
    return entries if at == len(body) else None


def take_dirs(body: bytes) -> list[DirEntry] | None:
    """The entries of an FH_ADD_DIR body."""
    entries: list[DirEntry] = []
    try:
        at = _COUNT.size
        for _ in range(_count(body)):
            name, at = _take_name(body, at)
            node, parent = _ENDS.unpack_from(body, at)
            at += _ENDS.size
            entries.append(DirEntry(name, node, parent))
    except (struct.error, _Uncommon):
        return None
    return entries if at == len(body) else None


def take_nodes(body: bytes) -> list[NodeEntry] | None:
    """The entries of an FH_ADD_NODE body."""
    entries: list[NodeEntry] = []
    try:
        at = _COUNT.size
        for _ in range(_count(body)):
            entries.append(NodeEntry(*_take_stats(body, at)))
            at += _STAT.size
    except (struct.error, _Uncommon):
        return None
    return entries if at == len(body) else None


class _Uncommon(Exception):
    """An entry of another form."""


def _count(body: bytes) -> int:
    return int(_COUNT.unpack_from(body)[0])


def _take_name(body: bytes, at: int) -> tuple[str, int]:
    names, fs_type, length = _NAME.unpack_from(body, at)
    at += _NAME.size
    if names != 1 or fs_type != FsType.UNIX or at + length > len(body):
        raise _Uncommon
    return body[at:at + length].decode("utf-8", "surrogateescape"), at + length + -length % 4


def _take_stats(body: bytes, at: int) -> tuple[Stats, int, int]:
    (many, unsupported, _, ftype, mtime, _, _, owner, group, fattr, size, _, node,
     fh_info) = _STAT.unpack_from(body, at)
    if many != 1:
        raise _Uncommon
    known_group = None if unsupported & _NO_GROUP else group
    return (ftype, size, mtime, owner, known_group, fattr & 0o7777), node, fh_info


_NO_GROUP = int(FileStatUnsupported.GROUP)
