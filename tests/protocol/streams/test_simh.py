"""SIMH tape images: golden bytes of the format's description, and refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.streams.simh import END_OF_MEDIUM, MARK, Mark, Record, after, before, scan


def objects(image: bytes) -> list[Record | Mark]:
    return list(scan(lambda offset, size: image[offset:offset + size]))


IMAGE = bytes.fromhex(
    "04000000" "61626364" "04000000"      # a record of four bytes
    "feffffff"                            # an erase gap
    "03000000" "414243" "00" "03000000"   # an odd one, padded
    "00000000"                            # a tape mark
    "02000080" "7a7a" "02000080"          # a damaged one
    "00000000"
    "ffffffff"                            # end of medium
    "deadbeef")                           # never looked at


def test_an_image_is_its_records_and_marks_to_the_end_of_medium() -> None:
    assert objects(IMAGE) == [Record(4, 4), Record(20, 3), Mark(), Record(36, 2, damaged=True), Mark()]


def test_an_image_without_an_end_of_medium_ends_with_the_file() -> None:
    assert objects(IMAGE[:16]) == [Record(4, 4)]
    assert objects(b"") == []


def test_records_are_framed_as_the_format_says() -> None:
    assert before(3) + b"ABC" + after(3) == IMAGE[16:28]
    assert before(4) + b"abcd" + after(4) == IMAGE[:12]
    assert IMAGE[28:32] == MARK and IMAGE[46:50] == END_OF_MEDIUM


@pytest.mark.parametrize("end", [1, 3, 4, 7, 8, 11])
def test_a_cut_image_is_refused(end: int) -> None:
    with pytest.raises(WireError, match="cut off"):
        objects(IMAGE[:end])


@pytest.mark.parametrize("image", [
    "04000000 61626364 05000000", "03000000 414243 03000000 00000000", "00000090", "ffffff0f", "00000001"])
def test_what_is_no_image_is_refused(image: str) -> None:
    with pytest.raises(WireError):
        objects(bytes.fromhex(image) + bytes(32))


@given(st.binary(max_size=64))
def test_any_bytes_are_an_image_or_a_wire_error(image: bytes) -> None:
    try:
        found = objects(image)
    except WireError:
        return
    assert all(isinstance(one, Mark) or one.offset + one.size <= len(image) for one in found)


@given(st.lists(st.binary(max_size=9)))
def test_what_was_framed_is_found_again(tape: list[bytes]) -> None:
    framed = [before(len(one)) + one + after(len(one)) if one else MARK for one in tape]
    image = b"".join(framed) + END_OF_MEDIUM
    assert [b"" if isinstance(one, Mark) else image[one.offset:one.offset + one.size]
            for one in objects(image)] == tape
