"""Drives of other targets as copy sources and destinations: a copy ends there as it does here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ndmpd.devices.errors import TransportError
from ndmpd.san import San
from ndmpd.san.nexus import Nexus
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.cscd import Cscd
from protocol.scsi.reservations import (
    RESERVE_IN,
    RESERVE_OUT,
    InAction,
    Keys,
    OutAction,
    OutParameters,
    ReservationType,
)
from protocol.scsi.segments import (
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    Locate,
    RegisterKey,
    Segment,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToStream,
    TapeImage,
)
from protocol.scsi.sense import CopySense
from tests.san.conftest import MIB, Outcome, TapeHost
from tests.san.copymanager.conftest import (
    BLOCKS,
    RECORD,
    CopyHost,
    cscd,
    disk_content,
    fill_disk,
    noise,
    records,
)
from tests.san.copymanager.far import Far

DISK, TAPE, TAPE1 = range(3)


@dataclass
class Place:
    """Drives and a disk that are all here, or all elsewhere but for the disk."""

    cscds: list[Cscd]
    tapes: list[TapeHost]
    disk: San


@pytest.fixture
def places(san: San, far: Far, tape: TapeHost, tape1: TapeHost) -> Iterator[list[Place]]:
    """The disk here with the drives here; and with those elsewhere."""
    there = [TapeHost(far.san, name) for name in ("tape0", "tape1")]
    near = [cscd(san, "tape0", pad=True), cscd(san, "tape1")]
    distant = [cscd(far.san, "tape0", pad=True), cscd(far.san, "tape1")]
    yield [Place([cscd(san, "disk0"), *near], [tape, tape1], san),
           Place([cscd(san, "disk0"), *distant], there, san)]
    for one in there:
        one.close()


def both(reaching: CopyHost, places: list[Place], segments: list[Segment], inline: bytes = b"",
         before: dict[int, list[bytes]] | None = None) -> tuple[Outcome, list[list[bytes]], list[bytes]]:
    """What the copy says, both tapes behind it, and the disk: the same in both places."""
    found = []
    for place in places:
        for number, data in (before or {}).items():
            for record in data:
                assert (place.tapes[number].write(record) if record else place.tapes[number].mark()).good
            assert place.tapes[number].rewind().good
        outcome = reaching.copy(place.cscds, segments, inline)
        where = [one.position() for one in place.tapes]
        found.append(((outcome.status, outcome.sense), where, [records(one) for one in place.tapes],
                      disk_content(place.disk, "disk0")))
    assert found[0] == found[1]
    return outcome, found[0][2], [found[0][3]]


def test_blocks_and_inline_data_become_records(san: San, reaching: CopyHost, places: list[Place]) -> None:
    content, inline = fill_disk(san, "disk0"), noise(1000)
    outcome, tapes, _ = both(reaching, places, [
        InlineToStream(TAPE, RECORD, 0, 1000, cat=True),
        EmbeddedToStream(TAPE, RECORD, b"embedded", cat=True),
        BlockToStream(DISK, TAPE, RECORD, 100 * BLOCKS, 3), Filemarks(TAPE, 1),
        BlockToStream(DISK, TAPE, 2 * RECORD, 2 * BLOCKS, 0)], inline)
    assert outcome.good, outcome
    stream = inline + b"embedded" + content[3 * 512:3 * 512 + 100 * RECORD]
    stream += bytes(-len(stream) % RECORD)
    assert tapes[0] == [*(stream[at:at + RECORD] for at in range(0, len(stream), RECORD)), b"",
                        content[:2 * RECORD]]


def test_records_become_blocks(san: San, reaching: CopyHost, places: list[Place]) -> None:
    fill_disk(san, "disk0")
    data = [noise(RECORD) for _ in range(20)]
    outcome, _, (disk,) = both(reaching, places, [
        Locate(TAPE, 3), StreamToBlock(TAPE, DISK, RECORD, 10 * BLOCKS, 7), Space(TAPE, 0, -2),
        StreamDiscard(TAPE, RECORD, 2 * RECORD), StreamToBlock(TAPE, DISK, RECORD, 2 * BLOCKS, 500)],
        before={0: data})
    assert outcome.good, outcome
    assert disk[7 * 512:7 * 512 + 10 * RECORD] == b"".join(data[3:13])
    assert disk[500 * 512:500 * 512 + 2 * RECORD] == b"".join(data[13:15])


def test_records_are_cut_anew_between_drives(reaching: CopyHost, places: list[Place]) -> None:
    data = noise(12_000)
    outcome, tapes, _ = both(reaching, places, [StreamToStream(TAPE, TAPE1, 1000, 3000, 12_000)],
                             before={0: [data[at:at + 1000] for at in range(0, 12_000, 1000)]})
    assert outcome.good, outcome
    assert tapes[1] == [data[at:at + 3000] for at in range(0, 12_000, 3000)]


def test_a_tape_is_copied_as_it_is(reaching: CopyHost, places: list[Place]) -> None:
    data = [noise(10), noise(5000), noise(5000), b"", noise(1), b"", b"", noise(7)]
    outcome, tapes, _ = both(reaching, places, [TapeImage(TAPE, TAPE1, 3)], before={0: data})
    assert outcome.good, outcome
    assert tapes[1] == data


@pytest.mark.parametrize(("source", "destination"), [(0, 1), (1, 0)])
def test_drives_here_and_elsewhere_copy_to_each_other(
        reaching: CopyHost, places: list[Place], source: int, destination: int) -> None:
    data = [noise(2000) for _ in range(30)]
    one, other = places[source], places[destination]
    for record in data:
        assert one.tapes[0].write(record).good
    one.tapes[0].rewind()
    ends = [one.cscds[TAPE], other.cscds[TAPE1]]
    assert reaching.copy(ends, [StreamToStream(0, 1, 2000, 4000, 20 * 2000), TapeImage(0, 1, 1)]).good
    pairs = [data[at] + data[at + 1] for at in range(0, 20, 2)]
    assert records(other.tapes[1]) == pairs + data[20:]


@pytest.mark.parametrize("early", [[], [noise(MIB), noise(MIB), noise(MIB - RECORD)]], ids=["whole", "late"])
def test_a_tape_ends_behind_the_same_record(
        san: San, reaching: CopyHost, places: list[Place], early: list[bytes]) -> None:
    """Early warning, and the end of the medium, come behind the same record with the same sense data."""
    fill_disk(san, "disk0")
    whole = 2 * MIB // RECORD // 2
    order: list[Segment] = [BlockToStream(DISK, TAPE, RECORD, whole * BLOCKS, 0) for _ in range(5)]
    if early:
        order.insert(0, Space(TAPE, 3, 0))
    outcome, _, _ = both(reaching, places, order, before={0: early})
    assert outcome.sense is not None
    told = CopySense.of(outcome.sense).destination_sense
    assert told is not None
    assert told.sense is not None
    assert told.sense.eom


@pytest.mark.parametrize("data", [
    pytest.param([noise(RECORD)] * 3 + [b""] + [noise(RECORD)] * 5, id="a mark"),
    pytest.param([noise(RECORD)] * 3, id="the end"),
    pytest.param([noise(RECORD)] * 3 + [noise(RECORD + 1)] * 5, id="a longer record"),
    pytest.param([noise(RECORD)] * 3 + [noise(RECORD - 1)] * 5, id="a shorter record"),
])
@pytest.mark.parametrize("segment", [
    StreamToBlock(TAPE, DISK, RECORD, 6 * BLOCKS, 0),
    StreamToStream(TAPE, TAPE1, RECORD, RECORD, 6 * RECORD),
])
def test_what_ends_reading_is_passed_on(
        san: San, reaching: CopyHost, places: list[Place], data: list[bytes], segment: Segment) -> None:
    outcome, _, _ = both(reaching, places, [segment], before={0: data})
    assert outcome.sense is not None
    assert CopySense.of(outcome.sense).source_sense is not None


def test_a_reserved_drive_is_written_once_the_key_of_its_owner_is_registered(
        san: San, far: Far, reaching: CopyHost) -> None:
    fill_disk(san, "disk0")
    owner = TapeHost(far.san, "tape0")
    reserve(owner, OutAction.REGISTER_AND_IGNORE, action_key=0xABC)
    reserve(owner, OutAction.RESERVE, key=0xABC, type=ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS)
    ends = [cscd(san, "disk0"), cscd(far.san, "tape0")]
    write = BlockToStream(0, 1, RECORD, 2 * BLOCKS, 0)

    outcome = reaching.copy(ends, [write])
    assert outcome.sense is not None
    told = CopySense.of(outcome.sense)
    assert told.destination_sense is not None
    assert (told.code, told.destination_sense.status) == (Asc.THIRD_PARTY_DEVICE_FAILURE,
                                                          Status.RESERVATION_CONFLICT)
    assert reaching.copy(ends, [RegisterKey(1, 0, 0xABC)]).good
    assert reaching.copy(ends, [write]).good
    assert owner.position() == (2, 0)

    with Nexus(san.path) as another:
        stranger = CopyHost(san, "copy0", another)
        assert not stranger.copy(ends, [write]).good, "another initiator's copies have no part in it"
        stranger.transport.close()
    assert owner.position() == (2, 0)

    assert keys(owner) == {0xABC: 2}
    reaching.transport.close()
    deadline = time.monotonic() + 10
    while keys(owner) != {0xABC: 1} and time.monotonic() < deadline:
        time.sleep(0.01)
    assert keys(owner) == {0xABC: 1}, "what was registered goes with the initiator"
    owner.close()


def keys(owner: TapeHost) -> Counter[int]:
    outcome = owner.send(RESERVE_IN[InAction.READ_KEYS].put(allocation=256), room=256)
    return Counter(Keys.take(outcome.data).keys)


def test_a_lost_answer_of_a_drive_is_not_asked_for_again(
        san: San, far: Far, reaching: CopyHost) -> None:
    """What became of the record only the tape can tell; the next copy finds the drive again."""
    content = fill_disk(san, "disk0")
    ends = [cscd(san, "disk0"), cscd(far.san, "tape0")]

    def fault(far: Far, unit: str, cdb: bytes) -> None:
        if cdb[0] == Opcode.WRITE_6 and far.count("tape0", Opcode.WRITE_6) == 5:
            raise TransportError("the connection was lost")

    far.fault = fault
    outcome = reaching.copy(ends, [BlockToStream(0, 1, RECORD, 10 * BLOCKS, 0)])
    assert outcome.sense is not None
    told = CopySense.of(outcome.sense)
    assert (told.code, told.segment, told.residue) == (Asc.COPY_TARGET_NOT_REACHABLE, 0, 7 * RECORD)
    assert far.count("tape0", Opcode.WRITE_6) == 5

    outcome = reaching.copy(ends, [BlockToStream(0, 1, RECORD, 2 * BLOCKS, 0)])
    assert outcome.good, outcome
    owner = TapeHost(far.san, "tape0")
    assert records(owner) == [content[at:at + RECORD] for at in (0, RECORD, 2 * RECORD, 0, RECORD)]
    owner.close()


def reserve(owner: TapeHost, action: OutAction, *, key: int = 0, action_key: int = 0, type: int = 0) -> None:
    data = OutParameters(key, action_key).put()
    outcome = owner.send(RESERVE_OUT[action].put(length=len(data), **({"type": type} if type else {})), data)
    assert outcome.good, outcome
