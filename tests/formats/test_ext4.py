"""The allocation bitmaps of ext file systems, against dumpe2fs on file systems that mke2fs made."""

from __future__ import annotations

import os
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndmpd.formats import ext4
from tests.formats.image_source import make_ext

pytestmark = pytest.mark.needs("mke2fs")


def used(path: Path, disk_size: int | None = None) -> tuple[ext4.Geometry, list[tuple[int, int]]]:
    with open(path, "rb") as file:

        def read(offset: int, length: int) -> bytes:
            data = os.pread(file.fileno(), length, offset)
            assert len(data) == length, "a read beyond the end of the disk"
            return data

        fs = ext4.geometry(read, disk_size or path.stat().st_size)
        assert fs is not None
        return fs, list(ext4.used(read, fs))


def free_by_dumpe2fs(path: Path, fs: ext4.Geometry) -> set[int]:
    """Free blocks. With bigalloc dumpe2fs names the first block of each cluster."""
    out = subprocess.run(["dumpe2fs", path], check=True, capture_output=True, text=True, timeout=60).stdout
    free: set[int] = set()
    for line in re.findall(r"^  Free blocks: (.*)$", out, re.MULTILINE):
        for run in filter(None, line.split(", ")):
            first, _, last = run.partition("-")
            free.update(range(int(first), min(int(last or first) + fs.cluster_blocks, fs.blocks)))
    return free


@pytest.mark.parametrize(("size", "options"), [
    ("40M", "ext2"),
    ("40M", "ext3 -b 1024"),
    ("40M", "-b 4096"),
    ("40M", "-b 1024"),
    ("300M", "-b 2048"),
    ("40M", "-r 0 -O none"),
    ("300M", "-O 64bit"),
    ("300M", "-O ^64bit,^metadata_csum,uninit_bg"),
    ("300M", "-O ^64bit,^metadata_csum,^uninit_bg -b 1024"),
    ("300M", "-O ^flex_bg -b 1024"),
    ("2G", "-O flex_bg -G 4"),
    ("300M", "-O meta_bg,^resize_inode -b 1024"),
    ("600M", "-O meta_bg,^resize_inode,^flex_bg,^64bit -b 1024"),
    ("300M", "-O sparse_super2,^resize_inode -b 1024"),
    ("300M", "-O ^sparse_super,^resize_inode -b 1024"),
    ("600M", "-O bigalloc -C 65536"),
    ("300M", "-O bigalloc -b 1024 -C 16384"),
    ("300M", "-O bigalloc,meta_bg,^resize_inode -b 1024 -C 4096"),
    ("300M", "-g 256 -b 1024"),
    ("20G", "-b 4096"),
    ("41943k", "-b 1024"),
    ("300M", "-O inline_data,encrypt,casefold,quota,project,ea_inode,large_dir,verity"),
], ids=lambda value: value.replace(" ", "_"))
def test_used_blocks_are_those_that_dumpe2fs_does_not_call_free(tmp_path, size, options):
    path = tmp_path / "fs"
    kind, *rest = options.split() if options.startswith("ext") else ("ext4", *options.split())
    make_ext(path, size, *rest, kind=kind)
    fs, runs = used(path)
    assert runs == sorted(runs)
    mine: set[int] = set()
    for offset, length in runs:
        assert offset % fs.block_size == 0 and length % fs.block_size == 0 and length > 0
        blocks = range(offset // fs.block_size, (offset + length) // fs.block_size)
        assert mine.isdisjoint(blocks)
        mine.update(blocks)
    assert mine == set(range(fs.blocks)) - free_by_dumpe2fs(path, fs)


@pytest.mark.root
@pytest.mark.parametrize("options", ["-b 1024", "-O bigalloc -C 16384", ""])
def test_a_file_system_that_the_kernel_worked_on_is_read_right_once_it_is_unmounted(tmp_path, options):
    """And while it is mounted, or was not unmounted, its bitmaps are not believed."""
    path, point = tmp_path / "fs", tmp_path / "point"
    make_ext(path, "200M", *options.split())
    point.mkdir()
    if subprocess.run(["mount", "-o", "loop", path, point], capture_output=True, timeout=30).returncode:
        pytest.skip("this machine does not let tests mount a loop device")
    try:
        chance = random.Random(options)
        for _ in range(200):
            file = point / f"f{chance.randrange(120)}"
            if chance.random() < 0.4:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(bytes(chance.randrange(1, 900_000)))
        with pytest.raises(ext4.Doubtful, match="journal holds changes"):
            used(path)
    finally:
        subprocess.run(["umount", point], check=True, timeout=30)
    fs, runs = used(path)
    mine = {block for offset, length in runs
            for block in range(offset // fs.block_size, (offset + length) // fs.block_size)}
    assert mine == set(range(fs.blocks)) - free_by_dumpe2fs(path, fs)


def test_a_large_sparse_file_system_is_read_quickly_and_in_little_memory(tmp_path):
    """16 TiB: 131072 groups, of which nearly all were never used."""
    path = tmp_path / "fs"
    subprocess.run(["truncate", "-s", "15T", path], check=True)
    options = ["-t", "ext4", "-N", "100000", "-E", "lazy_itable_init=1"]
    made = subprocess.run(["mke2fs", "-q", "-F", *options, path], capture_output=True, timeout=100)
    if made.returncode:
        pytest.skip("the file system below cannot hold a sparse file of 15 TiB")
    fs, runs = used(path)
    assert fs.groups == 15 << 13
    assert sum(length for _, length in runs) < 40 << 30


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "fs"
    make_ext(path, "40M", "-b", "1024")
    return path


def debugfs(path: Path, *commands: str) -> None:
    subprocess.run(["debugfs", "-w", "-f", "-", path], input="\n".join(commands).encode() + b"\n", check=True,
                   capture_output=True, timeout=60)


def test_what_is_not_an_ext_file_system_is_not_taken_for_one(tmp_path):
    for content in (b"", bytes(4096), os.urandom(65536), b"\x53\xef" * 2048):
        path = tmp_path / "disk"
        path.write_bytes(content)
        with open(path, "rb") as file:
            data = file.read()
        try:
            found = ext4.geometry(lambda offset, length, data=data: data[offset:offset + length], len(data))
        except ext4.Doubtful:
            continue
        assert found is None


@pytest.mark.parametrize(("commands", "text"), [
    (["feature needs_recovery"], "journal holds changes"),
    (["set_super_value state 0"], "not unmounted cleanly"),
    (["set_super_value state 3"], "knows of errors"),
    (["set_super_value feature_incompat 0x80002c2"], "features that are not known"),
    (["set_super_value feature_ro_compat 0x80046b"], "features that are not known"),
    (["set_super_value blocks_count 41000"], "larger"),
    (["set_super_value blocks_per_group 0"], "contradicts itself"),
    (["set_super_value blocks_per_group 9000", "set_super_value clusters_per_group 9000"], "contradicts "
                                                                                           "itself"),
    (["set_super_value log_block_size 7"], "impossible"),
    (["set_super_value first_data_block 2"], "contradicts itself"),
    (["set_block_group 1 block_bitmap 0x7fffffff"], "outside of the file system"),
    (["set_block_group 1 block_bitmap 0"], "outside of the file system"),
    (["set_block_group 2 free_blocks_count 7"], "shows .* free clusters"),
])
def test_in_doubt_the_bitmaps_are_not_believed(small, commands, text):
    debugfs(small, *commands)
    with pytest.raises(ext4.Doubtful, match=text):
        used(small)


def test_a_bitmap_that_lost_a_bit_is_not_believed(small):
    """As after a lost write: the count of free blocks beside it still says otherwise."""
    out = subprocess.run(["dumpe2fs", small], check=True, capture_output=True, text=True, timeout=60).stdout
    block = int(re.findall(r"Block bitmap at (\d+)", out)[2])
    with open(small, "r+b") as file:
        file.seek(block * 1024 + 100)
        byte = file.read(1)[0]
        file.seek(block * 1024 + 100)
        file.write(bytes((byte ^ 0x08,)))
    with pytest.raises(ext4.Doubtful, match=r"shows .* free clusters"):
        used(small)


def test_a_file_system_of_which_the_end_is_missing_is_not_believed(small):
    with pytest.raises(ext4.Doubtful, match="larger"):
        used(small, small.stat().st_size - 1024)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 1023), value=st.integers(0, 255), second=st.integers(0, 1023))
def test_a_damaged_superblock_is_doubted_or_read_inside_the_disk(small, at, value, second):
    """Whatever it says, no read leaves the disk, memory stays bounded, and nothing but Doubtful comes out."""
    with open(small, "rb") as file:
        data = bytearray(file.read(1 << 20))
    data[1024 + at] = value
    data[1024 + second] ^= 0x55
    size = small.stat().st_size

    def read(offset: int, length: int) -> bytes:
        assert offset >= 0 and offset + length <= size and length <= 1 << 20
        return bytes(data[offset:offset + length]).ljust(length, b"\0")

    try:
        fs = ext4.geometry(read, size)
        if fs is not None:
            for offset, length in ext4.used(read, fs):
                assert 0 <= offset < offset + length <= size
    except ext4.Doubtful:
        pass
