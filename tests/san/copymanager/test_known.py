"""What a copy manager knows of units from the copies before it must not outlive a change there."""

from __future__ import annotations

from ndmpd.san import San
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.command import Status
from protocol.scsi.cscd import Cscd
from protocol.scsi.reservations import RESERVE_OUT, OutAction, OutParameters, ReservationType
from protocol.scsi.segments import BlockToStream
from protocol.scsi.sense import CopySense, Sense
from tests.san.conftest import Host, Outcome, TapeHost
from tests.san.copymanager.conftest import CopyHost, cscd, fill_disk, records

SIZE = 512
KEY = 0xABC


def blocks(san: San, host: CopyHost, count: int, size: int = SIZE) -> Outcome:
    ends: list[Cscd] = [cscd(san, "disk0"), cscd(san, "tape0")]
    return host.copy(ends, [BlockToStream(0, 1, size, count, 0)])


def why(outcome: Outcome) -> CopySense:
    assert outcome.sense is not None
    return CopySense.of(outcome.sense)


def test_a_disk_that_another_host_reserves_between_two_copies_is_read_no_more_until_it_is_released(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    fill_disk(san, "disk0")
    assert blocks(san, host, 2).good and blocks(san, host, 2).good
    with Nexus(san.path) as other:
        thief = Host(san, "disk0", other)
        thief.send(scsi.RESERVE_6.put())
        refused = why(blocks(san, host, 2))
        assert refused.source_sense is not None
        assert refused.source_sense.status == Status.RESERVATION_CONFLICT
        assert tape.position() == (4, 0)
        thief.send(scsi.RELEASE_6.put())
        thief.transport.close()
    assert blocks(san, host, 2).good
    assert tape.position() == (6, 0)


def test_a_persistent_reservation_of_the_source_counts_from_the_next_copy_on(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    fill_disk(san, "disk0")
    assert blocks(san, host, 2).good
    with Nexus(san.path) as other:
        thief = Host(san, "disk0", other)
        for action, parameters, kind in (
                (OutAction.REGISTER_AND_IGNORE, OutParameters(0, KEY), 0),
                (OutAction.RESERVE, OutParameters(KEY, 0), ReservationType.EXCLUSIVE_ACCESS)):
            data = parameters.put()
            cdb = RESERVE_OUT[action].put(length=len(data), type=kind)
            for _ in range(2):
                # The first command of a nexus hears of the power on.
                if thief.send(cdb, data).good:
                    break
        refused = why(blocks(san, host, 2))
        thief.transport.close()
    assert refused.source_sense is not None
    assert refused.source_sense.status == Status.RESERVATION_CONFLICT
    assert tape.position() == (2, 0)


def test_a_tape_that_was_moved_between_two_copies_has_the_room_of_its_new_position(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    """Early warning ends a copy with the very record that meets it, wherever the copy before has ended."""
    content = fill_disk(san, "disk0")
    size = len(content) // 8
    written = 0
    while (outcome := blocks(san, host, 8 * size // SIZE, size)).good:
        written += 8
    met = tape.position()[0]
    assert written < met <= written + 8
    assert tape.rewind().good
    again = 0
    while (outcome := blocks(san, host, 8 * size // SIZE, size)).good:
        again += 8
    assert (again, tape.position()[0]) == (written, met)
    told = why(outcome).destination_sense
    assert told is not None and isinstance(told.sense, Sense) and told.sense.eom
    assert records(tape, size) == [content[at % 8 * size:(at % 8 + 1) * size] for at in range(met)]
