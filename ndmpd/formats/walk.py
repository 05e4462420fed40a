"""The walk through a tree that is backed up: which folders and names, in which order.

A folder's own entry comes first, then what it holds that is no folder, then its folders with all that is in
them, each group sorted by name as bytes. So a subtree is one contiguous range of the stream. The walk stays
on one file system unless told, follows no symbolic link, and holds a bounded number of descriptors.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ndmpd.errors import SourceError
from ndmpd.formats.beneath import FOLDER, Descent
from ndmpd.formats.environment import Environment
from ndmpd.formats.selection import relative
from ndmpd.formats.tally import Tally
from ndmpd.pieces import OpenFile

Wanted = dict[bytes, "Wanted | None"]
"""Names to visit in a folder; below a name: None for everything."""

_ROOT_INDEX_BITS = 56


@dataclass(slots=True)
class Folder:
    """A folder, open while it is visited. ``path``: from the root, b"" for the root itself. ``node``: its
    number in history, unique in the walk. ``folders``: names and nodes of those in it. ``files``: name, node,
    and whether it is a regular file, of all the rest."""

    fd: int
    path: bytes
    node: int
    parent: int
    status: os.stat_result
    files: list[tuple[bytes, int, bool]] = field(default_factory=list)
    folders: list[tuple[bytes, int]] = field(default_factory=list)

    @property
    def prefix(self) -> bytes:
        """What the path of a child begins with."""
        return self.path + b"/" if self.path else b""


def wanted(environment: Environment) -> Wanted | None:
    """FILES as a tree of names; None where everything is wanted."""
    tree: Wanted = {}
    for value in environment.files:
        path = relative(value)
        if path == b"":
            return None
        if path is None:
            continue
        here: Wanted = tree
        *above, last = path.split(b"/")
        for part in above:
            below = here.setdefault(part, {})
            if below is None:
                break
            here = below
        else:
            here[last] = None
    return tree or None


def exclusion(environment: Environment) -> Callable[[str, str], bool] | None:
    """Whether EXCLUDE leaves out a name: called with the path and with its last component.

    A pattern without "/" is compared with names, one with "/" with the whole path from the root; "*" in it
    matches "/" too. What is excluded takes with it all that is below.
    """
    names: list[str] = []
    paths: list[str] = []
    for pattern in environment.excludes:
        plain = pattern.removeprefix("./").rstrip("/")
        if "/" in plain:
            paths.append(fnmatch.translate(plain.lstrip("/")))
        elif plain:
            names.append(fnmatch.translate(plain))
    if not names and not paths:
        return None
    by_name = re.compile("|".join(names)).match if names else None
    by_path = re.compile("|".join(paths)).match if paths else None

    def excluded(path: str, name: str) -> bool:
        return bool((by_name and by_name(name)) or (by_path and by_path(path)))

    return excluded


class Walk:
    """Visits every folder once. ``crossing``: whether mounted file systems below the root are visited too."""

    def __init__(self, root: OpenFile, environment: Environment, tally: Tally) -> None:
        self._tally = tally
        self._crossing = not environment.flag("ONE_FILE_SYSTEM", True)
        self._excluded = exclusion(environment)
        self._wanted = wanted(environment)
        self._devices: dict[int, int] = {}
        self._descent = Descent(os.dup(root.fd))

    def close(self) -> None:
        self._descent.close()

    def __iter__(self) -> Iterator[Folder]:
        descent = self._descent
        status = os.fstat(descent.fd)
        self._devices[status.st_dev] = 0
        root = Folder(descent.fd, b"", status.st_ino, status.st_ino, status)
        yield from self._visit(root, self._wanted)
        # One frame for each level that still has folders to visit.
        stack = [(root, iter(root.folders), self._wanted)]
        while stack:
            folder, rest, filtered = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                if stack:
                    self._up(folder)
                continue
            name, node = following
            path = folder.prefix + name
            try:
                fd = descent.down(name, _open_folder)
            except OSError as error:
                self._tally.loss(path, f"the folder could not be opened: {error.strerror}")
                continue
            below = Folder(fd, path, node, folder.node, os.fstat(fd))
            inner = filtered.get(name) if filtered else None
            if below.status.st_dev != folder.status.st_dev and not self._crossing:
                self._tally.note(path, "another file system is mounted here, which was left out "
                                       "(ONE_FILE_SYSTEM=n takes it in)")
                yield below
                self._up(below)
                continue
            yield from self._visit(below, inner)
            stack.append((below, iter(below.folders), inner))

    def _up(self, folder: Folder) -> None:
        try:
            self._descent.up()
        except OSError as error:
            raise SourceError(f"/{os.fsdecode(folder.path)}: its folder could not be found again "
                              f"({error.strerror}); start the backup anew") from error

    def _visit(self, folder: Folder, filtered: Wanted | None) -> Iterator[Folder]:
        self._list(folder, filtered)
        yield folder
        folder.files = []

    def _list(self, folder: Folder, filtered: Wanted | None) -> None:
        index = self._devices.setdefault(folder.status.st_dev, len(self._devices)) << _ROOT_INDEX_BITS
        excluded = self._excluded
        prefix = os.fsdecode(folder.prefix)
        files, folders = folder.files, folder.folders
        encode = os.fsencode
        try:
            with os.scandir(folder.fd) as entries:
                for entry in entries:
                    name = entry.name
                    if excluded is not None and excluded(prefix + name, name):
                        continue
                    raw = encode(name)
                    if filtered is not None and raw not in filtered:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((raw, index ^ entry.inode()))
                    else:
                        files.append((raw, index ^ entry.inode(), entry.is_file(follow_symlinks=False)))
        except OSError as error:
            self._tally.loss(folder.path, f"the folder could not be listed: {error.strerror}")
        files.sort()
        folders.sort()
        if filtered is not None:
            found = {child[0] for child in files} | {child[0] for child in folders}
            for missing in sorted(filtered.keys() - found):
                self._tally.loss(folder.prefix + missing, "named in FILES, but not there")


def _open_folder(name: bytes, folder: int) -> int:
    try:
        return os.open(name, FOLDER | os.O_NOATIME, dir_fd=folder)
    except PermissionError:  # O_NOATIME is the owner's and root's
        return os.open(name, FOLDER, dir_fd=folder)
