"""Disks as copy sources and destinations. SPC-4 6.4.5.3.

The blocks of a source that the SAN has itself are never read here: they are passed on as bytes of the disk's
file, for the kernel to copy. VERIFY of those blocks makes sure that the nexus may read them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ndmpd.datapath import length_of
from ndmpd.pieces import FileExtent, Inline, Piece
from ndmpd.san.commands import VERIFY_16
from ndmpd.san.copymanager.checks import DESTINATION_AT
from ndmpd.san.copymanager.contact import Contact
from ndmpd.san.copymanager.ends import End
from ndmpd.san.copymanager.failure import UNREADABLE, CopyFailure, field_failure
from ndmpd.san.disk import Disk
from ndmpd.san.folder import USUAL_BLOCK
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.cscd import BlockDevice
from protocol.scsi.sbc import Capacity
from protocol.scsi.sense import SegmentPointer
from protocol.scsi.spc import DeviceType

_LENGTH_AT = 29
"""Of the block length in a CSCD descriptor."""


class Blocks:
    """A disk, or the null block device. Raises CopyFailure for an end that is no disk.

    ``at``: the byte of the segment that names it, as source or as destination.
    """

    def __init__(self, end: End, at: int) -> None:
        if end.kind is not DeviceType.DISK:
            raise field_failure(at, Asc.INVALID_COPY_OPERATION)
        self.end = end
        self._failure = end.destination_failure if at == DESTINATION_AT else end.source_failure
        self._capacity: Capacity | None = None
        self._whole: FileExtent | None = None
        self._most: int | None = None

    @property
    def contact(self) -> Contact | None:
        """The path to a disk of another target."""
        return self.end.contact

    @property
    def length(self) -> int:
        """Of a block, in bytes."""
        return USUAL_BLOCK if self.end.null else self.capacity.block_length

    @property
    def most(self) -> int:
        """Bytes that one command may move, whole blocks; 0 for any number."""
        if self.contact is None:
            return 0
        if self._most is None:
            blocks = max(1, self.contact.most // self.length)
            self._most = min(blocks, self.contact.longest() or blocks) * self.length
        return self._most

    @property
    def capacity(self) -> Capacity:
        if self._capacity is None:
            found = self.end.unit.capacity if isinstance(self.end.unit, Disk) else self._ask_capacity()
            stated = self.end.parameters
            if isinstance(stated, BlockDevice) and stated.block_length not in (0, found.block_length):
                pointer = self.end.pointer
                raise CopyFailure(Asc.INVALID_FIELD_IN_PARAMETERS,
                                  pointer and SegmentPointer(pointer.byte + _LENGTH_AT))
            self._capacity = found
        return self._capacity

    def _ask_capacity(self) -> Capacity:
        size = 32
        buffer = bytearray(size)
        result, _ = self.end.send(scsi.READ_CAPACITY_16.put(allocation=size), into=[Inline(buffer)])
        if result.status != Status.GOOD:
            raise self._failure(result)
        return Capacity.take_16(buffer)

    def check(self, lba: int, blocks: int) -> None:
        """CopyFailure where the blocks do not lie on the disk: before any of them is touched."""
        if not blocks:
            return
        if self.end.null:
            raise CopyFailure(Asc.UNREACHABLE_COPY_TARGET)
        if lba + blocks > self.capacity.blocks:
            raise CopyFailure(Asc.COPY_TARGET_NOT_REACHABLE, self.end.pointer)

    def extent(self, lba: int, offset: int, count: int) -> FileExtent:
        """``count`` bytes from ``offset`` in block ``lba`` on, which the disk has, as bytes of its file.

        For a disk of this SAN.
        """
        if self._whole is None:
            self._whole = self.end.unit.backing(0, self.capacity.blocks) if self.end.unit else None
            if self._whole is None:
                raise CopyFailure(Asc.COPY_TARGET_NOT_REACHABLE, self.end.pointer)
        whole = self._whole
        return FileExtent(whole.file, whole.offset + lba * self.length + offset, count, whole.strict)

    def span(self, offset: int, count: int) -> int:
        """Blocks that ``count`` bytes from ``offset`` in a block lie in; none for no bytes."""
        return -(-(offset + count) // self.length) if count else 0

    def read(self, lba: int, blocks: int) -> bytearray:
        """The blocks of a disk of another target, in memory."""
        data = bytearray(blocks * self.length)
        step = self.most // self.length
        for at in range(0, blocks, step):
            count = min(step, blocks - at)
            part = memoryview(data)[at * self.length:(at + count) * self.length]
            result, _ = self.end.send(scsi.READ_16.put(lba=lba + at, blocks=count), into=[Inline(part)])
            if result.status != Status.GOOD:
                raise self._failure(result)
            if result.transferred != len(part):
                raise CopyFailure(Asc.COPY_TARGET_UNDERRUN, self.end.pointer)
        return data

    def confirm(self, lba: int, blocks: int) -> None:
        """VERIFY without data: that the nexus may read the blocks."""
        unit, known = self.end.unit, self.end.known
        if unit is not None and known.readable(unit):
            # ``check`` has seen that they lie on the disk.
            return
        result, _ = self.end.send(VERIFY_16.put(lba=lba, blocks=blocks))
        if result.status != Status.GOOD:
            raise self.end.source_failure(result)
        if unit is not None:
            known.set_readable(unit)

    def write(self, lba: int, pieces: Sequence[Piece]) -> None:
        """Whole blocks from ``lba`` on."""
        cdb = scsi.WRITE_16.put(lba=lba, blocks=length_of(pieces) // self.length)
        result, faults = self.end.send(cdb, pieces)
        if result.status != Status.GOOD:
            raise self.end.destination_failure(result)
        if faults:
            raise CopyFailure(Asc.THIRD_PARTY_DEVICE_FAILURE, source=UNREADABLE)

    def whole(self, lba: int, offset: int, pieces: Sequence[Piece]) -> list[Piece]:
        """``pieces`` for ``offset`` in block ``lba`` on, with what the disk has around them."""
        size = length_of(pieces)
        after = -(offset + size) % self.length
        whole: list[Piece] = [self._edge(lba, 0, offset)] if offset else []
        whole += pieces
        if after:
            whole.append(self._edge(lba, offset + size, after))
        return whole

    def _edge(self, lba: int, offset: int, count: int) -> Piece:
        """Bytes of one block, ``offset`` of them behind the beginning of ``lba``."""
        if self.contact is None:
            return self.extent(lba, offset, count)
        blocks, offset = divmod(offset, self.length)
        return Inline(memoryview(self.read(lba + blocks, 1))[offset:offset + count])
