"""Where restored files go: a tree made beneath one folder of an export, one plain name at a time.

Nothing is written through a symbolic link, and no existing file is written in place: a new name is made with
O_EXCL, an old one is replaced by renaming what was made aside. Folders stay closed to others (0700) while
they are filled; their owner, mode and times are set when they are left.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from ndmpd.formats import acls, xattrs
from ndmpd.formats.beneath import Descent, make_folders, openat2
from ndmpd.formats.tally import Tally
from ndmpd.formats.tar_reader import EntryReader
from ndmpd.pieces import OpenFile
from protocol.streams import pax
from protocol.streams.tar import Type
from protocol.streams.tarentry import Entry

SMALL = 128 << 10
"""Files up to this many bytes are written from memory."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FORMATS = {Type.FIFO: stat.S_IFIFO, Type.CHARACTER: stat.S_IFCHR, Type.BLOCK: stat.S_IFBLK,
            Type.SYMLINK: stat.S_IFLNK}
_NOWHERE = b"\0"  # equal to no path


@dataclass(slots=True)
class _Level:
    """A folder that is being filled. ``entry``: its own, to be applied at the end. ``times``: of a folder
    that was there and has no entry. ``inherits``: what is made in it gets an ACL of its default.
    ``relative``: its path below the selected name. ``group``: which group a file gets that is made in it.
    """

    entry: Entry | None
    relative: bytes
    inherits: bool
    group: int
    times: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A restored file that other names may want to link to."""

    place: Place
    relative: bytes
    device: int
    inode: int


class Place:
    """The destination of one selected name. ``root`` opens the exported folder, ``inside`` is the path in it.

    ``relative`` arguments are paths below the selected name, b"" for itself. ``exact_modes``: the umask is 0,
    so that a file can be made with its mode.
    """

    def __init__(self, root: Callable[[], OpenFile], inside: bytes, tally: Tally, *, with_acls: bool = True,
                 overwrite: bool = True, exact_modes: bool = False) -> None:
        self._root = root
        self.inside = inside
        self._tally = tally
        self._with_acls = with_acls
        self._overwrite = overwrite
        self._exact_modes = exact_modes
        self._above, _, self._leaf = inside.rpartition(b"/")
        self._descent: Descent | None = None
        self._levels: list[_Level] = []
        self._parent = _NOWHERE
        self._user, self._group = os.geteuid(), os.getegid()
        self._own: Entry | None = None
        self._aside = 0

    def path(self, relative: bytes) -> bytes:
        """How messages call ``relative``: its path inside the export."""
        return b"/".join(part for part in (self.inside, relative) if part)

    def close(self) -> None:
        """Finish every folder and let go of all descriptors. The place can be used again."""
        if self._descent is None:
            return
        try:
            self._rise_to(0)
            if self._own is not None:
                self._finish(self._descent.fd, _Level(self._own, b"", inherits=False, group=-1))
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._descent is not None:
            self._descent.close()
        self._descent = None
        self._levels.clear()
        self._parent = _NOWHERE

    def _open(self) -> Descent:
        if self._descent is None:
            root = self._root()
            fd = make_folders(root.fd, self._above) if self._leaf else os.dup(root.fd)
            root.close()
            self._descent = Descent(fd)
            self._levels = [self._level(fd, None, b"")]
        return self._descent

    def _level(self, fd: int, entry: Entry | None, relative: bytes, *, inherits: bool = False,
               times: tuple[int, int] | None = None) -> _Level:
        status = os.fstat(fd)
        group = status.st_gid if status.st_mode & stat.S_ISGID else self._group
        inherits = inherits or (self._with_acls and xattrs.has_default_acl(fd))
        return _Level(entry, relative, inherits, group, times)

    def _enter(self, relative: bytes) -> tuple[int, bytes]:
        """Make the folder that holds ``relative`` the current one: its descriptor, and the last name."""
        parent, _, name = relative.rpartition(b"/")
        if self._descent is not None and parent == self._parent and relative:
            return self._descent.fd, name
        descent = self._open()
        if not relative:
            parts, name = [], self._leaf
        else:
            parts = ([self._leaf] if self._leaf else []) + (parent.split(b"/") if parent else [])
        common = 0
        while common < min(len(parts), descent.depth) and descent.name(common + 1) == parts[common]:
            common += 1
        self._rise_to(common)
        for depth in range(common, len(parts)):
            self._descend(parts[depth], b"/".join(parts[1 if self._leaf else 0:depth + 1]))
        if relative:
            self._parent = parent
        return descent.fd, name

    def _rise_to(self, depth: int) -> None:
        assert self._descent is not None
        self._parent = _NOWHERE
        while self._descent.depth > depth:
            self._finish(self._descent.fd, self._levels.pop())
            try:
                self._descent.up()
            except OSError:
                self._let_go()
                raise

    def _descend(self, name: bytes, relative: bytes) -> None:
        """Into a folder that has no entry of its own before what it holds: made if it is missing."""
        assert self._descent is not None
        times = None
        try:
            os.mkdir(name, 0o755, dir_fd=self._descent.fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=self._descent.fd, follow_symlinks=False)
            times = (status.st_atime_ns, status.st_mtime_ns)
        fd = self._descent.down(name)
        self._levels.append(self._level(fd, None, relative, times=times))

    def _finish(self, fd: int, level: _Level) -> None:
        try:
            if level.entry is not None:
                if level.inherits:
                    xattrs.drop_acls(fd, acls.DEFAULT)
                self._apply(fd, level.entry, level.relative, inherits=level.inherits)
            elif level.times is not None:
                os.utime(fd, ns=level.times)
        except OSError as error:
            self._tally.attribute(self.path(level.relative), "folder not finished", _reason(error))

    def folder(self, entry: Entry, relative: bytes) -> None:
        """Restore a folder; its attributes are set when it is left."""
        if not relative and not self._leaf:
            self._open()
            self._own = entry
            return
        parent, name = self._enter(relative)
        assert self._descent is not None
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                if not self._overwrite:
                    raise
                os.unlink(name, dir_fd=parent)
                os.mkdir(name, 0o700, dir_fd=parent)
        inherits = self._levels[-1].inherits
        fd = self._descent.down(name)
        self._parent = relative
        self._levels.append(self._level(fd, entry, relative, inherits=inherits))

    def file(self, entry: Entry, relative: bytes, reader: EntryReader) -> Made | None:
        """Restore a regular file with its data. What it is comes back where links to it may follow."""
        parent, name = self._enter(relative)
        level = self._levels[-1]
        mode = entry.mode & 0o777 if self._exact_modes and not level.inherits else 0o600
        aside = None
        try:
            fd = os.open(name, _NEW, mode, dir_fd=parent)
        except FileExistsError:
            aside = self._name_aside(parent)
            fd = os.open(aside, _NEW, mode, dir_fd=parent)
        file = None
        made = None
        try:
            if entry.stored <= SMALL and not entry.map_follows and entry.sparse is None:
                if entry.stored:
                    data = reader.body(entry)
                    if os.write(fd, data) != len(data):
                        _write_at(fd, data, 0)
            else:
                file = OpenFile(fd, os.fsdecode(self.path(relative)))
                self._data(file, entry, reader)
            self._apply(fd, entry, relative, inherits=level.inherits, group=level.group, mode=mode)
            if entry.records and entry.shared:
                status = os.fstat(fd)
                made = Made(self, relative, status.st_dev, status.st_ino)
        except BaseException:
            os.unlink(aside or name, dir_fd=parent)
            raise
        finally:
            if file is None:
                os.close(fd)
            else:
                file.close()
        if aside is not None:
            self._replace(aside, name, parent)
        return made

    def _data(self, file: OpenFile, entry: Entry, reader: EntryReader) -> None:
        ranges = reader.ranges(entry)
        if ranges is None:
            ranges = [(0, entry.stored)]
        elif entry.size:
            os.ftruncate(file.fd, entry.size)
        reader.body_into(file, ranges, _write_at)

    def other(self, entry: Entry, relative: bytes) -> Made | None:
        """Restore a symbolic link, a fifo or a device node."""
        parent, name = self._enter(relative)
        kind = _FORMATS[Type(entry.type)]

        def make(as_name: bytes) -> None:
            if entry.type == Type.SYMLINK:
                os.symlink(entry.linkname, as_name, dir_fd=parent)
            else:
                device = os.makedev(entry.major, entry.minor) if entry.type != Type.FIFO else 0
                os.mknod(as_name, kind | 0o600, device, dir_fd=parent)

        final = self._make(make, name, parent)
        fd = os.open(final, _PATH, dir_fd=parent)
        try:
            status = os.fstat(fd)
            if stat.S_IFMT(status.st_mode) != kind or status.st_nlink != 1:
                raise OSError(errno.ESTALE, "somebody else replaced it meanwhile", os.fsdecode(name))
            self._apply(f"/proc/self/fd/{fd}", entry, relative,
                        inherits=self._levels[-1].inherits and entry.type != Type.SYMLINK)
            if final != name:
                self._replace(final, name, parent)
            return Made(self, relative, status.st_dev, status.st_ino) if entry.shared else None
        finally:
            os.close(fd)

    def link(self, made: Made, relative: bytes) -> None:
        """Another name for what was restored before. OSError (ESTALE) where that is not there any more."""
        source = made.place.reach(made)
        try:
            parent, name = self._enter(relative)

            def make(as_name: bytes) -> None:
                os.link(f"/proc/self/fd/{source}", as_name, dst_dir_fd=parent, follow_symlinks=True)

            final = self._make(make, name, parent)
            if final != name:
                self._replace(final, name, parent)
                try:
                    # Where both names are of one file already, rename leaves them alone.
                    os.unlink(final, dir_fd=parent)
                except FileNotFoundError:
                    pass
        finally:
            os.close(source)

    def find(self, relative: bytes) -> Made | None:
        """What is at ``relative`` now, if it can have a further name."""
        try:
            root = self._root()
            try:
                fd = openat2(root.fd, self.path(relative), _PATH, links=False)
            finally:
                root.close()
        except OSError:
            return None
        status = os.fstat(fd)
        os.close(fd)
        return None if stat.S_ISDIR(status.st_mode) else Made(self, relative, status.st_dev, status.st_ino)

    def reach(self, made: Made) -> int:
        """A descriptor (O_PATH) of what was restored here."""
        root = self._root()
        try:
            fd = openat2(root.fd, self.path(made.relative), _PATH)
        finally:
            root.close()
        status = os.fstat(fd)
        if (status.st_dev, status.st_ino) != (made.device, made.inode):
            os.close(fd)
            raise OSError(errno.ESTALE, "the file with the data was replaced meanwhile")
        return fd

    def _make(self, make: Callable[[bytes], None], name: bytes, parent: int) -> bytes:
        """Make something under ``name``, or aside where that is taken: the name it has now."""
        try:
            make(name)
            return name
        except FileExistsError:
            aside = self._name_aside(parent)
            make(aside)
            return aside

    def _name_aside(self, parent: int) -> bytes:
        """A free name in ``parent``. FileExistsError where nothing may be replaced."""
        if not self._overwrite:
            raise FileExistsError(errno.EEXIST, "exists already, and RESTORE_OVERWRITE=n")
        while True:
            self._aside += 1
            aside = b".ndmpd-restore-%d" % self._aside
            try:
                os.stat(aside, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return aside

    def _replace(self, aside: bytes, name: bytes, parent: int) -> None:
        try:
            os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            try:
                if error.errno not in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
                    raise
                os.rmdir(name, dir_fd=parent)  # an empty folder makes way, as with GNU tar
                os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                try:
                    os.unlink(aside, dir_fd=parent)
                except FileNotFoundError:
                    pass
                raise

    def _apply(self, file: int | str, entry: Entry, relative: bytes, *, inherits: bool, group: int = -1,
               mode: int = -1) -> None:
        """Owner, attributes, mode, times: in this order, since each may undo a later one.

        ``group`` and ``mode``: what a file that this process has just made has already.
        """
        if entry.gid != group or entry.uid != self._user:
            try:
                os.chown(file, entry.uid, entry.gid)
            except (OSError, OverflowError) as error:
                self._tally.attribute(self.path(relative), "owner not restored", _reason(error))
        if inherits:
            xattrs.drop_acls(file, acls.ACCESS)
        if entry.records and xattrs.has_any(entry):
            xattrs.restore(file, entry, self.path(relative), self._tally, with_acls=self._with_acls)
        if entry.mode != mode and entry.type != Type.SYMLINK:
            try:
                os.chmod(file, entry.mode)
            except OSError as error:
                self._tally.attribute(self.path(relative), "mode not restored", _reason(error))
        try:
            os.utime(file, ns=(_access_time(entry) if entry.records else entry.mtime_ns, entry.mtime_ns))
        except (OSError, OverflowError) as error:
            self._tally.attribute(self.path(relative), "times not restored", _reason(error))


def _access_time(entry: Entry) -> int:
    value = entry.records.get(b"atime")
    return entry.mtime_ns if value is None else pax.take_time(value)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
