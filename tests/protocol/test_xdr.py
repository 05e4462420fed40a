"""XDR values against bytes written out by hand (RFC 4506), and every bound of reader and writer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from protocol.errors import WireError
from protocol.xdr import Reader, Writer

PAIRS: list[tuple[str, Callable[[Writer], None], Callable[[Reader], object], object]] = [
    ("00000000", lambda w: w.uint(0), lambda r: r.uint(), 0),
    ("ffffffff", lambda w: w.uint(0xFFFFFFFF), lambda r: r.uint(), 0xFFFFFFFF),
    ("0000ffff", lambda w: w.uint(0xFFFF, 16), lambda r: r.uint(16), 0xFFFF),
    ("000000ff", lambda w: w.uint(0xFF, 8), lambda r: r.uint(8), 0xFF),
    ("ffffffff", lambda w: w.sint(-1), lambda r: r.sint(), -1),
    ("ffff8000", lambda w: w.sint(-32768, 16), lambda r: r.sint(16), -32768),
    ("00007fff", lambda w: w.sint(32767, 16), lambda r: r.sint(16), 32767),
    ("0123456789abcdef", lambda w: w.uhyper(0x0123456789ABCDEF), lambda r: r.uhyper(), 0x0123456789ABCDEF),
    ("ffffffffffffffff", lambda w: w.uhyper((1 << 64) - 1), lambda r: r.uhyper(), (1 << 64) - 1),
    ("00000000", lambda w: w.opaque(b""), lambda r: r.opaque(), b""),
    ("00000003 01020300", lambda w: w.opaque(b"\1\2\3"), lambda r: r.opaque(), b"\1\2\3"),
    ("00000004 01020304", lambda w: w.opaque(b"\1\2\3\4"), lambda r: r.opaque(), b"\1\2\3\4"),
    ("0102030405000000", lambda w: w.fixed(b"\1\2\3\4\5", 5), lambda r: r.fixed(5), b"\1\2\3\4\5"),
    ("00000003 c3a92f00", lambda w: w.string("é/"), lambda r: r.string(), "é/"),
    ("00000002 ff2f0000", lambda w: w.string("\udcff/"), lambda r: r.string(), "\udcff/"),
]


@pytest.mark.parametrize(("data", "put", "take", "value"), PAIRS)
def test_values_are_written_and_read_as_the_standard_says(data, put, take, value) -> None:
    writer = Writer()
    put(writer)
    assert writer.data == bytes.fromhex(data)
    reader = Reader(bytes.fromhex(data))
    assert take(reader) == value
    reader.done()


@pytest.mark.parametrize(("data", "put", "take", "value"), PAIRS)
def test_values_cut_short_are_refused(data, put, take, value) -> None:
    whole = bytes.fromhex(data)
    for length in range(len(whole)):
        with pytest.raises(WireError):
            take(Reader(whole[:length]))


@pytest.mark.parametrize("put", [
    lambda w: w.uint(-1),
    lambda w: w.uint(1 << 32),
    lambda w: w.uint(1 << 16, 16),
    lambda w: w.uint(256, 8),
    lambda w: w.sint(1 << 31),
    lambda w: w.sint(-32769, 16),
    lambda w: w.uhyper(-1),
    lambda w: w.uhyper(1 << 64),
    lambda w: w.fixed(b"abc", 4),
    lambda w: w.string("\ud800"),
])
def test_a_value_that_does_not_fit_is_not_written(put) -> None:
    writer = Writer()
    with pytest.raises(WireError):
        put(writer)
    assert writer.data == b""


@pytest.mark.parametrize(("data", "take"), [
    ("00010000", lambda r: r.uint(16)),
    ("00000100", lambda r: r.uint(8)),
    ("00008000", lambda r: r.sint(16)),
    ("fffeffff", lambda r: r.sint(16)),
])
def test_a_number_beyond_its_type_is_refused(data, take) -> None:
    with pytest.raises(WireError, match="not between"):
        take(Reader(bytes.fromhex(data)))


def test_padding_is_skipped_whatever_it_holds() -> None:
    reader = Reader(bytes.fromhex("00000001 61ffffff 00000007"))
    assert (reader.opaque(), reader.uint()) == (b"a", 7)


def test_what_is_left_over_is_refused_at_the_end() -> None:
    reader = Reader(bytes(8))
    reader.uint()
    with pytest.raises(WireError, match="4 bytes too many"):
        reader.done()


def test_a_count_beyond_the_data_is_refused() -> None:
    assert Reader(bytes.fromhex("00000002") + bytes(16)).count(least=8) == 2
    with pytest.raises(WireError, match="3 elements announced where 16 bytes are left"):
        Reader(bytes.fromhex("00000003") + bytes(16)).count(least=8)


@pytest.mark.parametrize("take", [lambda r: r.opaque(), lambda r: r.string(), lambda r: r.count(4)])
def test_a_hostile_length_takes_no_memory(take) -> None:
    data = bytes.fromhex("fffffffc") + bytes(64)
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            take(Reader(data))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
