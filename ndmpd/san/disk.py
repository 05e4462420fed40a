"""A virtual disk: blocks of a sparse file. SBC-3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from ndmpd.datapath import copy_from_file, copy_to_file, read_bytes
from ndmpd.pieces import FileExtent, Inline, OpenFile, Piece, split
from ndmpd.san.commands import (
    PRE_FETCH_10,
    PRE_FETCH_16,
    READ_12,
    VERIFY_10,
    VERIFY_12,
    VERIFY_16,
    WRITE_12,
    WRITE_AND_VERIFY_10,
    WRITE_AND_VERIFY_12,
    WRITE_AND_VERIFY_16,
)
from ndmpd.san.copymanager.commands import THIRD_PARTY_OPERATIONS
from ndmpd.san.dataphase import clip
from ndmpd.san.errors import CheckCondition, refused
from ndmpd.san.folder import San
from ndmpd.san.holes import runs, zero
from ndmpd.san.locks import SharedFile
from ndmpd.san.modes import TASK_ABORTED_STATUS, ModeRow, Modes
from ndmpd.san.primary import PRIMARY_OPERATIONS
from ndmpd.san.task import Operation, OperationTable, Task
from ndmpd.san.unit import Unit
from protocol.errors import WireError
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sbc import (
    Capacity,
    DiskSpecific,
    LbaRun,
    Provisioning,
    TransferLimits,
    put_lba_status,
    put_provisioning,
    take_unmap,
)
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import BlockDescriptor, DeviceType, Inquiry, Vpd, VpdPage

_PHYSICAL = 4096
"""Bytes of a physical block: the file system's below, as good as always."""
_MAX_RUNS = 4096
_MAX_RUN = 0xFFFFFFFF
_CHUNK = 1 << 20
_MISCOMPARE = 0x1D00
_CACHING, _CONTROL = 0x08, 0x0A
_WRITE_CACHE = 0x04
_VERSIONS = (0x00A0, 0x0460, 0x04C0)
"""SAM-5, SPC-4, SBC-3: without the last, initiators do not believe pages that SBC-3 made longer."""
_NOT_ROTATING = (1).to_bytes(2, "big") + bytes(58)
"""Body of VPD page B1h (SBC-3 6.6.2)."""


def _range(disk: Disk, task: Task) -> tuple[int, int]:
    """LBA and number of blocks of the command, which lie on the disk."""
    lba, blocks = task.field["lba"], task.field["blocks"]
    if task.field.get("protect"):
        raise task.refuse("protect")
    disk.check(lba, blocks)
    return lba, blocks


def _read(disk: Disk, task: Task, lba: int, blocks: int) -> None:
    if blocks:
        destinations = clip(task.command.data_in, blocks * disk.block_length)
        task.transferred = copy_from_file(disk.file.fd, lba * disk.block_length, destinations)


def _write(disk: Disk, task: Task, lba: int, blocks: int) -> None:
    disk.check_writable()
    length = task.given(blocks * disk.block_length, disk.block_length)
    if length:
        pieces = clip(task.command.data_out, length)
        task.transferred = copy_to_file(pieces, disk.file.fd, lba * disk.block_length, task.command.faults)
    if task.field.get("fua"):
        os.fdatasync(disk.file.fd)


def read(disk: Disk, task: Task) -> None:
    _read(disk, task, *_range(disk, task))


def write(disk: Disk, task: Task) -> None:
    _write(disk, task, *_range(disk, task))


def write_and_verify(disk: Disk, task: Task) -> None:
    """The file system's word counts for what is on the medium; comparing (BYTCHK) could find nothing else."""
    if task.field["check"] not in (0, 1):
        raise task.refuse("check")
    _write(disk, task, *_range(disk, task))
    os.fdatasync(disk.file.fd)


def pre_fetch(disk: Disk, task: Task) -> None:
    """Always GOOD, never CONDITION MET: what the cache will hold is the kernel's to say."""
    lba, blocks = _range(disk, task)
    os.posix_fadvise(disk.file.fd, lba * disk.block_length, blocks * disk.block_length,
                     os.POSIX_FADV_WILLNEED)


def _short_range(disk: Disk, task: Task) -> tuple[int, int]:
    """The six-byte commands: a count of 0 is 256 blocks."""
    blocks = task.field["blocks"] or 256
    disk.check(task.field["lba"], blocks)
    return task.field["lba"], blocks


def read_6(disk: Disk, task: Task) -> None:
    _read(disk, task, *_short_range(disk, task))


def write_6(disk: Disk, task: Task) -> None:
    _write(disk, task, *_short_range(disk, task))


def verify(disk: Disk, task: Task) -> None:
    """BYTCHK 0 has nothing to check here; 1 compares with the data-out."""
    lba, blocks = _range(disk, task)
    if task.field["check"] not in (0, 1):
        raise task.refuse("check")
    if not task.field["check"]:
        return
    task.expect(blocks * disk.block_length)
    done = 0
    for piece in clip(task.command.data_out, blocks * disk.block_length):
        for part in _parts(piece):
            data = read_bytes([part], task.command.faults)
            if os.pread(disk.file.fd, len(data), lba * disk.block_length + done) != data:
                raise CheckCondition(Sense(SenseKey.MISCOMPARE, _MISCOMPARE))
            done += len(data)
    task.transferred = done


def _parts(piece: Piece) -> Iterator[Piece]:
    """``piece`` in parts small enough to take into memory."""
    while piece.length > _CHUNK:
        part, piece = split(piece, _CHUNK)
        yield part
    yield piece


def synchronize_cache(disk: Disk, task: Task) -> None:
    _range(disk, task)
    os.fdatasync(disk.file.fd)


def start_stop_unit(disk: Disk, task: Task) -> None:
    """A disk without a motor, that cannot be taken out."""
    if task.field["loej"]:
        raise task.refuse("loej")


def read_capacity_10(disk: Disk, task: Task) -> None:
    task.send(disk.capacity.put_10(), 8)


def read_capacity_16(disk: Disk, task: Task) -> None:
    task.send(disk.capacity.put_16(), task.field["allocation"])


def get_lba_status(disk: Disk, task: Task) -> None:
    lba = task.field["lba"]
    disk.check(lba, 1)
    room = max(1, min((task.field["allocation"] - 8) // 16, _MAX_RUNS))
    found: list[LbaRun] = []
    block = disk.block_length
    for offset, length, data in runs(disk.file.fd, lba * block, disk.capacity.size, block):
        status = Provisioning.MAPPED if data else Provisioning.DEALLOCATED
        found.append(LbaRun(offset // block, min(length // block, _MAX_RUN), status))
        # What does not fit one descriptor, or the room, is for the next command.
        if len(found) == room or length // block > _MAX_RUN:
            break
    task.send(put_lba_status(tuple(found)), task.field["allocation"])


def unmap(disk: Disk, task: Task) -> None:
    if task.field["anchor"]:
        raise task.refuse("anchor")
    if not task.field["length"]:
        return
    try:
        asked = take_unmap(task.parameters(task.field["length"]))
    except WireError as error:
        raise refused(Asc.PARAMETER_LIST_LENGTH) from error
    disk.check_writable()
    for lba, blocks in asked:
        disk.check(lba, blocks)
    for lba, blocks in asked:
        zero(disk.file.fd, lba * disk.block_length, blocks * disk.block_length)


def write_same_16(disk: Disk, task: Task) -> None:
    """Zeros are made by giving the blocks back, with UNMAP or without."""
    if task.field["anchor"]:
        raise task.refuse("anchor")
    lba, blocks = _range(disk, task)
    disk.check_writable()
    blocks = blocks or disk.capacity.blocks - lba
    block = bytes(disk.block_length)
    if not task.field["ndob"]:
        block = task.parameters(disk.block_length)
    if not any(block):
        zero(disk.file.fd, lba * disk.block_length, blocks * disk.block_length)
        return
    chunk = block * (_CHUNK // disk.block_length)
    end = (lba + blocks) * disk.block_length
    for at in range(lba * disk.block_length, end, _CHUNK):
        copy_to_file([Inline(memoryview(chunk)[:end - at])], disk.file.fd, at, task.command.faults)


DISK_OPERATIONS = (
    Operation(scsi.READ_6_DISK, read_6),
    Operation(scsi.READ_10, read),
    Operation(READ_12, read),
    Operation(scsi.READ_16, read),
    Operation(scsi.WRITE_6_DISK, write_6),
    Operation(scsi.WRITE_10, write),
    Operation(WRITE_12, write),
    Operation(scsi.WRITE_16, write),
    Operation(VERIFY_10, verify),
    Operation(VERIFY_12, verify),
    Operation(VERIFY_16, verify),
    Operation(WRITE_AND_VERIFY_10, write_and_verify),
    Operation(WRITE_AND_VERIFY_12, write_and_verify),
    Operation(WRITE_AND_VERIFY_16, write_and_verify),
    Operation(PRE_FETCH_10, pre_fetch),
    Operation(PRE_FETCH_16, pre_fetch),
    Operation(scsi.SYNCHRONIZE_CACHE_10, synchronize_cache),
    Operation(scsi.SYNCHRONIZE_CACHE_16, synchronize_cache),
    Operation(scsi.START_STOP_UNIT, start_stop_unit),
    Operation(scsi.READ_CAPACITY_10, read_capacity_10),
    Operation(scsi.READ_CAPACITY_16, read_capacity_16),
    Operation(scsi.GET_LBA_STATUS, get_lba_status),
    Operation(scsi.UNMAP, unmap),
    Operation(scsi.WRITE_SAME_16, write_same_16),
)


class Disk(Unit):
    """``file`` is what it is kept in, ``block_length`` that of its logical blocks."""

    device_type = DeviceType.DISK
    product = "VIRTUAL DISK"
    third_party = True
    operations = OperationTable(PRIMARY_OPERATIONS, DISK_OPERATIONS, THIRD_PARTY_OPERATIONS)

    def __init__(self, san: San, name: str) -> None:
        super().__init__(san, name)
        record = san.unit(name)
        self.read_only = record.read_only
        self.file = SharedFile(san.disk_path(name), os.O_RDONLY if record.read_only else os.O_RDWR)
        self.block_length = san.unit(name).block_length
        self._backing: OpenFile | None = None

    def close(self) -> None:
        self.file.close()
        self._backing = None
        super().close()

    @property
    def capacity(self) -> Capacity:
        return Capacity(self._blocks, self.block_length,
                        provisioned=True, reads_zeros=True, physical_exponent=self._physical.bit_length() - 1)

    @property
    def _blocks(self) -> int:
        return os.lseek(self.file.fd, 0, os.SEEK_END) // self.block_length

    @property
    def _physical(self) -> int:
        """Blocks of a physical block."""
        return max(1, _PHYSICAL // self.block_length)

    def check(self, lba: int, blocks: int) -> None:
        """CheckCondition where the blocks do not lie on the disk."""
        if lba + blocks > self._blocks:
            raise refused(Asc.LBA_OUT_OF_RANGE)

    def check_writable(self) -> None:
        """CheckCondition where the disk is not to be written."""
        if self.read_only:
            raise CheckCondition(Sense(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED))

    def failure(self, error: Exception) -> Sense:
        return Sense(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)

    def inquiry(self) -> Inquiry:
        return replace(super().inquiry(), versions=_VERSIONS)

    def vpd(self) -> dict[int, bytes]:
        limits = TransferLimits(granularity=self._physical, optimal=_CHUNK // self.block_length,
                                unmap_blocks=_MAX_RUN, unmap_descriptors=_MAX_RUNS,
                                unmap_granularity=self._physical)
        provisioning = put_provisioning(unmap=True, write_same=True, reads_zeros=True, thin=True)
        return {**super().vpd(),
                Vpd.BLOCK_LIMITS: VpdPage(self.device_type, Vpd.BLOCK_LIMITS, limits.put()).put(),
                Vpd.BLOCK_CHARACTERISTICS:
                    VpdPage(self.device_type, Vpd.BLOCK_CHARACTERISTICS, _NOT_ROTATING).put(),
                Vpd.PROVISIONING: VpdPage(self.device_type, Vpd.PROVISIONING, provisioning).put()}

    def modes(self) -> Modes:
        blocks = min(self.capacity.blocks, 0xFFFFFF)
        return Modes((ModeRow(_CACHING, bytes((_WRITE_CACHE, *bytes(17)))),
                      ModeRow(_CONTROL, TASK_ABORTED_STATUS)),
                     specific=DiskSpecific(self.read_only, fua=True).put(),
                     block=BlockDescriptor(0, blocks, self.block_length))

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        """The blocks as bytes of the disk's file; None where they do not lie on the disk."""
        if lba < 0 or blocks < 0 or lba + blocks > self.capacity.blocks:
            return None
        if self._backing is None:
            self._backing = OpenFile(os.open(self.file.path, (os.O_RDONLY if self.read_only else os.O_RDWR)
                                             | os.O_CLOEXEC), self.name)
        return FileExtent(self._backing, lba * self.block_length, blocks * self.block_length, strict=True)
