"""Fragmented images, every profile with every record size: the same tape, and restored the same disks."""

from __future__ import annotations

import random

import pytest

from ndmpd.offload.backup import backup_steps
from ndmpd.offload.plan import CopyCommand, joined
from ndmpd.offload.resume import Outcome, progress
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from tests.offload.model import CopyFailed
from tests.offload.rig import DISK_SIZE, PROFILES, TAPE, Rig, carry_out
from tests.offload.streams import RECORD_SIZES

SIZES = tuple(size for size in RECORD_SIZES if size <= 262144)


def image(chance: random.Random, record_size: int, *, restore: bool = False) -> list[Piece]:
    """A header, then the used ranges of two disks with headers and holes between them."""
    found: list[Piece] = []

    def header(length: int) -> None:
        found.append(Inline(bytearray(length) if restore else chance.randbytes(length)))

    for name, block in (("a", 512), ("b", 4096)):
        if not restore:
            header(chance.choice([512, 4096, 300]))
        lba, end = 0, DISK_SIZE // 2 // block
        while lba < end:
            blocks = min(end - lba, chance.choice([1, 8, 40, 400, 1200]))
            found.append(LunExtent(name, lba, blocks, block))
            lba += blocks + chance.choice([0, 1, 16])
            if chance.random() < 0.2:
                found.append(Zeros(chance.choice([7, 512, 4096, record_size])))
    total = sum(piece.length for piece in found)
    return [*found, Zeros(-total % record_size)]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
def test_an_image_goes_to_tape_the_same_by_every_copy_manager(profile: str, size: int) -> None:
    rig = Rig.make()
    pieces = image(random.Random(size), size)
    stream = b"".join(rig.content(piece) for piece in pieces)
    work = carry_out(rig, PROFILES[profile], pieces, size, batch=20 * size)
    assert b"".join(rig.tape.records) == stream
    assert {len(record) for record in rig.tape.records} == {size}
    if profile == "everything" and size < 65536:  # holes of a longer record do not fit 64 KiB of inline data
        assert work.by_host == 0


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_restored_the_same_by_every_copy_manager(profile: str, size: int) -> None:
    rig, expected = Rig.make(), Rig.make()
    chance = random.Random(size)
    pieces = image(chance, size, restore=True)
    stream = chance.randbytes(sum(piece.length for piece in pieces))
    rig.tape.records = [stream[at:at + size] for at in range(0, len(stream), size)]
    work = carry_out(rig, PROFILES[profile], pieces, size, restore=True, batch=20 * size)
    expected.fill(pieces, stream)
    assert {name: disk.data for name, disk in rig.disks.items()} == {
        name: disk.data for name, disk in expected.disks.items()}
    if profile == "everything":
        assert work.by_host == 0


# Without CAT a record of several parts is the head's, without 08h so is one that begins inside a block: what
# is left to the copy manager is runs of records of one extent, which must not get lost on the way.
@pytest.mark.parametrize("profile,least", [
    ("old gateway", 0.9), ("old gateway without CAT", 0.9), ("no CAT, no inline", 0.9), ("one segment", 0.9),
    ("says offsets, has none", 0.9), ("segment of 64 KiB", 0.95), ("multiples of 4096", 0.9)])
def test_large_extents_go_by_copy_manager(profile: str, least: float) -> None:
    rig = Rig.make()
    pieces = [Inline(bytes(10240)), LunExtent("a", 0, 2000), LunExtent("b", 64, 400, 4096), Zeros(5120)]
    total = sum(piece.length for piece in pieces)
    pieces.append(Zeros(-total % 10240))
    work = carry_out(rig, PROFILES[profile], pieces, 10240)
    assert work.copied > least * (work.copied + work.by_host)
    assert b"".join(rig.tape.records) == b"".join(rig.content(piece) for piece in pieces)


@pytest.mark.parametrize("full_after", range(11))
def test_a_cartridge_ends_behind_the_record_that_met_its_end(full_after: int) -> None:
    """The copy manager stops there, and what is left is the rest of the stream, from that record on."""
    rig, size = Rig.make(), 1024
    rig.tape.full_after = full_after
    pieces = [Inline(b"header" * 50), LunExtent("a", 7, 5), LunExtent("b", 3, 2, 4096), Zeros(212)]
    profile = PROFILES["everything"]
    [command] = backup_steps(pieces, size, TAPE, rig.ends, profile.abilities)
    assert isinstance(command, CopyCommand)
    stream = b"".join(rig.content(piece) for piece in pieces)
    with pytest.raises(CopyFailed) as caught:
        rig.manager(profile).execute(command.parameter_list(1).put())
    found = progress(command, 0, rig.tape.position, Outcome(2, caught.value.sense))
    assert (found.records, found.certain) == (full_after + 1, True)
    assert b"".join(rig.tape.records) == stream[:found.records * size]
    rest = joined((piece, 0, piece.length) for piece in command.rest(found.records))
    assert b"".join(rig.content(piece) for piece in rest) == stream[found.records * size:]
