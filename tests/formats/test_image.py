"""The image butype: what is in the stream, what comes back, and what is refused."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from ndmpd.errors import JobRefused, SourceError, StreamError
from ndmpd.formats import image_disk
from ndmpd.formats.job import Selection
from ndmpd.pieces import LunExtent, Zeros
from ndmpd.ports import SourceFault
from protocol.errors import WireError
from protocol.ndmp.codes import DataOperation, LogType, RecoveryStatus
from protocol.scsi.sbc import LbaRun, Provisioning, TransferLimits
from protocol.streams.image import ALL_ZEROS, END_SIZE, PAGE, Contents, End, Header
from tests.formats.image_source import Bench, FileDisk, MemoryStream, everything, make_ext

MIB = 1 << 20


def disk(path: Path, size: int, block_length: int = 512, **more) -> FileDisk:
    """A disk full of what cannot be mistaken for anything else."""
    path.write_bytes(random.Random(str(path.name)).randbytes(size))
    return FileDisk(path, block_length, **more)


@pytest.fixture
def bench(tmp_path):
    """A source and a target of 3 MiB and 5 blocks, with different contents."""
    size = 3 * MIB + 5 * 512
    return Bench(a=disk(tmp_path / "a", size), b=disk(tmp_path / "b", size))


def contents(bench: Bench, name: str) -> bytes:
    return bench.disks[name].path.read_bytes()


def test_a_whole_disk_comes_back_on_another_one(bench):
    stream = bench.backup("a")
    assert bench.notes.variables["estimate"] == str(len(stream))
    bench.recover(stream + bytes(70000), everything("b"))
    assert contents(bench, "b") == contents(bench, "a")
    assert bench.disks["b"].log[-2:] == ["synchronize", "close"]
    assert bench.notes.outcomes == [("/", RecoveryStatus.SUCCESSFUL)]


def test_the_stream_describes_itself(bench):
    stream = bench.backup("a")
    header = Header.take(stream[:PAGE])
    blocks = 3 * MIB // 512 + 5
    assert header == Header(512, blocks, 1, blocks, 0, header.map_sum)
    assert stream[2 * PAGE:2 * PAGE + blocks * 512] == contents(bench, "a")
    end = len(stream) - END_SIZE
    assert End.take(stream[end:]) == End(end, blocks, header.map_sum)


def test_the_same_disk_gives_the_same_stream(bench):
    assert bench.backup("a") == bench.backup("a")


def test_the_form_of_the_stream_does_not_change_unnoticed(tmp_path):
    """Version 1, as tapes have it, written out by hand: a change needs a new version and a reader for this
    one.
    """
    path = tmp_path / "d"
    path.write_bytes(b"\x11" * 512 + bytes(131072) + b"\x22" * 512)
    bench = Bench(d=FileDisk(path, status=[LbaRun(0, 1, 0), LbaRun(1, 256, 1), LbaRun(257, 1, 0)]))
    entries = struct.pack(">6Q", 0, 1, 1, 1 << 63 | 256, 257, 1)
    header = b"NDMPDIMG" + struct.pack(">HHI5QI", 1, 1, 512, 258, 3, 2, 256, 0, zlib.crc32(entries))
    header = header.ljust(4092, b"\0")
    end = b"NDMPDEND" + struct.pack(">QQI", 8192 + 1024, 2, zlib.crc32(entries))
    end = end.ljust(60, b"\0")
    assert bench.backup("d") == b"".join((
        header, struct.pack(">I", zlib.crc32(header)),
        entries.ljust(4096, b"\0"),
        b"\x11" * 512, b"\x22" * 512,
        end, struct.pack(">I", zlib.crc32(end))))


def test_known_zeros_are_not_in_the_stream_and_come_back_as_zeros(tmp_path):
    bench = Bench(a=disk(tmp_path / "a", 4 * MIB), b=disk(tmp_path / "b", 4 * MIB))
    a = bench.disks["a"]
    a.write(1000, 3000, [Zeros(3000 * 512)])
    a.status = [LbaRun(0, 1000, Provisioning.MAPPED), LbaRun(1000, 2000, Provisioning.DEALLOCATED),
                LbaRun(3000, 1000, Provisioning.ANCHORED), LbaRun(4000, 4192, Provisioning.MAPPED)]
    stream = bench.backup("a")
    header = Header.take(stream)
    assert (header.data_blocks, header.zero_blocks, header.extents) == (5192, 3000, 3)
    assert header.contents == Contents.ZEROS
    bench.recover(stream, everything("b"))
    assert contents(bench, "b") == contents(bench, "a")
    assert "zeros 1000+3000" in bench.disks["b"].log


def test_zeros_that_the_target_holds_already_are_not_written_again(tmp_path):
    status = [LbaRun(0, 100, Provisioning.MAPPED), LbaRun(100, 1948, Provisioning.DEALLOCATED)]
    bench = Bench(a=disk(tmp_path / "a", MIB, status=status), b=disk(tmp_path / "b", MIB))
    for one in bench.disks.values():
        one.write(100, 1948, [Zeros(1948 * 512)])
    bench.disks["b"].status = [LbaRun(0, 1048, Provisioning.MAPPED),
                               LbaRun(1048, 1000, Provisioning.DEALLOCATED)]
    bench.disks["b"].log.clear()
    bench.recover(bench.backup("a"), everything("b"))
    assert [line for line in bench.disks["b"].log if line.startswith("zeros")] == ["zeros 100+948"]
    assert contents(bench, "b") == contents(bench, "a")


def test_transfers_respect_the_longest_that_the_disk_takes(tmp_path):
    status = [LbaRun(0, 100, Provisioning.MAPPED), LbaRun(100, 1948, Provisioning.DEALLOCATED)]
    bench = Bench(a=disk(tmp_path / "a", MIB, status=status),
                  b=disk(tmp_path / "b", MIB, limits=TransferLimits(longest=1000)))
    bench.recover(bench.backup("a"), everything("b"))
    zeros = [line for line in bench.disks["b"].log if line.startswith("zeros")]
    assert zeros == ["zeros 100+1000", "zeros 1100+948"]


def test_a_write_protected_disk_is_refused(bench):
    bench.disks["b"].write_protected = True
    with pytest.raises(JobRefused, match="write protected"):
        bench.butype.check(bench.job(DataOperation.RECOVER, (everything("b"),)))


def test_unmapped_blocks_count_as_zeros_only_where_the_unit_promises_it(tmp_path):
    class Promising(FileDisk):
        @property
        def capacity(self):
            return replace(super().capacity, reads_zeros=False)

    path = tmp_path / "a"
    path.write_bytes(b"x" * MIB)
    bench = Bench(a=Promising(path, status=[LbaRun(0, 2048, Provisioning.DEALLOCATED)]))
    assert Header.take(bench.backup("a")).data_blocks == 2048


def test_extents_keep_their_disk_offset_modulo_a_page(tmp_path):
    bench = Bench(a=disk(tmp_path / "a", 4 * MIB))
    status = [LbaRun(lba, count, kind) for lba, count, kind in (
        (0, 131, 0), (131, 1000, 1), (1131, 3, 0), (1134, 2000, 1), (3134, 5058, 0))]
    bench.disks["a"].status = status
    stream = bench.backup("a")
    job = bench.job(DataOperation.BACKUP, FILESYSTEM="/vol/a")
    position, seen = 0, 0
    for piece in bench.butype.backup(job):
        if isinstance(piece, LunExtent):
            assert position % PAGE == piece.lba * 512 % PAGE
            blocks = bench.disks["a"].blocks(piece.lba, piece.blocks)
            assert stream[position:position + piece.length] == blocks
            seen += 1
        position += piece.length
    assert seen == 3
    assert position == len(stream)


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize("options", [(), ("-b", "1024"), ("-O", "bigalloc")])
def test_unused_blocks_of_a_file_system_are_left_out_and_left_alone(tmp_path, options):
    make_ext(tmp_path / "a", "40M", *options)
    bench = Bench(a=FileDisk(tmp_path / "a"), b=disk(tmp_path / "b", 41 * MIB))
    before = contents(bench, "b")
    stream = bench.backup("a", IMAGEGAPSIZE="0")
    header = Header.take(stream)
    assert header.contents == Contents.GAPS
    assert 0 < header.data_blocks < header.capacity == 40 * MIB // 512
    assert len(stream) < (header.data_blocks * 512) * 1.05 + 3 * PAGE
    bench.recover(stream, everything("b"))
    after = contents(bench, "b")
    (tmp_path / "c").write_bytes(after[:40 * MIB])
    assert_same_file_system(tmp_path / "a", tmp_path / "c")
    assert after[40 * MIB:] == before[40 * MIB:]
    untouched = sum(after[at:at + 1024] == before[at:at + 1024] for at in range(0, 40 * MIB, 1024))
    assert untouched * 1024 >= (header.capacity - header.data_blocks) * 512


def assert_same_file_system(one: Path, other: Path) -> None:
    """Both pass e2fsck, and hold the same files."""
    dumps = []
    for image in (one, other):
        subprocess.run(["e2fsck", "-f", "-n", image], check=True, capture_output=True, timeout=60)
        folder = image.with_suffix(".dump")
        folder.mkdir()
        subprocess.run(["debugfs", "-R", f"rdump / {folder}", image], check=True, capture_output=True,
                       timeout=60)
        dumps.append({str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
                      for path in folder.rglob("*") if not path.is_symlink()})
    assert dumps[0] == dumps[1]
    assert len(dumps[0]) > 10


@pytest.mark.needs("mke2fs")
def test_gaps_smaller_than_imagegapsize_are_included(tmp_path):
    make_ext(tmp_path / "a", "40M")
    bench = Bench(a=FileDisk(tmp_path / "a"))
    sizes = []
    for gap in ("0", "64k", "65536", "100000k"):
        header = Header.take(bench.backup("a", IMAGEGAPSIZE=gap))
        sizes.append((header.data_blocks, header.extents))
    assert sizes[0][0] < sizes[1][0] and sizes[0][1] > sizes[1][1]
    assert sizes[1] == sizes[2]
    assert sizes[3][1] == 1


@pytest.mark.parametrize("value", ["ten", "-1", "5M", "1" * 20])
def test_a_gap_size_that_cannot_be_read_gives_the_whole_disk_and_a_warning(bench, value):
    assert Header.take(bench.backup("a", IMAGEGAPSIZE=value)).extents == 1
    assert "IMAGEGAPSIZE" in bench.notes.texts(LogType.WARNING)[0]


def test_an_unknown_file_system_is_taken_whole_and_said_so(bench):
    assert Header.take(bench.backup("a", IMAGEGAPSIZE="0")).contents == Contents(0)
    assert "the whole disk is backed up" in bench.notes.texts(LogType.WARNING)[0]


@pytest.mark.needs("mke2fs")
def test_what_lies_behind_the_file_system_is_backed_up(tmp_path):
    make_ext(tmp_path / "a", "20M")
    with open(tmp_path / "a", "ab") as file:
        file.write(b"behind" * 100000)
        file.truncate(21 * MIB)
    bench = Bench(a=FileDisk(tmp_path / "a"), b=disk(tmp_path / "b", 21 * MIB))
    bench.recover(bench.backup("a", IMAGEGAPSIZE="0"), everything("b"))
    assert contents(bench, "b")[20 * MIB:] == contents(bench, "a")[20 * MIB:]


def test_a_level_above_zero_makes_a_full_and_says_so(bench):
    full = bench.backup("a")
    assert "LEVEL" not in bench.notes.variables
    assert bench.backup("a", LEVEL="3") == full
    assert bench.notes.variables["LEVEL"] == "0"
    assert "LEVEL 0" in bench.notes.texts(LogType.WARNING)[0]


@pytest.mark.parametrize(("environment", "text"), [
    ({}, "FILESYSTEM is not set"),
    ({"FILESYSTEM": "/tree"}, "is a folder"),
    ({"FILESYSTEM": "/vol/a/inside"}, "whole disk"),
    ({"FILESYSTEM": "/nowhere"}, "no export"),
])
def test_a_backup_that_cannot_start_is_refused(bench, environment, text):
    with pytest.raises(JobRefused, match=text):
        bench.butype.check(bench.job(DataOperation.BACKUP, **environment))


@pytest.mark.parametrize(("selection", "text"), [
    (Selection("/", "", "/"), "destination is not set"),
    (Selection("/", "/tree", "/"), "is a folder"),
    (Selection("/", "/vol/b/elsewhere", "/"), "whole disk"),
])
def test_a_recover_that_cannot_start_is_refused(bench, selection, text):
    with pytest.raises(JobRefused, match=text):
        bench.butype.check(bench.job(DataOperation.RECOVER, (selection,)))


def test_a_recover_without_a_selection_is_refused(bench):
    with pytest.raises(JobRefused, match="nothing was selected"):
        bench.butype.check(bench.job(DataOperation.RECOVER))


def test_one_stream_is_not_restored_onto_two_disks(bench):
    with pytest.raises(JobRefused, match="/vol/a, /vol/b"):
        bench.butype.check(bench.job(DataOperation.RECOVER, (everything("a"), everything("b"))))


@pytest.mark.parametrize(("selection", "environment"), [
    (Selection("", "/vol/b", ""), {}),
    (Selection("/image", "/vol/b/image", "/image"), {}),
    (Selection("/image", "/vol/b", "/image"), {}),
    (Selection("/vol/a", "/vol/b", "/vol/a"), {"FILESYSTEM": "/vol/a"}),
    (Selection("/", "", "/"), {"PREFIX": "/vol/b"}),
    (Selection("/", "", "/"), {"FILESYSTEM": "/vol/b"}),
])
def test_the_image_is_found_by_every_name_that_dmas_give_it(bench, selection, environment):
    stream = bench.backup("a")
    bench.recover(stream, selection, **environment)
    assert contents(bench, "b") == contents(bench, "a")
    assert bench.notes.outcomes == [(selection.given, RecoveryStatus.SUCCESSFUL)]


def test_a_file_that_is_selected_is_not_found(bench):
    before = contents(bench, "b")
    bench.recover(bench.backup("a"), Selection("/etc/passwd", "/vol/b/etc/passwd", "/etc/passwd"))
    assert bench.notes.outcomes == [("/etc/passwd", RecoveryStatus.FAILED_NOT_FOUND)]
    assert contents(bench, "b") == before


def test_a_smaller_disk_is_refused_before_a_byte_is_written(tmp_path):
    bench = Bench(a=disk(tmp_path / "a", MIB + 512), small=disk(tmp_path / "small", MIB),
                  large=disk(tmp_path / "large", MIB, 4096))
    stream = bench.backup("a")
    for name in ("small", "large"):
        with pytest.raises(JobRefused, match=f"has {MIB} bytes, the image is of a disk of {MIB + 512}; name "
                                             "one that is as large"):
            bench.recover(stream, everything(name))
        assert bench.disks[name].log == ["open", "close"] * 2


def test_a_larger_disk_keeps_what_is_behind_the_image(tmp_path):
    bench = Bench(a=disk(tmp_path / "a", MIB), b=disk(tmp_path / "b", 2 * MIB))
    before = contents(bench, "b")
    bench.recover(bench.backup("a"), everything("b"))
    assert contents(bench, "b") == contents(bench, "a") + before[MIB:]


def test_blocks_of_4096_bytes_are_fine(tmp_path):
    bench = Bench(a=disk(tmp_path / "a", MIB, 4096), b=disk(tmp_path / "b", MIB, 4096))
    bench.recover(bench.backup("a"), everything("b"))
    assert contents(bench, "b") == contents(bench, "a")


@pytest.mark.parametrize("cut", [0, 1, PAGE - 1, PAGE, PAGE + 15])
def test_a_stream_that_ends_in_header_or_map_writes_nothing(bench, cut):
    stream = bench.backup("a")
    with pytest.raises(StreamError):
        bench.recover(stream[:cut], everything("b"))
    assert not [line for line in bench.disks["b"].log if line.startswith(("write", "zeros"))]


@pytest.mark.parametrize("missing", [1, END_SIZE, END_SIZE + 1, MIB])
def test_a_stream_that_ends_later_is_loud_about_the_half_written_disk(bench, missing):
    stream = bench.backup("a")
    with pytest.raises(StreamError):
        bench.recover(stream[:-missing], everything("b"))
    assert "holds a part of the image only" in bench.notes.texts(LogType.ERROR)[0]
    assert bench.notes.outcomes == [("/", RecoveryStatus.FAILED_IO_ERROR)]


@pytest.mark.parametrize("at", range(0, 64, 3))
def test_a_flipped_bit_in_header_or_map_writes_nothing(bench, at):
    stream = bytearray(bench.backup("a"))
    for place in (at, PAGE + at % 16, PAGE - 1):
        bad = stream.copy()
        bad[place] ^= 0x10
        with pytest.raises(StreamError):
            bench.recover(bytes(bad), everything("b"))
    assert not [line for line in bench.disks["b"].log if line.startswith(("write", "zeros"))]


def test_the_end_of_another_image_is_noticed(bench, tmp_path):
    (tmp_path / "c").write_bytes(bytes(MIB))
    bench.disks["c"] = FileDisk(tmp_path / "c")
    stream, other = bench.backup("a"), bench.backup("c")
    with pytest.raises(StreamError, match="another image"):
        bench.recover(stream[:-END_SIZE] + other[-END_SIZE:], everything("b"))


LYING = [
    ("out of order", lambda h: h, [(100, 10), (50, 10)]),
    ("overlapping", lambda h: h, [(0, 100), (99, 10)]),
    ("outside", lambda h: h, [(0, 10), (6140, 10)]),
    ("far outside", lambda h: h, [(0, 10), ((1 << 63) - 1, 1)]),
    ("wrapping", lambda h: h, [(0, 10), (20, ALL_ZEROS - 1)]),
    ("empty", lambda h: h, [(0, 10), (20, 0)]),
    ("too few zeros", lambda h: h, [(0, 10), (20, 5 | ALL_ZEROS)]),
]


@pytest.mark.parametrize(("name", "change", "entries"), LYING, ids=[row[0] for row in LYING])
def test_a_map_that_lies_is_refused_though_its_checksums_are_right(bench, name, change, entries):
    raw = b"".join(lba.to_bytes(8, "big") + word.to_bytes(8, "big") for lba, word in entries)
    header = Header(512, 6149, len(entries), sum(word for _, word in entries) % 6149, 0, zlib.crc32(raw))
    stream = header.put() + raw.ljust(PAGE, b"\0") + bytes(64 << 10)
    with pytest.raises(StreamError, match=r"extent 1|add up"):
        bench.recover(stream, everything("b"))
    assert "write" not in "".join(bench.disks["b"].log)


def test_unreadable_blocks_end_the_job(bench):
    job = bench.job(DataOperation.BACKUP, FILESYSTEM="/vol/a")
    with pytest.raises(SourceError, match=r"disk a: one of the blocks 8 to 11 .*Input/output error"):
        bench.butype.fault(job, SourceFault(LunExtent("a", 8, 4), 0, 512, "Input/output error"))


@pytest.mark.parametrize("hist", ["f", "y", "d", "n", ""])
def test_history_is_the_root_and_the_image(bench, hist):
    bench.backup("a", HIST=hist)
    notes = bench.notes
    if hist in ("f", "y"):
        assert notes.positions() == {"/": 0, "/image": 0}
        assert [one.stat[0].size for one in notes.files()] == [0, 3 * MIB + 5 * 512]
    elif hist == "d":
        assert [one.name[0].name for one in notes.dirs()] == [".", "..", "image"]
        assert [one.node for one in notes.nodes()] == [2, 3]
    else:
        assert notes.posts == []


@pytest.mark.parametrize("hist", ["n", "d"])
def test_listing_a_stream_posts_history_and_needs_nothing_else(bench, hist):
    stream = bench.backup("a")
    job = bench.job(DataOperation.RECOVER_FILEHIST, HIST=hist)
    bench.butype.check(job)
    bench.butype.list(job, MemoryStream(stream, {}))
    assert len(bench.notes.nodes() if hist == "d" else bench.notes.files()) == 2


def test_a_disk_that_fails_while_it_is_written_is_loud(bench):
    def fail() -> None:
        raise OSError(5, "Input/output error")

    bench.disks["b"].synchronize = fail
    with pytest.raises(OSError):
        bench.recover(bench.backup("a"), everything("b"))
    assert "holds a part of the image only" in bench.notes.texts(LogType.ERROR)[0]


def test_what_was_written_is_on_its_way_to_the_medium_before_all_of_it_is_waited_for(bench, monkeypatch):
    begun = []
    target = bench.disks["b"]

    def begin(fd, offset, length):
        assert fd == target.file.fd and "synchronize" not in target.log
        assert os.pread(fd, length, offset) == contents(bench, "a")[offset:offset + length]
        begun.append((offset, length))

    monkeypatch.setattr("ndmpd.formats.image_filling._STEP", MIB)
    monkeypatch.setattr(image_disk, "start_writing", begin)
    bench.recover(bench.backup("a"), everything("b"))
    assert begun == [(0, MIB), (MIB, MIB), (2 * MIB, MIB), (3 * MIB, 5 * 512)]


def test_a_disk_that_contradicts_itself_ends_the_backup(bench):
    a = bench.disks["a"]
    a.status = [LbaRun(0, 10, Provisioning.MAPPED)]

    def lie(lba=0, end=None):
        raise WireError("LBA status of block 5 came for 0")

    a.lba_status = lie
    with pytest.raises(SourceError, match="contradicts itself"):
        bench.backup("a")


def test_closing_a_backup_early_lets_go_of_the_disk(bench):
    pieces = bench.butype.backup(bench.job(DataOperation.BACKUP, FILESYSTEM="/vol/a"))
    next(pieces)
    pieces.close()
    assert bench.disks["a"].log == ["open", "close"]


def test_no_incrementals_and_no_direct_access_are_claimed(bench):
    names = bench.butype.attributes().name
    assert "INCREMENTAL" not in names and "DIRECT" not in names
