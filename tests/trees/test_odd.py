"""The odd tree is the same every time and really holds what it says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.trees.comparison import compare
from tests.trees.odd import LARGE_ID, make_odd_tree
from tests.trees.real import find_real_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("odd") / "tree"
    return root, make_odd_tree(root)


def test_two_trees_made_alike_are_alike(tree: tuple[Path, list[str]], tmp_path: Path) -> None:
    again = tmp_path / "again"
    make_odd_tree(again)
    unlike = [line for line in compare(tree[0], again).found if "modified at" not in line]
    assert unlike == []


def test_every_kind_of_entry_is_there(tree: tuple[Path, list[str]]) -> None:
    root, left_out = tree
    kinds = {stat.S_IFMT(os.lstat(path).st_mode) for path in root.rglob("*")}
    kinds_made = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK}
    if os.geteuid() == 0:
        kinds_made |= {stat.S_IFCHR, stat.S_IFBLK}
        assert left_out == []
        assert os.lstat(root / "owners" / str(LARGE_ID)).st_uid == LARGE_ID
    assert kinds == kinds_made


def test_the_sparse_files_have_holes(tree: tuple[Path, list[str]]) -> None:
    statuses = [os.stat(path) for path in (tree[0] / "holes").iterdir()]
    assert max(status.st_size for status in statuses) > 8 << 30
    assert all(status.st_blocks * 512 < status.st_size for status in statuses)


def test_the_real_tree_is_the_smallest_that_is_large_enough(tmp_path: Path) -> None:
    for folder, count, size in (("a", 30, 10), ("b/c", 12, 1), ("d", 9, 1)):
        (tmp_path / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / folder / str(number)).write_bytes(b"x" * size)
    found = find_real_tree(tmp_path, enough=10)
    assert found is not None
    assert (found.path, found.files, found.size) == (tmp_path / "b", 12, 12)
    assert find_real_tree(tmp_path, enough=1000) is None
