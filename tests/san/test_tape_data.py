"""READ, WRITE, WRITE FILEMARKS and ERASE of the virtual drive, with the sense that SSC-4 wants."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ndmpd.pieces import FileExtent, Inline, OpenFile, Zeros
from ndmpd.san import Flush, San, create
from ndmpd.san.commands import WRITE_FILEMARKS_16
from ndmpd.san.library import Library
from ndmpd.san.medium import CartridgeFacts, early_warning_zone
from ndmpd.san.tape_data import records_that_fit
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import SenseKey
from protocol.scsi.ssc import SpaceCode
from tests.san.conftest import MIB, TapeHost, refused


def test_a_variable_record_is_read_back_as_it_was_written(tape: TapeHost) -> None:
    assert tape.write(b"first").transferred == 5
    assert tape.write(b"second record").good
    tape.rewind()
    assert tape.read(5).data == b"first"
    assert tape.read(13).data == b"second record"


def test_a_fixed_batch_makes_the_records_that_single_writes_make(tape: TapeHost) -> None:
    data = bytes(range(256)) * 12
    tape.set_block_length(1024)
    assert tape.write_fixed(data, 3).transferred == 3072
    assert tape.position() == (3, 0)
    tape.rewind()
    for number in range(3):
        assert tape.read(1024).data == data[number * 1024:(number + 1) * 1024]
    tape.rewind()
    assert tape.read_fixed(3, 1024).data == data


def test_a_batch_is_made_of_inline_bytes_zeros_and_file_extents(tape: TapeHost, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"abcdefgh" * 64)
    extent = FileExtent(OpenFile(os.open(path, os.O_RDONLY), "source"), 8, 488)
    tape.set_block_length(256)
    pieces = [Inline(b"0123456789ab"), Zeros(12), extent]
    assert tape.send(scsi.WRITE_6_TAPE.put(fixed=1, length=2), pieces).good
    tape.rewind()
    assert tape.read_fixed(2, 256).data == b"0123456789ab" + bytes(12) + b"abcdefgh" * 61


def test_fixed_transfers_need_a_block_length(tape: TapeHost) -> None:
    assert refused(tape.write_fixed(bytes(512), 1))
    assert refused(tape.read_fixed(1, 512))


def test_fixed_reads_cannot_suppress_the_incorrect_length_indicator(tape: TapeHost) -> None:
    tape.set_block_length(512)
    assert refused(tape.send(scsi.READ_6_TAPE.put(fixed=1, sili=1, length=1), room=512))


def test_transfers_of_nothing_do_nothing(tape: TapeHost) -> None:
    assert tape.send(scsi.WRITE_6_TAPE.put(length=0)).good
    assert tape.send(scsi.READ_6_TAPE.put(length=0)).good
    assert tape.position() == (0, 0)


def test_a_data_out_shorter_than_the_command_says_writes_nothing(tape: TapeHost) -> None:
    assert tape.send(scsi.WRITE_6_TAPE.put(length=100), b"short").is_check(SenseKey.ABORTED_COMMAND, 0x4B00)
    assert tape.position() == (0, 0)


@pytest.mark.parametrize(("asked", "residue", "data"), [(100, 90, b"0123456789"), (4, -6, b"0123")])
def test_a_record_of_another_length_is_told_by_ili_and_the_difference(
        tape: TapeHost, asked: int, residue: int, data: bytes) -> None:
    tape.write(b"0123456789")
    tape.rewind()
    outcome = tape.read(asked)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.NONE)
    assert outcome.sense is not None and outcome.sense.ili and outcome.sense.residue == residue
    assert outcome.data == data and outcome.transferred == len(data)
    assert tape.position() == (1, 0)


def test_sili_suppresses_both_lengths_in_variable_mode_and_only_the_shorter_in_fixed(tape: TapeHost) -> None:
    tape.write(b"0123456789")
    for asked in (4, 100):
        tape.rewind()
        assert tape.read(asked, sili=1).good
    tape.set_block_length(512)
    tape.rewind()
    assert tape.read(100, sili=1).good
    tape.rewind()
    outcome = tape.read(4, sili=1)
    assert outcome.sense is not None and outcome.sense.ili and outcome.sense.residue == -6


def test_a_fixed_read_stops_behind_a_record_of_another_length(tape: TapeHost) -> None:
    tape.set_block_length(512)
    tape.write_fixed(b"a" * 1024, 2)
    tape.write(b"odd")
    tape.write_fixed(b"b" * 512, 1)
    tape.rewind()
    outcome = tape.read_fixed(4, 512)
    assert outcome.sense is not None and outcome.sense.ili and outcome.sense.residue == 2
    assert outcome.data == b"a" * 1024
    assert tape.position() == (3, 0)
    assert tape.read_fixed(1, 512).data == b"b" * 512


def test_a_read_ends_behind_a_filemark_with_the_residue(tape: TapeHost) -> None:
    tape.set_block_length(512)
    tape.write_fixed(bytes(1024), 2)
    tape.mark()
    tape.rewind()
    outcome = tape.read_fixed(5, 512)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED)
    assert outcome.sense is not None and outcome.sense.filemark and outcome.sense.residue == 3
    assert outcome.transferred == 1024 and tape.position() == (3, 1)


def test_a_variable_read_at_a_filemark_moves_no_data(tape: TapeHost) -> None:
    tape.mark()
    tape.rewind()
    outcome = tape.read(700)
    assert outcome.sense is not None and outcome.sense.filemark and outcome.sense.residue == 700
    assert outcome.transferred == 0


def test_a_read_at_end_of_data_is_a_blank_check(tape: TapeHost) -> None:
    outcome = tape.read(512)
    assert outcome.is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert outcome.sense is not None and outcome.sense.residue == 512 and not outcome.sense.eom
    tape.set_block_length(100)
    tape.write_fixed(bytes(300), 3)
    tape.rewind()
    outcome = tape.read_fixed(5, 100)
    assert outcome.is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert outcome.sense is not None and outcome.sense.residue == 2 and outcome.transferred == 300


def test_writing_in_the_middle_ends_the_tape_there(tape: TapeHost) -> None:
    for number in range(5):
        tape.write(b"%d" % number)
    tape.mark()
    tape.locate(2)
    tape.write(b"new")
    assert tape.position() == (3, 0)
    assert tape.read(1).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    tape.rewind()
    assert [tape.read(9, sili=1).data for _ in range(3)] == [b"0", b"1", b"new"]


def test_overwriting_keeps_the_blocks_of_the_data_file(tape: TapeHost, san: San) -> None:
    data = san.cartridges / "E01001L8" / "data"
    tape.write(bytes(b"x" * 65536))
    blocks = data.stat().st_size
    tape.rewind()
    tape.write(b"y")
    assert data.stat().st_size == blocks == 65536
    tape.rewind()
    assert tape.read(1).data == b"y"


def test_a_tape_file_begins_on_a_multiple_of_4096_in_the_data_file(tape: TapeHost, san: San) -> None:
    tape.write(b"a" * 5000)
    tape.mark()
    tape.write(b"b")
    assert (san.cartridges / "E01001L8" / "data").stat().st_size == 8193
    tape.space(SpaceCode.BLOCKS, -1)
    assert tape.read(1).data == b"b"


def test_filemarks_are_written_by_both_commands_and_none_of_them_flushes(tape: TapeHost) -> None:
    assert tape.mark(3).good
    assert tape.send(WRITE_FILEMARKS_16.put(count=2)).good
    assert tape.position() == (5, 5)
    assert tape.mark(0).good and tape.send(WRITE_FILEMARKS_16.put(count=0)).good
    assert tape.position() == (5, 5)
    assert refused(tape.send(WRITE_FILEMARKS_16.put(count=1, partition=1)))


def test_a_flush_in_the_middle_of_the_tape_cuts_nothing(tape: TapeHost) -> None:
    tape.write(b"one")
    tape.write(b"two")
    tape.rewind()
    assert tape.mark(0).good
    assert tape.read(3).good and tape.read(3).data == b"two"


def test_erase_makes_the_position_end_of_data(tape: TapeHost, san: San) -> None:
    tape.write(b"a" * 9000)
    tape.write(b"b" * 9000)
    tape.locate(1)
    assert tape.send(scsi.ERASE_6.put()).good
    assert tape.position() == (1, 0)
    assert tape.read(1).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert (san.cartridges / "E01001L8" / "data").stat().st_size == 18000
    tape.rewind()
    assert tape.send(scsi.ERASE_6.put(long=1)).good
    assert (san.cartridges / "E01001L8" / "data").stat().st_size == 0


# Early warning and the physical end: capacity 4 MiB, early warning at 3 MiB.


def test_a_batch_ends_after_the_first_record_that_meets_early_warning(tape: TapeHost) -> None:
    tape.set_block_length(256 * 1024)
    outcome = tape.write_fixed(bytes(4 * MIB), 16)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.eom and outcome.sense.residue == 4
    assert outcome.transferred == 3 * MIB and tape.position() == (12, 0)


def test_single_records_meet_early_warning_where_a_batch_does(tape: TapeHost) -> None:
    for number in range(12):
        outcome = tape.write(bytes(256 * 1024))
        assert outcome.good is (number < 11)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.eom and outcome.sense.residue == 0
    assert outcome.transferred == 256 * 1024


def test_writes_behind_early_warning_succeed_with_eom_until_the_end(tape: TapeHost) -> None:
    tape.set_block_length(256 * 1024)
    tape.write_fixed(bytes(4 * MIB), 16)
    outcome = tape.write_fixed(bytes(512 * 1024), 2)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.eom and outcome.sense.residue == 0
    outcome = tape.write_fixed(bytes(MIB), 4)
    assert outcome.is_check(SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.eom and outcome.sense.residue == 2
    assert outcome.transferred == 512 * 1024
    outcome = tape.write(b"x")
    assert outcome.is_check(SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.residue == 1 and outcome.transferred == 0
    assert tape.position() == (16, 0)


def test_filemarks_still_fit_on_a_full_tape_and_say_eom(tape: TapeHost) -> None:
    tape.set_block_length(MIB)
    tape.write_fixed(bytes(3 * MIB), 3)
    tape.write_fixed(bytes(MIB), 1)
    outcome = tape.mark(2)
    assert outcome.is_check(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM)
    assert outcome.sense is not None and outcome.sense.eom
    assert tape.position() == (6, 2)
    assert tape.mark(0).good


def test_a_rewound_tape_has_its_whole_capacity_again(tape: TapeHost) -> None:
    tape.set_block_length(MIB)
    tape.write_fixed(bytes(3 * MIB), 3)
    tape.rewind()
    assert tape.write_fixed(bytes(2 * MIB), 2).good


@pytest.mark.parametrize(("used", "size", "count", "fits"), [
    (0, 10, 100, 9),       # 90 bytes meet the early warning at 90 exactly
    (0, 10, 8, 8),
    (1, 10, 100, 9),       # the ninth record goes past it
    (85, 10, 3, 1),
    (89, 12, 1, 0),        # no room for the record that would meet it
    (90, 5, 3, 2),         # behind early warning: as far as the capacity goes
    (100, 1, 1, 0),
    (0, 100, 2, 1),
])
def test_the_arithmetic_of_early_warning(used: int, size: int, count: int, fits: int) -> None:
    assert records_that_fit(CartridgeFacts("X", 100, 10), used, size, count) == fits


@pytest.mark.parametrize(("capacity", "zone"), [
    (8 << 30, 64 << 20), (512 << 20, 32 << 20), (4 << 20, 1 << 20), (1 << 20, 512 << 10), (10, 5)])
def test_the_early_warning_zone_suits_the_capacity(capacity: int, zone: int) -> None:
    assert early_warning_zone(capacity) == zone


def test_a_protected_cartridge_is_read_and_not_written(tmp_path: Path) -> None:
    san = create(tmp_path, cartridges=1, drives=1, capacity=MIB, flush=Flush.DATA)
    host = TapeHost(san, "tape0")
    host.write(b"kept")
    library = Library(san)
    with library.locked():
        library.open_medium("E01001L8").change(protected=True)
        library.touch(library.drive(0).address)
    host.clear_attentions()
    assert host.send(scsi.MODE_SENSE_6.put(allocation=12), room=12).data[2] & 0x80
    for outcome in (host.write(b"no"), host.mark(), host.send(scsi.ERASE_6.put())):
        assert outcome.is_check(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)
    assert host.read(4).data == b"kept"


def test_an_unbuffered_write_is_flushed_before_it_ends(tape: TapeHost) -> None:
    assert tape.set_block_length(0, buffered=0).good
    assert tape.write(b"safe").good
    tape.rewind()
    assert tape.read(4).data == b"safe"


@pytest.mark.parametrize("name", ["copy_to_file", "copy_from_file"])
def test_an_error_of_the_store_is_a_medium_error_and_moves_nothing(
        tape: TapeHost, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    tape.set_block_length(10)
    tape.write_fixed(bytes(30), 3)
    tape.locate(1)
    with monkeypatch.context() as patch:
        patch.setattr(f"ndmpd.san.medium.{name}", fail)
        if name == "copy_to_file":
            outcome, code = tape.write_fixed(bytes(40), 4), Asc.WRITE_ERROR
        else:
            outcome, code = tape.read_fixed(4, 10), Asc.UNRECOVERED_READ_ERROR
    assert outcome.is_check(SenseKey.MEDIUM_ERROR, code)
    assert outcome.sense is not None and outcome.sense.residue == 4 and outcome.transferred == 0
    assert tape.position() == (1, 0)
    assert tape.write_fixed(bytes(10), 1).good
