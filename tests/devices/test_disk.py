"""Disk logic on a disk of the embedded SAN."""

from itertools import pairwise

import pytest

from ndmpd.devices.disk import Disk
from ndmpd.devices.errors import DeviceError
from ndmpd.pieces import Inline, Zeros
from ndmpd.ports import Result
from protocol.errors import WireError
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sbc import Capacity, LbaRun, Provisioning, put_lba_status
from tests.devices.conftest import MIB
from tests.devices.script import NO_MEDIUM, REFUSED, ScriptedDrive

BLOCKS = 4 * MIB // 512


@pytest.fixture
def disk(connect):
    disk = Disk(connect("disk0"), "disk0")
    disk.open()
    return disk


def test_opening_tells_the_capacity(disk):
    assert (disk.capacity.blocks, disk.capacity.block_length) == (BLOCKS, 512)
    assert disk.capacity.size == 4 * MIB
    assert not disk.write_protected


def test_blocks_are_read_as_written(disk):
    data = bytes(range(256)) * 8
    assert disk.write(100, 4, [Inline(data[:700]), Inline(data[700:])]) == ()
    disk.synchronize()
    first, second = bytearray(1000), bytearray(1048)
    disk.read(100, 4, [Inline(first), Inline(second)])
    assert first + second == data


def test_blocks_beyond_the_end_are_an_error(disk):
    with pytest.raises(DeviceError, match="logical block address out of range"):
        disk.read(BLOCKS - 1, 2, [Zeros(1024)])


def test_the_provisioning_status_covers_the_disk_without_gaps(disk):
    disk.write(1024, 512, [Inline(b"\1" * 512 * 512)])
    runs = list(disk.lba_status())
    assert runs[0].lba == 0
    assert all(one.lba + one.blocks == two.lba for one, two in pairwise(runs))
    assert runs[-1].lba + runs[-1].blocks == BLOCKS
    mapped = [one for one in runs if one.status == Provisioning.MAPPED]
    assert any(one.lba <= 1024 and one.lba + one.blocks >= 1536 for one in mapped)
    assert any(one.status == Provisioning.DEALLOCATED for one in runs)


def test_the_provisioning_status_of_a_part_stays_inside_it(disk):
    runs = list(disk.lba_status(10, 20))
    assert runs[0].lba == 10
    assert sum(one.blocks for one in runs) == 10


def test_designator_and_serial_number_identify_the_disk(disk, connect):
    other = Disk(connect("disk1"), "disk1")
    assert disk.designators()
    assert disk.designators() != other.designators()
    assert disk.serial() != other.serial()


class Played(ScriptedDrive):
    """A disk of eight blocks; ``status`` answers GET LBA STATUS."""

    status: bytes | None = None
    long = True

    def _answer(self, cdb):
        match cdb[0]:
            case Opcode.SERVICE_ACTION_IN_16 if cdb[1] == 0x12:
                return self.status
            case Opcode.SERVICE_ACTION_IN_16:
                return Capacity(8, 512).put_16() if self.long else None
            case Opcode.READ_CAPACITY_10:
                return Capacity(8, 512).put_10()
            case Opcode.INQUIRY:
                return None
        return super()._answer(cdb)


def played(status: bytes | None = None) -> Disk:
    script = Played()
    script.status = status
    disk = Disk(script, "old")
    disk.open()
    return disk


def test_a_disk_without_provisioning_is_all_mapped():
    assert list(played().lba_status()) == [LbaRun(0, 8, Provisioning.MAPPED)]


def test_a_disk_of_the_ten_byte_age_opens():
    script = Played()
    script.long = False
    disk = Disk(script, "old")
    disk.open()
    assert disk.capacity == Capacity(8, 512)
    assert disk.serial() == ""
    assert disk.designators() == ()


@pytest.mark.parametrize("runs", [(), (LbaRun(4, 4, 0),), (LbaRun(0, 0, 0),)])
def test_a_provisioning_status_that_leaves_blocks_out_is_no_map(runs):
    with pytest.raises(WireError):
        list(played(put_lba_status(runs)).lba_status())


def test_runs_reaching_beyond_the_disk_are_cut():
    status = put_lba_status((LbaRun(0, 3, 1), LbaRun(3, 1 << 31, 0)))
    assert list(played(status).lba_status()) == [LbaRun(0, 3, 1), LbaRun(3, 5, 0)]


def test_large_addresses_and_transfers_take_the_long_commands():
    script = Played()
    disk = Disk(script, "large")
    disk.write(0, 0xFFFF, [])
    disk.write(0, 0x10000, [])
    disk.write(0xFFFFFFFF, 1, [])
    assert script.sent == [Opcode.WRITE_10, Opcode.WRITE_16, Opcode.WRITE_16]


def test_a_disk_that_is_not_ready_does_not_open():
    with pytest.raises(DeviceError, match="no medium"):
        Disk(Played({Opcode.TEST_UNIT_READY: [NO_MEDIUM]}), "empty").open()


def test_busy_for_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr("ndmpd.devices.unit._BUSY_FOR", 0.1)
    script = Played({Opcode.WRITE_10: [Result(Status.BUSY)] * 1000})
    with pytest.raises(DeviceError, match="BUSY") as caught:
        Disk(script, "busy").write(0, 1, [])
    assert caught.value.busy


def test_a_refused_page_is_not_an_error_of_the_disk():
    disk = played()
    assert disk.limits.longest == 0
    assert Disk(Played({Opcode.INQUIRY: [REFUSED]}), "x").serial() == ""
