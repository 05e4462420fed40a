"""Who may do what while a persistent reservation stands: the tables of SPC-4, SBC-3, SSC-4 and SMC-3."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ndmpd.ports import Command
from ndmpd.san import San
from ndmpd.san.commands import (
    PRE_FETCH_10,
    PRE_FETCH_16,
    READ_12,
    SPACE_16,
    VERIFY_10,
    VERIFY_12,
    VERIFY_16,
    WRITE_12,
    WRITE_AND_VERIFY_10,
    WRITE_AND_VERIFY_12,
    WRITE_AND_VERIFY_16,
    WRITE_FILEMARKS_16,
)
from ndmpd.san.registry import UNIT_CLASSES
from protocol.scsi import command as scsi
from protocol.scsi.command import Cdb, Opcode, Status
from protocol.scsi.reservations import ReservationType
from protocol.scsi.xcopy import EXTENDED_COPY
from tests.san.conftest import Host, TapeHost
from tests.san.test_reservations import A, B, Party

EARO = ReservationType.EXCLUSIVE_ACCESS_REGISTRANTS
ANYONE, READERS, HOLDERS = "anyone", "readers", "holders"


@dataclass(frozen=True)
class Row:
    """One row of a table: a command, and whose it may be."""

    cdb: Cdb
    whose: str
    fields: tuple[tuple[str, int], ...] = ()
    out: bytes = b""


PRIMARY = (
    Row(scsi.TEST_UNIT_READY, ANYONE), Row(scsi.INQUIRY, ANYONE), Row(scsi.REQUEST_SENSE, ANYONE),
    Row(scsi.REPORT_LUNS, ANYONE), Row(scsi.LOG_SENSE, ANYONE),
    Row(scsi.MODE_SENSE_6, READERS), Row(scsi.MODE_SENSE_10, READERS),
    Row(scsi.REPORT_SUPPORTED_OPCODES, READERS),
    Row(scsi.MODE_SELECT_6, HOLDERS), Row(scsi.MODE_SELECT_10, HOLDERS),
    Row(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL, ANYONE), Row(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL, HOLDERS,
                                                       (("prevent", 1),)))
DISK = (
    Row(scsi.READ_6_DISK, READERS, (("blocks", 1),)), Row(scsi.READ_10, READERS), Row(READ_12, READERS),
    Row(scsi.READ_16, READERS), Row(VERIFY_10, READERS), Row(VERIFY_12, READERS),
    Row(VERIFY_16, READERS), Row(PRE_FETCH_10, READERS), Row(PRE_FETCH_16, READERS),
    Row(scsi.GET_LBA_STATUS, READERS), Row(scsi.READ_CAPACITY_10, ANYONE), Row(scsi.READ_CAPACITY_16, ANYONE),
    Row(scsi.WRITE_6_DISK, HOLDERS, (("blocks", 1),), bytes(512)), Row(scsi.WRITE_10, HOLDERS),
    Row(WRITE_AND_VERIFY_10, HOLDERS), Row(WRITE_AND_VERIFY_12, HOLDERS), Row(WRITE_AND_VERIFY_16, HOLDERS),
    Row(WRITE_12, HOLDERS), Row(scsi.WRITE_16, HOLDERS), Row(scsi.WRITE_SAME_16, HOLDERS, (("ndob", 1),)),
    Row(scsi.UNMAP, HOLDERS), Row(scsi.SYNCHRONIZE_CACHE_10, HOLDERS),
    Row(scsi.SYNCHRONIZE_CACHE_16, HOLDERS), Row(scsi.START_STOP_UNIT, HOLDERS),
    Row(scsi.START_STOP_UNIT, ANYONE, (("start", 1),)))
TAPE = (
    Row(scsi.READ_BLOCK_LIMITS, ANYONE), Row(scsi.REPORT_DENSITY_SUPPORT, ANYONE),
    Row(scsi.READ_POSITION, READERS), Row(scsi.READ_ATTRIBUTE, READERS), Row(scsi.REWIND, READERS),
    Row(scsi.READ_6_TAPE, READERS), Row(scsi.SPACE_6, READERS), Row(SPACE_16, READERS),
    Row(scsi.LOCATE_10, READERS), Row(scsi.LOCATE_16, READERS),
    Row(scsi.WRITE_6_TAPE, HOLDERS, (("length", 1),), b"x"), Row(scsi.WRITE_FILEMARKS_6, HOLDERS),
    Row(WRITE_FILEMARKS_16, HOLDERS), Row(scsi.ERASE_6, HOLDERS), Row(scsi.LOAD_UNLOAD, HOLDERS,
                                                                      (("load", 1),)))
CHANGER = (
    Row(scsi.READ_ELEMENT_STATUS, HOLDERS), Row(scsi.READ_ELEMENT_STATUS, ANYONE, (("curdata", 1),)),
    Row(scsi.INITIALIZE_ELEMENT_STATUS, HOLDERS), Row(scsi.INITIALIZE_ELEMENT_STATUS_WITH_RANGE, HOLDERS),
    Row(scsi.POSITION_TO_ELEMENT, HOLDERS, (("destination", 0x1000),)),
    Row(scsi.MOVE_MEDIUM, HOLDERS, (("source", 0x1000), ("destination", 0x1000))),
    Row(scsi.EXCHANGE_MEDIUM, HOLDERS))
TABLES = {"disk0": DISK, "tape0": TAPE, "mc0": CHANGER, "copy0": ()}


def through(host: Host, row: Row) -> bool:
    """Whether the command was carried out or failed for another reason than a reservation."""
    outcome = host.send(row.cdb.put(**dict(row.fields)), row.out, room=512)
    return outcome.status != Status.RESERVATION_CONFLICT


@pytest.mark.parametrize("kind", ReservationType)
@pytest.mark.parametrize("unit", TABLES)
def test_commands_are_admitted_by_the_tables(san: San, unit: str, kind: ReservationType) -> None:
    holder, registrant, stranger = (Party(san, key, unit=unit) for key in (A, B, 0xC))
    holder.join(), registrant.join()
    assert holder.reserve(kind).good
    for row in (*PRIMARY, *TABLES[unit]):
        admitted = {ANYONE: True, READERS: not kind.keeps_readers_out, HOLDERS: False}[row.whose]
        assert through(stranger, row) is admitted, row
        assert through(registrant, row) is (admitted or kind.admits_registrants), row
        assert through(holder, row), row
        holder.clear_attentions(), registrant.clear_attentions(), stranger.clear_attentions()


def test_the_tables_have_every_command_of_every_unit() -> None:
    for unit_class in UNIT_CLASSES.values():
        rows = {row.cdb for table in TABLES.values() for row in (*PRIMARY, *table)}
        missing = {one.cdb.opcode for one in unit_class.operations.all if one.cdb not in rows}
        assert missing <= {Opcode.RESERVE_6, Opcode.RELEASE_6, Opcode.PERSISTENT_RESERVE_IN,
                           Opcode.PERSISTENT_RESERVE_OUT, Opcode.EXTENDED_COPY, Opcode.RECEIVE_COPY_RESULTS}


def test_copies_are_for_those_with_access(san: San) -> None:
    holder, stranger = Party(san, A, unit="copy0").join(), Party(san, B, unit="copy0")
    assert holder.reserve(ReservationType.WRITE_EXCLUSIVE).good
    unit = UNIT_CLASSES[san.unit("copy0").type](san, "copy0")
    assert unit.execute(stranger.nexus.id, Command(EXTENDED_COPY.put())).status == Status.RESERVATION_CONFLICT
    assert unit.execute(holder.nexus.id, Command(EXTENDED_COPY.put())).status == Status.CHECK_CONDITION


def test_reads_and_writes_of_a_disk_are_kept_out_whole(san: San) -> None:
    holder, stranger = Party(san, A).join(), Party(san, B)
    assert holder.reserve(EARO).good
    cdb = scsi.WRITE_10.put(lba=1, blocks=1)
    assert stranger.send(cdb, b"x" * 512).status == Status.RESERVATION_CONFLICT
    assert holder.send(scsi.READ_10.put(lba=1, blocks=1), room=512).data == bytes(512)
    assert stranger.join().send(cdb, b"y" * 512).good
    assert holder.send(scsi.READ_10.put(lba=1, blocks=1), room=512).data == b"y" * 512


def test_the_robot_leaves_a_cartridge_to_a_live_holder(san: San) -> None:
    """One who holds the drive by a nexus that is gone cannot miss what the robot takes."""
    robot, holder = Host(san, "mc0"), Party(san, A, unit="tape0").join()
    assert holder.reserve(EARO).good
    move = scsi.MOVE_MEDIUM.put(source=0x100, destination=0x1000)
    assert robot.send(move).sense is not None
    holder.close()
    assert robot.send(move).good


def test_the_robot_of_a_registrant_may_take_a_cartridge(san: San) -> None:
    holder = Party(san, A, unit="tape0").join()
    assert holder.reserve(EARO).good
    robot = Host(san, "mc0", Party(san, A, unit="tape0").join().nexus)
    assert robot.send(scsi.MOVE_MEDIUM.put(source=0x100, destination=0x1000)).good


def test_a_tape_moves_for_readers_of_a_write_exclusive_drive_alone(san: San) -> None:
    holder, reader = Party(san, A, unit="tape0").join(), TapeHost(san, "tape0")
    assert holder.send(scsi.WRITE_6_TAPE.put(length=5), b"there").good
    assert holder.reserve(ReservationType.WRITE_EXCLUSIVE).good
    assert reader.rewind().good and reader.read(5).data == b"there"
    assert reader.write(b"no").status == Status.RESERVATION_CONFLICT
