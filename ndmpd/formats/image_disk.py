"""What the image butype asks of a disk, and the questions it puts to it: zeros, use, unused blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from ndmpd.errors import JobRefused
from ndmpd.formats import ext4
from ndmpd.formats.image_map import Extent, ImageMap, MapBuilder, with_zeros
from ndmpd.formats.job import Job
from ndmpd.formats.mounts import Use, identity_of, uses
from ndmpd.formats.writeback import start_writing
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from ndmpd.ports import SourceFault, Transport
from protocol.scsi.sbc import Capacity, LbaRun, Provisioning, TransferLimits
from protocol.scsi.spc import Designator
from protocol.streams.image import Contents

ZERO_RUN = 64 << 10
"""Bytes of known zeros from which on they are left out of the data: below, a map entry and a seek cost more.
"""

_TRANSFER = 4 << 20
"""Bytes that are read or written by one command, at most."""


class BlockDisk(Protocol):
    """A disk as ``ndmpd.devices.disk`` offers it; the wiring hands its class to the butype."""

    @property
    def capacity(self) -> Capacity: ...
    @property
    def limits(self) -> TransferLimits: ...
    @property
    def write_protected(self) -> bool: ...

    def open(self) -> None:
        """Find capacity and limits; before anything else."""

    def designators(self) -> tuple[Designator, ...]: ...

    def read(self, lba: int, blocks: int, destinations: Sequence[Piece]) -> None: ...

    def write(self, lba: int, blocks: int, pieces: Sequence[Piece]) -> tuple[SourceFault, ...]: ...

    def lba_status(self, lba: int = 0, end: int | None = None) -> Iterator[LbaRun]: ...

    def synchronize(self) -> None: ...


OpenDisk = Callable[[Transport, str], BlockDisk]
"""Makes a BlockDisk of a transport and the name that messages call the disk."""


@contextmanager
def opened(job: Job, open_disk: OpenDisk, name: str) -> Iterator[tuple[Transport, BlockDisk]]:
    """The disk that the configuration calls ``name``, for as long as the block lasts."""
    if job.disk is None:
        raise JobRefused("this server has no disks")
    with closing(job.disk(name)) as transport:
        disk = open_disk(transport, name)
        disk.open()
        yield transport, disk


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found out about a disk before the first byte. ``remarks``: what the user should know of it."""

    map: ImageMap
    contents: Contents
    gap: int
    remarks: tuple[str, ...]


def survey(disk: BlockDisk, gap: int | None) -> Survey:
    """Make the map. ``gap``: bytes from which on a range that the file system does not use is left out, or
    None.
    """
    remarks: list[str] = []
    contents = Contents(0)
    capacity = disk.capacity
    block = capacity.block_length
    run = max(1, ZERO_RUN // block)
    found = None
    if gap is not None:
        smallest = max(1, -(-gap // block))
        try:
            found = _build(disk, _used(disk), smallest, run)
        except ext4.Doubtful as doubt:
            remarks.append(f"the whole disk is backed up: it holds an ext file system, but {doubt}")
        except LookupError:
            remarks.append("the whole disk is backed up: there is no ext2, ext3 or ext4 file system at its "
                           "start, and IMAGEGAPSIZE knows no other")
        else:
            contents |= Contents.GAPS
    if found is None:
        found = _build(disk, iter((Extent(0, capacity.blocks),)), 1, run)
    if _knows_zeros(disk):
        contents |= Contents.ZEROS
    if found.coarsened:
        remarks.append(f"the map would have been too long; unused ranges shorter than {found.gap * block} "
                       "bytes are backed up as well")
    return Survey(found.finish(), contents, gap if gap is not None and contents & Contents.GAPS else 0,
                  tuple(remarks))


def _knows_zeros(disk: BlockDisk) -> bool:
    """Whether the disk tells unmapped blocks apart, and promises that they read as zeros."""
    return disk.capacity.provisioned and disk.capacity.reads_zeros


def _build(disk: BlockDisk, used: Iterator[Extent], gap: int, run: int) -> MapBuilder:
    builder = MapBuilder(gap, run)
    if _knows_zeros(disk):
        known = (Extent(one.lba, one.blocks, one.status != Provisioning.MAPPED) for one in disk.lba_status())
        used = with_zeros(used, known)
    for extent in used:
        builder.add(extent)
    return builder


def _used(disk: BlockDisk) -> Iterator[Extent]:
    """Blocks that the file system uses, and all that lies behind it. LookupError where there is none known.
    """
    capacity = disk.capacity
    block = capacity.block_length

    def read(offset: int, length: int) -> bytes:
        first, last = offset // block, -(-(offset + length) // block)
        data = memoryview(bytearray((last - first) * block))
        for lba, blocks in _steps(disk, first, last):
            disk.read(lba, blocks, [Inline(data[(lba - first) * block:(lba - first + blocks) * block])])
        return bytes(data[offset - first * block:offset - first * block + length])

    fs = ext4.geometry(read, capacity.size)
    if fs is None:
        raise LookupError("no file system that is known")
    end = 0
    for offset, length in ext4.used(read, fs):
        # A file system block may be smaller than the disk's: what shares a block with something used is used.
        first, last = max(end, offset // block), -(-(offset + length) // block)
        if first < last:
            yield Extent(first, last - first)
            end = last
    behind = max(end, fs.blocks * fs.block_size // block)
    yield Extent(behind, capacity.blocks - behind)


def _steps(disk: BlockDisk, lba: int, end: int) -> Iterator[tuple[int, int]]:
    """[lba, end) in transfers that the disk takes: (first block, blocks)."""
    most = min(disk.limits.longest or _TRANSFER, _TRANSFER // disk.capacity.block_length)
    while lba < end:
        blocks = min(most, end - lba)
        yield lba, blocks
        lba += blocks


def write_zeros(disk: BlockDisk, extent: Extent) -> None:
    """Make the blocks read as zeros. Those that do already because they were never stored stay so."""
    runs = iter((LbaRun(extent.lba, extent.blocks, Provisioning.MAPPED),))
    if _knows_zeros(disk):
        runs = disk.lba_status(extent.lba, extent.end)
    for run in runs:
        if run.status == Provisioning.MAPPED:
            for lba, blocks in _steps(disk, run.lba, run.lba + run.blocks):
                disk.write(lba, blocks, [Zeros(blocks * disk.capacity.block_length)])


def start_flush(transport: Transport, written: Sequence[Piece]) -> None:
    """Where the blocks of ``written`` are in this machine's page cache, have them on their way to the medium
    while the next ones come: there is that much less to wait for in ``synchronize``.
    """
    for extent in written:
        backing = transport.backing(extent.lba, extent.blocks) if isinstance(extent, LunExtent) else None
        if backing is not None:
            start_writing(backing.file.fd, backing.offset, backing.length)


def in_use(transport: Transport, disk: BlockDisk) -> list[Use]:
    """Where this machine uses the disk itself. JobRefused where that does not show."""
    try:
        return uses(identity_of(transport, disk.designators()))
    except OSError as error:
        raise JobRefused(f"what is mounted on this machine cannot be seen ({error}), so no disk can be "
                         "called free; mount /proc for the server") from None


def written_to(found: list[Use]) -> str:
    """Where the disk can change while it is read, and what to do about it; "" where it cannot."""
    for use in found:
        if use.writable:
            how = "turn it off" if use.place == "swap" else "unmount it, or remount it read-only"
            return f"in use read-write on this machine ({use.device} at {use.place}); {how}"
    return ""


def refuse_target_in_use(name: str, found: list[Use]) -> None:
    """JobRefused where the disk is in use in any way."""
    for use in found:
        raise JobRefused(f"{name} is in use on this machine ({use.device} at {use.place}) and cannot be "
                         "overwritten; unmount it first")
