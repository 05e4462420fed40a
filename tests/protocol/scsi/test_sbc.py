"""Disk parameter data, by bytes assembled from SBC-3 tables."""

import pytest

from protocol.errors import WireError
from protocol.scsi import sbc
from protocol.scsi.sbc import Capacity, DiskSpecific, LbaRun, Provisioning, TransferLimits
from tests.protocol.scsi.mutation import raises_wire_error_only

CAPACITY_16 = bytes.fromhex("00000000001fffff 00000200 00 03 c000") + bytes(16)
CAPACITY = Capacity(0x200000, 512, provisioned=True, reads_zeros=True, physical_exponent=3)

LBA_STATUS = bytes.fromhex("00000024 00000000"
                           "0000000000000100 00000080 00 000000"
                           "0000000000000180 00000800 01 000000")
RUNS = (LbaRun(0x100, 0x80, Provisioning.MAPPED), LbaRun(0x180, 0x800, Provisioning.DEALLOCATED))

LIMITS = bytes.fromhex("00 00 0008 0000ffff 00000800 00000000 00100000 00000001 00000008 00000000"
                       "0000000000010000") + bytes(20)
UNMAP = bytes.fromhex("0016 0010 00000000  0000000000001000 00000010 00000000")


def test_read_capacity_10_both_ways():
    assert Capacity(0x200000, 512).put_10() == bytes.fromhex("001fffff 00000200")
    assert Capacity.take_10(bytes.fromhex("001fffff 00000200")) == Capacity(0x200000, 512)


def test_a_disk_too_large_for_ten_bytes_says_so():
    assert Capacity(1 << 33, 512).put_10() == bytes.fromhex("ffffffff 00000200")


def test_read_capacity_16_both_ways():
    assert CAPACITY.put_16() == CAPACITY_16
    assert Capacity.take_16(CAPACITY_16) == CAPACITY
    assert CAPACITY.size == 1 << 30


def test_short_capacity_data_of_old_units_is_enough():
    assert Capacity.take_16(CAPACITY_16[:12]) == Capacity(0x200000, 512)


@pytest.mark.parametrize("data", [bytes(11), bytes(12)])
def test_capacity_data_without_a_block_length_is_a_wire_error(data):
    with pytest.raises(WireError):
        Capacity.take_16(data)


def test_lba_status_both_ways():
    assert sbc.put_lba_status(RUNS) == LBA_STATUS
    assert sbc.take_lba_status(LBA_STATUS) == RUNS
    assert sbc.take_lba_status(LBA_STATUS[:30]) == RUNS[:1]


def test_block_limits_both_ways():
    limits = TransferLimits(0xFFFF, 0x800, 8, 0x100000, 1, 8, 0x10000)
    assert limits.put() == LIMITS
    assert TransferLimits.take(LIMITS) == limits
    assert TransferLimits.take(LIMITS[:12]) == TransferLimits(0xFFFF, 0x800, 8)


def test_unmap_lists_both_ways():
    assert sbc.put_unmap(((0x1000, 0x10),)) == UNMAP
    assert sbc.take_unmap(UNMAP) == ((0x1000, 0x10),)
    with pytest.raises(WireError):
        sbc.take_unmap(UNMAP[:-1])


def test_provisioning_page_says_what_the_unit_can():
    page = sbc.put_provisioning(unmap=True, write_same=True, reads_zeros=True, thin=True)
    assert page == bytes.fromhex("00 c4 02 00")


def test_the_device_specific_parameter_carries_write_protection_and_fua():
    assert DiskSpecific(write_protected=True, fua=True).put() == 0x90
    assert DiskSpecific.take(0x10) == DiskSpecific(fua=True)


@pytest.mark.parametrize(("take", "good"), [
    (Capacity.take_16, CAPACITY_16), (sbc.take_lba_status, LBA_STATUS), (TransferLimits.take, LIMITS),
    (sbc.take_unmap, UNMAP), (Capacity.take_10, bytes.fromhex("001fffff 00000200")),
])
def test_damaged_data_gives_a_value_or_a_wire_error(take, good):
    raises_wire_error_only(take, good)
