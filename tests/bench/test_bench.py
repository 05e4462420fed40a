"""The benchmark measures what it says: proved on ndmjob's own server, and on made-up times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.client.errors import Refused
from tests.bench.dma import Backup, JobFailed, timed_backup
from tests.bench.jobs import JobToTime, fill, time_job
from tests.bench.series import Series, table
from tests.peers.ndmjob import find_program
from tests.peers.reference import ReferenceServer


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[ReferenceServer]:
    program = find_program()
    assert program is not None
    server = ReferenceServer(program, tmp_path).start()
    yield server
    server.stop()


@pytest.mark.peer
@pytest.mark.needs("ndmjob")
def test_the_timed_backup_moves_the_whole_file(reference: ReferenceServer, tmp_path: Path) -> None:
    source, tape = tmp_path / "source", reference.tape()
    fill(source, 3 << 20)
    timed = timed_backup(reference.agent(4), Backup("image", str(source), str(tape), 1 << 16))
    assert timed.moved == 3 << 20
    assert 0 < timed.seconds < 10
    assert source.read_bytes()[-1000:] in tape.read_bytes()


@pytest.mark.peer
@pytest.mark.needs("ndmjob")
def test_a_job_that_fails_has_no_time(reference: ReferenceServer, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="TAPE_OPEN"):
        timed_backup(reference.agent(4), Backup("image", "/dev/null", "/no/such/tape", 1 << 16))


@pytest.mark.peer
@pytest.mark.needs("ndmjob")
def test_a_job_that_moves_too_little_has_no_time(reference: ReferenceServer, tmp_path: Path) -> None:
    source, tape = tmp_path / "source", reference.tape()
    fill(source, 1 << 20)
    with pytest.raises(JobFailed, match="1048576 bytes were moved"):
        timed_backup(reference.agent(4), Backup("image", str(source), str(tape), 1 << 16, at_least=1 << 21))


def test_the_first_round_is_not_counted_and_subjects_take_turns() -> None:
    order: list[str] = []
    times = iter([9.0, 9.0, 1.0, 2.0, 3.0, 4.0])

    def subject(name: str) -> float:
        order.append(name)
        return next(times)

    job = JobToTime("job", 10, {"a": lambda: subject("a"), "b": lambda: subject("b")})
    series = time_job(job, rounds=2)
    assert [one.seconds for one in series] == [[1.0, 3.0], [2.0, 4.0]]
    assert order == ["a", "b"] * 3


def test_the_table_compares_the_subjects_of_a_job() -> None:
    slow = Series("copy", "dd", 100_000_000, seconds=[1.0, 1.1, 0.9])
    fast = Series("copy", "ndmpd", 100_000_000, seconds=[0.5, 0.5, 0.5])
    lines = table([slow, fast]).splitlines()
    assert lines[1].split() == ["copy", "dd", "100", "1.000", "5.0%", "100", "ndmpd", "0.50"]
    assert lines[2].split() == ["copy", "ndmpd", "100", "0.500", "0.0%", "200", "dd", "2.00"]


def test_filling_leaves_no_hole(tmp_path: Path) -> None:
    fill(tmp_path / "file", 5_000_001)
    status = (tmp_path / "file").stat()
    assert status.st_size == 5_000_001
    assert status.st_blocks * 512 >= status.st_size
