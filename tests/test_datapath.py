"""Bytes of pieces into files, sockets and memory: exactly their length, gaps as zeros that are reported."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ndmpd import datapath
from ndmpd.datapath import copy_from_file, copy_to_file, copy_to_socket, put_bytes, read_bytes
from ndmpd.filecopy import CHUNK
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros
from ndmpd.ports import SourceFault

Carry = Callable[[list[Piece], list[SourceFault]], bytes]


def into_file(pieces: list[Piece], faults: list[SourceFault]) -> bytes:
    fd = os.memfd_create("target")
    try:
        size = copy_to_file(pieces, fd, 7, faults)
        data = os.pread(fd, size + 100, 7)
        assert len(data) == size
        return data
    finally:
        os.close(fd)


def onto_socket(pieces: list[Piece], faults: list[SourceFault]) -> bytes:
    ours, theirs = socket.socketpair()
    found = bytearray()

    def take() -> None:
        while data := theirs.recv(1 << 20):
            found.extend(data)

    thread = threading.Thread(target=take)
    thread.start()
    with ours:
        size = copy_to_socket(pieces, ours, faults)
    thread.join(10)
    theirs.close()
    assert len(found) == size
    return bytes(found)


@pytest.fixture(params=[into_file, onto_socket, lambda pieces, faults: read_bytes(pieces, faults)],
                ids=["file", "socket", "memory"])
def carry(request: pytest.FixtureRequest) -> Carry:
    found: Carry = request.param
    return found


@pytest.fixture
def source(tmp_path: Path) -> OpenFile:
    path = tmp_path / "source"
    path.write_bytes(random.Random(1).randbytes(3 * CHUNK + 5))
    return OpenFile(os.open(path, os.O_RDONLY), "source")


def test_pieces_of_all_kinds_come_in_order(carry: Carry, source: OpenFile, tmp_path: Path) -> None:
    content = (tmp_path / "source").read_bytes()
    faults: list[SourceFault] = []
    pieces: list[Piece] = [Inline(b"a"), Zeros(3), FileExtent(source, 1, 2 * CHUNK + 1), Inline(b""),
                           Zeros(0), Zeros(CHUNK + 1), FileExtent(source, 0, 0), Inline(b"z")]
    assert carry(pieces, faults) == (
        b"a" + bytes(3) + content[1:2 * CHUNK + 2] + bytes(CHUNK + 1) + b"z")
    assert faults == []


def test_thousands_of_small_pieces_are_all_there(carry: Carry) -> None:
    pieces: list[Piece] = []
    for number in range(3000):
        pieces += [Inline(b"%04d" % number), Zeros(1)]
    assert carry(pieces, []) == b"".join(b"%04d\0" % number for number in range(3000))


def test_what_a_file_has_not_is_zeros_and_is_told_from_the_start_of_all(
        carry: Carry, source: OpenFile) -> None:
    faults: list[SourceFault] = []
    short = FileExtent(source, 3 * CHUNK, 100)
    data = carry([Inline(b"12"), short, Inline(b"34")], faults)
    assert len(data) == 104 and data[7:102] == bytes(95) and data[-2:] == b"34"
    assert [(fault.piece, fault.skipped, fault.length) for fault in faults] == [(short, 7, 95)]
    assert "shrunk" in faults[0].reason


def test_a_file_that_cannot_be_read_is_zeros_with_the_reason(carry: Carry, tmp_path: Path) -> None:
    write_only = OpenFile(os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT), "file")
    faults: list[SourceFault] = []
    assert carry([FileExtent(write_only, 0, 2 * CHUNK)], faults) == bytes(2 * CHUNK)
    assert [(fault.skipped, fault.length) for fault in faults] == [(0, 2 * CHUNK)]
    assert faults[0].reason == os.strerror(errno.EBADF)


def test_a_file_that_grew_is_cut(carry: Carry, source: OpenFile, tmp_path: Path) -> None:
    content = (tmp_path / "source").read_bytes()
    assert carry([FileExtent(source, 5, 10)], []) == content[5:15]


def test_a_file_system_without_sendfile_is_read(source: OpenFile, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    sendfile = os.sendfile

    def some_only(out: int, source: int, offset: int, count: int) -> int:
        if offset:
            raise OSError(errno.EINVAL, "Invalid argument")
        return sendfile(out, source, offset, min(count, 1000))

    monkeypatch.setattr(datapath.os, "sendfile", some_only)
    faults: list[SourceFault] = []
    piece = FileExtent(source, 0, 3 * CHUNK + 10)
    data = onto_socket([Inline(b"1"), piece], faults)
    assert data == b"1" + (tmp_path / "source").read_bytes() + bytes(5)
    assert [(fault.skipped, fault.length) for fault in faults] == [(3 * CHUNK + 6, 5)]


def test_a_peer_that_is_gone_is_an_error_and_no_fault_of_the_file(source: OpenFile) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    faults: list[SourceFault] = []
    with pytest.raises(ConnectionError):
        copy_to_socket([FileExtent(source, 0, CHUNK)], ours, faults)
    assert faults == []


def test_a_full_target_is_an_error(source: OpenFile) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            copy_to_file([Inline(b"x")], full, 0, [])
    finally:
        os.close(full)


def test_destinations_are_filled_in_order_from_file_and_memory(source: OpenFile, tmp_path: Path) -> None:
    content = (tmp_path / "source").read_bytes()
    target = OpenFile(os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT), "target")
    for fill in (lambda to: copy_from_file(source.fd, 2, to), lambda to: put_bytes(content[2:2 * CHUNK], to)):
        memory = bytearray(10)
        os.ftruncate(target.fd, 0)
        fill([Inline(memoryview(memory)[2:5]), Zeros(4), FileExtent(target, 3, CHUNK + 1)])
        assert memory == bytes(2) + content[2:5] + bytes(5)
        assert (tmp_path / "target").read_bytes() == bytes(3) + content[9:10 + CHUNK]


def test_a_source_that_ends_fills_what_it_can(source: OpenFile) -> None:
    memory = bytearray(10)
    assert copy_from_file(source.fd, 3 * CHUNK, [Zeros(3), Inline(memory), Zeros(5)]) == 5


@pytest.mark.parametrize("act", [
    lambda piece: read_bytes([piece], []), lambda piece: copy_from_file(0, 0, [piece]),
    lambda piece: put_bytes(b"x", [piece]), lambda piece: copy_to_file([piece], 1, 0, [])])
def test_blocks_are_for_whoever_has_the_disk(act: Callable[[Piece], object]) -> None:
    with pytest.raises(TypeError, match="disk0"):
        act(LunExtent("disk0", 0, 1))
