"""Every limit, one step at a time through the range where it bites: the model refuses what lies outside."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from tests.offload.rig import FULL, Profile, Rig, carry_out, without

SIZE = 1024
PIECES: list[Piece] = [
    Inline(b"abc"), LunExtent("a", 3, 5), Inline(b"defgh"), LunExtent("b", 2, 1, 4096), Zeros(SIZE - 520),
    Inline(b"i" * SIZE * 3), LunExtent("a", 40, 9), LunExtent("a", 60, 1), LunExtent("b", 7, 2, 4096),
    LunExtent("a", 1, 1), Zeros(SIZE * 4 + 10), Inline(b"jk" * 251), Inline(b"l" * 4),
    LunExtent("b", 30, 1, 4096), LunExtent("a", 99, 2)]
PIECES.append(Zeros(-sum(piece.length for piece in PIECES) % SIZE))

LIMITS = {
    "max_list_length": range(72, 400, 4),
    "max_inline_length": (*range(1, 24), *range(480, 560, 3), *range(3000, 3200, 7)),
    "max_segment_length": (*range(SIZE, 5 * SIZE, 97), 2 * SIZE, 3 * SIZE),
    "max_segments": range(1, 12),
    "max_cscds": (2, 3),
    "data_granularity": tuple(1 << power for power in range(14)),
    "inline_granularity": tuple(1 << power for power in range(11)),
    "max_stream_transfer": (SIZE, SIZE + 1),
}
KINDS = {"all types": FULL.types, "no 04h": without(4), "no 05h": without(5), "no 08h, 09h": without(8, 9)}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("cat", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_backup_keeps_to(limit: str, kind: str, cat: bool) -> None:
    for value in LIMITS[limit]:
        rig = Rig.make()
        profile = Profile(replace(FULL, types=KINDS[kind], **{limit: value}), cat=cat)
        carry_out(rig, profile, PIECES, SIZE)
        assert b"".join(rig.tape.records) == b"".join(rig.content(piece) for piece in PIECES)
        assert {len(record) for record in rig.tape.records} == {SIZE}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("cat", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restore_keeps_to(limit: str, kind: str, cat: bool) -> None:
    destinations = [Zeros(piece.length) if isinstance(piece, Inline) else piece for piece in PIECES]
    stream = random.Random(limit).randbytes(sum(piece.length for piece in destinations))
    expected = Rig.make()
    expected.fill(destinations, stream)
    for value in LIMITS[limit]:
        rig = Rig.make()
        rig.tape.records = [stream[at:at + SIZE] for at in range(0, len(stream), SIZE)]
        profile = Profile(replace(FULL, types=KINDS[kind], **{limit: value}), cat=cat)
        carry_out(rig, profile, destinations, SIZE, restore=True)
        assert all(rig.disks[name].data == expected.disks[name].data for name in rig.disks)
