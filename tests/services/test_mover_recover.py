"""The mover that reads tapes: any range of the stream, over cartridges, marks and windows, or a loud end."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Zeros
from ndmpd.san import San
from ndmpd.services import channel
from ndmpd.services.hello import Role
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.session.effects import MoverRead
from ndmpd.session.events import MoverHalted, MoverPaused
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import MoverHaltReason, MoverMode, MoverPauseReason, TapeMtioOp, Version
from tests.services.rig import DISK, PATIENCE, Rig, greeted, joined, tcp_pair

Inlet = LocalInlet | RemoteInlet
Span = tuple[San, int, int]
MOMENT = 0.3
"""Seconds in which a waiting mover looks after its peer more than once."""


@pytest.fixture(params=[Version.V3, Version.V4], ids=["v3", "v4"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, request.param, capacity=40 * 512) as rig:
        yield rig


@pytest.fixture(params=[True, False], ids=["local", "tcp"])
def local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def write(rig: Rig, stream: bytes, size: int = 512) -> list[Span]:
    """Back ``stream`` up; where it lies then."""
    tapes, _ = rig.backup([Inline(stream)], size)
    spans, offset = [], 0
    for san, records in zip(rig.cartridges, tapes, strict=True):
        spans.append((san, offset, len(records) * size))
        offset += len(records) * size
    san, offset, _ = spans[-1]
    return [*spans[:-1], (san, offset, ALL_ONES - offset)]


def pauses(happened: list[MoverPaused | MoverHalted]) -> list[MoverPauseReason]:
    return [event.reason for event in happened if isinstance(event, MoverPaused)]


def new_file(path: Path) -> OpenFile:
    return OpenFile(os.open(path, os.O_RDWR | os.O_CREAT), str(path))


@pytest.mark.parametrize("size", [512, 10240, 64512, 65536])
def test_the_whole_stream_comes_back_from_one_tape(tmp_path: Path, local: bool, size: int) -> None:
    stream = random.Random(size).randbytes(5 * size + 99)
    got: list[bytes] = []

    def take(inlet: Inlet) -> None:
        inlet.want(0, ALL_ONES if local else len(stream))
        got.append(inlet.read(len(stream)))

    with Rig(tmp_path) as rig:
        happened = rig.recover(take, write(rig, stream, size), size, local=local)
        assert rig.mover.figures().bytes_moved >= len(stream)
    assert got == [stream]
    assert happened == [MoverHalted(MoverHaltReason.CONNECT_CLOSED)]


def test_the_end_of_a_window_on_tape_asks_for_the_next_byte(rig: Rig, local: bool) -> None:
    stream = random.Random(1).randbytes(100 * 512)
    got: list[bytes] = []

    def take(inlet: Inlet) -> None:
        inlet.want(0, len(stream))
        got.append(inlet.read(len(stream)))

    spans = write(rig, stream)
    happened = rig.recover(take, spans, 512, local=local)
    assert got == [stream]
    assert pauses(happened) == [MoverPauseReason.SEEK] * 2
    assert [event.seek_position for event in happened if isinstance(event, MoverPaused)] == [
        offset for _, offset, _ in spans[1:]]


def test_without_windows_the_end_of_the_tape_asks_for_the_next(rig: Rig, local: bool) -> None:
    stream = random.Random(1).randbytes(100 * 512)
    got: list[bytes] = []

    def take(inlet: Inlet) -> None:
        inlet.want(0, len(stream))
        got.append(inlet.read(len(stream)))

    endless = [(san, offset, ALL_ONES - offset) for san, offset, _ in write(rig, stream)]
    happened = rig.recover(take, endless, 512, local=local)
    assert got == [stream]
    # TAPE_CLOSE wrote a filemark behind each part.
    assert pauses(happened) == [MoverPauseReason.EOF] * 2


def test_what_lies_behind_a_filemark_is_not_the_stream(rig: Rig, local: bool, tmp_path: Path) -> None:
    """A read that fetches more records at once than the tape file has must not run into the next one."""
    write(rig, b"a" * 10 * 512)
    san = rig.cartridges[0]
    rig.mount(san)
    rig.mtio(TapeMtioOp.FSR, 10)
    rig.mtio(TapeMtioOp.EOF)
    drive = rig.tape.drive
    assert drive is not None
    for _ in range(5):
        drive.write(b"another file".ljust(512))
    got: list[bytes] = []
    target = new_file(tmp_path / "target")

    def take(inlet: Inlet) -> None:
        inlet.want(0, 16 * 512)
        inlet.into([FileExtent(target, 0, 8 * 512)])
        while data := inlet.read_some(512):
            got.append(data)

    happened = rig.recover(take, [(san, 0, ALL_ONES)], 512, local=local)
    assert b"".join(got) == b"a" * 2 * 512
    assert pauses(happened) == [MoverPauseReason.EOF]
    state = rig.tape.get_state()
    assert state.file_num == (1 if rig.version == Version.V3 else 0)


def test_spacing_stops_at_a_filemark(rig: Rig, local: bool) -> None:
    write(rig, b"a" * 10 * 512)
    san = rig.cartridges[0]
    rig.mount(san)
    rig.mtio(TapeMtioOp.FSR, 10)
    rig.mtio(TapeMtioOp.EOF)

    def take(inlet: Inlet) -> None:
        inlet.want(30 * 512, 512)
        assert inlet.read(512) == b""

    happened = rig.recover(take, [(san, 0, ALL_ONES)], 512, local=local)
    assert pauses(happened) == [MoverPauseReason.EOF]
    assert rig.tape.get_state().file_num == (1 if rig.version == Version.V3 else 0)


def test_records_behind_the_window_are_not_read_even_where_the_tape_has_them(rig: Rig, local: bool) -> None:
    write(rig, b"a" * 10 * 512 + b"b" * 10 * 512)
    got: list[bytes] = []

    def take(inlet: Inlet) -> None:
        inlet.want(0, 20 * 512)
        while data := inlet.read_some(20 * 512):
            got.append(data)

    happened = rig.recover(take, [(rig.cartridges[0], 0, 10 * 512 - 100)], 512, local=local)
    # The last window may end inside a record; the rest of that record is at hand.
    assert set(b"".join(got)) == {ord("a")}
    assert pauses(happened) == [MoverPauseReason.SEEK]


@pytest.mark.parametrize("ahead", [0, 100, 512, 5120])
def test_a_seek_far_behind_the_window_names_the_byte(rig: Rig, local: bool, ahead: int,
                                                         tmp_path: Path) -> None:
    stream = random.Random(4).randbytes(100 * 512)
    spans = write(rig, stream)
    at = spans[2][1] + ahead
    target = new_file(tmp_path / "target")

    def take(inlet: Inlet) -> None:
        inlet.want(at, 3000)
        inlet.into([FileExtent(target, 7, 3000)])

    happened = rig.recover(take, spans, 512, local=local)
    assert happened[0] == MoverPaused(MoverPauseReason.SEEK, at)
    assert (tmp_path / "target").read_bytes()[7:] == stream[at:at + 3000]


RANGES = st.lists(st.tuples(st.integers(0, 59_999), st.integers(1, 30_000),
                            st.sampled_from(["read", "some", "file", "zeros", "disk"])),
                  min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(ranges=RANGES, capacity=st.integers(9000, 70_000), size=st.sampled_from([512, 1024, 4000]),
       local=st.booleans(), endless=st.booleans(), seed=st.integers(0, 99))
def test_any_ranges_in_any_order_come_back_from_any_cartridges(
        ranges: list[tuple[int, int, str]], capacity: int, size: int, local: bool, endless: bool,
        seed: int) -> None:
    stream = random.Random(seed).randbytes(60_000)
    folder = Path(tempfile.mkdtemp())
    found: list[bytes] = []
    expected: list[bytes] = []
    if endless:
        ranges = sorted(ranges)

    def take(inlet: Inlet) -> None:
        behind = 0
        for number, (offset, length, how) in enumerate(ranges):
            if endless:
                # Without windows only the order of the tapes is known: forward.
                offset = max(offset, behind)
                if offset >= len(stream):
                    continue
            length = min(length, len(stream) - offset)
            behind = offset + length
            inlet.want(offset, length)
            path = folder / f"target {number}"
            if how == "disk":
                blocks = length // 512
                inlet.into([LunExtent("disk0", 8, blocks)])
                os.sync()
                found.append(rig.cartridges[0].disk_path("disk0").read_bytes()[8 * 512:(8 + blocks) * 512])
                expected.append(stream[offset:offset + blocks * 512])
                continue
            expected.append(stream[offset:offset + length])
            if how == "read":
                found.append(inlet.read(length))
            elif how == "some":
                parts = []
                while data := inlet.read_some(4096):
                    parts.append(data)
                found.append(b"".join(parts))
            elif how == "file":
                file = new_file(path)
                cut = length // 3
                inlet.into([FileExtent(file, 0, cut), FileExtent(file, cut, length - cut)])
                found.append(path.read_bytes())
            else:
                # A part is left over, and a part is passed over.
                inlet.into([Zeros(length // 2)])
                found.append(inlet.read(length // 4))
                expected[-1] = stream[offset + length // 2:][:length // 4]

    try:
        with Rig(folder / "rig", capacity=capacity) as rig:
            spans = write(rig, stream, size)
            if endless:
                spans = [(san, offset, ALL_ONES - offset) for san, offset, _ in spans]
            happened = rig.recover(take, spans, size, local=local)
        assert found == expected
        assert isinstance(happened[-1], MoverHalted)
        assert happened[-1].reason == MoverHaltReason.CONNECT_CLOSED, happened[-1]
    finally:
        shutil.rmtree(folder)


def test_records_of_another_size_are_a_media_error_that_says_so(rig: Rig, local: bool) -> None:
    write(rig, bytes(10 * 512))

    def take(inlet: Inlet) -> None:
        inlet.want(0, 1024)
        assert inlet.read(1024) == b""

    (halted,) = rig.recover(take, [(rig.cartridges[0], 0, ALL_ONES)], 1024, local=local)
    assert isinstance(halted, MoverHalted) and halted.reason == MoverHaltReason.MEDIA_ERROR
    assert "512 bytes" in halted.text and "1024" in halted.text


def test_a_full_disk_fails_its_file_and_neither_the_tape_nor_the_next_file(rig: Rig, local: bool,
                                                                         tmp_path: Path) -> None:
    stream = random.Random(2).randbytes(30 * 512)
    spans = write(rig, stream)
    full = OpenFile(os.open("/dev/full", os.O_RDWR), "full")
    target = new_file(tmp_path / "target")

    def take(inlet: Inlet) -> None:
        inlet.want(0, len(stream))
        inlet.into([FileExtent(target, 0, 512)])
        with pytest.raises(OSError, match="No space"):
            inlet.into([FileExtent(full, 0, 10 * 512)])
        inlet.want(11 * 512, 19 * 512)
        inlet.into([FileExtent(target, 512, 19 * 512)])

    happened = rig.recover(take, spans, 512, local=local)
    assert happened == [MoverHalted(MoverHaltReason.CONNECT_CLOSED)]
    assert (tmp_path / "target").read_bytes() == stream[:512] + stream[11 * 512:]


def test_a_peer_that_has_gone_without_reading_is_noticed_at_once(rig: Rig) -> None:
    write(rig, bytes(30 * 512))
    ours, theirs = tcp_pair()
    rig.mount(rig.cartridges[0])
    rig.start(theirs, MoverMode.WRITE, 512, local=False)
    ours.close()
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED


def test_a_mover_does_not_wait_for_a_peer_that_is_gone(rig: Rig) -> None:
    write(rig, bytes(30 * 512))
    _, theirs = tcp_pair()
    rig.mount(rig.cartridges[0])
    rig.start(theirs, MoverMode.WRITE, 512, local=False)
    rig.mover.lose(lambda connection: False)
    time.sleep(MOMENT)
    assert rig.happenings.empty()
    rig.mover.lose(lambda connection: connection is theirs)
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED
    rig.mover.lose(lambda connection: connection.getsockname() is None)


def test_what_is_left_to_read_is_counted_down(rig: Rig) -> None:
    write(rig, bytes(30 * 512))
    ours, theirs = joined(Role.DATA_RECOVER)
    rig.mount(rig.cartridges[0])
    rig.start(theirs, MoverMode.WRITE, 512, local=True)
    assert greeted(ours).role is Role.MOVER_WRITE
    inlet = LocalInlet(ours, lambda offset, length: rig.mover.read(MoverRead(offset, length)), lambda _: None)
    inlet.want(0, 5000)
    assert rig.mover.figures().bytes_left_to_read == 5000
    inlet.read(1000)
    assert rig.mover.figures().bytes_left_to_read == 4000
    inlet.want(10_000, 77)
    assert rig.mover.figures().bytes_left_to_read == 77
    ours.close()
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED


def test_data_waits_for_the_read_that_the_dma_has_to_send(rig: Rig) -> None:
    write(rig, b"x" * 30 * 512)
    ours, theirs = joined(Role.DATA_RECOVER)
    rig.mount(rig.cartridges[0])
    rig.start(theirs, MoverMode.WRITE, 512, local=True)
    assert greeted(ours).role is Role.MOVER_WRITE
    inlet = LocalInlet(ours, lambda offset, length: None, lambda _: None)
    got: list[bytes] = []

    def take() -> None:
        inlet.want(0, 100)
        got.append(inlet.read(100))

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(0.2)
    assert not got
    rig.mover.read(MoverRead(0, 100))
    thread.join(PATIENCE)
    assert got == [b"x" * 100]
    ours.close()


@pytest.mark.parametrize("paused", [False, True], ids=["waiting", "paused"])
def test_an_aborted_recover_frees_tape_and_data(rig: Rig, paused: bool) -> None:
    write(rig, bytes(512))
    ours, theirs = joined(Role.DATA_RECOVER)
    rig.mount(rig.cartridges[0])
    rig.start(theirs, MoverMode.WRITE, 512, local=True, length=512)
    greeted(ours)
    if paused:
        rig.mover.read(MoverRead(5 * 512, 512))
    channel.send(ours, channel.Frame(channel.Kind.PULL, 5 * 512, 512))
    if paused:
        rig.paused(MoverPauseReason.SEEK)
    run = rig.mover.end()
    assert run is not None and run.join(PATIENCE)
    assert channel.receive(ours) is None
    assert rig.lock.acquire(timeout=1)
    rig.lock.release()
    assert rig.happenings.empty()


def test_data_that_is_gone_ends_a_recover(rig: Rig, local: bool) -> None:
    write(rig, bytes(30 * 512))

    def take(inlet: Inlet) -> None:
        inlet.want(0, 20 * 512)
        assert len(inlet.read(100)) == 100

    happened = rig.recover(take, [(rig.cartridges[0], 0, ALL_ONES)], 512, local=local)
    assert happened[-1] == MoverHalted(MoverHaltReason.CONNECT_CLOSED)


def test_a_disk_written_by_a_recover_is_whole_blocks_from_any_offset(tmp_path: Path, local: bool) -> None:
    image = random.Random(3).randbytes(DISK)
    stream = b"odd" + image

    def take(inlet: Inlet) -> None:
        inlet.want(0, len(stream))
        assert inlet.read(3) == b"odd"
        inlet.into([LunExtent("disk0", 0, DISK // 512)])

    with Rig(tmp_path) as rig:
        rig.recover(take, write(rig, stream, 10240), 10240, local=local)
        assert rig.cartridges[0].disk_path("disk0").read_bytes() == image
