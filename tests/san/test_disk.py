"""The virtual disk: transfers, provisioning, and its backing file."""

from __future__ import annotations

import os

import pytest

from ndmpd.pieces import FileExtent, Inline, Zeros
from ndmpd.san import San
from ndmpd.san.commands import READ_12, VERIFY_10, VERIFY_16, WRITE_12
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sbc import Capacity, Provisioning, TransferLimits, put_unmap, take_lba_status
from protocol.scsi.sense import SenseKey
from protocol.scsi.spc import VpdPage
from tests.san.conftest import MIB, Host, refused

BLOCKS = MIB // 512
READS = {"6": scsi.READ_6_DISK, "10": scsi.READ_10, "12": READ_12, "16": scsi.READ_16}
WRITES = {"6": scsi.WRITE_6_DISK, "10": scsi.WRITE_10, "12": WRITE_12, "16": scsi.WRITE_16}


@pytest.mark.parametrize("form", READS)
def test_blocks_are_read_back_by_every_form(disk: Host, form: str) -> None:
    data = os.urandom(1536)
    outcome = disk.send(WRITES[form].put(lba=7, blocks=3), data)
    assert outcome.good and outcome.transferred == 1536
    assert disk.send(READS[form].put(lba=7, blocks=3), room=1536).data == data
    assert disk.send(READS[form].put(lba=6, blocks=1), room=512).data == bytes(512)


@pytest.mark.parametrize("form", READS)
def test_blocks_outside_the_disk_are_refused_before_anything_moves(disk: Host, form: str) -> None:
    for lba, blocks in ((BLOCKS, 1), (BLOCKS - 1, 2), (1 << 20, 1)):
        assert refused(disk.send(READS[form].put(lba=lba, blocks=blocks), room=1024), Asc.LBA_OUT_OF_RANGE)
        outcome = disk.send(WRITES[form].put(lba=lba, blocks=blocks), bytes(1024))
        assert refused(outcome, Asc.LBA_OUT_OF_RANGE) and outcome.transferred == 0
    assert disk.send(READS[form].put(lba=BLOCKS - 1, blocks=1), room=512).good


def test_a_count_of_zero_is_256_blocks_in_the_short_form_and_nothing_elsewhere(disk: Host) -> None:
    assert disk.send(scsi.READ_6_DISK.put(lba=0, blocks=0), room=1 << 18).transferred == 256 * 512
    assert disk.send(scsi.READ_10.put(lba=0, blocks=0)).good
    assert disk.send(scsi.WRITE_10.put(lba=BLOCKS, blocks=0)).good


def test_protection_information_is_not_kept(disk: Host) -> None:
    assert refused(disk.send(scsi.READ_10.put(protect=1, blocks=1), room=512))
    assert refused(disk.send(scsi.WRITE_16.put(protect=3, blocks=1), bytes(512)))


def test_force_unit_access_and_synchronize_cache_are_carried_out(disk: Host) -> None:
    assert disk.send(scsi.WRITE_10.put(fua=1, lba=0, blocks=1), b"f" * 512).good
    assert disk.send(scsi.SYNCHRONIZE_CACHE_10.put()).good
    assert disk.send(scsi.SYNCHRONIZE_CACHE_16.put(lba=5, blocks=7)).good
    assert refused(disk.send(scsi.SYNCHRONIZE_CACHE_16.put(lba=BLOCKS, blocks=1)), Asc.LBA_OUT_OF_RANGE)
    assert disk.send(scsi.START_STOP_UNIT.put(start=1)).good
    assert refused(disk.send(scsi.START_STOP_UNIT.put(loej=1)))


def test_capacity_is_told_in_both_forms(disk: Host) -> None:
    assert Capacity.take_10(disk.send(scsi.READ_CAPACITY_10.put(), room=8).data).blocks == BLOCKS
    long = Capacity.take_16(disk.send(scsi.READ_CAPACITY_16.put(allocation=32), room=32).data)
    assert (long.blocks, long.block_length, long.provisioned, long.reads_zeros) == (BLOCKS, 512, True, True)
    assert disk.send(scsi.READ_CAPACITY_16.put(allocation=12), room=32).transferred == 12


def status(disk: Host, lba: int = 0, allocation: int = 4096) -> list[tuple[int, int, int]]:
    data = disk.send(scsi.GET_LBA_STATUS.put(lba=lba, allocation=allocation), room=allocation).data
    return [(one.lba, one.blocks, one.status) for one in take_lba_status(data)]


def test_holes_are_deallocated_blocks(disk: Host) -> None:
    disk.send(scsi.WRITE_10.put(lba=64, blocks=16), b"d" * 8192)
    hole, data = Provisioning.DEALLOCATED, Provisioning.MAPPED
    assert status(disk) == [(0, 64, hole), (64, 16, data), (80, BLOCKS - 80, hole)]
    assert status(disk, lba=70) == [(70, 10, data), (80, BLOCKS - 80, hole)]
    assert status(disk, allocation=24) == [(0, 64, hole)]
    outside = disk.send(scsi.GET_LBA_STATUS.put(lba=BLOCKS, allocation=64), room=64)
    assert refused(outside, Asc.LBA_OUT_OF_RANGE)


def test_unmapped_blocks_read_as_zeros_and_are_given_back(disk: Host, san: San) -> None:
    disk.send(scsi.WRITE_10.put(lba=0, blocks=64), b"u" * 32768)
    data = put_unmap(((8, 16), (40, 8)))
    assert disk.send(scsi.UNMAP.put(length=len(data)), data).good
    assert disk.send(scsi.READ_10.put(lba=0, blocks=64), room=32768).data == (
        b"u" * 4096 + bytes(8192) + b"u" * 8192 + bytes(4096) + b"u" * 8192)
    assert [one[0] for one in status(disk) if one[2] == Provisioning.DEALLOCATED][:2] == [8, 40]
    data = put_unmap(((0, 1), (BLOCKS, 1)))
    assert refused(disk.send(scsi.UNMAP.put(length=len(data)), data), Asc.LBA_OUT_OF_RANGE)
    assert disk.send(scsi.READ_10.put(lba=0, blocks=1), room=512).data == b"u" * 512
    assert refused(disk.send(scsi.UNMAP.put(length=12), data[:12]), Asc.PARAMETER_LIST_LENGTH)
    assert disk.send(scsi.UNMAP.put(length=0)).good


def test_write_same_writes_one_block_everywhere(disk: Host) -> None:
    disk.send(scsi.WRITE_10.put(lba=0, blocks=64), b"w" * 32768)
    assert disk.send(scsi.WRITE_SAME_16.put(lba=8, blocks=8), bytes(512)).good
    assert disk.send(scsi.WRITE_SAME_16.put(lba=16, blocks=8, ndob=1, unmap=1)).good
    assert disk.send(scsi.WRITE_SAME_16.put(lba=24, blocks=3), b"s" * 512).good
    assert disk.send(scsi.READ_10.put(lba=0, blocks=32), room=16384).data == (
        b"w" * 4096 + bytes(8192) + b"s" * 1536 + b"w" * 2560)
    assert disk.send(scsi.WRITE_SAME_16.put(lba=BLOCKS - 2, blocks=0), b"e" * 512).good
    assert disk.send(scsi.READ_10.put(lba=BLOCKS - 3, blocks=3), room=1536).data == bytes(512) + b"e" * 1024
    assert refused(disk.send(scsi.WRITE_SAME_16.put(blocks=1, anchor=1), bytes(512)))


def test_verify_compares_only_where_it_is_given_data(disk: Host) -> None:
    disk.send(scsi.WRITE_10.put(lba=2, blocks=2), b"v" * 1024)
    assert disk.send(VERIFY_10.put(lba=2, blocks=2)).good
    assert disk.send(VERIFY_16.put(lba=2, blocks=2, check=1), [Inline(b"v" * 700), Inline(b"v" * 324)]).good
    wrong = disk.send(VERIFY_16.put(lba=2, blocks=2, check=1), b"v" * 1023 + b"x")
    assert wrong.is_check(SenseKey.MISCOMPARE, 0x1D00)
    assert refused(disk.send(VERIFY_10.put(lba=2, blocks=1, check=2)))
    assert refused(disk.send(VERIFY_10.put(lba=BLOCKS, blocks=1)), Asc.LBA_OUT_OF_RANGE)


def test_verify_takes_its_data_in_parts(disk: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndmpd.san.disk._CHUNK", 100)
    data = os.urandom(1024)
    disk.send(scsi.WRITE_10.put(lba=0, blocks=2), data)
    assert disk.send(VERIFY_16.put(lba=0, blocks=2, check=1), data).transferred == 1024
    for at in (0, 99, 100, 1023):
        wrong = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1:]
        outcome = disk.send(VERIFY_16.put(lba=0, blocks=2, check=1), wrong)
        assert outcome.is_check(SenseKey.MISCOMPARE, 0x1D00)


def test_block_limits_allow_what_unmap_does(disk: Host) -> None:
    data = disk.send(scsi.INQUIRY.put(evpd=1, page=0xB0, allocation=255), room=255).data
    limits = TransferLimits.take(VpdPage.take(data, 0xB0).body)
    assert limits.unmap_descriptors > 0 and limits.unmap_blocks == 0xFFFFFFFF


def test_blocks_are_extents_of_the_backing_file(disk: Host, san: San) -> None:
    disk.send(scsi.WRITE_10.put(lba=8, blocks=1), b"b" * 512)
    extent = disk.transport.backing(8, 2)
    assert extent is not None and extent.strict and (extent.offset, extent.length) == (4096, 1024)
    assert os.pread(extent.file.fd, extent.length, extent.offset) == b"b" * 512 + bytes(512)
    assert disk.transport.backing(BLOCKS - 1, 2) is None
    os.pwrite(extent.file.fd, b"h" * 512, extent.offset + 512)
    assert disk.send(scsi.READ_10.put(lba=9, blocks=1), room=512).data == b"h" * 512


def test_a_disk_is_copied_to_another_by_extents(disk: Host, san: San) -> None:
    disk.send(scsi.WRITE_10.put(lba=0, blocks=2), b"c" * 1024)
    other = Host(san, "disk1")
    source = disk.transport.backing(0, 4)
    assert isinstance(source, FileExtent)
    assert other.send(scsi.WRITE_10.put(lba=10, blocks=5), [source, Zeros(512)]).transferred == 2560
    assert other.send(scsi.READ_10.put(lba=10, blocks=5), room=2560).data == b"c" * 1024 + bytes(1536)


def test_a_tape_has_no_backing_blocks(san: San) -> None:
    assert Host(san, "tape0").transport.backing(0, 1) is None
