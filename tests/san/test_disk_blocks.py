"""Virtual disks with logical blocks of 4096 bytes beside ones of 512."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.san import Flush, San, create
from ndmpd.san.commands import VERIFY_16
from ndmpd.san.errors import SanError
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sbc import Capacity, Provisioning, TransferLimits, put_unmap, take_lba_status
from protocol.scsi.sense import SenseKey
from protocol.scsi.spc import ModeParameters, VpdPage
from tests.san.conftest import MIB, Host, refused

BLOCK = 4096
BLOCKS = MIB // BLOCK


@pytest.fixture
def mixed(tmp_path: Path) -> San:
    """disk0 has blocks of 4096 bytes, disk1 of 512."""
    return create(tmp_path, cartridges=1, drives=1, disk_size=MIB, flush=Flush.NOTHING,
                  block_lengths={"disk0": BLOCK})


@pytest.fixture
def large(mixed: San) -> Iterator[Host]:
    host = Host(mixed, "disk0")
    yield host
    host.close()


def capacity(disk: Host) -> Capacity:
    return Capacity.take_16(disk.send(scsi.READ_CAPACITY_16.put(allocation=32), room=32).data)


def test_each_disk_tells_its_own_blocks_and_a_physical_block_of_4096(mixed: San, large: Host) -> None:
    assert capacity(large) == Capacity(BLOCKS, BLOCK, True, True, 0)
    assert Capacity.take_10(large.send(scsi.READ_CAPACITY_10.put(), room=8).data) == Capacity(BLOCKS, BLOCK)
    small = Host(mixed, "disk1")
    assert capacity(small) == Capacity(MIB // 512, 512, True, True, 3)
    small.close()
    mode = ModeParameters.take_6(large.send(scsi.MODE_SENSE_6.put(page=0x3F, allocation=255), room=255).data)
    assert (mode.descriptors[0].blocks, mode.descriptors[0].length) == (BLOCKS, BLOCK)
    data = large.send(scsi.INQUIRY.put(evpd=1, page=0xB0, allocation=255), room=255).data
    limits = TransferLimits.take(VpdPage.take(data, 0xB0).body)
    assert (limits.granularity, limits.unmap_granularity, limits.optimal) == (1, 1, MIB // BLOCK)


def test_addresses_and_counts_are_in_blocks_of_4096(large: Host, mixed: San) -> None:
    data = os.urandom(3 * BLOCK)
    assert large.send(scsi.WRITE_16.put(lba=7, blocks=3), data).transferred == len(data)
    assert large.send(scsi.READ_10.put(lba=7, blocks=3), room=len(data)).data == data
    assert mixed.disk_path("disk0").read_bytes()[7 * BLOCK:10 * BLOCK] == data
    assert large.send(scsi.READ_6_DISK.put(lba=0, blocks=0), room=MIB).transferred == 256 * BLOCK
    assert refused(large.send(scsi.WRITE_10.put(lba=BLOCKS, blocks=1), bytes(BLOCK)), Asc.LBA_OUT_OF_RANGE)
    assert large.send(VERIFY_16.put(lba=8, blocks=1, check=1), data[BLOCK:2 * BLOCK]).good
    wrong = large.send(VERIFY_16.put(lba=8, blocks=1, check=1), bytes(BLOCK))
    assert wrong.sense is not None and wrong.sense.key is SenseKey.MISCOMPARE
    extent = large.transport.backing(7, 3)
    assert extent is not None and (extent.offset, extent.length) == (7 * BLOCK, 3 * BLOCK)


def test_provisioning_counts_in_blocks_of_4096(large: Host, mixed: San) -> None:
    assert large.send(scsi.WRITE_SAME_16.put(lba=16, blocks=64), b"s" * BLOCK).good
    run = put_unmap(((32, 16),))
    assert large.send(scsi.UNMAP.put(length=len(run)), run).good
    data = large.send(scsi.GET_LBA_STATUS.put(allocation=4096), room=4096).data
    hole, mapped = Provisioning.DEALLOCATED, Provisioning.MAPPED
    assert [(one.lba, one.blocks, one.status) for one in take_lba_status(data)] == [
        (0, 16, hole), (16, 16, mapped), (32, 16, hole), (48, 32, mapped), (80, BLOCKS - 80, hole)]
    assert mixed.disk_path("disk0").read_bytes().count(b"s") == 48 * BLOCK


def test_the_blocks_are_a_fact_of_the_san_that_stays(mixed: San, tmp_path: Path) -> None:
    for again in (San.open(mixed.path), create(tmp_path, block_length=512)):
        assert [again.unit(name).block_length for name in ("disk0", "disk1")] == [BLOCK, 512]


def test_a_san_of_before_there_was_a_choice_has_blocks_of_512(mixed: San) -> None:
    settings = json.loads((mixed.path / "san.json").read_text())
    for unit in settings["units"].values():
        unit.pop("block_length", None)
    (mixed.path / "san.json").write_text(json.dumps(settings))
    assert San.open(mixed.path).unit("disk0").block_length == 512


@pytest.mark.parametrize("text", ["[]", '{"units": []}', '{"units": {"disk0": 7}}', '{"units": {"a": {}}}'])
def test_settings_that_make_no_sense_are_named_with_what_to_do(mixed: San, text: str) -> None:
    (mixed.path / "san.json").write_text(text)
    with pytest.raises(SanError, match=r"san\.json cannot be read .*restore it from a backup"):
        San.open(mixed.path)


def test_other_blocks_are_refused(mixed: San, tmp_path: Path) -> None:
    with pytest.raises(SanError, match="blocks of 520 bytes; give it blocks of 512 or 4096"):
        create(tmp_path / "a", block_length=520)
    with pytest.raises(SanError, match="not a multiple of 4096"):
        create(tmp_path / "b", block_length=4096, disk_size=MIB + 512)
    settings = json.loads((mixed.path / "san.json").read_text())
    settings["units"]["disk0"]["block_length"] = 1000
    (mixed.path / "san.json").write_text(json.dumps(settings))
    with pytest.raises(SanError, match="block_length of 1000; write 512 or 4096"):
        San.open(mixed.path)
