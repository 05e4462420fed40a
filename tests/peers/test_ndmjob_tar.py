"""ndmjob as the DMA: trees to tape and back, in both versions, joined by LOCAL and by TCP.

One backup per mode and tree, looked at by all tests of the mode: a real tree on ``tape0``, the odd one on
``tape1``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.ndmjob import Job, Ndmjob, Outcome
from tests.peers.ndmjob_index import NAME_LIMIT, Index, escaped
from tests.peers.server import EmbeddedServer
from tests.trees.comparison import compare, compare_entry, differences
from tests.trees.real import ENOUGH_FILES, RealTree

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob"), pytest.mark.timeout(300)]

MODES = {"v3-LOCAL": (3, False), "v3-TCP": (3, True), "v4-LOCAL": (4, False), "v4-TCP": (4, True)}
NO_SOCKETS = frozenset({"socket"})  # no tar has a type for them


@dataclass(frozen=True, slots=True)
class Saved:
    """A tree that was backed up: the job to restore it with, ndmjob's index, and what ndmjob said."""

    name: str
    tree: Path
    job: Job
    index: Path
    backup: Outcome

    def destination(self, restores: Path, purpose: str) -> Path:
        return restores / f"{self.name} {purpose}"


def save(ndmjob: Ndmjob, folder: Path, name: str, tree: Path, job: Job) -> Saved:
    index = folder / f"{name}.index"
    return Saved(name, tree, job, index, ndmjob.backup(job, str(tree), index))


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def job(server: EmbeddedServer, mode: str, device: str) -> Job:
    version, separate = MODES[mode]
    agent = server.agent(version)
    return Job(agent, device, tape=agent if separate else None)


@pytest.fixture(scope="module")
def saved_real(ndmjob: Ndmjob, server: EmbeddedServer, mode: str, real_tree: RealTree, folder: Path) -> Saved:
    return save(ndmjob, folder, f"{mode}-real", real_tree.path, job(server, mode, "tape0"))


@pytest.fixture(scope="module")
def saved_odd(ndmjob: Ndmjob, server: EmbeddedServer, mode: str, odd_tree: Path, folder: Path) -> Saved:
    return save(ndmjob, folder, f"{mode}-odd", odd_tree, job(server, mode, "tape1"))


def moved_kilobytes(outcome: Outcome) -> int:
    """What the mover took from tape, by its own count at the last look."""
    counts = re.findall(r"MOVER: (?:read|written) (\d+)KB", outcome.log)
    return int(counts[-1])


def paths_below(tree: Path) -> dict[bytes, os.stat_result]:
    """All entries as the index names them, with ``/`` for the top."""
    top = os.fsencode(tree)
    found = {b"/": os.lstat(top)}
    for folder, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(folder, name)
            found[path[len(top) :]] = os.lstat(path)
    return found


def test_a_real_tree_is_backed_up(saved_real: Saved) -> None:
    assert saved_real.backup.succeeded, saved_real.backup.explain()


def test_its_history_lists_every_file(saved_real: Saved) -> None:
    index = Index.read(saved_real.index)
    assert set(index.offsets) == set(paths_below(saved_real.tree))
    assert len(index.paths("-")) >= ENOUGH_FILES
    assert [path for path, offset in index.offsets.items() if offset is None] == []


def test_the_environment_comes_back_as_sent(saved_real: Saved) -> None:
    index = Index.read(saved_real.index)
    assert index.variable("FILESYSTEM") == str(saved_real.tree)
    assert index.variable("TYPE") == "tar"
    assert index.variable("HIST") == "y"
    assert all(len(name) + len(value) < 500 for name, value in index.environment)


def test_a_real_tree_is_restored(ndmjob: Ndmjob, saved_real: Saved, restores: Path) -> None:
    destination = saved_real.destination(restores, "full")
    outcome = ndmjob.restore(saved_real.job, str(destination), index=saved_real.index)
    assert outcome.succeeded, outcome.explain()
    comparison = compare(saved_real.tree, destination)
    assert comparison.found == []
    assert comparison.entries >= ENOUGH_FILES


def test_three_names_are_restored_under_new_ones_without_reading_all(
    ndmjob: Ndmjob, saved_real: Saved, restores: Path
) -> None:
    """Direct access: the mover reads little more than the three files, which lie at both ends and in the
    middle.
    """
    files = Index.read(saved_real.index).paths("-")
    chosen = [os.fsdecode(files[place]) for place in (10, len(files) // 2, -10)]
    names = [f"/new {number}={old}" for number, old in enumerate(chosen)]
    destination = saved_real.destination(restores, "three")
    outcome = ndmjob.restore(
        saved_real.job, str(destination), names, saved_real.index, {"DIRECT": "y"}
    )  # fmt: skip
    assert outcome.succeeded, outcome.explain()
    assert "LOG_FILE messages: 3 OK, 0 ERROR, total 3 of 3" in outcome.log
    assert sorted(os.listdir(destination)) == ["new 0", "new 1", "new 2"]
    for number, old in enumerate(chosen):
        assert compare_entry(f"{saved_real.tree}{old}", destination / f"new {number}").found == []
    assert moved_kilobytes(outcome) < moved_kilobytes(saved_real.backup) / 10


def test_history_is_read_back_from_the_tape(ndmjob: Ndmjob, saved_real: Saved, folder: Path) -> None:
    again = folder / f"{saved_real.name}.toc"
    outcome = ndmjob.contents(saved_real.job, again)
    assert outcome.succeeded, outcome.explain()
    before, after = Index.read(saved_real.index), Index.read(again)
    assert after.offsets == before.offsets
    assert after.stats == before.stats


def test_an_odd_tree_is_backed_up_and_what_no_tar_can_hold_is_named(saved_odd: Saved) -> None:
    assert saved_odd.backup.succeeded, saved_odd.backup.explain()
    assert "special/socket" in saved_odd.backup.log


def test_odd_names_are_in_the_history(saved_odd: Saved) -> None:
    index = Index.read(saved_odd.index)
    expected = {path for path in paths_below(saved_odd.tree) if len(escaped(path)) <= NAME_LIMIT}
    assert expected - set(index.offsets) - {b"/special/socket"} == set()


def test_an_odd_tree_is_restored(ndmjob: Ndmjob, saved_odd: Saved, restores: Path) -> None:
    destination = saved_odd.destination(restores, "full")
    outcome = ndmjob.restore(saved_odd.job, str(destination), index=saved_odd.index)
    assert outcome.succeeded, outcome.explain()
    comparison = compare(saved_odd.tree, destination, without=NO_SOCKETS)
    assert comparison.found == []
    assert comparison.missing == [b"special/socket"]


def test_a_directory_and_odd_names_are_restored_under_new_ones(
    ndmjob: Ndmjob, saved_odd: Saved, restores: Path
) -> None:
    destination = saved_odd.destination(restores, "selected")
    names = {"lists": "acl", "big one": "sizes/big", "never seen": os.fsdecode(b"names/caf\xe9 latin-1")}
    arguments = [f"/{new}=/{old}" for new, old in names.items()]
    outcome = ndmjob.restore(
        saved_odd.job, str(destination), arguments, saved_odd.index, {"DIRECT": "y"}
    )  # fmt: skip
    assert outcome.succeeded, outcome.explain()
    assert sorted(os.listdir(destination)) == sorted(names)
    for new, old in names.items():
        assert compare_entry(saved_odd.tree / old, destination / new).found == []


def test_paths_longer_than_the_system_takes_are_brought_back(
    ndmjob: Ndmjob, server: EmbeddedServer, deep_tree: Path, restores: Path, mode: str, saved_odd: Saved
) -> None:
    """Without history, which ndmjob cannot store for such names; behind all that need the odd tree's tape."""
    deep = job(server, mode, "tape1")
    backup = ndmjob.backup(deep, str(deep_tree))
    assert backup.succeeded, backup.explain()
    destination = restores / f"{mode} deep"
    restore = ndmjob.restore(deep, str(destination))
    assert restore.succeeded, restore.explain()
    assert differences(deep_tree, destination) == []
