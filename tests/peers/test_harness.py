"""The harness itself, proved against ndmjob's own server: it must tell success from failure.

What ndmjob's server cannot do (its own client's tape test, for one) is as useful here as what it can.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.ndmjob import Agent, Job, Ndmjob
from tests.peers.ndmjob_index import Index
from tests.peers.reference import ReferenceServer
from tests.peers.server import free_port
from tests.trees.comparison import compare

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob", "gcc")]


def test_a_suite_that_passes_is_seen_to_pass(ndmjob: Ndmjob, reference: ReferenceServer) -> None:
    outcome = ndmjob.suite("test-mover", reference.agent(4), str(reference.tape()))
    assert outcome.final is not None, outcome.explain()
    assert (outcome.final.verdict, outcome.final.passed, outcome.final.total) == ("Passed", 100, 100)
    assert outcome.phases["M-IDLE"].passed == 7
    assert outcome.completed


def test_a_suite_that_fails_has_no_final_count(ndmjob: Ndmjob, reference: ReferenceServer) -> None:
    outcome = ndmjob.suite("test-mover", reference.agent(3), str(reference.tape()))
    assert outcome.final is None
    assert not outcome.completed
    assert "M-IDLE #6 -- Failed" in outcome.log


def test_the_shim_is_what_lets_the_zero_length_write_through(
    ndmjob: Ndmjob, corrected_ndmjob: Ndmjob, reference: ReferenceServer
) -> None:
    bare = ndmjob.suite("test-tape", reference.agent(3), str(reference.tape("BARE")))
    assert "T-BW #6 -- Failed" in bare.log
    assert "T-BW" not in bare.phases
    corrected = corrected_ndmjob.suite("test-tape", reference.agent(3), str(reference.tape("CORRECTED")))
    assert "T-BW #6 -- Failed" in corrected.log, "ndmjob's server has the same defect, and is not corrected"


def test_a_dead_port_is_a_failure(ndmjob: Ndmjob) -> None:
    agent = Agent(free_port())
    outcome = ndmjob.query(data=agent, tape=agent, robot=agent)
    assert outcome.lines("QR") == []
    assert not outcome.completed


def test_a_query_lists_what_the_agents_say(ndmjob: Ndmjob, reference: ReferenceServer) -> None:
    agent = reference.agent(4)
    outcome = ndmjob.query(data=agent, tape=agent, robot=agent)
    assert outcome.completed, outcome.explain()
    assert "Robot Agent 127.0.0.1 NDMPv4" in outcome.lines("QR")


def test_ndmjobs_own_server_brings_a_tree_back(
    ndmjob: Ndmjob, reference: ReferenceServer, odd_tree: Path, tmp_path: Path
) -> None:
    """By GNU tar, which loses sockets and the links between names of one FIFO or device.

    Over TCP: with LOCAL, this server forgets to tell that a recover has ended, and ndmjob waits for 30 s.
    """
    agent = reference.agent(4)
    job = Job(agent, str(reference.tape()), tape=agent)
    index = tmp_path / "index"
    backup = ndmjob.backup(job, str(odd_tree), index)
    assert backup.succeeded, backup.explain()
    assert Index.read(index).variable("FILESYSTEM") == str(odd_tree)
    restored = tmp_path / "restored"
    restored.mkdir()
    restore = ndmjob.restore(job, str(restored), index=index)
    assert restore.succeeded, restore.explain()
    comparison = compare(odd_tree, restored, without=frozenset({"socket"}))
    assert comparison.missing == [b"special/socket"]
    assert [line for line in comparison.found if "no longer the same file" not in line] == []


def test_a_job_without_a_tape_does_not_succeed(ndmjob: Ndmjob, reference: ReferenceServer) -> None:
    job = Job(reference.agent(4), "/no/such/tape")
    outcome = ndmjob.backup(job, "/usr/share/doc/tar")
    assert not outcome.succeeded
    assert outcome.status == 0, "ndmjob's exit status says nothing; were it to, the harness could be simpler"
