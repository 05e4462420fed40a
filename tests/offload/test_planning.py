"""The shape of plans: few segments, nothing cut, nothing held; and how fast they are made."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import DiskEnd
from ndmpd.offload.packing import HOST_PIECES
from ndmpd.offload.plan import CopyCommand, HostRecords, Step
from ndmpd.offload.restore import restore_steps
from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, Zeros, behind
from protocol.scsi.segments import (
    BlockOffsetToStream,
    BlockToStream,
    EmbeddedToStream,
    InlineToStream,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
)
from tests.offload.rig import FILE, FULL, TAPE, Rig, designator, without

ENDS = Rig.make().ends
EVERYTHING = Abilities.of(FULL)
HUGE = {"a": DiskEnd("a", designator("a"), 512, 1 << 48)}


def backup(pieces: list[Piece], size: int, abilities: Abilities = EVERYTHING, **more: int) -> list[Step]:
    return list(backup_steps(pieces, size, TAPE, ENDS, abilities, **more))


def test_a_header_and_blocks_are_two_segments() -> None:
    [step] = backup([Inline(b"h" * 1000), LunExtent("a", 5, 20), Zeros(24 + 512 * 2)], 1024)
    assert isinstance(step, CopyCommand)
    assert step.segments == (
        InlineToStream(0, 1024, 0, 1000, True),
        BlockOffsetToStream(1, 0, 1024, 10240, 5, 0, True),
        InlineToStream(0, 1024, 1000, 1048, False))
    assert (step.records, step.starts, step.bytes) == (12, (0, 0, 10), 12288)
    assert step.inline == b"h" * 1000 + bytes(1048)
    assert step.cscds == (TAPE.cscd(), ENDS["a"].cscd())


def test_inline_data_begin_at_multiples_of_four() -> None:
    [step] = backup([Inline(b"abc"), LunExtent("a", 0, 1), Inline(b"de"), LunExtent("a", 9, 1),
                     Inline(b"f" * 1019)], 2048)
    assert isinstance(step, CopyCommand)
    inline = [one for one in step.segments if isinstance(one, InlineToStream)]
    assert [(one.inline_offset, one.byte_count) for one in inline] == [(0, 3), (4, 2), (8, 1019)]
    assert step.inline == b"abc\0de\0\0" + b"f" * 1019


def test_data_are_embedded_where_they_cannot_be_inline() -> None:
    abilities = Abilities.of(replace(FULL, types=without(4)))
    [step] = backup([Inline(b"abc"), Zeros(1), LunExtent("a", 0, 1), Zeros(508)], 1024, abilities)
    assert isinstance(step, CopyCommand)
    assert step.segments == (EmbeddedToStream(0, 1024, b"abc\0", True),
                             BlockOffsetToStream(1, 0, 1024, 512, 0, 0, True),
                             EmbeddedToStream(0, 1024, bytes(508), False))
    assert step.inline == b""


def test_neighbours_on_the_disk_are_one_segment() -> None:
    [step] = backup([LunExtent("a", lba, 1) for lba in range(100, 140)], 1024)
    assert isinstance(step, CopyCommand)
    assert step.segments == (BlockOffsetToStream(1, 0, 1024, 40 * 512, 100, 0),)


def test_whole_blocks_go_by_00h_in_runs_of_at_most_65535() -> None:
    abilities = Abilities.of(replace(FULL, types=without(8, 9)))
    extent = LunExtent("a", 0, 150_000)
    steps = list(backup_steps([extent], 1024 * 15, TAPE, HUGE, abilities))
    [command] = steps
    assert isinstance(command, CopyCommand)
    assert all(isinstance(one, BlockToStream) and not one.cat for one in command.segments)
    assert [one.blocks for one in command.segments if isinstance(one, BlockToStream)] == [65520, 65520, 18960]


def test_bytes_go_by_08h_in_runs_of_less_than_4_gib() -> None:
    extent = LunExtent("a", 0, 1 << 25)
    [command] = backup_steps([extent], 262144, TAPE, HUGE, EVERYTHING, 1 << 40)
    assert isinstance(command, CopyCommand)
    assert [one.byte_count for one in command.segments if isinstance(one, BlockOffsetToStream)] == [
        (1 << 32) - 262144] * 4 + [4 * 262144]


def test_a_batch_ends_with_a_record() -> None:
    steps = backup([LunExtent("a", 0, 4000)], 10240, batch=100_000)
    assert [step.records for step in steps] == [9] * 22 + [2]


def test_what_is_the_heads_is_handed_over_in_one_step() -> None:
    pieces: list[Piece] = [FileExtent(FILE, 0, 700), Inline(b"x" * 324), FileExtent(FILE, 700, 2048),
                           LunExtent("far", 0, 4), LunExtent("a", 0, 4)]
    [head, command] = backup(pieces, 1024)
    assert head == HostRecords(5, tuple(pieces[:4]))
    assert isinstance(command, CopyCommand)
    assert command.pieces == (pieces[4],)


def test_an_extent_cut_by_a_record_of_the_head_is_cut_inside_the_block() -> None:
    [head, command] = backup([FileExtent(FILE, 0, 700), LunExtent("b", 3, 1, 4096), Zeros(324)], 1024)
    assert head == HostRecords(1, (FileExtent(FILE, 0, 700), LunExtent("b", 3, 1, 4096, 0, 4096 - 324)))
    assert isinstance(command, CopyCommand)
    assert command.segments[0] == BlockOffsetToStream(1, 0, 1024, 4096 - 324, 3, 324, True)


def test_blocks_beyond_the_end_of_the_disk_are_the_heads_to_complain_of() -> None:
    disk = ENDS["a"]
    extent = LunExtent("a", disk.blocks - 4, 8)
    [command, head] = backup([extent], 1024)
    assert (command.records, head.records) == (2, 2)
    assert isinstance(head, HostRecords)


def test_a_piece_whose_blocks_are_not_the_disks_is_an_error() -> None:
    with pytest.raises(ValueError, match="512 on the disk"):
        backup([LunExtent("a", 0, 4, 4096)], 1024)


@pytest.mark.parametrize("plan", [backup_steps, restore_steps])
def test_a_stream_that_ends_inside_a_record_is_an_error(plan) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="1 bytes before the end"):
        list(plan([LunExtent("a", 0, 2), Zeros(1023)], 1024, TAPE, ENDS, EVERYTHING))


def test_a_scattered_record_is_read_once() -> None:
    [step] = restore_steps([Zeros(100), LunExtent("a", 5, 20), Zeros(924)], 1024, TAPE, ENDS, EVERYTHING)
    assert isinstance(step, CopyCommand)
    assert step.segments == (StreamDiscard(0, 1024, 100, True),
                             StreamToBlockOffset(0, 1, 1024, 10240, 5, 0, True),
                             StreamDiscard(0, 1024, 924, False))


def test_what_is_thrown_away_is_one_segment_of_any_size() -> None:
    steps = list(restore_steps([Zeros(1024 * 3000), LunExtent("a", 0, 2)], 1024, TAPE, ENDS, EVERYTHING))
    [step] = steps
    assert isinstance(step, CopyCommand)
    assert step.segments[0] == StreamDiscard(0, 1024, 1024 * 3000)


def test_without_09h_whole_blocks_are_filled_by_01h() -> None:
    abilities = Abilities.of(replace(FULL, types=without(8, 9)))
    steps = list(restore_steps([LunExtent("b", 0, 25, 4096)], 10240, TAPE, ENDS, abilities))
    assert [step.records for step in steps] == [10]
    assert isinstance(steps[0], CopyCommand)
    assert steps[0].segments == (StreamToBlock(0, 1, 10240, 25, 0),)


def fragmented(count: int) -> Iterator[Piece]:
    yield from (LunExtent("a", 37 * number, 1 + number % 30) for number in range(count))
    total = sum(1 + number % 30 for number in range(count)) * 512
    yield Zeros(-total % 65536)


@pytest.mark.parametrize("plan", [backup_steps, restore_steps])
def test_a_plan_takes_no_more_of_the_stream_than_a_step_needs(plan) -> None:  # type: ignore[no-untyped-def]
    taken = 0

    def counted() -> Iterator[Piece]:
        nonlocal taken
        for piece in fragmented(100_000):
            taken += 1
            yield piece

    steps = plan(counted(), 65536, TAPE, HUGE, EVERYTHING)
    assert taken == 0
    next(steps)
    assert taken < 600
    next(steps)
    assert taken < 1200


@pytest.mark.parametrize("ends", [HUGE, {}])
def test_memory_does_not_grow_with_the_map(ends: dict[str, DiskEnd]) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        for step in backup_steps(fragmented(count), 65536, TAPE, ends, EVERYTHING):
            assert len(step.pieces) <= max(513, HOST_PIECES + 100)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(5_000), peak(40_000)
    assert large < 1.2 * small + 100_000 and large < 2 << 20


def test_a_copy_manager_that_takes_everything_gets_no_more_inline_data_than_memory_is_for() -> None:
    greedy = Abilities.of(replace(FULL, max_inline_length=1 << 31))
    [step] = backup([Zeros(1 << 30)], 65536, greedy)
    assert isinstance(step, HostRecords)


@pytest.mark.slow
@pytest.mark.parametrize("plan", [backup_steps, restore_steps])
def test_a_million_extents_are_planned_within_seconds(plan) -> None:  # type: ignore[no-untyped-def]
    begun = time.process_time()
    segments = sum(len(step.segments) for step in plan(fragmented(1_000_000), 65536, TAPE, HUGE, EVERYTHING)
                   if isinstance(step, CopyCommand))
    assert segments >= 1_000_000
    assert time.process_time() - begun < 20


def test_what_is_left_of_pieces_is_the_rest_of_their_bytes() -> None:
    rig = Rig.make()
    pieces: list[Piece] = [Inline(b"abc"), LunExtent("a", 3, 2), Zeros(0), Zeros(5),
                           LunExtent("b", 1, 1, 4096)]
    stream = b"".join(rig.content(piece) for piece in pieces)
    for done in range(0, len(stream) + 1, 13):
        assert b"".join(rig.content(piece) for piece in behind(pieces, done)) == stream[done:]
    assert behind(pieces, len(stream)) == []
