"""A copy manager's answer that is lost, or leaves early warning out, changes nothing on any cartridge."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ndmpd.devices.errors import TransportError
from ndmpd.pieces import Piece
from ndmpd.ports import Command, Result, Transport
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import MoverHaltReason
from protocol.scsi.command import Status
from protocol.scsi.sense import CopySense, Sense
from protocol.scsi.xcopy import EXTENDED_COPY
from tests.services.copy_rig import DISK, CopyRig, Places, draw_extents, image

CAPACITY, ZONE = 1 << 19, 1 << 17


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


def met_the_end(result: Result) -> bool:
    if result.status != Status.CHECK_CONDITION:
        return False
    report = CopySense.of(Sense.take(result.sense)).destination_sense
    return report is not None and report.sense is not None and report.sense.eom


class Answers:
    """Around the transport of copy0. ``kind``: what becomes of the answer to a copy.

    "lost at the end": none comes where the tape met early warning. "silent at the end": it is GOOD there.
    "lost": none comes in one of three cases, wherever that is.
    """

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind = kind
        self.spoiled = 0
        self._rng = rng

    def __call__(self, name: str, transport: Transport) -> Transport:
        return _Around(self, transport) if name.startswith("copy") else transport

    def answer(self, result: Result) -> Result:
        chosen = self._rng.random() < 0.3 if self.kind == "lost" else met_the_end(result)
        if not chosen:
            return result
        self.spoiled += 1
        if self.kind == "silent at the end":
            return Result(Status.GOOD, b"", result.transferred)
        raise TransportError("the answer was lost")


class _Around:
    def __init__(self, answers: Answers, transport: Transport) -> None:
        self._answers, self._transport = answers, transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def execute(self, command: Command) -> Result:
        result = self._transport.execute(command)
        copies = command.cdb[0] == EXTENDED_COPY.opcode and command.cdb[1] & 0x1F == 0
        return self._answers.answer(result) if copies else result


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
