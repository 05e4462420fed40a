"""The same tape on every data path: whatever the disk, the records, the windows, the cartridges and the copy
manager are like, both movers write the same records on the same cartridges, and restore each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

from tests.conftest import missing
from tests.formats.image_source import make_ext
from tests.services.copy_rig import Places
from tests.services.same_tape import SIZE, USUAL, Case, Mapped, Work, both_ways, cases

QUICK, LONG = 8, 100
"""Examples of each block and record size."""
FILE_SYSTEMS = missing("mke2fs") is None


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """File systems by the length of their blocks; none where nothing can make them."""
    found: dict[int, Path] = {}
    if FILE_SYSTEMS:
        for block in (1024, 4096):
            found[block] = tmp_path_factory.mktemp("ext4") / str(block)
            make_ext(found[block], str(SIZE), "-b", str(block), files=30)
    return found


def check(places: Places, images: dict[int, Path], drawn: SearchStrategy[Case], count: int) -> None:
    """``count`` cases, always the same ones, which between them are not too simple to show anything."""
    done: list[Work] = []

    @settings(max_examples=count, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(drawn)
    def same(case: Case) -> None:
        done.append(both_ways(places, case, images))

    same()
    assert len(done) >= count and any(work.cartridges > 1 for work in done)
    assert sum(work.offloaded > 0 for work in done) > count // 3


@pytest.mark.parametrize("block", [512, 4096])
@pytest.mark.parametrize("record", [*USUAL, None])
def test_both_movers_write_the_same_tape_and_restore_each_others(
        places: Places, images: dict[int, Path], record: int | None, block: int) -> None:
    check(places, images, cases(block, record, file_systems=FILE_SYSTEMS), QUICK)


@pytest.mark.parametrize(("block", "target"), [(512, 4096), (4096, 512)])
def test_an_image_is_restored_by_either_mover_onto_a_disk_with_other_blocks(places: Places, block: int,
                                                                            target: int) -> None:
    """Extents, zeros and gaps begin and end anywhere in the blocks of the target."""
    runs = tuple((gap, blocks, zeros) for gap, blocks, zeros in [
        (3, 1, False), (0, 2, True), (0, 5, False), (1, 700, False), (7, 33, True), (0, 300, False),
        (2, 1, False), (0, 1, True), (0, 1, False), (5, 21, False)])
    case = Case(10240, block, Mapped(runs), share=60, target=target, cuts=(300, 700))
    work = both_ways(places, case, {})
    assert work.offloaded > 900 * block and work.cartridges == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", [512, 4096])
@pytest.mark.parametrize("record", [*USUAL, None])
def test_both_movers_write_the_same_tape_in_many_more_cases(
        places: Places, images: dict[int, Path], record: int | None, block: int) -> None:
    check(places, images, cases(block, record, file_systems=FILE_SYSTEMS), LONG)
