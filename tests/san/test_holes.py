"""What counts as data of a sparse file: what was written, and not who has read it since."""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.san import holes
from ndmpd.san.holes import runs, zero

K = 1024
SIZE = 4096 * K


@pytest.fixture(params=["file system", "tmpfs"])
def fd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A sparse file on the file system of this machine, and one on tmpfs."""
    folder = tmp_path if request.param == "file system" else Path(tempfile.mkdtemp(dir="/dev/shm"))
    found = os.open(folder / "disk", os.O_RDWR | os.O_CREAT)
    os.ftruncate(found, SIZE)
    yield found
    os.close(found)
    if folder is not tmp_path:
        shutil.rmtree(folder)


def data(fd: int, unit: int = 512, end: int = SIZE) -> list[tuple[int, int]]:
    """(KiB, KiB) of each run of data; the runs are checked to cover all there is, by turns."""
    found, at = [], 0
    kind = None
    for offset, length, is_data in runs(fd, 0, end, unit):
        assert offset == at and length > 0 and length % unit == 0 and is_data is not kind
        at, kind = at + length, is_data
        if is_data:
            found.append((offset / K, length / K))
    assert at == end
    return found


def through_the_cache(fd: int) -> None:
    """Read all of it, so that its pages are in the cache."""
    at = 0
    while got := os.pread(fd, 1 << 20, at):
        at += len(got)
    assert at == SIZE


def test_what_was_allocated_and_never_written_is_a_hole_read_or_not(fd: int) -> None:
    os.posix_fallocate(fd, 1024 * K, 1024 * K)
    os.pwrite(fd, b"w" * 64 * K, 1280 * K)
    os.pwrite(fd, b"w" * 8 * K, 64 * K)
    before = data(fd)
    assert before == [(64, 8), (1280, 64)]
    through_the_cache(fd)
    assert data(fd) == before
    os.fsync(fd)
    assert data(fd) == before


def test_what_was_written_is_data_though_it_is_only_in_the_cache(fd: int) -> None:
    """Before and after it is on the medium, in blocks allocated ahead and in a hole."""
    os.posix_fallocate(fd, 0, 2048 * K)
    through_the_cache(fd)
    for place in (4, 100, 1000, 3000):
        os.pwrite(fd, bytes(4 * K), place * K)
        assert (place, 4) in data(fd)
    expected = data(fd)
    assert expected == [(4, 4), (100, 4), (1000, 4), (3000, 4)]
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert data(fd) == expected


def test_what_is_punched_out_is_a_hole_again(fd: int) -> None:
    os.pwrite(fd, b"x" * 256 * K, 0)
    zero(fd, 64 * K, 64 * K)
    through_the_cache(fd)
    assert data(fd) == [(0, 64), (128, 128)]


def test_a_unit_that_is_data_in_part_is_data(fd: int) -> None:
    os.pwrite(fd, b"x" * 4 * K, 20 * K)
    os.pwrite(fd, b"x" * 4 * K, 36 * K)
    assert data(fd, 16 * K) == [(16, 32)]
    assert data(fd, 8 * K) == [(16, 8), (32, 8)]
    assert list(runs(fd, 32 * K, 48 * K, 16 * K)) == [(32 * K, 16 * K, True)]
    assert list(runs(fd, 48 * K, 96 * K, 16 * K)) == [(48 * K, 48 * K, False)]
    assert list(runs(fd, 48 * K, 48 * K, 16 * K)) == []


def test_any_mixture_of_writes_and_allocations_gives_the_map_of_the_writes(fd: int,
                                                                           monkeypatch: pytest.MonkeyPatch
                                                                           ) -> None:
    """A few extents at a time, so that windows end everywhere."""
    monkeypatch.setattr(holes, "_AT_ONCE", 3)
    rng = random.Random(11)
    written: set[int] = set()
    for _ in range(120):
        page, count = rng.randrange(1000), rng.randint(1, 8)
        if rng.random() < 0.4:
            os.posix_fallocate(fd, page * 4 * K, count * 4 * K)
        else:
            os.pwrite(fd, b"d" * count * 4 * K, page * 4 * K)
            written.update(range(page, page + count))
        if rng.random() < 0.1:
            through_the_cache(fd)
    found = {page for at, length in data(fd) for page in range(int(at) // 4, int(at + length) // 4)}
    assert written <= found
    # A file system may write zeros into a few blocks rather than cut what it has allocated in two.
    zeroed = found - written
    assert all(not any(os.pread(fd, 4 * K, page * 4 * K)) for page in zeroed) and len(zeroed) < 300
    through_the_cache(fd)
    os.fsync(fd)
    assert found == {page for at, length in data(fd) for page in range(int(at) // 4, int(at + length) // 4)}


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOTTY])
def test_without_maps_of_extents_it_is_the_seek_that_counts(fd: int, monkeypatch: pytest.MonkeyPatch,
                                                            code: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(holes.fcntl, "ioctl", refuse)
    os.pwrite(fd, b"w" * 4 * K, 64 * K)
    assert data(fd) == [(64, 4)]


def test_a_disk_that_fails_is_not_taken_for_one_without_maps(fd: int,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(holes.fcntl, "ioctl", fail)
    os.pwrite(fd, b"w" * 4 * K, 64 * K)
    with pytest.raises(OSError, match="Input/output error"):
        data(fd)
