"""The map of an image: what joins, what stays apart, and what a map too long becomes."""

from __future__ import annotations

import sys
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndmpd.formats.image_map import Extent, ImageMap, MapBuilder, taken, with_zeros
from protocol.errors import WireError
from protocol.streams.image import MAX_EXTENTS, End, Header


def built(*extents: tuple[int, int] | tuple[int, int, bool], **limits: int) -> list[tuple[int, int, bool]]:
    builder = MapBuilder(**limits)
    for extent in extents:
        builder.add(Extent(*extent))
    return [tuple(extent) for extent in builder.finish()]


def test_neighbours_of_one_kind_are_joined():
    assert built((0, 10), (10, 5), (20, 5)) == [(0, 15, False), (20, 5, False)]
    assert built((0, 10, True), (10, 5, True)) == [(0, 15, True)]
    assert built((0, 10), (10, 5, True), (15, 1)) == [(0, 10, False), (10, 5, True), (15, 1, False)]


def test_gaps_shorter_than_asked_become_data():
    assert built((0, 10), (13, 5), (22, 5), gap=4) == [(0, 18, False), (22, 5, False)]
    assert built((0, 10), (13, 50, True), (66, 5), gap=4) == [(0, 13, False), (13, 50, True), (63, 8, False)]


def test_short_runs_of_zeros_become_data():
    assert built((0, 10), (10, 7, True), (17, 3), run=8) == [(0, 20, False)]
    assert built((0, 10), (10, 8, True), (18, 3), run=8) == [(0, 10, False), (10, 8, True), (18, 3, False)]


def test_nothing_is_nothing():
    assert built((5, 0)) == []


def test_a_map_that_would_be_too_long_gets_coarser_and_loses_nothing():
    extents = [(lba, 3, lba % 70 == 0) for lba in range(0, 100_000, 7)]
    found = built(*extents, limit=1000)
    assert len(found) <= 1000
    assert covers(found, extents)


def covers(found: list[tuple[int, int, bool]], wanted: list[tuple[int, int, bool]]) -> bool:
    """Whether every wanted block is in the map, and what the map calls zeros is nothing but wanted zeros."""
    data, zeros = set(), set()
    for lba, blocks, zero in wanted:
        (zeros if zero else data).update(range(lba, lba + blocks))
    mapped_data, mapped_zeros = set(), set()
    end = 0
    for lba, blocks, zero in found:
        assert lba >= end and blocks > 0
        end = lba + blocks
        (mapped_zeros if zero else mapped_data).update(range(lba, end))
    return data <= mapped_data and zeros <= mapped_data | mapped_zeros and mapped_zeros <= zeros


RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=60)


def ascending(steps: list[tuple[int, int, bool]]) -> list[tuple[int, int, bool]]:
    at, out = 0, []
    for gap, blocks, zero in steps:
        out.append((at + gap, blocks, zero))
        at += gap + blocks
    return out


@given(RANGES, st.integers(1, 20), st.integers(1, 20), st.integers(2, 12))
def test_no_wanted_block_is_ever_lost(steps, gap, run, limit):
    wanted = ascending(steps)
    found = built(*wanted, gap=gap, run=run, limit=limit)
    assert len(found) <= limit
    assert covers(found, wanted)


@given(RANGES, RANGES)
def test_zeros_are_told_apart_exactly(used_steps, status_steps):
    used = [Extent(lba, blocks) for lba, blocks, _ in ascending(used_steps) if blocks]
    status, at = [], 0
    for gap, blocks, zero in status_steps:
        if gap + blocks:
            status.append(Extent(at, gap + blocks, zero))
            at += gap + blocks
    zero_blocks = {block for one in status if one.zeros for block in range(one.lba, one.end)}
    found = list(with_zeros(used, status))
    assert [block for one in found for block in range(one.lba, one.end)] == [
        block for one in used for block in range(one.lba, one.end)]
    for one in found:
        assert all((block in zero_blocks) == one.zeros for block in range(one.lba, one.end))


def test_a_map_survives_the_stream():
    builder = MapBuilder()
    for lba in range(0, 100_000, 10):
        builder.add(Extent(lba, 3, lba % 30 == 0))
    found = builder.finish()
    data, zeros = found.counts()
    header = Header(512, 100_000, len(found), data, zeros, found.checksum)
    assert list(taken(header, found.encoded())) == list(found)
    with pytest.raises(WireError, match="checksum"):
        taken(header, list(found.encoded())[:-1])


@pytest.mark.skipif(sys.gettrace() is not None, reason="memory and time mean nothing under a tracer")
def test_a_million_extents_take_sixteen_bytes_each():
    tracemalloc.start()
    builder = MapBuilder()
    began = time.process_time()
    for lba in range(0, 4_000_000, 4):
        builder.add(Extent(lba, 3))
    found = builder.finish()
    checksum = found.checksum
    spent = time.process_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 1_000_000 <= MAX_EXTENTS
    assert checksum and not builder.coarsened
    assert peak < 40 << 20
    assert spent < 30


def test_a_map_is_iterated_without_being_copied():
    builder = MapBuilder()
    for lba in range(0, 400_000, 4):
        builder.add(Extent(lba, 3))
    found = builder.finish()
    tracemalloc.start()
    assert sum(extent.blocks for extent in found) == 300_000
    assert found.data_end(512) > 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.binary(max_size=200), st.integers(0, 127), st.booleans())
def test_hostile_headers_and_ends_give_wire_errors_only(noise, at, summed):
    """Whatever stands in them; and a header that is taken promises nothing that memory cannot hold."""
    for one in (Header(512, 1000, 1, 1000, 0, 7), End(8192, 3, 7)):
        good, take = one.put(), type(one).take
        bad = bytearray(good)
        bad[at:at + len(noise)] = noise
        if summed:
            bad[-4:] = zlib.crc32(bad[:-4]).to_bytes(4, "big")
        for data in (bytes(bad), noise, good[:at]):
            try:
                found = take(data)
            except WireError:
                continue
            if isinstance(found, Header):
                assert found.extents <= MAX_EXTENTS
                assert found.capacity * found.block_length <= 1 << 62


def test_an_empty_map_is_a_map():
    empty = ImageMap(MapBuilder().finish()._words)
    assert (len(empty), empty.counts(), list(empty.encoded())) == (0, (0, 0), [])
