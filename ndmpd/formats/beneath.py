"""Paths that cannot leave a folder, whatever symbolic links, ``..`` or a hostile stream say.

Two means. ``openat2`` lets the kernel resolve a path, links inside the folder included, and refuses any step
out of it (RESOLVE_BENEATH). ``Descent`` goes down one plain name at a time, each opened with O_NOFOLLOW, and
holds a bounded number of descriptors however deep the tree is.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass

_OPENAT2 = 437  # the same number on every architecture (Linux 5.6)
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 16  # EAGAIN: something was renamed while the kernel looked

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(folder: int, path: bytes, flags: int, mode: int = 0, *, links: bool = True) -> int:
    """Open ``path`` beneath the folder that ``folder`` is a descriptor of. OSError where that is impossible.

    With ``links`` false no component may be a symbolic link. EXDEV (or ELOOP) says that the path would have
    left the folder. A kernel without openat2 gets every path resolved without any links.
    """
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    code = 0
    for _ in range(_ATTEMPTS):
        fd: int = _libc.syscall(ctypes.c_long(_OPENAT2), ctypes.c_int(folder), ctypes.c_char_p(path or b"."),
                                ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EPERM):
            return _open_plainly(folder, path, flags, mode)
        if code != errno.EAGAIN:
            break
    raise OSError(code, os.strerror(code), os.fsdecode(path))


def _open_plainly(folder: int, path: bytes, flags: int, mode: int) -> int:
    """The same, one component at a time, no link followed: for kernels and sandboxes without openat2."""
    parts = [part for part in path.split(b"/") if part and part != b"."] or [b"."]
    if path.startswith(b"/") or b".." in parts:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    here = os.dup(folder)
    try:
        for part in parts[:-1]:
            below = os.open(part, FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=here)
    finally:
        os.close(here)


def open_folder(folder: int, path: bytes) -> int:
    """The folder ``path`` beneath ``folder``; links inside it are followed."""
    return openat2(folder, path, os.O_RDONLY | os.O_DIRECTORY)


def make_folders(folder: int, path: bytes, mode: int = 0o755) -> int:
    """``open_folder``, making what is missing on the way."""
    try:
        return open_folder(folder, path)
    except FileNotFoundError:
        pass
    made = b""
    here = os.dup(folder)
    try:
        for part in path.split(b"/"):
            if not part:
                continue
            made = made + b"/" + part if made else part
            try:
                below = open_folder(folder, made)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=here)
                below = open_folder(folder, made)
            os.close(here)
            here = below
        found, here = here, -1
        return found
    finally:
        if here >= 0:
            os.close(here)


@dataclass(slots=True)
class _Level:
    name: bytes
    fd: int
    device: int
    inode: int


class Descent:
    """A way down a tree: a stack of folders, the last of them current. ``fd`` is the current one's
    descriptor.

    Levels far above the current one are closed and found again through "..", which must lead to the same
    inode: a folder that was moved meanwhile is an error, not a way out. ``base`` is taken over and stays
    open.
    """

    KEPT = 64

    def __init__(self, base: int) -> None:
        self._levels = [_level(b"", base)]

    @property
    def fd(self) -> int:
        return self._levels[-1].fd

    @property
    def inode(self) -> int:
        return self._levels[-1].inode

    @property
    def depth(self) -> int:
        """How many levels below the base the current folder is."""
        return len(self._levels) - 1

    def name(self, depth: int) -> bytes:
        return self._levels[depth].name

    def down(self, name: bytes, opener: Callable[[bytes, int], int] | None = None) -> int:
        """Make the folder ``name`` of the current one the current one, and return its descriptor."""
        fd = opener(name, self.fd) if opener else os.open(name, FOLDER, dir_fd=self.fd)
        try:
            level = _level(name, fd)
        except OSError:
            os.close(fd)
            raise
        self._levels.append(level)
        far = len(self._levels) - 1 - self.KEPT
        if far > 0:
            self._close(self._levels[far])
        return fd

    def up(self) -> None:
        """Back to the folder above. OSError (ESTALE) where it is not there any more."""
        left = self._levels.pop()
        above = self._levels[-1]
        try:
            if above.fd < 0:
                fd = os.open(b"..", FOLDER, dir_fd=left.fd)
                status = os.fstat(fd)
                if (status.st_dev, status.st_ino) != (above.device, above.inode):
                    os.close(fd)
                    raise OSError(errno.ESTALE, "the folder was moved meanwhile", os.fsdecode(left.name))
                above.fd = fd
        finally:
            self._close(left)

    def close(self) -> None:
        """Close every descriptor. Idempotent."""
        for level in self._levels:
            self._close(level)

    @staticmethod
    def _close(level: _Level) -> None:
        fd, level.fd = level.fd, -1
        if fd >= 0:
            os.close(fd)


def _level(name: bytes, fd: int) -> _Level:
    status = os.fstat(fd)
    return _Level(name, fd, status.st_dev, status.st_ino)
