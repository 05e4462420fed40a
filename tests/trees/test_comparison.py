"""The tree comparer must see every kind of difference: the tests of backups are worth no more than it is."""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trees.comparison import compare, compare_entry, differences
from tests.trees.odd import access_list

MIB = 1 << 20


@pytest.fixture
def before(tmp_path: Path) -> Path:
    root = tmp_path / "before"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "inner").write_bytes(b"inner\n")
    (root / "file").write_bytes(b"a" * (2 * MIB) + b"end")
    (root / "linked").write_bytes(b"linked")
    os.link(root / "linked", root / "folder" / "link")
    os.symlink("file", root / "symlink")
    os.mkfifo(root / "fifo")
    with open(root / "sparse", "wb") as sparse:
        sparse.seek(4 * MIB)
        sparse.write(b"end")
        sparse.truncate(8 * MIB)
    os.setxattr(root / "file", "user.text", b"value")
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(10**18, 10**18 + 5), follow_symlinks=False)
    os.utime(root, ns=(10**18, 10**18 + 5))
    return root


@pytest.fixture
def after(before: Path) -> Path:
    copy = before.with_name("after")
    subprocess.run(["cp", "-a", "--sparse=always", before, copy], check=True)
    return copy


def keeping_time(path: Path, action: Callable[[Path], object]) -> None:
    """Change a file, and give it and its directory their times back."""
    times = {place: os.lstat(place) for place in (path, path.parent)}
    action(path)
    for place, status in times.items():
        if os.path.lexists(place):
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def fill_holes(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content)


def unlink_twin(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def same_file(path: Path) -> None:
    """Two separate files of the same content and status become one."""
    path.unlink()
    os.link(path.with_name("linked"), path)


# what, the entry changed, the change, the line that must be reported
CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a byte in the middle": ("file", lambda p: overwrite(p, MIB + 7, b"b"), r"differs from byte 1048583"),
    "the last byte": ("file", lambda p: overwrite(p, 2 * MIB + 2, b"b"), r"differs from byte 2097154"),
    "a byte in a hole": ("sparse", lambda p: overwrite(p, 6 * MIB, b"b"), r"differs from byte 6291456"),
    "a shorter file": ("file", lambda p: os.truncate(p, 5), r"had 2097155 bytes, has 5"),
    "filled holes": ("sparse", fill_holes, r"holes are filled"),
    "a mode": ("file", lambda p: p.chmod(0o600), r"mode was 0644, is 0600"),
    "a setuid bit": ("file", lambda p: p.chmod(0o4644), r"mode was 0644, is 4644"),
    "a directory's mode": ("folder", lambda p: p.chmod(0o1755), r"mode was 0755, is 1755"),
    "a missing file": ("file", lambda p: p.unlink(), r"file is missing"),
    "a missing directory": ("folder/inner", lambda p: p.unlink(), r"file is missing"),
    "a file too many": ("new", lambda p: p.touch(), r"was not there before"),
    "another type": ("file", lambda p: replace(p, os.mkfifo), r"was a file, is a fifo"),
    "a symlink for its target": ("symlink", lambda p: replace(p, Path.touch), r"is a file"),
    "another target": ("symlink", lambda p: replace(p, lambda q: os.symlink("gone", q)), r"pointed to"),
    "an attribute's value": ("file", lambda p: os.setxattr(p, "user.text", b"other"), r"is b'other'"),
    "an attribute less": ("file", lambda p: os.removexattr(p, "user.text"), r"'user.text' is missing"),
    "an attribute more": ("folder", lambda p: os.setxattr(p, "user.x", b""), r"was not there before"),
    "a broken hard link": ("linked", unlink_twin, r"no longer the same file: 'folder/link', 'linked'"),
}  # fmt: skip


def test_a_copy_is_the_same(before: Path, after: Path) -> None:
    comparison = compare(before, after)
    assert comparison.found == []
    assert comparison.entries == 8


@pytest.mark.parametrize("change", CHANGES, ids=[name.replace(" ", "-") for name in CHANGES])
def test_every_change_is_found_and_nothing_else(before: Path, after: Path, change: str) -> None:
    name, action, expected = CHANGES[change]
    if not os.path.lexists(after / name):
        keeping_time(after, lambda _: action(after / name))
    else:
        keeping_time(after / name, action)
    found = differences(before, after)
    assert len(found) == 1, found
    assert re.search(expected, found[0])


@pytest.mark.parametrize("name", ["file", "folder", "symlink", "."])
def test_a_time_that_is_off_by_a_nanosecond_is_found(before: Path, after: Path, name: str) -> None:
    os.utime(after / name, ns=(0, 10**18 + 6), follow_symlinks=False)
    assert [line for line in differences(before, after) if "modified at" in line]


def test_entries_of_different_names_can_be_compared(before: Path, after: Path) -> None:
    (after / "folder").rename(after / "renamed")
    assert compare_entry(before / "folder", after / "renamed").found == []
    keeping_time(after / "renamed" / "inner", lambda p: p.write_bytes(b"other\n"))
    assert compare_entry(before / "folder", after / "renamed").found == [
        "'folder/inner': content differs from byte 0"
    ]


def test_files_that_became_one_are_found(before: Path, after: Path) -> None:
    for root in (before, after):
        (root / "twin").write_bytes(b"linked")
        for path in (root / "twin", root):
            os.utime(path, ns=(10**18, 10**18 + 5))
    keeping_time(after / "twin", same_file)
    found = differences(before, after)
    assert any("became the same file: 'folder/link', 'linked', 'twin'" in line for line in found), found


def test_an_access_list_that_is_lost_is_found(before: Path, after: Path) -> None:
    extended = access_list(owner=6, users={1: 4}, group=4, groups={}, mask=4, other=4)
    os.setxattr(before / "file", "system.posix_acl_access", extended)
    assert any("system.posix_acl_access" in line for line in differences(before, after))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make devices and foreign owners")
def test_owners_and_devices_are_compared(before: Path, after: Path) -> None:
    os.chown(after / "file", 5, 6)
    os.mknod(before / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(after / "device", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    found = "\n".join(differences(before, after))
    assert "owner was 0:0, is 5:6" in found
    assert "device was 1:3, is 1:5" in found


def test_only_the_kinds_named_may_be_missing(before: Path, after: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(before / "socket"))
    os.utime(before, ns=(10**18, 10**18 + 5))
    assert [line for line in differences(before, after) if "socket is missing" in line]
    allowed = compare(before, after, without=frozenset({"socket"}))
    assert (allowed.found, allowed.missing) == ([], [b"socket"])


def test_paths_longer_than_the_system_takes_are_compared(tmp_path: Path) -> None:
    from tests.trees.odd import make_deep_tree

    make_deep_tree(tmp_path / "one", 4500)
    make_deep_tree(tmp_path / "other", 4500)
    comparison = compare(tmp_path / "one", tmp_path / "other")
    assert comparison.entries == 24
    assert all("modified at" in line for line in comparison.found)
    shutil.rmtree(tmp_path / "one")
    shutil.rmtree(tmp_path / "other")
