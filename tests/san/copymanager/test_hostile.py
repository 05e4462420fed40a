"""Whatever parameter list comes, a status goes back and the next copy works."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.san import Flush, San, create
from protocol.scsi.command import Status
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    Locate,
    Segment,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
    TapeImage,
    Verify,
)
from protocol.scsi.sense import SenseKey
from protocol.scsi.xcopy import ListIdUsage, ParameterList
from tests.san.conftest import MIB
from tests.san.copymanager.conftest import CopyHost, cscd, running

IDS = st.sampled_from((0, 0, 1, 1, 2, 3, 4, 0xC000, 0xC001, 0xF800, 0xFFFF))
SIZES = st.sampled_from((0, 1, 3, 511, 512, 513, 1000, 4096, 70000, 0xFFFFFF))
SHORT = st.sampled_from((0, 1, 2, 7, 8, 100, 2048, 0xFFFF))
LONG = st.sampled_from((0, 1, 7, 2040, 2047, 2048, 1 << 32, (1 << 64) - 1))
COUNTS = st.sampled_from((0, 1, 511, 512, 5000, 1 << 20, 1 << 30, (1 << 32) - 1))
OFFSETS = st.sampled_from((0, 1, 511, 512, 0xFFFF))
FLAG = st.booleans()

SEGMENTS: st.SearchStrategy[Segment] = st.one_of(
    st.builds(BlockToStream, IDS, IDS, SIZES, SHORT, LONG, FLAG, FLAG),
    st.builds(StreamToBlock, IDS, IDS, SIZES, SHORT, LONG, FLAG, FLAG),
    st.builds(BlockToBlock, IDS, IDS, SHORT, LONG, LONG, FLAG, FLAG, FLAG),
    st.builds(StreamToStream, IDS, IDS, SIZES, SIZES, COUNTS, FLAG, FLAG),
    st.builds(InlineToStream, IDS, SIZES, st.sampled_from((0, 4, 96, 100, 0xFFFFFFFC)), COUNTS, FLAG),
    st.builds(EmbeddedToStream, IDS, SIZES, st.binary(max_size=40), FLAG),
    st.builds(StreamDiscard, IDS, SIZES, COUNTS, FLAG, FLAG),
    st.builds(Verify, IDS, FLAG),
    st.builds(BlockOffsetToStream, IDS, IDS, SIZES, COUNTS, LONG, OFFSETS, FLAG),
    st.builds(StreamToBlockOffset, IDS, IDS, SIZES, COUNTS, LONG, OFFSETS, FLAG),
    st.builds(BlockOffsetToBlockOffset, IDS, IDS, COUNTS, LONG, LONG, OFFSETS, OFFSETS, FLAG),
    st.builds(Filemarks, IDS, st.sampled_from((0, 1, 3)), FLAG),
    st.builds(Space, IDS, st.integers(0, 7), st.sampled_from((-3, -1, 0, 1, 5, 1 << 20))),
    st.builds(Locate, IDS, st.sampled_from((0, 1, 4, 0xFFFFFFFF))),
    st.builds(TapeImage, IDS, IDS, st.sampled_from((0, 1, 2))),
)


def check(host: CopyHost, data: bytes, length: int | None = None) -> None:
    outcome = host.raw(data, length)
    assert outcome.status in (Status.GOOD, Status.CHECK_CONDITION)
    if outcome.sense is not None:
        assert outcome.sense.key in (SenseKey.ILLEGAL_REQUEST, SenseKey.COPY_ABORTED,
                                     SenseKey.ABORTED_COMMAND)


def small(tmp_path: Path) -> San:
    return create(tmp_path, capacity=2 * MIB, early_warning=MIB // 2, disk_size=MIB, cartridges=2,
                  flush=Flush.NOTHING)


def test_any_segments_get_a_status(tmp_path: Path) -> None:
    san = small(tmp_path)
    ends = (cscd(san, "disk0"), cscd(san, "tape0"),
            cscd(san, "disk1", pad=True), cscd(san, "tape1", pad=True))

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(SEGMENTS, max_size=6), st.binary(max_size=100))
    def send(segments: list[Segment], inline: bytes) -> None:
        check(host, ParameterList(1, ListIdUsage.HOLD, ends, tuple(segments), inline).put())

    with running(san):
        host = CopyHost(san, "copy0")
        send()
        assert host.copy([cscd(san, "disk0")], [Verify(0)]).good
        host.close()


def test_any_bytes_get_a_status(tmp_path: Path) -> None:
    san = small(tmp_path)
    golden = ParameterList(1, ListIdUsage.HOLD, (cscd(san, "disk0"), cscd(san, "tape0")),
                           (BlockToStream(0, 1, 512, 8, 0), Filemarks(1, 1), EmbeddedToStream(1, 4, b"abcd"),
                            BlockToBlock(0, 0, 8, 0, 8))).put()

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.integers(0, len(golden) - 1), st.integers(0, 255)), max_size=4),
           st.integers(0, len(golden)), st.booleans())
    def send(changes: list[tuple[int, int]], kept: int, cut: bool) -> None:
        data = bytearray(golden)
        for at, value in changes:
            data[at] = value
        check(host, bytes(data[:kept] if cut else data))

    with running(san):
        host = CopyHost(san, "copy0")
        send()
        assert host.copy([cscd(san, "disk0")], [Verify(0)]).good
        host.close()
