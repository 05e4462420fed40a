"""Copies between files: whole, from any offset to any other; what stops one is found at its first byte."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd import filecopy
from ndmpd.filecopy import CHUNK, copy_range

SIZE = 9 * CHUNK + 77


@pytest.fixture(scope="module")
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)


@pytest.fixture(params=[True, False], ids=["shared", "alone"])
def source(request: pytest.FixtureRequest, content: bytes, tmp_path: Path,
           monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(filecopy, "_SHARED", request.param)
    (tmp_path / "source").write_bytes(content)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("start", "to", "length"), [
    (0, 0, SIZE), (0, 512, 8 * CHUNK), (4096, 3 * CHUNK + 1, 5 * CHUNK), (5, CHUNK - 1, 2), (9, 9, 0)])
def test_the_range_arrives_where_it_should_and_nothing_around_it_changes(
        source: int, target: int, content: bytes, start: int, to: int, length: int) -> None:
    before = bytes([0xEE]) * (to + length + 50)
    os.pwrite(target, before, 0)
    assert copy_range(source, start, target, to, length) == length
    assert os.pread(target, len(before) + 1, 0) == before[:to] + content[start:start + length] + before[-50:]


def test_a_source_that_ends_is_copied_to_its_end(source: int, target: int, content: bytes) -> None:
    assert copy_range(source, 10, target, 100, SIZE + 4 * CHUNK) == SIZE - 10
    assert os.pread(target, SIZE, 100) == content[10:]


def test_what_is_counted_as_copied_ends_before_the_first_fault(
        source: int, target: int, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks behind the fault are copied by the other thread; they do not count."""
    read = os.preadv
    bad = 3 * CHUNK + 17

    def failing(fd: int, buffers: list[memoryview], offset: int) -> int:
        if offset <= bad < offset + len(buffers[0]):
            raise OSError(5, "input/output error")
        return read(fd, buffers, offset)

    monkeypatch.setattr(filecopy.os, "preadv", failing)
    assert copy_range(source, 0, target, 0, SIZE) == 3 * CHUNK
    assert os.pread(target, 3 * CHUNK, 0) == content[:3 * CHUNK]


def test_a_target_that_takes_nothing_is_no_error_here(source: int, tmp_path: Path) -> None:
    (tmp_path / "readonly").touch()
    fd = os.open(tmp_path / "readonly", os.O_RDONLY)
    try:
        assert copy_range(source, 0, fd, 0, SIZE) == 0
    finally:
        os.close(fd)


def test_a_forked_child_of_a_process_that_has_copied_can_copy(
        source: int, target: int, content: bytes) -> None:
    assert copy_range(source, 0, target, 0, SIZE) == SIZE
    child = os.fork()
    if not child:
        done = -1
        try:
            done = copy_range(source, 1, target, 0, SIZE - 1)
        finally:
            os._exit(0 if done == SIZE - 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert os.pread(target, SIZE - 1, 0) == content[1:]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="copies are shared between processors only")
def test_the_helper_ends_with_the_thread_that_it_helped(source: int, target: int) -> None:
    before = set(threading.enumerate())
    seen: list[set[threading.Thread]] = []

    def copy() -> None:
        copy_range(source, 0, target, 0, SIZE)
        seen.append(set(threading.enumerate()) - before)

    thread = threading.Thread(target=copy)
    thread.start()
    thread.join(10)
    helpers = seen[0] - {thread}
    assert len(helpers) == filecopy._SHARED
    for helper in helpers:
        helper.join(10)
        assert not helper.is_alive()
