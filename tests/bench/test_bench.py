"""The benchmark measures what it says: every row at a small scale, and made-up figures. No time is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.client.errors import Refused
from tests.bench.dma import Job, JobFailed, timed
from tests.bench.place import MIB, Place, Scale, fill
from tests.bench.report import as_json, table
from tests.bench.rows import Row, Subject, measure
from tests.bench.series import AtLeast, Below, Rate, Series, Unit, compare
from tests.bench.table import ROWS

TINY = Scale(size=2 * MIB, files=60, seconds=0.3)
TREE = "tree"
"""The row of a tree that cannot be made small."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("bench"), TINY) as place:
        yield place


@pytest.mark.peer
@pytest.mark.needs("ndmjob", "tar")
@pytest.mark.parametrize("row", [row for row in ROWS if row.name != TREE], ids=lambda row: row.name)
def test_every_row_can_be_measured(row: Row, place: Place) -> None:
    series = measure(row, place, rounds=1)
    if not series:
        pytest.skip("this row needs what is not here: two cores, root, or a program")
    assert row.targets
    for target in row.targets:
        assert target.met(series) is not None, f"{target} has nobody to be held against"
    assert all(figure > 0 for one in series.values() for figure in one.figures)
    assert row.name in table([(row, series)])
    json.dumps(as_json([(row, series)], 1))


@pytest.mark.peer
@pytest.mark.needs("ndmjob")
def test_a_job_that_fails_has_no_time(place: Place) -> None:
    assert place.reference is not None
    with pytest.raises(Refused, match="TAPE_OPEN"):
        timed(place.reference.agent(4), Job("image", "/dev/null", "/no/such/tape"))


def test_a_job_that_moves_too_little_has_no_time(place: Place) -> None:
    place.disk("disk0")
    with pytest.raises(JobFailed, match="bytes were moved"):
        timed(place.ours.agent, Job("image", "/vol/disk0", "tape0", at_least=TINY.size * 2))


def test_a_job_with_too_little_history_has_no_time(place: Place) -> None:
    job = Job("tar", str(place.small.path), "tape0", history="y", entries=10 * TINY.files)
    with pytest.raises(JobFailed, match="entries of history came"):
        timed(place.ours.agent, job)


def test_the_first_round_is_checked_and_not_counted(tmp_path: Path) -> None:
    order: list[str] = []
    times = iter([9.0, 9.0, 4.0, 1.0, 2.0, 3.0])

    def subject(name: str) -> Subject:
        def run() -> float:
            order.append(name)
            return next(times)

        return Subject(name, run, 10, check=lambda: order.append(f"check {name}"))

    row = Row("row", "", Unit.FILES, (), "", lambda place: [subject("a"), subject("b")])
    with Place(tmp_path, TINY) as place:
        series = measure(row, place, rounds=2)
    assert order == ["a", "check a", "b", "check b", "b", "a", "a", "b"]
    assert series["a"].figures == [1.0, 2.0]
    assert series["b"].figures == [4.0, 3.0]


def test_rates_are_compared_round_by_round() -> None:
    peer = Series("dd", Unit.BYTES, 100e6, [1.0, 2.0, 4.0])
    ours = Series("ndmpd", Unit.BYTES, 200e6, [4.0, 4.0, 4.0])
    ratio = compare(ours, peer)
    assert (ratio.lower, ratio.median, ratio.upper) == (0.75, 1.0, 1.5)
    both = {"dd": peer, "ndmpd": ours}
    assert AtLeast("dd", 1.0).met(both)
    assert not AtLeast("dd", 1.1).met(both)
    assert AtLeast("tar", 1.0).met(both) is None
    assert Rate(50e6).met(both)
    assert not Rate(51e6).met(both)


def test_latency_is_compared_by_how_much_it_takes() -> None:
    both = {name: Series(name, Unit.LATENCY, 1, [figure])
            for name, figure in (("echo", 0.001), ("ndmpd", 0.004))}
    assert compare(both["ndmpd"], both["echo"]).median == 4.0
    assert Below(0.005, "5 ms").met(both)
    assert not Below(0.004, "4 ms").met(both)
    assert both["ndmpd"].shown == "4.00 ms"


def test_filling_leaves_no_hole(tmp_path: Path) -> None:
    fill(tmp_path / "file", 5_000_001)
    status = (tmp_path / "file").stat()
    assert status.st_size == 5_000_001
    assert status.st_blocks * 512 >= status.st_size
