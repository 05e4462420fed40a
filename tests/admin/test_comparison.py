"""The demonstration's comparison: equal trees are equal, and every single change is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ndmpd.admin.comparison import compare_trees, first_difference


def plant(root: Path) -> None:
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"content" * 1000)
    (root / "d" / "other").write_bytes(b"x")
    (root / "empty").write_bytes(b"")
    (root / "link").symlink_to("d/file")
    os.link(root / "d" / "file", root / "hard")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"n\xe4me")).write_bytes(b"latin-1")
    for at, place in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(place, ns=(0, 1_700_000_000_123_456_789 + at), follow_symlinks=False)
    os.utime(root, ns=(0, 5))


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("left", "right"):
        plant(tmp_path / name)
    return tmp_path / "left", tmp_path / "right"


def test_equal_trees_are_identical_and_counted(trees: tuple[Path, Path]) -> None:
    tally = compare_trees(*trees)
    assert tally.differences == []
    assert tally.identical
    assert tally.entries == 10
    assert tally.size == 7000 + 1 + 7


def keep_times(place: Path, change: Callable[[], object]) -> None:
    """Make a change that no modification time gives away."""
    places = (place, place.parent)
    before = [(each, each.lstat().st_mtime_ns) for each in places if os.path.lexists(each)]
    change()
    for each, time in before:
        if os.path.lexists(each):
            os.utime(each, ns=(0, time), follow_symlinks=False)


def relink(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("d/fil_")


def unlink_hard(root: Path) -> None:
    data = (root / "hard").read_bytes()
    (root / "hard").unlink()
    (root / "hard").write_bytes(data)


CHANGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "content": ("d/other", lambda root: (root / "d" / "other").write_bytes(b"y"), "differs at byte 0"),
    "length": ("empty", lambda root: (root / "empty").write_bytes(b"\0"), "differs at byte 0"),
    "mode": ("d/other", lambda root: (root / "d" / "other").chmod(0o4711), "mode"),
    "directory mode": ("d", lambda root: (root / "d").chmod(0o700), "mode"),
    "missing": ("d/other", lambda root: (root / "d" / "other").unlink(), "missing"),
    "extra": ("d/new", lambda root: (root / "d" / "new").write_bytes(b""), "not in the original"),
    "link": ("link", relink, "leads elsewhere"),
    "hard link": ("hard", unlink_hard, "hard links are not the same"),
    "type": ("d/e", lambda root: ((root / "d" / "e").rmdir(), (root / "d" / "e").write_bytes(b"")),
             "another type"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_single_change_is_seen(trees: tuple[Path, Path], what: str) -> None:
    name, change, complaint = CHANGES[what]
    keep_times(trees[1] / name, lambda: change(trees[1]))
    tally = compare_trees(*trees)
    assert not tally.identical
    assert any(complaint in difference and Path(name).name in difference for difference in tally.differences)


@pytest.mark.parametrize("name", ["d/file", "d", "link", "."])
def test_a_nanosecond_of_modification_time_counts(trees: tuple[Path, Path], name: str) -> None:
    place = trees[1] / name
    os.utime(place, ns=(0, place.lstat().st_mtime_ns + 1), follow_symlinks=False)
    tally = compare_trees(*trees)
    assert any("1 ns later" in difference for difference in tally.differences)


def test_access_times_do_not_count(trees: tuple[Path, Path]) -> None:
    place = trees[1] / "d" / "file"
    os.utime(place, ns=(99, place.lstat().st_mtime_ns))
    assert compare_trees(*trees).identical


def test_extended_attributes_count(trees: tuple[Path, Path]) -> None:
    try:
        os.setxattr(trees[1] / "d" / "file", "user.note", b"1")
    except OSError:
        pytest.skip("no user attributes on this file system")
    tally = compare_trees(*trees)
    assert any("extended attributes" in difference for difference in tally.differences)


def test_owners_count(trees: tuple[Path, Path]) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(trees[1] / "pipe", 12345, 54321)
    assert compare_trees(*trees).differences == ["pipe: owner 0:0 became 12345:54321"]


def test_differences_are_all_counted_and_some_shown(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, ns=(0, 0))
    for at in range(50):
        (tmp_path / "left" / f"f{at}").write_bytes(b"")
    os.utime(tmp_path / "left", ns=(0, 0))
    tally = compare_trees(tmp_path / "left", tmp_path / "right")
    assert tally.differing == 50
    assert len(tally.differences) == 20


def test_files_are_compared_to_their_last_byte(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    data = bytes(3 << 20)
    one.write_bytes(data)
    other.write_bytes(data)
    assert first_difference(str(one), str(other)) is None
    other.write_bytes(data + b"\0")
    assert first_difference(str(one), str(other)) == 3 << 20
    other.write_bytes(data[:-1] + b"\1")
    assert first_difference(str(one), str(other)) == (3 << 20) - 1


def test_an_unreadable_tree_is_an_error_and_not_equal(trees: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        compare_trees(trees[0], tmp_path / "nowhere")


def test_a_name_outside_the_tree_is_no_difference(trees: tuple[Path, Path], tmp_path: Path) -> None:
    """A hard link that only one side has elsewhere is not part of what was backed up."""
    os.link(trees[0] / "d" / "other", tmp_path / "elsewhere")
    assert compare_trees(*trees).differences == []
