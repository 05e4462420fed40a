"""Compares two trees, entry by entry: what a restore must have brought back.

Compared: names, types, content, mode with setuid and sticky bits, owners, modification times to the
nanosecond, device numbers, targets of symbolic links, which names are hard links of one another, extended
attributes with ACLs and capabilities, and, roughly, sparseness. Not compared: access and change times,
inode numbers.

Directories are opened relative to one another, so a path may be longer than PATH_MAX.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

CHUNK = 1 << 20
SPARSE_SLACK = (
    64 * 1024
)  # bytes of disk that a file may take more than its original, for blocks of other sizes

Place = tuple[int, bytes]  # an open directory, and a name in it

_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket", stat.S_IFCHR: "character device", stat.S_IFBLK: "block device",
}  # fmt: skip


@dataclass(slots=True)
class Comparison:
    """``without``: kinds of entries that may be missing in the second tree (``socket``, where the format
    has none); those that are, are listed in ``missing``. ``found`` are the differences, one line each.
    """

    without: frozenset[str] = frozenset()
    found: list[str] = field(default_factory=list)
    missing: list[bytes] = field(default_factory=list)
    entries: int = 0
    _links: tuple[dict[tuple[int, int], set[bytes]], dict[tuple[int, int], set[bytes]]] = field(
        default_factory=lambda: ({}, {})
    )

    def note(self, path: bytes, text: str) -> None:
        self.found.append(f"{os.fsdecode(path)!r}: {text}")


def differences(
    before: os.PathLike[str] | str, after: os.PathLike[str] | str, without: frozenset[str] = frozenset()
) -> list[str]:
    """What is different in ``after``; an empty list means that the trees are the same."""
    return compare(before, after, without).found


def compare(
    before: os.PathLike[str] | str, after: os.PathLike[str] | str, without: frozenset[str] = frozenset()
) -> Comparison:
    comparison = Comparison(without)
    tops = [os.open(top, os.O_RDONLY | os.O_DIRECTORY) for top in (before, after)]
    try:
        _compare_status(comparison, b".", os.fstat(tops[0]), os.fstat(tops[1]))
        _compare_attributes(comparison, b".", f"/proc/self/fd/{tops[0]}/.", f"/proc/self/fd/{tops[1]}/.")
        _compare_directory(comparison, b"", tops[0], tops[1])
    finally:
        for top in tops:
            os.close(top)
    _compare_links(comparison)
    return comparison


def compare_entry(before: os.PathLike[str] | str, after: os.PathLike[str] | str) -> Comparison:
    """Compare two single entries, with all below them; they need not have the same name."""
    comparison = Comparison()
    places = [os.path.split(os.fsencode(place)) for place in (before, after)]
    parents = [os.open(parent, os.O_RDONLY | os.O_DIRECTORY) for parent, _ in places]
    try:
        old, new = ((parent, name) for parent, (_, name) in zip(parents, places, strict=True))
        _compare_entry(comparison, places[0][1], old, new)
    finally:
        for parent in parents:
            os.close(parent)
    _compare_links(comparison)
    return comparison


def _compare_directory(comparison: Comparison, prefix: bytes, before: int, after: int) -> None:
    names = [set(_names(directory)) for directory in (before, after)]
    for name in sorted(names[0] | names[1]):
        path = prefix + name
        if name not in names[0]:
            comparison.note(path, "was not there before")
        elif name not in names[1]:
            _note_missing(comparison, path, os.stat(name, dir_fd=before, follow_symlinks=False))
        else:
            _compare_entry(comparison, path, (before, name), (after, name))


def _names(directory: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(directory)]


def _note_missing(comparison: Comparison, path: bytes, status: os.stat_result) -> None:
    if _kind(status) in comparison.without:
        comparison.missing.append(path)
    else:
        comparison.note(path, f"{_kind(status)} is missing")


def _compare_entry(comparison: Comparison, path: bytes, before: Place, after: Place) -> None:
    comparison.entries += 1
    old, new = (os.stat(name, dir_fd=parent, follow_symlinks=False) for parent, name in (before, after))
    if _kind(old) != _kind(new):
        comparison.note(path, f"was a {_kind(old)}, is a {_kind(new)}")
        return
    _compare_status(comparison, path, old, new)
    for status, links in ((old, comparison._links[0]), (new, comparison._links[1])):
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            links.setdefault((status.st_dev, status.st_ino), set()).add(path)
    paths = [b"/proc/self/fd/%d/" % parent + name for parent, name in (before, after)]
    _compare_attributes(comparison, path, paths[0], paths[1])
    if stat.S_ISLNK(old.st_mode):
        targets = [os.readlink(name, dir_fd=parent) for parent, name in (before, after)]
        if targets[0] != targets[1]:
            comparison.note(path, f"pointed to {targets[0]!r}, points to {targets[1]!r}")
    elif stat.S_ISREG(old.st_mode):
        _compare_file(comparison, path, (before, after), (old, new))
    elif stat.S_ISDIR(old.st_mode):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        below = [os.open(name, flags, dir_fd=parent) for parent, name in (before, after)]
        try:
            _compare_directory(comparison, path + b"/", below[0], below[1])
        finally:
            for directory in below:
                os.close(directory)


def _kind(status: os.stat_result) -> str:
    return _KINDS[stat.S_IFMT(status.st_mode)]


def _compare_status(comparison: Comparison, path: bytes, old: os.stat_result, new: os.stat_result) -> None:
    modes = stat.S_IMODE(old.st_mode), stat.S_IMODE(new.st_mode)
    if modes[0] != modes[1]:
        comparison.note(path, f"mode was {modes[0]:04o}, is {modes[1]:04o}")
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        comparison.note(path, f"owner was {old.st_uid}:{old.st_gid}, is {new.st_uid}:{new.st_gid}")
    if old.st_mtime_ns != new.st_mtime_ns:
        comparison.note(path, f"modified at {old.st_mtime_ns} ns, now {new.st_mtime_ns} ns")
    if old.st_rdev != new.st_rdev:
        comparison.note(path, f"device was {_device(old)}, is {_device(new)}")


def _device(status: os.stat_result) -> str:
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def _compare_attributes(comparison: Comparison, path: bytes, before: str | bytes, after: str | bytes) -> None:
    old, new = (_attributes(place) for place in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            comparison.note(path, f"attribute {name!r} is missing")
        elif name not in old:
            comparison.note(path, f"attribute {name!r} was not there before")
        elif old[name] != new[name]:
            comparison.note(path, f"attribute {name!r} was {old[name]!r}, is {new[name]!r}")


def _attributes(place: str | bytes) -> dict[str, bytes]:
    try:
        names = os.listxattr(place, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: os.getxattr(place, name, follow_symlinks=False) for name in names}


def _compare_file(
    comparison: Comparison,
    path: bytes,
    places: tuple[Place, Place],
    statuses: tuple[os.stat_result, os.stat_result],
) -> None:
    old, new = statuses
    if old.st_size != new.st_size:
        comparison.note(path, f"had {old.st_size} bytes, has {new.st_size}")
        return
    if new.st_blocks > old.st_blocks + SPARSE_SLACK // 512 and old.st_blocks * 512 < old.st_size:
        comparison.note(path, f"holes are filled: took {old.st_blocks} blocks, takes {new.st_blocks}")
    flags = os.O_RDONLY | os.O_NOFOLLOW | (os.O_NOATIME if os.geteuid() == 0 else 0)
    files = [os.open(name, flags, dir_fd=parent) for parent, name in places]
    try:
        at = _first_difference(files[0], files[1], old.st_size)
        if at is not None:
            comparison.note(path, f"content differs from byte {at}")
    finally:
        for file in files:
            os.close(file)


def _first_difference(one: int, other: int, size: int) -> int | None:
    """The offset where two files of ``size`` bytes begin to differ. What is a hole in both is not read."""
    for start, stop in _merged(_data(one, size), _data(other, size)):
        for offset in range(start, stop, CHUNK):
            length = min(CHUNK, stop - offset)
            ours, theirs = os.pread(one, length, offset), os.pread(other, length, offset)
            if ours != theirs:
                same = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
                return offset + same
    return None


def _data(file: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are not holes."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(file, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind this offset
                return
            raise
        offset = os.lseek(file, start, os.SEEK_HOLE)
        yield start, min(offset, size)


def _merged(*ranges: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(pair for part in ranges for pair in part):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged


def _compare_links(comparison: Comparison) -> None:
    """Names that were one file must be one file again; names missing altogether have been noted already."""
    groups = [{frozenset(paths) for paths in links.values() if len(paths) > 1} for links in comparison._links]
    for paths in sorted(groups[0] - groups[1], key=sorted):
        comparison.note(min(paths), f"no longer the same file: {_listed(paths)}")
    for paths in sorted(groups[1] - groups[0], key=sorted):
        comparison.note(min(paths), f"became the same file: {_listed(paths)}")


def _listed(paths: frozenset[bytes]) -> str:
    return ", ".join(repr(os.fsdecode(path)) for path in sorted(paths))
