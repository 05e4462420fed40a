"""Tar headers, pax records and sparse maps against bytes from the standard and from GNU tar."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.streams import pax, tar, tarentry
from protocol.streams.tar import Header, Type


def golden() -> bytes:
    """A ustar header field by field (IEEE Std 1003.1, pax, "ustar Interchange Format")."""
    fields = [
        b"etc/passwd".ljust(100, b"\0"),  # name
        b"0000644\0",  # mode
        b"0000000\0",  # uid
        b"0000017\0",  # gid
        b"00000003000\0",  # size
        b"14524770400\0",  # mtime
        b"011247\0 ",  # chksum
        b"0",  # typeflag
        bytes(100),  # linkname
        b"ustar\0",
        b"00",  # magic, version
        bytes(32),
        bytes(32),  # uname, gname
        b"0000000\0",
        b"0000000\0",  # devmajor, devminor
        bytes(155),  # prefix
        bytes(12),
    ]
    return b"".join(fields)


HEADER = Header(b"etc/passwd", 0o644, 0, 15, 0o3000, 0o14524770400, Type.REGULAR)


def test_a_header_is_put_as_the_standard_lays_it_out() -> None:
    assert tar.block(b"etc/passwd", 0o644, 0, 15, 0o3000, 0o14524770400, Type.REGULAR) == golden()


def test_a_header_is_taken_as_the_standard_lays_it_out() -> None:
    assert tar.take(golden()) == HEADER


def test_a_block_of_zeros_is_no_header() -> None:
    assert tar.take(bytes(512)) is None


@pytest.mark.parametrize("at", [0, 105, 130, 156, 300, 511])
def test_one_wrong_byte_is_noticed(at: int) -> None:
    block = bytearray(golden())
    block[at] ^= 0x21
    with pytest.raises(WireError):
        tar.take(bytes(block))


@pytest.mark.parametrize("size", [0, 1, 511, 513])
def test_a_header_cut_short_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        tar.take((golden() + b"\0")[:size])


def resummed(block: bytes) -> bytes:
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def with_field(at: int, field: bytes) -> bytes:
    block = golden()
    return resummed(block[:at] + field + block[at + len(field) :])


def test_base_256_numbers_of_gnu_tar_are_read() -> None:
    size = (9 << 30) | 7
    header = tar.take(with_field(124, b"\x80" + size.to_bytes(11, "big")))
    assert header is not None and header.size == size


def test_a_negative_base_256_time_is_read() -> None:
    header = tar.take(with_field(136, (-5).to_bytes(12, "big", signed=True)))
    assert header is not None and header.mtime == -5


def test_numbers_padded_with_blanks_are_read() -> None:
    header = tar.take(with_field(100, b"   644 \0"))
    assert header is not None and header.mode == 0o644


def test_checksums_over_signed_characters_are_accepted() -> None:
    block = with_field(0, b"\xff\xfe name")
    low = sum(block) - sum(block[148:156]) + 256 - 512
    header = tar.take(block[:148] + b"%06o\0 " % low + block[156:])
    assert header is not None and header.name.startswith(b"\xff\xfe name")


@pytest.mark.parametrize("field", [b"0000068\0", b"-000644\0", b"0x00644\0", b"00_0644\0", b"+000644\0"])
@pytest.mark.parametrize("at", [108, 116])
def test_numbers_that_are_not_octal_are_refused(at: int, field: bytes) -> None:
    try:
        header = tar.take(with_field(at, field))
    except WireError:
        return
    assert header is not None and header.uid >= 0 and header.gid >= 0


def test_a_negative_size_is_refused() -> None:
    for field in (b"\xff" * 12, b"-0000000001\0"):
        with pytest.raises(WireError):
            tar.take(with_field(124, field))


def test_a_prefix_is_put_before_the_name() -> None:
    header = tar.take(with_field(345, b"usr/share"))
    assert header is not None and header.name == b"usr/share/etc/passwd"


def test_an_unknown_type_stays_a_number_and_is_a_regular_file() -> None:
    header = tar.take(with_field(156, b"Z"))
    assert header is not None and header.type == ord("Z")
    assert tarentry.take(header, with_field(156, b"Z"), 0).stored == 0o3000


@pytest.mark.parametrize(
    ("keyword", "value", "whole"),
    [
        (b"path", b"a", b"9 path=a\n"),
        (b"path", b"", b"8 path=\n"),
        (b"path", b"ab", b"11 path=ab\n"),
        (b"path", b"x" * 89, b"98 path=" + b"x" * 89 + b"\n"),
        (b"path", b"x" * 90, b"99 path=" + b"x" * 90 + b"\n"),
        (b"path", b"x" * 91, b"101 path=" + b"x" * 91 + b"\n"),
    ],
)
def test_the_length_of_a_record_counts_itself(keyword: bytes, value: bytes, whole: bytes) -> None:
    assert len(whole) == int(whole.split()[0])
    assert pax.record(keyword, value) == whole


KEYWORDS = st.binary(min_size=1, max_size=40).filter(lambda keyword: b"=" not in keyword)


@given(st.dictionaries(KEYWORDS, st.binary(max_size=300), max_size=8))
def test_records_come_back_whatever_bytes_are_in_them(records: dict[bytes, bytes]) -> None:
    known = {keyword: value for keyword, value in records.items() if not keyword.startswith(b"GNU.sparse.")}
    assert pax.take(pax.put(known.items())) == known


@given(st.binary(max_size=200))
def test_records_that_are_none_raise_nothing_but_a_wire_error(data: bytes) -> None:
    try:
        pax.take(data)
    except WireError:
        pass


@given(st.lists(st.tuples(KEYWORDS, st.binary(max_size=50)), min_size=1, max_size=4), st.data())
def test_a_header_cut_inside_a_record_is_refused(
    records: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    last = len(pax.record(*records[-1]))
    body = pax.put(records)
    cut = data.draw(st.integers(1, last - 1))
    with pytest.raises(WireError):
        pax.take(body[:-cut])


@pytest.mark.parametrize(
    "body",
    [
        b"5 a=b\n",
        b"7 a=b\n",
        b"a=b\n",
        b" 6 a=b\n",
        b"6  a=b\n"[:6],
        b"-6 a=b\n",
        b"6 aab\n",
        b"2 \n",
        b"99999999999999999999999 a=b\n",
        b"0 a=b\n",
    ],
)
def test_malformed_records_are_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        pax.take(body)


@given(st.integers(-(1 << 62), 1 << 62))
def test_times_come_back_to_the_nanosecond(moment: int) -> None:
    assert pax.take_time(pax.put_time(moment)) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"0", 0),
        (b"1.5", 1_500_000_000),
        (b"-0.25", -250_000_000),
        (b"1.1234567891", 1_123_456_789),
        (b"1700000000.123456789", 1_700_000_000_123_456_789),
        (b"3.", 3_000_000_000),
    ],
)
def test_times_are_decimal_seconds(text: bytes, moment: int) -> None:
    assert pax.take_time(text) == moment


@pytest.mark.parametrize("text", [b"", b"-", b".5", b"1.x", b"1e3", b"--1", b"1" * 30, b" 1", b"nan"])
def test_other_texts_are_no_times(text: bytes) -> None:
    with pytest.raises(WireError):
        pax.take_time(text)


def test_attribute_names_are_quoted_as_gnu_tar_does() -> None:
    keyword, value = pax.attribute(b"user.a=b%c", b"v")
    assert keyword == b"SCHILY.xattr.user.a%3Db%25c"
    assert pax.attributes({keyword: value, b"mtime": b"1"}) == {b"user.a=b%c": b"v"}


def test_a_sparse_map_is_lines_of_numbers_in_whole_blocks() -> None:
    body = pax.put_map([(0, 10), (4096, 5)])
    assert body.rstrip(b"\0") == b"2\n0\n10\n4096\n5\n"
    assert len(body) == 512


@given(st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(0, 1 << 62)), max_size=200))
def test_a_sparse_map_comes_back_block_by_block(ranges: list[tuple[int, int]]) -> None:
    body = pax.put_map(ranges)
    reader = pax.MapReader()
    fed = [reader.feed(body[at : at + 512]) for at in range(0, len(body), 512)]
    assert fed == [False] * (len(fed) - 1) + [True]
    assert reader.ranges() == ranges


@pytest.mark.parametrize("block", [b"x\n", b"-1\n", b"9" * 512, b"\n", b"99999999\n"])
def test_a_sparse_map_of_other_text_is_refused(block: bytes) -> None:
    with pytest.raises(WireError):
        reader = pax.MapReader()
        reader.feed(block.ljust(512, b"\0"))
        reader.feed(bytes(512))


@pytest.mark.parametrize("ranges", [[(0, 10), (5, 5)], [(10, 5), (0, 5)], [(0, 200)], [(0, 7)], [(0, -3)]])
def test_sparse_ranges_that_cannot_be_are_refused(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(WireError):
        pax.check_map(ranges, 100, 10)


@given(
    name=st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name),
    uid=st.integers(0, 1 << 32),
    gid=st.integers(0, 1 << 32),
    mtime=st.integers(-(1 << 61), 1 << 61),
    size=st.integers(0, 1 << 40),
    mode=st.integers(0, 0o7777),
    link=st.binary(max_size=200).filter(lambda name: b"\0" not in name),
)
def test_an_entry_comes_back_from_its_headers(
    name: bytes, uid: int, gid: int, mtime: int, size: int, mode: int, link: bytes
) -> None:
    data = tarentry.put(name, mode, uid, gid, size, mtime, Type.REGULAR, link)
    assert len(data) % 512 == 0
    records: dict[bytes, bytes] = {}
    at = 0
    header = tar.take(data[:512])
    assert header is not None
    if header.type == Type.EXTENDED:
        records = pax.take(data[512 : 512 + header.size])
        at = 512 + tar.padded(header.size)
        header = tar.take(data[at : at + 512])
        assert header is not None
    assert len(data) == at + 512
    entry = tarentry.take(header, data[at:], 0, records)
    assert (entry.name, entry.mode, entry.uid, entry.gid) == (name, mode, uid, gid)
    assert (entry.size, entry.stored, entry.mtime_ns, entry.linkname) == (size, size, mtime, link)


def test_a_plain_entry_needs_no_extended_header() -> None:
    data = tarentry.put(b"a" * 100, 0o644, 0o7777777, 0, 0o77777777777, 10**18, Type.REGULAR)
    assert len(data) == 512


@pytest.mark.peer
def test_gnu_tar_writes_the_same_header(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1536)
    archive = subprocess.run(
        [
            "tar",
            "--format=ustar",
            "--owner=:0",
            "--group=:15",
            "--numeric-owner",
            "--mode=640",
            "--mtime=@1700000000",
            "-C",
            tmp_path,
            "-cf",
            "-",
            "file",
        ],
        check=True,
        capture_output=True,
    ).stdout
    assert archive[:512] == tar.block(b"file", 0o640, 0, 15, 1536, 1_700_000_000, Type.REGULAR)
