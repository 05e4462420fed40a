"""Which blocks an ext2, ext3 or ext4 file system uses, read from its allocation bitmaps on the disk.

Written from the on-disk format as the kernel documents it (Documentation/filesystems/ext4). Only the
superblock, the group descriptors and the block bitmaps are read. The result is used to leave blocks out of a
backup, so doubt means refusal: ``Doubtful`` is raised where a feature is not known here, where the journal
holds changes that the bitmaps do not show yet, where the file system knows of errors, and where a bitmap
does not agree with the count of free blocks beside it. (That count, which every group has, is the check; the
checksums of newer file systems are not.)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntFlag

Read = Callable[[int, int], bytes]
"""Bytes of the disk: (offset, length) -> exactly that many."""

SUPERBLOCK_AT = 1024
_SUPERBLOCK_SIZE = 1024
_MAGIC = 0xEF53
_BATCH = 256 << 10
"""Bytes of bitmaps and descriptors that are read at once."""


class Doubtful(Exception):
    """The file system's own record of what it uses cannot be relied on; the text says why and what would
    help.
    """


class Compat(IntFlag):
    RESIZE_INODE = 0x0010
    SPARSE_SUPER2 = 0x0200


class Incompat(IntFlag):
    """Features that a reader must know. Of those left out, the layout of the bitmaps is unknown here."""

    FILETYPE = 0x0002
    RECOVER = 0x0004
    META_BG = 0x0010
    EXTENTS = 0x0040
    BITS64 = 0x0080
    MMP = 0x0100
    FLEX_BG = 0x0200
    EA_INODE = 0x0400
    DIRDATA = 0x1000
    CSUM_SEED = 0x2000
    LARGEDIR = 0x4000
    INLINE_DATA = 0x8000
    ENCRYPT = 0x10000
    CASEFOLD = 0x20000


class RoCompat(IntFlag):
    """Features that a writer must know; some of them change what a bitmap means."""

    SPARSE_SUPER = 0x0001
    LARGE_FILE = 0x0002
    BTREE_DIR = 0x0004
    HUGE_FILE = 0x0008
    GDT_CSUM = 0x0010
    DIR_NLINK = 0x0020
    EXTRA_ISIZE = 0x0040
    QUOTA = 0x0100
    BIGALLOC = 0x0200
    METADATA_CSUM = 0x0400
    READONLY = 0x1000
    PROJECT = 0x2000
    SHARED_BLOCKS = 0x4000
    VERITY = 0x8000
    ORPHAN_PRESENT = 0x10000


_INCOMPAT_KNOWN = sum(Incompat)
_RO_COMPAT_KNOWN = sum(RoCompat)
_STATE_CLEAN = 1
_STATE_ERRORS = 2
_BLOCK_UNINIT = 2
"""Descriptor flag: the group's bitmap was never written; nothing but its own metadata is used."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What of the superblock matters here. Blocks are the file system's; a bitmap has a bit for each cluster.
    """

    block_size: int
    blocks: int
    first_block: int
    cluster_blocks: int
    group_blocks: int
    group_inodes: int
    inode_size: int
    descriptor_size: int
    reserved_descriptor_blocks: int
    first_meta_group: int
    backup_groups: tuple[int, int]
    compat: int
    incompat: int
    ro_compat: int

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first_block) // self.group_blocks)

    @property
    def descriptors_per_block(self) -> int:
        return self.block_size // self.descriptor_size

    def group_start(self, group: int) -> int:
        return self.first_block + group * self.group_blocks

    def blocks_in(self, group: int) -> int:
        return min(self.group_blocks, self.blocks - self.group_start(group))

    def has_superblock(self, group: int) -> bool:
        """Whether the group begins with a copy of the superblock."""
        if group == 0:
            return True
        if self.compat & Compat.SPARSE_SUPER2:
            return group in self.backup_groups
        if group == 1 or not self.ro_compat & RoCompat.SPARSE_SUPER:
            return True
        return group % 2 == 1 and any(_is_power(group, base) for base in (3, 5, 7))

    def in_meta_groups(self, group: int) -> bool:
        """Whether the group's descriptor is kept near the group, not behind the superblock."""
        if not self.incompat & Incompat.META_BG:
            return False
        return group // self.descriptors_per_block >= self.first_meta_group

    def descriptor_block(self, number: int) -> int:
        """Where the block with the descriptors from ``number * descriptors_per_block`` on is."""
        if not self.incompat & Incompat.META_BG or number < self.first_meta_group:
            return SUPERBLOCK_AT // self.block_size + 1 + number
        group = number * self.descriptors_per_block
        shift = 1 if self.has_superblock(group) else 0
        if self.block_size == SUPERBLOCK_AT and number == 0 and self.first_block == 0:
            shift += 1  # the superblock is in block 1, and group 0 begins with block 0
        return self.group_start(group) + shift

    def head_blocks(self, group: int) -> int:
        """Blocks at the group's start that hold copies of the superblock and of descriptors."""
        copy = 1 if self.has_superblock(group) else 0
        if self.in_meta_groups(group):
            per_block = self.descriptors_per_block
            return copy + (group % per_block in (0, 1, per_block - 1))
        if not copy:
            return 0
        whole = -(-self.groups // self.descriptors_per_block)
        kept = self.first_meta_group if self.incompat & Incompat.META_BG else whole
        return copy + kept + self.reserved_descriptor_blocks


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def geometry(read: Read, disk_size: int) -> Geometry | None:
    """The file system at the start of the disk; None where there is none of this family. Raises Doubtful."""
    if disk_size < SUPERBLOCK_AT + _SUPERBLOCK_SIZE:
        return None
    data = read(SUPERBLOCK_AT, _SUPERBLOCK_SIZE)

    def u16(at: int) -> int:
        return int.from_bytes(data[at:at + 2], "little")

    def u32(at: int) -> int:
        return int.from_bytes(data[at:at + 4], "little")

    if u16(0x38) != _MAGIC:
        return None
    dynamic = u32(0x4C) >= 1  # revision 0 has no feature words
    compat, incompat, ro_compat = (u32(at) if dynamic else 0 for at in (0x5C, 0x60, 0x64))
    state = u16(0x3A)
    if incompat & ~_INCOMPAT_KNOWN or ro_compat & ~_RO_COMPAT_KNOWN:
        raise Doubtful(f"it has features that are not known here (incompat {incompat & ~_INCOMPAT_KNOWN:X}h, "
                       f"ro_compat {ro_compat & ~_RO_COMPAT_KNOWN:X}h)")
    if incompat & Incompat.RECOVER:
        raise Doubtful("its journal holds changes that are not in the bitmaps yet; mount and unmount it "
                       "once, or run e2fsck on it, for a backup without unused blocks")
    if state & _STATE_ERRORS or not state & _STATE_CLEAN:
        raise Doubtful("it was not unmounted cleanly or knows of errors; run e2fsck on it for a backup "
                       "without unused blocks")
    log_block, log_cluster = u32(0x18), u32(0x1C)
    bigalloc = bool(ro_compat & RoCompat.BIGALLOC)
    if log_block > 6 or log_cluster > 20 or (bigalloc and log_cluster < log_block):
        raise Doubtful("its superblock names impossible block or cluster sizes")
    bits64 = bool(incompat & Incompat.BITS64)
    found = Geometry(
        block_size=1024 << log_block,
        blocks=u32(0x04) | (u32(0x150) << 32 if bits64 else 0),
        first_block=u32(0x14),
        cluster_blocks=1 << (log_cluster - log_block) if bigalloc else 1,
        group_blocks=u32(0x20),
        group_inodes=u32(0x28),
        inode_size=u16(0x58) if dynamic else 128,
        descriptor_size=u16(0xFE) if bits64 else 32,
        reserved_descriptor_blocks=u16(0xCE) if compat & Compat.RESIZE_INODE else 0,
        first_meta_group=u32(0x104),
        backup_groups=(u32(0x24C), u32(0x250)),
        compat=compat, incompat=incompat, ro_compat=ro_compat)
    _check(found, disk_size)
    return found


def _check(found: Geometry, disk_size: int) -> None:
    size = found.block_size
    wrong = (
        found.first_block > 1
        or not found.first_block < found.blocks
        or found.group_blocks == 0
        or found.group_blocks % found.cluster_blocks != 0
        or found.group_blocks // found.cluster_blocks > 8 * size
        or not 32 <= found.descriptor_size <= size
        or found.descriptor_size & (found.descriptor_size - 1) != 0
        or (found.incompat & Incompat.BITS64 and found.descriptor_size < 64)
        or not 128 <= found.inode_size <= size
        or not 0 < found.group_inodes <= 8 * size
    )
    if wrong:
        raise Doubtful("its superblock contradicts itself")
    if found.blocks * size > disk_size:
        raise Doubtful(f"it is larger ({found.blocks * size} bytes) than the disk ({disk_size} bytes)")


@dataclass(frozen=True, slots=True)
class _Group:
    bitmap: int
    inode_bitmap: int
    inode_table: int
    free: int
    uninitialised: bool


_DESCRIPTOR = struct.Struct("<IIIHHHH")
_DESCRIPTOR_HIGH = struct.Struct("<IIIH")


def used(read: Read, fs: Geometry) -> Iterator[tuple[int, int]]:
    """What the file system uses of its part of the disk: (offset, length) in bytes, ascending.

    What lies before its first block counts as used. Raises Doubtful, also after the first ranges.
    """
    if fs.first_block:
        yield 0, fs.first_block * fs.block_size
    unit = fs.block_size * fs.cluster_blocks
    for group, entry, bitmap in _bitmaps(read, fs):
        clusters = -(-fs.blocks_in(group) // fs.cluster_blocks)
        if bitmap is None:
            bitmap = _initial_bitmap(fs, group, entry)
        start = fs.group_start(group) * fs.block_size
        end = start + fs.blocks_in(group) * fs.block_size
        taken = 0
        for first, count in _runs(bitmap, clusters):
            taken += count
            offset = start + first * unit
            yield offset, min(count * unit, end - offset)
        if clusters - taken != entry.free:
            raise Doubtful(f"the bitmap of its block group {group} shows {clusters - taken} free clusters "
                           f"where the group's descriptor counts {entry.free}; run e2fsck on it")


def _bitmaps(read: Read, fs: Geometry) -> Iterator[tuple[int, _Group, bytes | None]]:
    """Every group with its bitmap, None where that was never written. Neighbouring bitmaps are read at once.
    """
    pending: list[tuple[int, _Group]] = []
    at_once = max(1, _BATCH // fs.block_size)

    def fetch() -> Iterator[tuple[int, _Group, bytes | None]]:
        size = fs.block_size
        data = read(pending[0][1].bitmap * size, len(pending) * size)
        for number, (group, entry) in enumerate(pending):
            yield group, entry, data[number * size:(number + 1) * size]
        pending.clear()

    for group, entry in enumerate(_descriptors(read, fs)):
        follows = bool(pending) and entry.bitmap == pending[0][1].bitmap + len(pending)
        if pending and (entry.uninitialised or not follows or len(pending) >= at_once):
            yield from fetch()
        if entry.uninitialised:
            yield group, entry, None
        else:
            pending.append((group, entry))
    if pending:
        yield from fetch()


def _descriptors(read: Read, fs: Geometry) -> Iterator[_Group]:
    checked = bool(fs.ro_compat & (RoCompat.GDT_CSUM | RoCompat.METADATA_CSUM))
    wide = bool(fs.incompat & Incompat.BITS64)
    size, per_block = fs.descriptor_size, fs.descriptors_per_block
    at_once = 1 if fs.incompat & Incompat.META_BG else max(1, _BATCH // fs.block_size)
    needed = -(-fs.groups // per_block)
    for number in range(0, needed, at_once):
        count = min(at_once, needed - number)
        data = read(_inside(fs, fs.descriptor_block(number), count) * fs.block_size, count * fs.block_size)
        last = min(fs.groups - number * per_block, count * per_block)
        for at in range(0, last * size, size):
            bitmap, inode_bitmap, inode_table, free, _, _, flags = _DESCRIPTOR.unpack_from(data, at)
            if wide:
                high = _DESCRIPTOR_HIGH.unpack_from(data, at + 0x20)
                bitmap |= high[0] << 32
                inode_bitmap |= high[1] << 32
                inode_table |= high[2] << 32
                free |= high[3] << 16
            yield _Group(_inside(fs, bitmap), _inside(fs, inode_bitmap), inode_table, free,
                         # Without a checksum over the descriptor the flag means nothing.
                         checked and bool(flags & _BLOCK_UNINIT))


def _inside(fs: Geometry, block: int, count: int = 1) -> int:
    if block < fs.first_block or block + count > fs.blocks:
        raise Doubtful(f"its group descriptors point at block {block}, outside of the file system; run "
                       "e2fsck on it")
    return block


def _initial_bitmap(fs: Geometry, group: int, entry: _Group) -> bytes:
    """The bitmap that a group has before anything in it was allocated: its own metadata."""
    start, count = fs.group_start(group), fs.blocks_in(group)
    table = -(-fs.group_inodes * fs.inode_size // fs.block_size)
    bits = 0
    for block, blocks in ((start, fs.head_blocks(group)), (entry.bitmap, 1), (entry.inode_bitmap, 1),
                          (entry.inode_table, table)):
        first, last = max(block, start), min(block + blocks, start + count)
        if first < last:
            low = (first - start) // fs.cluster_blocks
            high = -(-(last - start) // fs.cluster_blocks)
            bits |= ((1 << (high - low)) - 1) << low
    return bits.to_bytes(fs.block_size, "little")


_ONES = re.compile("1+")


def _runs(bitmap: bytes, bits: int) -> Iterator[tuple[int, int]]:
    """Runs of ones among the first ``bits`` bits, least significant first: (first, count)."""
    value = int.from_bytes(bitmap, "little") & ((1 << bits) - 1)
    if value == (1 << bits) - 1:
        yield 0, bits
    elif value:
        # A text in base two and the regex engine are some fifty times faster than a loop over bits.
        for match in _ONES.finditer(format(value, "b")[::-1]):
            yield match.start(), match.end() - match.start()
