"""A real tree: files of this machine that nobody made for a test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ENOUGH_FILES = 20_000
LARGEST = 3 << 30  # bytes; it must fit on a cartridge of the embedded SAN with room to spare


@dataclass(frozen=True, slots=True)
class RealTree:
    path: Path
    files: int
    size: int


def find_real_tree(below: Path = Path("/usr"), enough: int = ENOUGH_FILES) -> RealTree | None:
    """Of the directories at most two levels below ``below`` with ``enough`` regular files, the one with the
    fewest bytes (ties: the first by name). The same on every call while the machine's packages stay the
    same.
    """
    candidates: list[RealTree] = []
    _count(below, 0, candidates)
    fitting = [tree for tree in candidates if tree.files >= enough and tree.size <= LARGEST]
    return min(fitting, key=lambda tree: (tree.size, str(tree.path)), default=None)


def _count(directory: Path, level: int, candidates: list[RealTree]) -> tuple[int, int]:
    files = size = 0
    try:
        entries = list(os.scandir(directory))
    except PermissionError:
        return 0, 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            more_files, more_size = _count(Path(entry.path), level + 1, candidates)
            files, size = files + more_files, size + more_size
        elif entry.is_file(follow_symlinks=False):
            files, size = files + 1, size + entry.stat(follow_symlinks=False).st_size
    if level <= 2:
        candidates.append(RealTree(directory, files, size))
    return files, size
