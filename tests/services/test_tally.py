"""What sessions have done is counted once, whoever they were and however they ended."""

from __future__ import annotations

import os
import signal

import pytest

from ndmpd.services.tally import HEAD, MoverTotals, Operation, Outcome, Tallies


@pytest.fixture
def tallies() -> Tallies:
    return Tallies(["gw1", "gw2"], 3)


def did(tallies: Tallies, row: int) -> None:
    """A session with one good backup by both kinds of mover, and one failed login."""
    tally = tallies.tally(row)
    tally.failed_login(1)
    tally.moved("gw2", Operation.BACKUP, 1000)
    tally.moved(HEAD, Operation.BACKUP, 24)
    tally.job(Operation.BACKUP, Outcome.SUCCESSFUL, ["gw2", HEAD])


def test_live_and_ended_sessions_add_up_and_no_one_counts_twice(tallies: Tallies) -> None:
    first, second = tallies.take(), tallies.take()
    did(tallies, first)
    did(tallies, second)
    before = tallies.totals()
    tallies.leave(first)
    tallies.leave(first)
    assert tallies.totals() == before
    assert before.failed_logins == 2
    assert before.jobs[Operation.BACKUP, Outcome.SUCCESSFUL] == 2
    assert sum(before.jobs.values()) == 2
    assert before.movers == (MoverTotals("gw1", 0, 0, 0, 0), MoverTotals("gw2", 2000, 0, 2, 0),
                             MoverTotals(HEAD, 48, 0, 2, 0))


def test_a_row_is_given_again_only_after_its_session_left_and_begins_with_zeros(tallies: Tallies) -> None:
    rows = [tallies.take() for _ in range(3)]
    assert len(set(rows)) == 3
    assert tallies.take() == -1
    did(tallies, rows[1])
    tallies.leave(rows[1])
    again = tallies.take()
    assert again == rows[1]
    assert tallies.totals().movers[1].backed_up == 1000


def test_a_session_for_which_there_is_no_row_counts_nowhere_and_harms_nobody(tallies: Tallies) -> None:
    row = tallies.take()
    did(tallies, -1)
    tallies.leave(-1)
    assert tallies.totals().failed_logins == 0
    did(tallies, row)
    assert tallies.totals().failed_logins == 1


def test_recovers_failures_and_movers_that_left_the_configuration(tallies: Tallies) -> None:
    tally = tallies.tally(tallies.take())
    tally.moved("gw1", Operation.RECOVER, 7)
    tally.moved(HEAD, Operation.LIST, 5)
    tally.job(Operation.RECOVER, Outcome.FAILED, ["gw1"])
    tally.job(Operation.LIST, Outcome.ABORTED, ["of another time"])
    totals = tallies.totals()
    assert totals.movers == (MoverTotals("gw1", 0, 7, 0, 1), MoverTotals("gw2", 0, 0, 0, 0),
                             MoverTotals(HEAD, 0, 5, 0, 1))
    assert {key for key, count in totals.jobs.items() if count} == {
        (Operation.RECOVER, Outcome.FAILED), (Operation.LIST, Outcome.ABORTED)}


def test_what_a_process_counted_before_it_was_killed_is_there(tallies: Tallies) -> None:
    row = tallies.take()
    pid = os.fork()
    if pid == 0:
        try:
            did(tallies, row)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    tallies.leave(row)
    assert tallies.totals().movers[1].backed_up == 1000
