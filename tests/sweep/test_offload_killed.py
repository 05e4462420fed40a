"""The process of the copy manager is killed in the middle of copies, and started again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ndmpd.services.transfer import Mover
from protocol.ndmp.codes import MoverHaltReason
from tests.sweep.case import rng_of
from tests.sweep.conftest import seeds
from tests.sweep.killed import KeptPlace
from tests.sweep.offload import Trouble
from tests.sweep.offload_case import Backup, Recover, SpannedRecover, Work, draw, told
from tests.sweep.offload_units import usable

KINDS = [Backup, Recover, SpannedRecover]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[bool, KeptPlace]]:
    """By whether there are several cartridges, which are small then."""
    folder = tmp_path_factory.mktemp("killed")
    found = {several: KeptPlace(folder / str(several), *((65536, 0, 14) if several else ()))
             for several in (False, True)}
    yield found
    for place in found.values():
        place.close()


def judged(places: dict[bool, KeptPlace], kind: type[Backup] | type[Recover], seed: int) -> bool:
    """One case; whether the process was killed with a copy under way."""
    rng = rng_of(seed, f"killed {kind.__name__}")
    work = draw(rng)
    several = kind is SpannedRecover or (rng.random() < 0.3 and kind is Backup)
    if several and work.record > 4000:
        work = Work(1024, work.extents, work.windows, 16384, work.mover)
    place = places[several]
    place.reset()
    place.keeper.wait()
    trouble = Trouble(place, work.record, rng)
    case = kind(place, work, trouble)
    before = place.keeper.deaths
    with told(seed, work, trouble, case.rig):
        try:
            place.keeper.arm(int(rng.expovariate(1 / 8)), rng.choice((0.0, rng.uniform(0, 0.001))))
            ended = case.run()
            place.keeper.arm(-1, 0.0)
            case.judge()
            struck = place.keeper.deaths > before
            if work.mover is Mover.AUTO or not struck:
                assert ended.reason == MoverHaltReason.CONNECT_CLOSED, ended
        finally:
            place.keeper.arm(-1, 0.0)
            case.close()
    place.keeper.wait()
    usable(place)
    return struck


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_manager_that_is_killed_loses_no_record_and_repeats_none(
        places: dict[bool, KeptPlace], kind: type[Backup] | type[Recover]) -> None:
    struck = [judged(places, kind, seed) for seed in seeds(30)]
    assert len(struck) < 10 or sum(struck) > len(struck) // 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_manager_that_is_killed_again_and_again(
        places: dict[bool, KeptPlace], kind: type[Backup] | type[Recover]) -> None:
    for seed in seeds(150):
        judged(places, kind, 1000 + seed)
