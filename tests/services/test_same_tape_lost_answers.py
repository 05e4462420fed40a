"""A copy manager's answer that is lost, or leaves early warning out, changes nothing on any cartridge."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ndmpd.pieces import Piece
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import MoverHaltReason
from tests.services.copy_rig import DISK, CopyRig, Places, draw_extents, image
from tests.services.same_tape import Answers

CAPACITY, ZONE = 1 << 19, 1 << 17


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@pytest.mark.parametrize("kind", ["lost at the end", "silent at the end", "lost"])
@pytest.mark.parametrize("record", [4096, 10240, 65536])
@pytest.mark.parametrize("seed", range(3))
def test_every_cartridge_ends_with_the_record_that_the_head_would_end_it_with(
        places: Places, kind: str, record: int, seed: int) -> None:
    rng = random.Random(f"{kind} {record} {seed}")
    pieces: list[Piece] = image([*draw_extents(rng, 600), (1200, DISK // 512 - 1300)])
    # Where every copy is one record, all of it is on tape when GOOD comes in place of early warning.
    batch = record if kind == "silent at the end" else rng.choice((2, 5, 40)) * record
    answers = Answers(kind, rng)
    place = places.get(CAPACITY, ZONE, 14)
    with CopyRig(place, Mover.NAS) as rig:
        expected, _ = rig.backup(pieces, record)
    place = places.get(CAPACITY, ZONE, 14)
    with CopyRig(place, Mover.AUTO, batch=batch, wrap=answers, paths=4) as rig:
        found, sent = rig.backup(pieces, record)
        assert sent.finished, (sent.failure, rig.ended, rig.log())
        assert rig.ended == MoverHalted(MoverHaltReason.CONNECT_CLOSED)
        assert "SCSI copy0" in sent.used
        if kind == "lost at the end":
            assert sent.used == "SCSI copy0", "a lost answer that leaves nothing open costs no data mover"
    assert len(expected) > 3 and answers.spoiled
    assert found == expected
