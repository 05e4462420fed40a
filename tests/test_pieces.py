"""Cutting pieces: what is cut apart is, together, what was there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ndmpd.pieces import Inline, LunExtent, Piece, Zeros, part, split

BLOCK = 8
DISK = bytes(range(240))


def bytes_of(piece: Piece) -> bytes:
    match piece:
        case Inline(data):
            return bytes(data)
        case Zeros(length):
            return bytes(length)
        case LunExtent(_, lba, blocks, block_length, skip, short):
            assert 0 <= skip < block_length and 0 <= short < block_length
            return DISK[lba * block_length + skip:(lba + blocks) * block_length - short]
    raise AssertionError(piece)


extents = st.builds(LunExtent, st.just("disk0"), st.integers(0, 10), st.integers(2, 20), st.just(BLOCK),
                    st.integers(0, BLOCK - 1), st.integers(0, BLOCK - 1))
pieces = (extents | st.builds(Inline, st.binary(min_size=2, max_size=99))
          | st.builds(Zeros, st.integers(2, 99)))


@given(pieces, st.data())
def test_both_sides_of_a_cut_are_the_piece_that_was_cut(piece: Piece, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, piece.length - 1))
    first, rest = split(piece, at)
    assert first.length == len(bytes_of(first)) == at
    assert bytes_of(first) + bytes_of(rest) == bytes_of(piece)


@given(pieces, st.data())
def test_a_part_is_the_bytes_it_names(piece: Piece, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, piece.length - 1))
    length = data.draw(st.integers(1, piece.length - start))
    assert bytes_of(part(piece, start, length)) == bytes_of(piece)[start:start + length]


def test_an_extent_cut_inside_a_block_has_that_block_on_both_sides() -> None:
    first, rest = split(LunExtent("disk0", 10, 4, 512), 700)
    assert first == LunExtent("disk0", 10, 2, 512, 0, 324)
    assert rest == LunExtent("disk0", 11, 3, 512, 188, 0)


def test_a_cut_inside_one_block_leaves_it_on_both_sides() -> None:
    first, rest = split(LunExtent("disk0", 10, 1, 512), 100)
    assert (first, rest) == (LunExtent("disk0", 10, 1, 512, 0, 412), LunExtent("disk0", 10, 1, 512, 100, 0))
