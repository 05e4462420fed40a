"""Backup as ``tar``: the tree as a plan of pieces.

Headers, small files and padding of many entries are joined into large ``Inline`` pieces; a larger file is a
``FileExtent`` over its descriptor. Whatever a file does meanwhile, its entry has the size its header
announced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from ndmpd.formats import xattrs
from ndmpd.formats.history import History
from ndmpd.formats.run_reader import Run, RunReader
from ndmpd.formats.small_files import PADDING, SMALL, open_file
from ndmpd.formats.tally import Tally, shown
from ndmpd.formats.walk import Folder, Walk
from ndmpd.pieces import FileExtent, Inline, OpenFile, Piece
from protocol.streams import pax, tar, tarentry
from protocol.streams.tar import Type
from protocol.streams.tarentry import Records

JOINED = 256 << 10
"""An ``Inline`` piece is yielded when it has reached this."""
MAX_RANGES = 100_000
"""Data ranges kept apart in a sparse file; beyond them the rest of the file is stored with its holes."""
WATCHED = 32
"""Large files whose descriptors are kept, to see later whether they changed while they were read."""
EXTENT = 1 << 40
"""One piece never covers more, so that counters of any data path can hold it."""

_SPECIAL = {stat.S_IFLNK: Type.SYMLINK, stat.S_IFIFO: Type.FIFO, stat.S_IFCHR: Type.CHARACTER,
            stat.S_IFBLK: Type.BLOCK, stat.S_IFREG: Type.REGULAR}


@dataclass(slots=True)
class _Shared:
    """A file with several names: the first of them, the offset of its entry, and how many are still to
    come.
    """

    path: bytes
    offset: int
    left: int


class TarBackup:
    """One backup. ``with_acls``: whether ACLs are stored (NO_ACLS)."""

    def __init__(self, walk: Walk, history: History, tally: Tally, *, with_acls: bool) -> None:
        self._walk = walk
        self._history = history
        self._tally = tally
        self._with_acls = with_acls
        self._parts: list[bytes] = []
        self._joined = 0
        self._yielded = 0
        self._shared: dict[tuple[int, int], _Shared] = {}
        self._watched: deque[tuple[OpenFile, os.stat_result, bytes]] = deque()
        self._reader = RunReader(history)

    @property
    def position(self) -> int:
        """Stream offset of what is planned next."""
        return self._yielded + self._joined

    def pieces(self) -> Iterator[Piece]:
        """The stream. Counts and history are complete once the iterator is exhausted."""
        try:
            with closing(self._reader.read(self._walk)) as runs:  # type: ignore[type-var]
                for run in runs:
                    yield from self._run(run)
            self._put(tar.END)
            self._history.flush()
            yield self._join()
            while self._watched:
                self._look_again()
        finally:
            self._watched.clear()
            self._reader.close()
            self._walk.close()

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._joined += len(data)

    def _join(self) -> Inline:
        piece = Inline(b"".join(self._parts))
        self._yielded += self._joined
        self._parts.clear()
        self._joined = 0
        return piece

    def _run(self, run: Run) -> Iterator[Piece]:
        folder = run.folder
        if run.first:
            self._begin(folder)
        at = 0
        for segment in run.segments:
            if segment.files:
                self._history.add(segment.placed(self.position), segment.files)
                self._parts += segment.data
                self._joined += segment.size
                at += segment.files
            if segment.skipped:
                name, node, regular = run.files[at]
                at += 1
                yield from self._single(folder, name, node, regular)
            if self._joined >= JOINED:
                yield self._join()

    def _begin(self, folder: Folder) -> None:
        """The folder's own entry. The root is in the history before it has one."""
        if folder.path:
            self._folder_entry(folder)
        self._history.folder(folder.node, folder.parent, _children(folder))
        if not folder.path:
            self._folder_entry(folder)

    def _single(self, folder: Folder, name: bytes, node: int, regular: bool) -> Iterator[Piece]:
        """One file of any kind."""
        path = folder.prefix + name
        large = None
        try:
            if regular:
                large = self._regular(open_file(name, folder.fd), path, node)
            else:
                self._other(folder.fd, name, path, node)
        except OSError as error:
            self._unreadable(path, error)
            return
        if large:
            yield self._join()
            for extent in large:
                self._yielded += extent.length
                yield extent
            self._put(PADDING[self._yielded % tar.BLOCK])

    def _unreadable(self, path: bytes, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self._tally.loss(path, "vanished before it could be read")
        else:
            self._tally.loss(path, f"could not be read: {error.strerror}")

    def _folder_entry(self, folder: Folder) -> None:
        status = folder.status
        records = self._attributes(folder.fd, folder.path)
        self._history.entry(folder.path, status, folder.node, self.position)
        name = folder.path + b"/" if folder.path else b"./"
        self._put(tarentry.put(name, status.st_mode, status.st_uid, status.st_gid, 0, status.st_mtime_ns,
                               Type.FOLDER, records=records))

    def _attributes(self, file: int | str, path: bytes) -> Records | None:
        try:
            names = os.listxattr(file)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                self._tally.attribute(path, "attributes not saved", error.strerror or str(error))
            return None
        return xattrs.of(file, names, path, self._tally, with_acls=self._with_acls) if names else None

    def _regular(self, fd: int, path: bytes, node: int) -> list[FileExtent] | None:
        """Put the entry of a regular file. What of it is too large to be put comes back; it closes ``fd``
        else.
        """
        keep = False
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                self._tally.loss(path, "was replaced by something else while the folder was read")
                return None
            records = self._attributes(fd, path)
            if status.st_nlink > 1:
                records = self._shared_entry(path, status, node, records)
                if records is None:
                    return None
            size = status.st_size
            if status.st_blocks * 512 < size and (ranges := _data_ranges(fd, size)) is not None:
                self._history.entry(path, status, node, self.position)
                self._sparse_header(path, status, ranges, records)
            elif size <= SMALL:
                self._history.entry(path, status, node, self.position)
                self._small(fd, path, status, records)
                return None
            else:
                self._history.entry(path, status, node, self.position)
                self._put(tarentry.put(path, status.st_mode, status.st_uid, status.st_gid, size,
                                       status.st_mtime_ns, Type.REGULAR, records=records))
                ranges = [(0, size)]
            keep = True
            file = OpenFile(fd, shown(path))
            self._watched.append((file, status, path))
            if len(self._watched) > WATCHED:
                self._look_again()
            return [FileExtent(file, at, min(EXTENT, offset + length - at))
                    for offset, length in ranges for at in range(offset, offset + length, EXTENT)]
        except OSError as error:
            self._unreadable(path, error)
            return None
        finally:
            if not keep:
                os.close(fd)

    def _small(self, fd: int, path: bytes, status: os.stat_result, records: Records | None) -> None:
        size = status.st_size
        head = tarentry.put(path, status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns,
                            Type.REGULAR, records=records)
        parts = self._parts
        parts.append(head)
        self._joined += len(head)
        if not size:
            return
        try:
            data = os.read(fd, size)
            while len(data) < size and (more := os.read(fd, size - len(data))):
                data += more
            after = os.fstat(fd)
            if after.st_mtime_ns != status.st_mtime_ns or after.st_ctime_ns != status.st_ctime_ns:
                self._tally.change(path)
            if len(data) < size:
                self._tally.loss(path, f"shrank from {size} to {len(data)} bytes; the rest is zeros "
                                       "in the backup")
        except OSError as error:
            data = b""
            self._tally.loss(path, f"could not be read: {error.strerror}; its {size} bytes are zeros "
                                   "in the backup")
        if len(data) < size:
            data = data.ljust(size, b"\0")
        parts.append(data)
        padding = PADDING[size % tar.BLOCK]
        parts.append(padding)
        self._joined += size + len(padding)

    def _sparse_header(self, path: bytes, status: os.stat_result, ranges: pax.Ranges,
                       records: Records | None) -> None:
        """GNU tar's sparse format 1.0: the map, then the data ranges one behind the other."""
        size = status.st_size
        body = pax.put_map(ranges if ranges and sum(ranges[-1]) == size else [*ranges, (size, 0)])
        stored = len(body) + sum(length for _, length in ranges)
        folder, _, name = path.rpartition(b"/")
        notes = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", path),
                 (b"GNU.sparse.realsize", b"%d" % size)]
        alias = (folder + b"/" if folder else b"") + b"GNUSparseFile.0/" + name
        self._put(tarentry.put(alias, status.st_mode, status.st_uid, status.st_gid, stored,
                               status.st_mtime_ns, Type.REGULAR, records=notes + (records or [])))
        self._put(body)

    def _shared_entry(self, path: bytes, status: os.stat_result, node: int,
                      records: Records | None) -> Records | None:
        """A file with several names: the first name is marked, a later one becomes a link to it (then
        None).
        """
        key = status.st_dev, status.st_ino
        first = self._shared.get(key)
        if first is None:
            self._shared[key] = _Shared(path, self.position, status.st_nlink - 1)
            return [(tarentry.LINKS, b"%d" % status.st_nlink), *(records or [])]
        first.left -= 1
        if not first.left:
            del self._shared[key]
        self._history.entry(path, status, node, self.position, later_name=True)
        self._put(tarentry.put(path, status.st_mode, status.st_uid, status.st_gid, 0, status.st_mtime_ns,
                               Type.LINK, first.path, records=[(tarentry.DATA, b"%d" % first.offset)]))
        return None

    def _other(self, folder: int, name: bytes, path: bytes, node: int) -> None:
        """Put the entry of what is neither a folder nor a regular file; nothing is opened for reading."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            status = os.fstat(fd)
            kind = _SPECIAL.get(stat.S_IFMT(status.st_mode))
            if stat.S_ISSOCK(status.st_mode):
                self._tally.note(path, "a socket, which no backup can hold; left out")
                return
            if kind is None or kind == Type.REGULAR:
                self._tally.loss(path, "was replaced by something else while the folder was read")
                return
            records = self._attributes(f"/proc/self/fd/{fd}", path)
            target = os.readlink(b"", dir_fd=fd) if kind == Type.SYMLINK else b""
            if status.st_nlink > 1:
                records = self._shared_entry(path, status, node, records)
                if records is None:
                    return
            self._history.entry(path, status, node, self.position)
            device = status.st_rdev if kind in (Type.CHARACTER, Type.BLOCK) else 0
            self._put(tarentry.put(path, status.st_mode, status.st_uid, status.st_gid, 0, status.st_mtime_ns,
                                   kind, target, os.major(device), os.minor(device), records))
        finally:
            os.close(fd)

    def _look_again(self) -> None:
        """Whether the large file that was planned longest ago has changed since."""
        file, before, path = self._watched.popleft()
        if file.fd < 0:
            return
        try:
            after = os.fstat(file.fd)
            changed = (after.st_mtime_ns, after.st_ctime_ns) != (before.st_mtime_ns, before.st_ctime_ns)
        except OSError:  # nobody can say that it did not
            changed = True
        if changed:
            self._tally.change(path)


def _children(folder: Folder) -> Iterator[tuple[bytes, int]]:
    """Names and nodes of what is in ``folder``, sorted; only a history that lists folders asks for them."""
    yield from sorted([(name, node) for name, node, _ in folder.files] + folder.folders)


def _data_ranges(fd: int, size: int) -> pax.Ranges | None:
    """Where ``fd`` has data; None where it has no holes after all, or its file system cannot tell."""
    ranges: pax.Ranges = []
    at = 0
    try:
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # a hole up to the end
            if start >= size:
                break
            if len(ranges) == MAX_RANGES:
                ranges[-1] = (ranges[-1][0], size - ranges[-1][0])
                break
            at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            ranges.append((start, at - start))
    except OSError:
        return None
    finally:
        os.lseek(fd, 0, os.SEEK_SET)
    return None if ranges == [(0, size)] else ranges
