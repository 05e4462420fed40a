"""Disk to disk and tape to tape."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ndmpd.offload.abilities import Abilities
from ndmpd.offload.blocks import block_steps
from ndmpd.offload.ends import CannotCopy
from ndmpd.offload.plan import HostBlocks, HostRecords
from ndmpd.offload.tapes import tape_steps
from ndmpd.pieces import LunExtent
from tests.offload.rig import DISK_SIZE, FULL, KIB, MIB, SECOND, TAPE, Profile, Rig, without

LIMITS = {
    "everything": FULL,
    "whole blocks": replace(FULL, types=without(0x0A)),
    "as the Linux kernel": replace(FULL, types=(0x02, 0xE4), max_cscds=2, max_segments=1,
                                   max_list_length=1024, max_segment_length=64 * KIB),
    "short list": replace(FULL, max_list_length=1024, max_segments=4),
    "multiples of 4096": replace(FULL, data_granularity=4096),
    "one unit": replace(FULL, max_cscds=1),
}


def cut(chance: random.Random, disk: str, block: int, total: int, first: int) -> list[LunExtent]:
    """Extents of ``total`` bytes together, apart from one another, in any order."""
    found: list[LunExtent] = []
    lba = first
    while total:
        blocks = min(total // block, chance.choice([1, 8, 24, 130]))
        found.append(LunExtent(disk, lba, blocks, block))
        lba += blocks + chance.choice([0, 3])
        total -= blocks * block
    chance.shuffle(found)
    return found


def copy(rig: Rig, limits: str, sources: Sequence[LunExtent], destinations: Sequence[LunExtent],
         batch: int) -> tuple[int, int]:
    """Bytes by the copy manager and by the head."""
    profile = Profile(LIMITS[limits])
    manager = rig.manager(profile)
    copied = by_host = 0
    for step in block_steps(sources, destinations, rig.ends, Abilities.of(profile.limits), batch):
        if isinstance(step, HostBlocks):
            data = b"".join(rig.content(piece) for piece in step.sources)
            rig.fill(step.destinations, data)
            by_host += len(data)
        else:
            assert b"".join(rig.content(piece) for piece in step.pieces)
            manager.execute(step.parameter_list(1).put())
            assert sum(piece.length for piece in step.destinations) == step.bytes <= max(batch, 8192)
            assert all(segment.type in profile.limits.types for segment in step.segments)
            copied += step.bytes
    return copied, by_host


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("ends", ["ab", "ba", "aa", "bb"])
@pytest.mark.parametrize("batch", [5000, 80_000_000])
def test_blocks_arrive_where_they_belong_and_nowhere_else(limits: str, ends: str, batch: int) -> None:
    for seed in range(4):
        chance = random.Random(seed)
        rig, expected = Rig.make(), Rig.make()
        lengths = {"a": 512, "b": 4096}
        total = 4096 * chance.randrange(1, 120)
        # Sources lie in the first half of a disk and destinations in the second.
        sources = cut(chance, ends[0], lengths[ends[0]], total, 0)
        destinations = cut(chance, ends[1], lengths[ends[1]], total, DISK_SIZE // 2 // lengths[ends[1]])
        expected.fill(destinations, b"".join(expected.content(piece) for piece in sources))
        copied, by_host = copy(rig, limits, sources, destinations, batch)
        assert {name: disk.data for name, disk in rig.disks.items()} == {
            name: disk.data for name, disk in expected.disks.items()}
        assert copied + by_host == total
        if limits == "everything":
            assert by_host == 0


def test_blocks_out_of_reach_are_the_heads() -> None:
    rig = Rig.make()
    far, near = LunExtent("far", 0, 8), LunExtent("a", 8, 8)
    beyond = LunExtent("a", DISK_SIZE // 512 - 4, 8)
    for source, destination in ((far, near), (near, far), (near, beyond)):
        steps = list(block_steps([source], [destination], rig.ends, Abilities.of(FULL)))
        assert steps == [HostBlocks((source,), (destination,))]


@pytest.mark.parametrize("source,destination", [(8, 9), (9, 8), (0, 1), (1, 0)])
def test_lists_of_different_length_are_refused(source: int, destination: int) -> None:
    sources, destinations = ([LunExtent("a", 0, count)] if count else [] for count in (source, destination))
    with pytest.raises(ValueError, match="more"):
        list(block_steps(sources, destinations, Rig.make().ends, Abilities.of(FULL)))


def test_without_a_type_for_it_nothing_is_copied_between_disks() -> None:
    with pytest.raises(CannotCopy, match="02h nor 0Ah"):
        block_steps([], [], {}, Abilities.of(replace(FULL, types=without(0x02, 0x0A))))


@pytest.mark.parametrize("limits", [
    FULL, replace(FULL, max_segments=1), replace(FULL, max_segment_length=MIB),
    replace(FULL, max_list_length=140, max_segment_length=300_000), replace(FULL, data_granularity=4096)])
@pytest.mark.parametrize("size", [512, 10240, 64512, 262144])
@pytest.mark.parametrize("records", [0, 1, 7, 40])
def test_tape_to_tape_keeps_records(limits: object, size: int, records: int) -> None:
    rig = Rig.make()
    profile = Profile(limits)  # type: ignore[arg-type]
    manager = rig.manager(profile)
    chance = random.Random(records)
    rig.tape.records = [chance.randbytes(size) for _ in range(records)]
    for step in tape_steps(records, size, TAPE, SECOND, Abilities.of(profile.limits), batch=5 * size):
        if isinstance(step, HostRecords):
            assert step.pieces == ()
            for _ in range(step.records):
                rig.second.write(rig.tape.read())
        else:
            before = rig.second.position
            manager.execute(step.parameter_list(1).put())
            assert rig.second.position - before == step.records
            assert step.starts[0] == 0 and list(step.starts) == sorted(set(step.starts))
    assert rig.second.records == rig.tape.records


@pytest.mark.parametrize("limits,size,why", [
    (replace(FULL, types=without(0x03)), 512, "03h"),
    (replace(FULL, max_segment_length=1000), 1024, "smaller record size"),
    (replace(FULL, max_stream_transfer=1000), 1024, "smaller record size"),
    (replace(FULL, max_segment_length=1024, data_granularity=1024), 1000, "another record size"),
    (replace(FULL, max_cscds=1), 512, "two tapes"),
    (replace(FULL, max_list_length=90), 512, "two tapes"),
])  # fmt: skip
def test_tapes_that_cannot_be_copied_are_said_so_at_once(limits: object, size: int, why: str) -> None:
    with pytest.raises(CannotCopy, match=why):
        tape_steps(3, size, TAPE, SECOND, Abilities.of(limits))  # type: ignore[arg-type]
