"""ndmjob's own conformance suites. It ends at the first step whose error code is not exactly the one it
wants.
"""

from __future__ import annotations

import pytest

from tests.peers.ndmjob import Ndmjob, Outcome
from tests.peers.server import EmbeddedServer

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob")]

VERSIONS = [3, 4]
TAPE = "tape1"
TAPE_PHASES = ("T-OC", "T-BGS", "T-BW", "T-BR", "T-BWR", "T-WRITE", "T-READ", "T-MTIO")
MOVER_PHASES = (
    "M-IDLE", "M-LISTEN", "M-LISTEN/bogus-args", "M-LISTEN/not-open", "M-LISTEN/tape-ro", "M-LISTEN/tape-rw",
)  # fmt: skip


def all_passed(outcome: Outcome) -> int:
    """Require that every step of the suite passed; returns how many there were."""
    assert outcome.final is not None, outcome.explain()
    assert outcome.final.verdict == "Passed", outcome.explain()
    assert outcome.final.passed == outcome.final.total
    return outcome.final.total


@pytest.mark.parametrize("version", VERSIONS)
def test_the_mover_suite_passes(ndmjob: Ndmjob, server: EmbeddedServer, version: int) -> None:
    outcome = ndmjob.suite("test-mover", server.agent(version), TAPE)
    steps = all_passed(outcome)
    assert steps == 100 if version == 4 else steps > 90
    assert set(MOVER_PHASES) <= set(outcome.phases)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_data_suite_passes(ndmjob: Ndmjob, server: EmbeddedServer, version: int) -> None:
    outcome = ndmjob.suite("test-data", server.agent(version))
    assert all_passed(outcome) > 20
    assert outcome.phases["D-IDLE"].passed == 3


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_tape_suite_passes(corrected_ndmjob: Ndmjob, server: EmbeddedServer, version: int) -> None:
    outcome = corrected_ndmjob.suite("test-tape", server.agent(version), TAPE)
    assert all_passed(outcome) == 123
    assert {name: outcome.phases[name].verdict for name in TAPE_PHASES} == dict.fromkeys(
        TAPE_PHASES, "Passed"
    )


def test_the_suites_leave_the_drive_to_the_next_session(ndmjob: Ndmjob, server: EmbeddedServer) -> None:
    for _ in range(3):
        assert all_passed(ndmjob.suite("test-mover", server.agent(4), TAPE)) == 100
