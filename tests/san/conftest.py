"""A small embedded SAN in a temporary folder, and hosts that send CDBs to its units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.pieces import Inline, Piece
from ndmpd.ports import Command, Result
from ndmpd.san import Flush, San, create
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.ssc import LongPosition, PositionForm, SpaceCode

MIB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What a command gave: status, sense if any, the data-in that came."""

    status: int
    sense: Sense | None
    data: bytes
    transferred: int

    @property
    def good(self) -> bool:
        return self.status == Status.GOOD

    def is_check(self, key: SenseKey, code: int) -> bool:
        return (self.status == Status.CHECK_CONDITION and self.sense is not None
                and (self.sense.key, self.sense.code) == (key, code))


class Host:
    """One initiator's view of one unit. Power-on attention is cleared unless ``fresh``."""

    def __init__(self, san: San, unit: str, nexus: Nexus | None = None, *, fresh: bool = False) -> None:
        self.nexus = nexus or Nexus(san.path)
        self.transport = EmbeddedTransport(san.path, unit, self.nexus)
        if not fresh:
            self.clear_attentions()

    def clear_attentions(self) -> None:
        while (outcome := self.send(scsi.TEST_UNIT_READY.put())).sense is not None:
            if outcome.sense.key is not SenseKey.UNIT_ATTENTION:
                break

    def send(self, cdb: bytes, out: bytes | list[Piece] = b"", *, room: int = 0,
             timeout: float = 10.0) -> Outcome:
        buffer = bytearray(room)
        pieces: list[Piece] = out if isinstance(out, list) else [Inline(out)] if out else []
        result: Result = self.transport.execute(
            Command(cdb, pieces, [Inline(buffer)] if room else (), timeout))
        sense = Sense.take(result.sense) if result.sense else None
        return Outcome(result.status, sense, bytes(buffer[:result.transferred]) if room else b"",
                       result.transferred)

    def close(self) -> None:
        self.transport.close()
        self.nexus.close()


class TapeHost(Host):
    """Short names for what tape tests do all the time."""

    def write(self, data: bytes) -> Outcome:
        return self.send(scsi.WRITE_6_TAPE.put(length=len(data)), data)

    def write_fixed(self, data: bytes, count: int) -> Outcome:
        return self.send(scsi.WRITE_6_TAPE.put(fixed=1, length=count), data)

    def read(self, size: int, *, sili: int = 0) -> Outcome:
        return self.send(scsi.READ_6_TAPE.put(sili=sili, length=size), room=size)

    def read_fixed(self, count: int, size: int) -> Outcome:
        return self.send(scsi.READ_6_TAPE.put(fixed=1, length=count), room=count * size)

    def mark(self, count: int = 1) -> Outcome:
        return self.send(scsi.WRITE_FILEMARKS_6.put(count=count))

    def rewind(self) -> Outcome:
        return self.send(scsi.REWIND.put())

    def space(self, code: SpaceCode, count: int = 0) -> Outcome:
        return self.send(scsi.SPACE_6.put(code=code, count=count & 0xFFFFFF))

    def locate(self, place: int) -> Outcome:
        return self.send(scsi.LOCATE_10.put(block=place))

    def position(self) -> tuple[int, int]:
        """Logical object number, and filemarks before it."""
        outcome = self.send(scsi.READ_POSITION.put(action=PositionForm.LONG), room=32)
        assert outcome.good, outcome
        found = LongPosition.take(outcome.data)
        assert found.object is not None and found.file is not None
        return found.object, found.file

    def set_block_length(self, length: int, *, buffered: int = 1) -> Outcome:
        header = bytes((0, 0, buffered << 4, 8, 0, 0, 0, 0, 0)) + length.to_bytes(3, "big")
        return self.send(scsi.MODE_SELECT_6.put(pf=1, length=len(header)), header)


@pytest.fixture
def san(tmp_path: Path) -> San:
    return create(tmp_path, capacity=4 * MIB, early_warning=MIB, cartridges=4, disk_size=MIB,
                  slots=6, flush=Flush.NOTHING)


@pytest.fixture
def tape(san: San) -> Iterator[TapeHost]:
    host = TapeHost(san, "tape0")
    yield host
    host.close()


@pytest.fixture
def changer(san: San) -> Iterator[Host]:
    host = Host(san, "mc0")
    yield host
    host.close()


@pytest.fixture
def disk(san: San) -> Iterator[Host]:
    host = Host(san, "disk0")
    yield host
    host.close()


def refused(outcome: Outcome, code: int = Asc.INVALID_FIELD_IN_CDB) -> bool:
    return outcome.is_check(SenseKey.ILLEGAL_REQUEST, code)
