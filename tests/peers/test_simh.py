"""The reader of tape images sees records, file marks and damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.simh import BadImage, join_first_file, tape_files

IMAGE = bytes.fromhex(
    "03000000 616263 00 03000000"  # a record of 3 bytes, padded to 4
    "02000000 6465 02000000"
    "00000000"  # file mark
    "01000000 66 00 01000000"
    "00000000 00000000"
    "ffffffff"  # end of medium; what follows is not read
    "12345678"
)


def test_records_and_file_marks_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "image.tap").write_bytes(IMAGE)
    assert tape_files(tmp_path / "image.tap") == [[b"abc", b"de"], [b"f"], [], []]
    assert join_first_file(tmp_path / "image.tap", tmp_path / "joined") == [3, 2]
    assert (tmp_path / "joined").read_bytes() == b"abcde"


@pytest.mark.parametrize("kept", [2, 5, 9, 13])
def test_a_torn_record_is_damage(tmp_path: Path, kept: int) -> None:
    (tmp_path / "image.tap").write_bytes(IMAGE[:kept])
    with pytest.raises(BadImage):
        tape_files(tmp_path / "image.tap")


def test_a_record_whose_lengths_differ_is_damage(tmp_path: Path) -> None:
    (tmp_path / "image.tap").write_bytes(IMAGE[:8] + b"\x04" + IMAGE[9:])
    with pytest.raises(BadImage):
        tape_files(tmp_path / "image.tap")
