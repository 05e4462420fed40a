"""SPACE, LOCATE, READ POSITION and LOAD UNLOAD of the virtual drive."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from ndmpd.san.commands import SPACE_16
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import LocateTo, PositionForm, ShortPosition, SpaceCode
from tests.san.conftest import MIB, Host, Outcome, TapeHost, refused


@pytest.fixture
def recorded(tape: TapeHost) -> TapeHost:
    """Objects 0-2 records, 3 a filemark, 4-5 records, 6 and 7 filemarks, 8 a record. Rewound."""
    for piece in ("aaa", "|", "bb", "||", "c"):
        for letter in piece:
            assert (tape.mark() if letter == "|" else tape.write(letter.encode())).good
    tape.rewind()
    return tape


def residue(outcome: Outcome) -> int | None:
    assert outcome.sense is not None
    return outcome.sense.residue


@pytest.mark.parametrize(("start", "count", "end", "key", "code", "left"), [
    (0, 3, 3, None, None, None),
    (0, 4, 4, SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, 1),
    (0, 100, 4, SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, 97),
    (6, 2, 7, SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, 2),
    (8, 5, 9, SenseKey.BLANK_CHECK, Asc.END_OF_DATA, 4),
    (9, 1, 9, SenseKey.BLANK_CHECK, Asc.END_OF_DATA, 1),
    (3, -2, 1, None, None, None),
    (3, -5, 0, SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, 2),
    (0, -1, 0, SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, 1),
    (6, -3, 3, SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, 1),
    (8, -1, 7, SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, 1),
    (9, -1, 8, None, None, None),
    (5, 0, 5, None, None, None),
])
def test_space_over_blocks(recorded: TapeHost, start: int, count: int, end: int, key: SenseKey | None,
                           code: int | None, left: int | None) -> None:
    recorded.locate(start)
    outcome = recorded.space(SpaceCode.BLOCKS, count)
    assert recorded.position()[0] == end
    if key is None or code is None:
        assert outcome.good
    else:
        assert outcome.is_check(key, code) and residue(outcome) == left
        assert outcome.sense is not None
        assert outcome.sense.filemark == (code == Asc.FILEMARK_DETECTED)
        assert outcome.sense.eom == (code == Asc.BEGINNING_OF_MEDIUM)


@pytest.mark.parametrize(("start", "count", "end", "key", "code", "left"), [
    (0, 1, 4, None, None, None),
    (0, 2, 7, None, None, None),
    (0, 3, 8, None, None, None),
    (4, 2, 8, None, None, None),
    (0, 5, 9, SenseKey.BLANK_CHECK, Asc.END_OF_DATA, 2),
    (9, 1, 9, SenseKey.BLANK_CHECK, Asc.END_OF_DATA, 1),
    (9, -1, 7, None, None, None),
    (9, -3, 3, None, None, None),
    (7, -1, 6, None, None, None),
    (4, -1, 3, None, None, None),
    (3, -1, 0, SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, 1),
    (9, -5, 0, SenseKey.NO_SENSE, Asc.BEGINNING_OF_MEDIUM, 2),
    (5, 0, 5, None, None, None),
])
def test_space_over_filemarks(recorded: TapeHost, start: int, count: int, end: int, key: SenseKey | None,
                              code: int | None, left: int | None) -> None:
    recorded.locate(start)
    outcome = recorded.space(SpaceCode.FILEMARKS, count)
    assert recorded.position()[0] == end
    if key is None or code is None:
        assert outcome.good
    else:
        assert outcome.is_check(key, code) and residue(outcome) == left


def test_space_to_end_of_data(recorded: TapeHost) -> None:
    assert recorded.space(SpaceCode.END_OF_DATA).good
    assert recorded.position() == (9, 3)
    assert refused(recorded.space(SpaceCode.SEQUENTIAL_FILEMARKS, 1))


def test_the_long_space_has_a_64_bit_count(recorded: TapeHost) -> None:
    assert recorded.send(SPACE_16.put(code=SpaceCode.FILEMARKS, count=3)).good
    assert recorded.position()[0] == 8
    assert recorded.send(SPACE_16.put(code=SpaceCode.FILEMARKS, count=(1 << 64) - 2)).good
    assert recorded.position()[0] == 6
    outcome = recorded.send(SPACE_16.put(code=SpaceCode.BLOCKS, count=1 << 40))
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED)
    # A residue of 41 bits does not fit the INFORMATION field of fixed-format sense.
    assert outcome.sense is not None and outcome.sense.information is None


def test_locate_by_object_number(recorded: TapeHost) -> None:
    for place in (9, 0, 5):
        assert recorded.locate(place).good and recorded.position()[0] == place
    outcome = recorded.locate(10)
    assert outcome.is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA) and recorded.position()[0] == 9
    assert recorded.send(scsi.LOCATE_16.put(dest_type=LocateTo.OBJECT, block=2)).good
    assert recorded.position() == (2, 0)


@pytest.mark.parametrize(("file", "place"), [(0, 0), (1, 4), (2, 7), (3, 8)])
def test_locate_by_file_number(recorded: TapeHost, file: int, place: int) -> None:
    assert recorded.send(scsi.LOCATE_16.put(dest_type=LocateTo.FILE, block=file)).good
    assert recorded.position() == (place, file)


def test_locate_beyond_the_last_file_ends_at_end_of_data(recorded: TapeHost) -> None:
    assert recorded.send(scsi.LOCATE_16.put(dest_type=LocateTo.FILE, block=4)).is_check(
        SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert recorded.position()[0] == 9
    recorded.rewind()
    assert recorded.send(scsi.LOCATE_16.put(dest_type=LocateTo.END_OF_DATA)).good
    assert recorded.position()[0] == 9
    assert refused(recorded.send(scsi.LOCATE_16.put(dest_type=2)))


def test_there_is_no_second_partition(recorded: TapeHost) -> None:
    assert recorded.send(scsi.LOCATE_10.put(cp=1, partition=0, block=1)).good
    assert refused(recorded.send(scsi.LOCATE_10.put(cp=1, partition=1)))
    assert refused(recorded.send(scsi.LOCATE_16.put(cp=1, partition=1)))


def test_the_three_forms_of_read_position_agree(recorded: TapeHost) -> None:
    recorded.locate(7)
    short = ShortPosition.take(recorded.send(scsi.READ_POSITION.put(), room=20).data)
    assert (short.first, short.last, short.bop, short.eop) == (7, 7, False, False)
    assert recorded.position() == (7, 2)
    cdb = scsi.READ_POSITION.put(action=PositionForm.EXTENDED, allocation=32)
    extended = recorded.send(cdb, room=32).data
    assert len(extended) == 32
    assert extended[2:4] == b"\0\x1c"
    assert int.from_bytes(extended[8:16], "big") == int.from_bytes(extended[16:24], "big") == 7
    assert refused(recorded.send(scsi.READ_POSITION.put(action=3), room=32))


def test_read_position_tells_the_beginning_and_early_warning(tape: TapeHost) -> None:
    short = ShortPosition.take(tape.send(scsi.READ_POSITION.put(), room=20).data)
    assert short.bop and not short.eop
    tape.set_block_length(MIB)
    tape.write_fixed(bytes(3 * MIB), 3)
    short = ShortPosition.take(tape.send(scsi.READ_POSITION.put(), room=20).data)
    assert short.eop and not short.bop


def test_an_unloaded_cartridge_must_be_loaded_again(tape: TapeHost, san: San) -> None:
    other = TapeHost(san, "tape0")
    tape.write(b"kept")
    assert tape.send(scsi.LOAD_UNLOAD.put(load=0)).good
    for outcome in (tape.send(scsi.TEST_UNIT_READY.put()), tape.rewind(), tape.read(1), tape.write(b"x"),
                    tape.mark(), tape.space(SpaceCode.BLOCKS, 1), tape.locate(0),
                    tape.send(scsi.READ_POSITION.put(), room=20), tape.send(scsi.ERASE_6.put())):
        assert outcome.is_check(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
    assert tape.send(scsi.LOAD_UNLOAD.put(load=1)).good
    assert tape.read(4).data == b"kept"
    # The host that loaded it knows; the others are told.
    outcome = other.send(scsi.TEST_UNIT_READY.put())
    assert outcome.is_check(SenseKey.UNIT_ATTENTION, Asc.MEDIUM_MAY_HAVE_CHANGED)


def test_loading_a_loaded_cartridge_rewinds_it(recorded: TapeHost) -> None:
    recorded.locate(4)
    assert recorded.send(scsi.LOAD_UNLOAD.put(load=1)).good
    assert recorded.position() == (0, 0)


def test_a_drive_without_a_cartridge_has_nothing_to_load(tape: TapeHost, changer: Host) -> None:
    changer.send(scsi.MOVE_MEDIUM.put(source=0x100, destination=0x1000))
    assert tape.send(scsi.LOAD_UNLOAD.put(load=1)).is_check(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)


def test_prevented_removal_stops_an_unload_until_the_preventer_allows_or_is_gone(san: San) -> None:
    preventer, other = TapeHost(san, "tape0"), TapeHost(san, "tape0")
    assert preventer.send(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL.put(prevent=1)).good
    assert refused(other.send(scsi.LOAD_UNLOAD.put(load=0)), Asc.MEDIUM_REMOVAL_PREVENTED)
    assert refused(preventer.send(scsi.LOAD_UNLOAD.put(load=0)), Asc.MEDIUM_REMOVAL_PREVENTED)
    preventer.close()
    assert other.send(scsi.LOAD_UNLOAD.put(load=0)).good


def test_every_form_of_read_position_tells_the_zone_behind_early_warning(tape: TapeHost) -> None:
    """At each position, by which records lie before it; 3 MiB of 4 lie before the zone."""
    size = MIB // 4 - 1000
    met = None
    for number in range(14):
        outcome = tape.write(bytes(size))
        if met is None and outcome.sense is not None and outcome.sense.eom:
            met = number + 1
        tape.mark()
    assert met == 13
    for place in range(29):
        assert tape.locate(place).good
        records = (place + 1) // 2
        ends = []
        for form, length in ((PositionForm.SHORT, 20), (PositionForm.LONG, 32), (PositionForm.EXTENDED, 32)):
            allocation = length if form is PositionForm.EXTENDED else 0
            data = tape.send(scsi.READ_POSITION.put(action=form, allocation=allocation), room=length).data
            assert bool(data[0] & 0x80) == (place == 0)
            ends.append(bool(data[0] & 0x40))
        assert ends == [records >= met] * 3, place
