"""No path leaves its folder, whatever links and dots it is made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.formats import beneath
from ndmpd.formats.beneath import Descent, make_folders, open_folder, openat2
from tests.trees.odd import make_deep_tree


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[int]:
    """A folder ``inside`` with ways out of it, and the ``secret`` beside it."""
    (tmp_path / "secret").write_text("s")
    folder = tmp_path / "inside"
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/file").write_text("f")
    (folder / "out").symlink_to("..")
    (folder / "absolute").symlink_to(tmp_path / "secret")
    (folder / "within").symlink_to("a/b")
    (folder / "a/b/up").symlink_to("../../a")
    (folder / "magic").symlink_to(f"/proc/self/fd/{os.open(tmp_path, os.O_RDONLY)}")
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


WAYS_OUT = [
    b"../secret",
    b"a/../../secret",
    b"out/secret",
    b"absolute",
    b"/etc/passwd",
    b"magic/secret",
    b"..",
]


@pytest.mark.parametrize("path", WAYS_OUT)
@pytest.mark.parametrize("links", [True, False])
def test_no_path_leads_out(inside: int, path: bytes, links: bool) -> None:
    with pytest.raises(OSError) as refused:
        os.close(openat2(inside, path, os.O_RDONLY, links=links))
    assert refused.value.errno in (errno.EXDEV, errno.ELOOP)


@pytest.mark.parametrize("path", WAYS_OUT)
def test_no_path_leads_out_without_openat2(inside: int, path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath, "_OPENAT2", 100_000)  # a number no kernel has: ENOSYS
    with pytest.raises(OSError) as refused:
        os.close(openat2(inside, path, os.O_RDONLY))
    assert refused.value.errno in (errno.EXDEV, errno.ELOOP, errno.ENOTDIR)


@pytest.mark.parametrize("missing", [False, True], ids=["openat2", "without openat2"])
def test_what_is_inside_opens(inside: int, missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing:
        monkeypatch.setattr(beneath, "_OPENAT2", 100_000)
    for path in (b"a/file", b"./a/file", b"a//file"):
        fd = openat2(inside, path, os.O_RDONLY)
        assert os.read(fd, 9) == b"f"
        os.close(fd)
    os.close(open_folder(inside, b""))


def test_links_that_stay_inside_are_followed_unless_told_not_to(inside: int) -> None:
    fd = openat2(inside, b"within/up/file", os.O_RDONLY)
    assert os.read(fd, 9) == b"f"
    os.close(fd)
    with pytest.raises(OSError):
        openat2(inside, b"within/up/file", os.O_RDONLY, links=False)


def test_missing_folders_are_made(inside: int, tmp_path: Path) -> None:
    os.close(make_folders(inside, b"within/new/newer"))
    assert (tmp_path / "inside/a/b/new/newer").is_dir()
    with pytest.raises(OSError):
        make_folders(inside, b"out/new")
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_is_not_replaced_by_a_folder(inside: int) -> None:
    with pytest.raises(NotADirectoryError):
        make_folders(inside, b"a/file/below")


def test_making_folders_does_not_end_at_the_recursion_limit(inside: int) -> None:
    with pytest.raises(OSError) as refused:
        make_folders(inside, b"/".join([b"d"] * 5000))
    assert refused.value.errno == errno.ENAMETOOLONG


def test_a_descent_follows_no_link(inside: int) -> None:
    descent = Descent(os.dup(inside))
    for name in (b"within", b"out"):
        with pytest.raises(OSError):
            descent.down(name)
    assert descent.depth == 0
    descent.close()


def test_a_descent_holds_a_bounded_number_of_descriptors_and_finds_its_way_back(tmp_path: Path) -> None:
    make_deep_tree(tmp_path / "deep", 40_000)  # 200 levels, far beyond PATH_MAX
    descent = Descent(os.open(tmp_path / "deep", os.O_RDONLY | os.O_DIRECTORY))
    before = len(os.listdir("/proc/self/fd"))
    trail = []
    while names := [name for name in os.listdir(descent.fd) if name != "at the bottom"]:
        trail.append(descent.inode)
        descent.down(os.fsencode(names[0]))
    assert descent.depth > 2 * Descent.KEPT
    assert len(os.listdir("/proc/self/fd")) - before <= Descent.KEPT
    while trail:
        descent.up()
        assert os.fstat(descent.fd).st_ino == descent.inode == trail.pop()
    descent.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_a_folder_that_was_moved_away_is_no_way_out(tmp_path: Path) -> None:
    depth = Descent.KEPT + 5
    folder = tmp_path / "tree"
    for _ in range(depth + 1):
        folder = folder / "d"
    folder.mkdir(parents=True)
    descent = Descent(os.open(tmp_path / "tree", os.O_RDONLY | os.O_DIRECTORY))
    for _ in range(depth):
        descent.down(b"d")
    (tmp_path / "tree/d/d").rename(tmp_path / "elsewhere")
    for _ in range(depth - 2):
        descent.up()
    with pytest.raises(OSError) as moved:
        descent.up()
    assert moved.value.errno == errno.ESTALE
    descent.close()
