"""The mover that writes a stream onto tapes: the same records whatever the pieces, cartridges and windows."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros
from ndmpd.services import channel
from ndmpd.services.hello import Role
from ndmpd.session.events import MoverHalted
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import MoverHaltReason, MoverMode, MoverPauseReason, TapeMtioOp, Version
from tests.services.rig import DISK, PATIENCE, Rig, drop, joined

RECORDS = [512, 10240, 64512, 65536]


@pytest.fixture(params=[Version.V3, Version.V4], ids=["v3", "v4"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path, request.param) as rig:
        yield rig


@pytest.fixture(params=[True, False], ids=["local", "tcp"])
def local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def extent(folder: Path, content: bytes, offset: int = 0, length: int | None = None) -> FileExtent:
    path = folder / f"file {len(list(folder.iterdir()))}"
    path.write_bytes(content)
    file = OpenFile(os.open(path, os.O_RDWR), str(path))
    return FileExtent(file, offset, len(content) - offset if length is None else length)


def padded(stream: bytes, size: int) -> bytes:
    return stream + bytes(-len(stream) % size)


@pytest.mark.parametrize("size", RECORDS)
def test_a_stream_becomes_records_of_one_size_and_the_last_is_filled_with_zeros(
        rig: Rig, local: bool, size: int, tmp_path: Path) -> None:
    body = random.Random(size).randbytes(3 * size + 17)
    pieces: list[Piece] = [Inline(b"head"), extent(tmp_path, body), Zeros(size + 1), Inline(b"tail")]
    (records,), sent = rig.backup(pieces, size, local=local)
    stream = b"head" + body + bytes(size + 1) + b"tail"
    assert b"".join(records) == padded(stream, size)
    assert {len(record) for record in records} == {size}
    assert rig.mover.figures().bytes_moved == len(stream) == sent.size
    assert rig.mover.figures().record_num == len(records)
    assert sent.finished and not sent.faults


def test_a_stream_that_just_fits_its_window_ends_without_a_pause(rig: Rig, local: bool) -> None:
    theirs, _, _ = rig.send([Inline(bytes(4 * 512))], local=local)
    rig.start(theirs, MoverMode.READ, 512, local=local, length=4 * 512)
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED
    assert rig.mover.figures().bytes_moved == 4 * 512


def test_one_byte_more_than_the_window_pauses_and_is_there_in_the_next(rig: Rig, local: bool) -> None:
    (records,), _ = rig.backup([Inline(bytes(4 * 512) + b"x")], 512, local=local, windows=[4])
    assert records == [bytes(512)] * 4 + [b"x" + bytes(511)]


@pytest.mark.parametrize("end", [MoverPauseReason.EOW, MoverPauseReason.EOM], ids=["window", "tape"])
def test_a_single_byte_that_waits_is_enough_to_ask_for_room(tmp_path: Path, end: MoverPauseReason) -> None:
    ours, theirs = joined(Role.DATA_BACKUP)
    with Rig(tmp_path, capacity=1024 if end == MoverPauseReason.EOM else 1 << 20) as rig:
        rig.start(theirs, MoverMode.READ, 512, local=True,
                  length=1024 if end == MoverPauseReason.EOW else ALL_ONES)
        channel.send_piece(ours, Inline(bytes(1024)))
        time.sleep(0.1)
        assert rig.happenings.empty()
        channel.send_piece(ours, Inline(b"x"))
        rig.paused(end)


def test_records_are_numbered_from_the_windows_offset(rig: Rig) -> None:
    theirs, _, _ = rig.send([Inline(bytes(6 * 512))], local=True)
    rig.start(theirs, MoverMode.READ, 512, local=True, length=4 * 512)
    rig.paused(MoverPauseReason.EOW)
    assert rig.mover.figures().record_num == 4
    rig.go_on(4 * 512, ALL_ONES)
    rig.halted()
    assert rig.mover.figures().record_num == 6


@pytest.mark.parametrize("piece", [1, 100, 512])
def test_thousands_of_small_pieces_fill_records_that_are_larger_than_all_that_may_be_sent_ahead(
        rig: Rig, piece: int) -> None:
    count = 3000
    (records,), sent = rig.backup([Inline(bytes([number % 251]) * piece) for number in range(count)], 1 << 20)
    stream = b"".join(bytes([number % 251]) * piece for number in range(count))
    assert b"".join(records) == padded(stream, 1 << 20)
    assert sent.finished


def test_small_pieces_are_not_held_up_by_waiting_for_confirmation(rig: Rig) -> None:
    pieces = [Inline(bytes(512))] * 20000
    began = time.monotonic()
    rig.backup(pieces, 65536)
    # 128 pieces for each 20 ms of silence would take three seconds.
    assert time.monotonic() - began < 2.0


def test_many_extents_of_files_keep_few_descriptors_open(rig: Rig, tmp_path: Path) -> None:
    body = random.Random(1).randbytes(4096)
    files = [extent(tmp_path, body) for _ in range(8)]
    pieces = [files[number % 8] for number in range(3000)]
    theirs, sent, thread = rig.send(pieces, local=True)
    rig.start(theirs, MoverMode.READ, 10240, local=True, length=100 * 10240)
    rig.paused(MoverPauseReason.EOW)
    assert len(os.listdir("/proc/self/fd")) < 800
    rig.go_on(100 * 10240)
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED
    thread.join(PATIENCE)
    assert sent.finished
    run = rig.mover.end()
    assert run is not None and run.join(PATIENCE)
    del run, theirs
    assert len(os.listdir("/proc/self/fd")) < 100


@pytest.mark.parametrize("capacity", [5120, 5121, 20480 + 511, 10240])
def test_a_cartridge_may_end_anywhere(capacity: int, tmp_path: Path, local: bool) -> None:
    stream = random.Random(capacity).randbytes(50_000)
    with Rig(tmp_path, capacity=capacity) as rig:
        tapes, sent = rig.backup([Inline(stream)], 512, local=local)
    assert b"".join(record for tape in tapes for record in tape) == padded(stream, 512)
    assert all(len(tape) == capacity // 512 for tape in tapes[:-1])
    assert sent.size == len(stream)


def test_a_cartridge_ends_after_the_first_record_that_meets_early_warning(tmp_path: Path) -> None:
    with Rig(tmp_path, capacity=100 * 512, early_warning=50 * 512) as rig:
        tapes, _ = rig.backup([Inline(bytes(120 * 512))], 512)
    assert [len(tape) for tape in tapes] == [50, 50, 20]


def test_a_stream_that_ends_with_its_cartridge_needs_no_other(tmp_path: Path, local: bool) -> None:
    with Rig(tmp_path, capacity=100 * 512, early_warning=50 * 512) as rig:
        tapes, _ = rig.backup([Inline(bytes(50 * 512))], 512, local=local)
    assert [len(tape) for tape in tapes] == [50]


SHAPES = st.lists(st.one_of(
    st.tuples(st.just("inline"), st.integers(0, 3000)), st.tuples(st.just("zeros"), st.integers(0, 9000)),
    st.tuples(st.just("file"), st.integers(0, 9000)), st.tuples(st.just("lun"), st.integers(1, 12)),
), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(shapes=SHAPES, size=st.sampled_from([512, 1024, 4000]), capacity=st.integers(8200, 60_000),
       zone=st.integers(0, 4000), windows=st.lists(st.integers(1, 9), max_size=6), seed=st.integers(0, 99))
def test_the_tape_is_the_stream_whatever_its_pieces_and_the_same_on_every_path(
        shapes: list[tuple[str, int]], size: int, capacity: int, zone: int, windows: list[int],
        seed: int) -> None:
    random_bytes = random.Random(seed)
    folder = Path(tempfile.mkdtemp())
    try:
        tapes = {}
        (folder / "files").mkdir()
        made = [(kind, random_bytes.randbytes(number), number) for kind, number in shapes]
        disk = random_bytes.randbytes(DISK)
        stream = b""
        for local in (True, False):
            with Rig(folder / str(local), capacity=capacity, early_warning=zone) as rig:
                rig.cartridges[0].disk_path("disk0").write_bytes(disk)
                pieces: list[Piece] = []
                stream = b""
                for kind, content, number in made:
                    if kind == "inline":
                        pieces.append(Inline(content))
                    elif kind == "zeros":
                        pieces.append(Zeros(number))
                        content = bytes(number)
                    elif kind == "file":
                        pieces.append(extent(folder / "files", b"before" + content, 6))
                    else:
                        pieces.append(LunExtent("disk0", number, number))
                        content = disk[number * 512:2 * number * 512]
                    stream += content
                tapes[local], sent = rig.backup(pieces, size, local=local, windows=windows)
                assert not sent.faults and sent.failure is None
                assert rig.mover.figures().bytes_moved == len(stream)
        assert b"".join(record for tape in tapes[True] for record in tape) == padded(stream, size)
        assert tapes[True] == tapes[False]
    finally:
        shutil.rmtree(folder)


# What cannot be read.

def test_a_file_that_shrank_is_zeros_and_named_by_its_piece(rig: Rig, local: bool, tmp_path: Path) -> None:
    whole = extent(tmp_path, b"w" * 5000)
    shrunk = extent(tmp_path, b"s" * 3000, length=20_000)
    pieces = [Inline(b"h"), Zeros(0), whole, Inline(b""), shrunk, Inline(b"t")]
    (records,), sent = rig.backup(pieces, 512, local=local)
    stream = b"h" + b"w" * 5000 + b"s" * 3000 + bytes(17_000) + b"t"
    assert b"".join(records) == padded(stream, 512)
    (fault,) = sent.faults
    assert fault.piece == shrunk
    assert (fault.skipped, fault.length) == (3000, 17_000)
    assert sent.finished


def test_a_gap_that_lies_on_many_cartridges_is_reported_once_with_its_place_in_the_piece(
        tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    with Rig(tmp_path / "rig", capacity=8192) as rig:
        before = extent(tmp_path / "files", b"w" * 50_000)
        shrunk = extent(tmp_path / "files", b"s" * 30_000, length=100_000)
        tapes, sent = rig.backup([Inline(b"h"), before, shrunk], 512)
    assert len(tapes) > 10
    (fault,) = sent.faults
    assert (fault.piece, fault.skipped) == (shrunk, 30_000)


def test_a_disk_that_cannot_be_read_is_datas_to_judge_and_no_fault_of_the_tape(rig: Rig) -> None:
    beyond = LunExtent("disk0", DISK // 512 - 1, 5)
    (records,), sent = rig.backup([Inline(b"h" * 512), beyond], 512)
    assert sent.faults and sent.faults[0].piece == beyond
    assert records[0] == b"h" * 512
    assert len(records) == 6


# Ends that nobody wished for.

def test_data_that_closes_leaves_what_it_sent_on_tape(rig: Rig) -> None:
    theirs, _, thread = rig.send([Inline(b"x" * 700)], local=False)
    rig.start(theirs, MoverMode.READ, 512, local=False)
    assert rig.halted().reason == MoverHaltReason.CONNECT_CLOSED
    thread.join(PATIENCE)
    assert rig.records(rig.cartridges[0]) == [b"x" * 512, b"x" * 188 + bytes(324)]


def test_data_that_dies_in_the_middle_of_a_frame_is_a_lost_connection(rig: Rig) -> None:
    ours, theirs = joined(Role.DATA_BACKUP)
    rig.start(theirs, MoverMode.READ, 512, local=True)
    ours.send(b"\1\0\0\0\0\0\4\0")
    drop(ours)
    halted = rig.halted()
    assert halted.reason == MoverHaltReason.CONNECT_ERROR


def test_an_aborted_mover_writes_nothing_more_and_frees_the_tape(rig: Rig) -> None:
    ours, theirs = joined(Role.DATA_BACKUP)
    rig.start(theirs, MoverMode.READ, 512, local=True)
    channel.send_piece(ours, Inline(b"x" * 100))
    time.sleep(0.1)
    run = rig.mover.end()
    assert run is not None and run.join(PATIENCE)
    drop(ours)
    assert rig.lock.acquire(timeout=1)
    rig.lock.release()
    assert rig.happenings.empty()
    assert rig.records(rig.cartridges[0]) == []


def test_an_abort_during_a_pause_frees_data_and_tape(rig: Rig) -> None:
    theirs, sent, thread = rig.send([Inline(bytes(5000))], local=True)
    rig.start(theirs, MoverMode.READ, 512, local=True, length=512)
    rig.paused(MoverPauseReason.EOW)
    run = rig.mover.end()
    assert run is not None and run.join(PATIENCE)
    thread.join(PATIENCE)
    assert isinstance(sent.failure, ConnectionError)
    assert rig.mover.figures().bytes_moved == 512
    rig.mtio(TapeMtioOp.REW)


def test_figures_of_an_aborted_mover_tell_of_what_it_still_wrote(rig: Rig) -> None:
    theirs, _, _ = rig.send([Zeros(300 << 20)], local=True)
    rig.start(theirs, MoverMode.READ, 65536, local=True)
    deadline = time.monotonic() + PATIENCE
    while not rig.mover.figures().bytes_moved:
        assert time.monotonic() < deadline
    run = rig.mover.end()
    assert run is not None and run.join(PATIENCE)
    drive = rig.tape.drive
    assert drive is not None
    moved = rig.mover.figures()
    assert moved.bytes_moved == moved.record_num * 65536 == (drive.position.block or 0) * 65536


def test_a_tape_that_is_gone_halts_with_a_media_error(rig: Rig) -> None:
    rig.mtio(TapeMtioOp.OFF)
    theirs, sent, thread = rig.send([Inline(bytes(5000))], local=True)
    rig.start(theirs, MoverMode.READ, 512, local=True)
    halted = rig.halted()
    assert isinstance(halted, MoverHalted) and halted.reason == MoverHaltReason.MEDIA_ERROR and halted.text
    thread.join(PATIENCE)
    assert sent.failure is not None
