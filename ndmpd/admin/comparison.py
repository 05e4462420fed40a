"""Strict comparison of two trees: everything that a restore has to bring back.

Names, types, content, permission bits, owner and group, modification times to the nanosecond (directories'
included), targets of symbolic links, device numbers, extended attributes (ACLs are among them), and which
names are hard links of one file. Access and change times are not compared: reading and restoring sets them.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

CHUNK = 1 << 20
SHOWN = 20
"""Differences kept in words; the rest is only counted."""


@dataclass(slots=True)
class Comparison:
    """What was compared. ``size`` counts bytes of file content, each hard-linked file once."""

    entries: int = 0
    size: int = 0
    differing: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        return self.differing == 0

    def differ(self, path: bytes, what: str) -> None:
        self.differing += 1
        if len(self.differences) < SHOWN:
            self.differences.append(f"{os.fsdecode(path) or '.'}: {what}")


def compare_trees(left: str | os.PathLike[str], right: str | os.PathLike[str]) -> Comparison:
    """Compare what is below ``left`` with what is below ``right``, the two directories themselves included.

    Raises OSError where either tree cannot be read: an unread file must not count as equal.
    """
    tally = Comparison()
    sides = (os.fsencode(left), os.fsencode(right))
    linked: tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]] = ({}, {})
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        first, second = (os.path.join(side, path) if path else side for side in sides)
        stats = os.lstat(first), os.lstat(second)
        tally.entries += 1
        _compare_attributes(tally, path, first, second, stats)
        if stat.S_IFMT(stats[0].st_mode) != stat.S_IFMT(stats[1].st_mode):
            continue
        if stat.S_ISDIR(stats[0].st_mode):
            names = set(os.listdir(first)), set(os.listdir(second))
            for name in names[0] - names[1]:
                tally.differ(os.path.join(path, name), "missing")
            for name in names[1] - names[0]:
                tally.differ(os.path.join(path, name), "not in the original")
            waiting.extend(os.path.join(path, name) for name in sorted(names[0] & names[1], reverse=True))
            continue
        known = _first_names(linked, path, stats)
        if known[0] != known[1]:
            tally.differ(path, "hard links are not the same")
        if stat.S_ISREG(stats[0].st_mode) and known[0] == path:
            tally.size += stats[0].st_size
            at = first_difference(first, second)
            if at is not None:
                tally.differ(path, f"content differs at byte {at}")
    return tally


def _first_names(linked: tuple[dict[tuple[int, int], bytes], dict[tuple[int, int], bytes]], path: bytes,
                 stats: tuple[os.stat_result, os.stat_result]) -> list[bytes]:
    """The first name under which each side showed this file. Names outside the tree do not count."""
    return [side.setdefault((each.st_dev, each.st_ino), path)
            for side, each in zip(linked, stats, strict=True)]


def _compare_attributes(tally: Comparison, path: bytes, first: bytes, second: bytes,
                        stats: tuple[os.stat_result, os.stat_result]) -> None:
    before, after = stats
    if stat.S_IFMT(before.st_mode) != stat.S_IFMT(after.st_mode):
        tally.differ(path, "another type of file")
        return
    modes = stat.S_IMODE(before.st_mode), stat.S_IMODE(after.st_mode)
    if modes[0] != modes[1]:
        tally.differ(path, f"mode {modes[0]:04o} became {modes[1]:04o}")
    if (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
        tally.differ(path, f"owner {before.st_uid}:{before.st_gid} became {after.st_uid}:{after.st_gid}")
    if before.st_mtime_ns != after.st_mtime_ns:
        tally.differ(path, f"modified {after.st_mtime_ns - before.st_mtime_ns} ns later")
    if stat.S_ISLNK(before.st_mode) and os.readlink(first) != os.readlink(second):
        tally.differ(path, "the symbolic link leads elsewhere")
    if (stat.S_ISBLK(before.st_mode) or stat.S_ISCHR(before.st_mode)) and before.st_rdev != after.st_rdev:
        tally.differ(path, "another device number")
    if attributes(first) != attributes(second):
        tally.differ(path, "extended attributes differ")


def attributes(path: bytes) -> dict[str, bytes]:
    """The extended attributes of ``path`` itself; none where the file system has no such thing."""
    try:
        return {name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)}
    except OSError as problem:
        if problem.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise


def first_difference(left: str | bytes, right: str | bytes) -> int | None:
    """The offset of the first byte in which two files (or disks) differ, one being shorter included."""
    at = 0
    with open(left, "rb") as one, open(right, "rb") as other:
        while True:
            before, after = one.read(CHUNK), other.read(CHUNK)
            if before != after:
                for index, (a, b) in enumerate(zip(before, after, strict=False)):
                    if a != b:
                        return at + index
                return at + min(len(before), len(after))
            if not before:
                return None
            at += len(before)
