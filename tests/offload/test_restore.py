"""Restore plans: every destination gets its bytes, and nothing else is touched."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.pieces import Inline
from tests.offload import streams
from tests.offload.rig import PROFILES, Rig, carry_out

EXAMPLES = settings(max_examples=25, deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("profile", PROFILES)
def test_disks_hold_what_the_tape_says_and_are_untouched_elsewhere(profile: str) -> None:
    @EXAMPLES
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rig, expected = Rig.make(), Rig.make()
        size = data.draw(st.sampled_from(streams.RECORD_SIZES))
        pieces = data.draw(streams.pieces(size, restore=True))
        batch = data.draw(st.sampled_from([1, 3 * size, 80_000_000]))
        stream = random.Random(3).randbytes(sum(piece.length for piece in pieces))
        rig.tape.records = [stream[at:at + size] for at in range(0, len(stream), size)]
        work = carry_out(rig, PROFILES[profile], pieces, size, restore=True, batch=batch)
        buffers = [bytes(piece.data) for piece in pieces if isinstance(piece, Inline)]
        expected.fill(pieces, stream)
        assert {name: disk.data for name, disk in rig.disks.items()} == {
            name: disk.data for name, disk in expected.disks.items()}
        assert buffers == [bytes(piece.data) for piece in pieces if isinstance(piece, Inline)]
        assert rig.files == expected.files
        assert rig.tape.position == work.copied + work.by_host == len(rig.tape.records)

    holds()
