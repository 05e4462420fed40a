"""Data phases cut to what the command moves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ndmpd.pieces import FileExtent, Inline, OpenFile, Zeros
from ndmpd.san.dataphase import clip, scatter


@pytest.fixture
def file(tmp_path: Path) -> OpenFile:
    (tmp_path / "file").write_bytes(b"0123456789")
    return OpenFile(os.open(tmp_path / "file", os.O_RDWR), "file")


def test_data_is_scattered_as_far_as_there_is_room(file: OpenFile) -> None:
    buffer = bytearray(3)
    places = [Inline(buffer), Zeros(1), FileExtent(file, 5, 2)]
    assert scatter(b"ABCDEFGHIJ", places) == 6
    assert buffer == b"ABC" and os.pread(file.fd, 10, 0) == b"01234EF789"
    assert scatter(b"xy", places) == 2 and buffer == b"xyC"


def test_clipping_keeps_the_front_of_the_pieces() -> None:
    pieces = [Inline(b"abc"), Zeros(3)]
    assert clip(pieces, 6) == clip(pieces, 9) == pieces
    assert clip(pieces, 4) == [Inline(b"abc"), Zeros(1)]
    assert clip(pieces, 3) == [Inline(b"abc")]
    assert [bytes(one.data) for one in clip(pieces, 2) if isinstance(one, Inline)] == [b"ab"]
