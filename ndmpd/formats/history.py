"""File history as a butype makes it, in batches (draft 4.3). Same bytes in versions 3 and 4.

HIST=f sends a path for each entry, HIST=d the names in each folder and a node for each file; y leaves the
choice to the server, which is paths, the draft's set for formats that store names. Order: a folder before
what is in it, and the names of one folder together, "." and ".." first (4.3.2, rules 1 to 4). A file with
several names has one node (rule 5), at the entry that holds its data.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterable
from typing import Protocol

from ndmpd.formats.environment import Environment
from ndmpd.ports import Reporter
from protocol.ndmp.codes import Code, FileStatUnsupported, FileType
from protocol.ndmp.filehist import pack_dir, pack_file, pack_node, post_body

BATCH_BYTES = 32768
"""A post is sent when it has reached this: well inside what DMAs take as one message."""

_TYPES = {
    stat.S_IFDIR: int(FileType.DIR), stat.S_IFIFO: int(FileType.FIFO), stat.S_IFCHR: int(FileType.CSPEC),
    stat.S_IFBLK: int(FileType.BSPEC), stat.S_IFREG: int(FileType.REG), stat.S_IFLNK: int(FileType.SLINK),
    stat.S_IFSOCK: int(FileType.SOCK),
}
_SECOND = 1_000_000_000
_OTHER = int(FileType.OTHER)
_NO_TIMES = int(FileStatUnsupported.ATIME | FileStatUnsupported.CTIME)


class Figures(Protocol):
    """What history tells of a file; ``os.stat_result`` is one. Not its float times: they round up."""

    @property
    def st_mode(self) -> int: ...
    @property
    def st_uid(self) -> int: ...
    @property
    def st_gid(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_nlink(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_atime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


class History:
    """No history: the base of both kinds, and what HIST=n gives."""

    FH_INFO = struct.Struct(">Q")
    """What a packed entry ends with: where it begins in the stream."""

    def folder(self, node: int, parent: int, children: Iterable[tuple[bytes, int]]) -> None:
        """A folder is about to be listed; ``children``: names and nodes of what is in it. The root comes
        first.
        """

    def entry(self, path: bytes, file: Figures, node: int, position: int, *,
              later_name: bool = False) -> None:
        """An entry begins at ``position`` of the stream. ``path``: b"" for the root. ``later_name``: of a
        file that had an entry before."""

    def pack(self, out: bytearray, path: bytes, file: Figures, node: int, position: int) -> None:
        """Append to ``out`` what ``entry`` would post, for ``add``."""

    def add(self, entries: bytearray, count: int) -> None:
        """``count`` packed entries, of which ``entries`` are the bytes."""

    def flush(self) -> None:
        """Post what is still held."""


class _Batch:
    """Packed entries of one post."""

    __slots__ = ("_message", "_report", "count", "entries")

    def __init__(self, report: Reporter, message: Code) -> None:
        self._report, self._message = report, int(message)
        self.entries = bytearray()
        self.count = 0

    def has_room(self, size: int) -> bool:
        return len(self.entries) + size <= BATCH_BYTES

    def add(self, entries: bytearray, count: int) -> None:
        self.entries += entries
        self.count += count

    def send(self) -> None:
        if self.count:
            self._report.history(self._message, post_body(self.count, self.entries))
            self.entries = bytearray()
            self.count = 0


class PathHistory(History):
    """HIST=f. ``times``: whether access and change times are known."""

    def __init__(self, report: Reporter, *, times: bool = True) -> None:
        self._batch = _Batch(report, Code.FH_ADD_FILE)
        self._unsupported = 0 if times else _NO_TIMES

    def entry(self, path: bytes, file: Figures, node: int, position: int, *,
              later_name: bool = False) -> None:
        batch = self._batch
        self.pack(batch.entries, path, file, node, position)
        batch.count += 1
        if len(batch.entries) >= BATCH_BYTES:
            batch.send()

    def pack(self, out: bytearray, path: bytes, file: Figures, node: int, position: int) -> None:
        mode = file.st_mode
        pack_file(out, b"/" + path, _TYPES.get(mode & 0o170000, _OTHER),
                  file.st_mtime_ns // _SECOND, file.st_atime_ns // _SECOND, file.st_ctime_ns // _SECOND,
                  file.st_uid, file.st_gid, mode & 0o7777, file.st_size, file.st_nlink, node, position,
                  self._unsupported)

    def add(self, entries: bytearray, count: int) -> None:
        if not self._batch.has_room(len(entries)):
            self._batch.send()
        self._batch.add(entries, count)

    def flush(self) -> None:
        self._batch.send()


class NodeHistory(History):
    """HIST=d."""

    def __init__(self, report: Reporter) -> None:
        self._dirs = _Batch(report, Code.FH_ADD_DIR)
        self._nodes = _Batch(report, Code.FH_ADD_NODE)

    def folder(self, node: int, parent: int, children: Iterable[tuple[bytes, int]]) -> None:
        self._name(b".", node, node)
        self._name(b"..", parent, node)
        for name, child in children:
            self._name(name, child, node)

    def _name(self, name: bytes, node: int, parent: int) -> None:
        batch = self._dirs
        pack_dir(batch.entries, name, node, parent)
        batch.count += 1
        if len(batch.entries) >= BATCH_BYTES:
            batch.send()

    def entry(self, path: bytes, file: Figures, node: int, position: int, *,
              later_name: bool = False) -> None:
        if later_name:
            return
        batch = self._nodes
        self.pack(batch.entries, path, file, node, position)
        batch.count += 1
        if len(batch.entries) >= BATCH_BYTES:
            self.flush()

    def pack(self, out: bytearray, path: bytes, file: Figures, node: int, position: int) -> None:
        mode = file.st_mode
        pack_node(out, _TYPES.get(mode & 0o170000, _OTHER),
                  file.st_mtime_ns // _SECOND, file.st_atime_ns // _SECOND, file.st_ctime_ns // _SECOND,
                  file.st_uid, file.st_gid, mode & 0o7777, file.st_size, file.st_nlink, node, position)

    def add(self, entries: bytearray, count: int) -> None:
        if not self._nodes.has_room(len(entries)):
            self.flush()
        self._nodes.add(entries, count)

    def flush(self) -> None:
        """Names first: a node must have been named before (rule 5)."""
        self._dirs.send()
        self._nodes.send()


def chosen(environment: Environment, report: Reporter) -> History:
    """The history that HIST asks for; none where it is missing, as the draft has it (3.5.2.3)."""
    match environment.letter("HIST"):
        case "f" | "y" | "t":
            return PathHistory(report)
        case "d":
            return NodeHistory(report)
        case _:
            return History()
