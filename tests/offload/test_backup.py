"""Backup plans: whatever the copy manager can do, the tape is the same."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.offload import streams
from tests.offload.rig import PROFILES, Rig, carry_out

EXAMPLES = settings(max_examples=25, deadline=None,
                    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("profile", PROFILES)
def test_the_records_are_the_concatenation_of_the_pieces(profile: str) -> None:
    @EXAMPLES
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        rig = Rig.make()
        size = data.draw(st.sampled_from(streams.RECORD_SIZES))
        pieces = data.draw(streams.pieces(size))
        batch = data.draw(st.sampled_from([1, 3 * size, 80_000_000]))
        stream = b"".join(rig.content(piece) for piece in pieces)
        work = carry_out(rig, PROFILES[profile], pieces, size, batch=batch)
        assert rig.tape.records == [stream[at:at + size] for at in range(0, len(stream), size)]
        assert work.copied + work.by_host == len(rig.tape.records)

    holds()
