"""Record marking: records survive any cutting of the stream, and no length is believed."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest

from protocol.errors import WireError
from protocol.ndmp.record import MAX_EMPTY_FRAGMENTS, Unframer, frame

THREE_FRAGMENTS = bytes.fromhex(
    "00000003 616263"  # 3 bytes, more follow
    "00000000"  # an empty fragment
    "00000001 64"
    "80000002 6566"  # the last one
)


def test_a_record_is_sent_as_one_last_fragment() -> None:
    assert frame(b"abc") == bytes.fromhex("80000003 616263")
    assert frame(b"") == bytes.fromhex("80000000")


def test_a_record_of_several_fragments_is_joined() -> None:
    assert Unframer(100).feed(THREE_FRAGMENTS + frame(b"next")) == [b"abcdef", b"next"]


@pytest.mark.parametrize("seed", range(20))
def test_records_do_not_depend_on_how_the_stream_arrives(seed: int) -> None:
    chance = random.Random(seed)
    records = [chance.randbytes(chance.choice([0, 1, 3, 4, 5, 1000])) for _ in range(30)]
    stream = b"".join(
        THREE_FRAGMENTS if record == b"" else frame(record) for record in records)
    unframer, found = Unframer(1000), []
    while stream:
        size = chance.randint(1, 40)
        found += unframer.feed(stream[:size])
        stream = stream[size:]
    assert found == [record or b"abcdef" for record in records]


def test_an_empty_record_is_a_record() -> None:
    assert Unframer(10).feed(frame(b"") + frame(b"x")) == [b"", b"x"]


def test_a_record_of_the_permitted_size_passes_and_one_byte_more_does_not() -> None:
    assert Unframer(6).feed(THREE_FRAGMENTS) == [b"abcdef"]
    with pytest.raises(WireError, match="more than 5 bytes"):
        Unframer(5).feed(THREE_FRAGMENTS)


@pytest.mark.parametrize("mark", ["7fffffff", "ffffffff", "80000401"])
def test_a_hostile_length_is_refused_when_its_mark_arrives(mark: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            Unframer(1024).feed(bytes.fromhex(mark))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_records_before_a_hostile_length_are_delivered_and_then_nothing_more() -> None:
    unframer = Unframer(1000)
    assert unframer.broken is None
    assert unframer.feed(frame(b"good") + bytes.fromhex("7fffffff") + frame(b"lost")) == [b"good"]
    assert unframer.broken is not None
    for data in (b"", frame(b"lost")):
        with pytest.raises(WireError, match="more than 1000 bytes"):
            unframer.feed(data)


def test_the_sizes_of_small_fragments_add_up() -> None:
    unframer = Unframer(1000)
    with pytest.raises(WireError):
        for _ in range(1001):
            assert unframer.feed(bytes.fromhex("00000001 61")) == []


def test_empty_fragments_do_not_go_on_for_ever() -> None:
    unframer = Unframer(1000)
    assert unframer.feed(bytes(4) * MAX_EMPTY_FRAGMENTS) == []
    with pytest.raises(WireError, match="empty fragments"):
        unframer.feed(bytes(4))


def test_empty_fragments_are_counted_anew_for_each_record() -> None:
    unframer = Unframer(1000)
    for _ in range(3):
        assert unframer.feed(bytes(4) * MAX_EMPTY_FRAGMENTS + frame(b"x")) == [b"x"]


def test_the_limit_may_be_raised_for_a_peer_that_is_known() -> None:
    unframer = Unframer(2)
    unframer.feed(frame(b"ab"))
    unframer.max_record = 3
    assert unframer.feed(frame(b"abc")) == [b"abc"]


def test_a_record_too_large_for_one_fragment_is_not_framed() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 31

    with pytest.raises(WireError):
        frame(Huge())


def test_time_grows_with_the_size_of_a_record_and_not_with_its_square() -> None:
    def seconds(size: int) -> float:
        data = frame(bytes(size))
        unframer = Unframer(size)
        began = time.perf_counter()
        found = []
        for at in range(0, len(data), 1024):
            found += unframer.feed(data[at:at + 1024])
        assert [len(record) for record in found] == [size]
        return time.perf_counter() - began

    small = min(seconds(1 << 20) for _ in range(3))
    assert seconds(16 << 20) < 16 * small * 6 + 0.1
