"""List identifiers: as many as copy threads, one holder each, and remembered where a holder died copying."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ndmpd.devices.leases import Lease, Leases, abandoned


def taken(run: Path, manager: str, copythreads: int) -> Lease:
    found = Leases(run, manager, copythreads).take()
    assert found is not None
    return found


def died_copying(run: Path, manager: str, drive: str) -> None:
    """A process takes a lease, begins a copy, and is killed."""
    pid = os.fork()
    if pid == 0:
        try:
            taken(run, manager, 9).begin(drive)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.waitpid(pid, 0)


def test_there_are_as_many_identifiers_as_copy_threads(tmp_path: Path) -> None:
    held = [taken(tmp_path, "copy0", 3) for _ in range(3)]
    assert [one.list_id for one in held] == [1, 2, 3]
    assert Leases(tmp_path, "copy0", 3).take() is None
    assert taken(tmp_path, "copy1", 3).list_id == 1
    held[1].close()
    assert taken(tmp_path, "copy0", 3).list_id == 2


def test_a_lease_that_ended_its_copy_is_free_again(tmp_path: Path) -> None:
    one = taken(tmp_path, "copy0", 1)
    one.begin("tape0")
    assert one.units == ["tape0"]
    one.end()
    one.close()
    assert not list(abandoned(tmp_path))
    assert taken(tmp_path, "copy0", 1).units == []


def test_a_copy_under_way_is_nobodys_to_fence(tmp_path: Path) -> None:
    one = taken(tmp_path, "copy0", 1)
    one.begin("tape0")
    assert not list(abandoned(tmp_path, "tape0"))
    one.close()


def test_what_a_dead_process_left_running_is_found_by_its_drive_and_its_manager(tmp_path: Path) -> None:
    died_copying(tmp_path, "copy.0", "tape0")
    died_copying(tmp_path, "copy1", "tape1")
    assert [(one.manager, one.list_id) for one in abandoned(tmp_path, "tape0")] == [("copy.0", 1)]
    assert [one.units for one in abandoned(tmp_path, manager="copy1")] == [["tape1"]]
    assert not list(abandoned(tmp_path, "tape2"))


def test_an_identifier_with_a_copy_left_on_it_is_not_given_out_before_that_ended(tmp_path: Path) -> None:
    died_copying(tmp_path, "copy0", "tape0")
    assert taken(tmp_path, "copy0", 2).list_id == 2
    assert Leases(tmp_path, "copy0", 1).take() is None
    for left in abandoned(tmp_path, "tape0"):
        left.end()
    assert taken(tmp_path, "copy0", 1).list_id == 1
