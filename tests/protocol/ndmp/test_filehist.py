"""The packers of file history give the bytes of the message classes, whatever the numbers."""

from __future__ import annotations

import random
import time

import pytest

from protocol.ndmp import registry
from protocol.ndmp.codes import Code, FileStatUnsupported, FileType, FsType, Version
from protocol.ndmp.filehist import (
    UNKNOWN_POSITION,
    Dir,
    FhAddDirPost,
    FhAddFilePost,
    FhAddNodePost,
    File,
    FileName,
    FileStat,
    Node,
    pack_dir,
    pack_file,
    pack_node,
    post_body,
)
from protocol.ndmp.message import Message
from tests.protocol.ndmp.golden import GOLDENS

both_versions = pytest.mark.parametrize("version", Version)


def _golden(title: str, version: Version) -> bytes:
    (found,) = (golden.data for golden in GOLDENS if golden.title == title and golden.version == version)
    return found


@both_versions
def test_packed_files_are_the_golden_bytes(version: Version) -> None:
    out = bytearray()
    times = 0x60000001, 0x60000002, 0x60000003
    pack_file(out, b"/etc/passwd", FileType.REG, *times, 1000, 100, 0o644, 0x123456789, 2, 140, 0x100000A00)
    pack_file(out, b"/a", FileType.DIR, times[0], 0, times[2], 1000, 100, 0o755, 4096, 2, 141,
              UNKNOWN_POSITION, unsupported=FileStatUnsupported.ATIME)
    assert post_body(2, out) == _golden("FH_ADD_FILE post", version)


@both_versions
def test_packed_names_are_the_golden_bytes(version: Version) -> None:
    out = bytearray()
    pack_dir(out, b".", 2, 2)
    pack_dir(out, b"etc", 0x100000083, 2)
    assert post_body(2, out) == _golden("FH_ADD_DIR post", version)


@both_versions
def test_packed_nodes_are_the_golden_bytes(version: Version) -> None:
    out = bytearray()
    common = 0x60000001, 0x60000002, 0x60000003, 1000, 100, 0o644, 0x123456789, 2
    pack_node(out, FileType.DIR, *common, 2, 0)
    pack_node(out, FileType.REG, *common, 0x100000083, 1024)
    assert post_body(2, out) == _golden("FH_ADD_NODE post", version)


@both_versions
@pytest.mark.parametrize("code", [Code.FH_ADD_FILE, Code.FH_ADD_DIR, Code.FH_ADD_NODE])
def test_a_post_without_entries_is_a_count_of_zero(code: Code, version: Version) -> None:
    cls = registry.post_class(code, version)
    assert cls is not None
    assert registry.encode(registry.decode(cls, post_body(0, b""), version), version) == bytes(4)


@both_versions
@pytest.mark.parametrize("seed", range(5))
def test_packers_and_message_classes_agree_on_random_entries(seed: int, version: Version) -> None:
    chance = random.Random(seed)
    files, dirs, nodes = bytearray(), bytearray(), bytearray()
    wanted: tuple[list[File], list[Dir], list[Node]] = ([], [], [])
    for _ in range(50):
        path = chance.randbytes(chance.randint(0, 9))
        ftype = chance.choice(list(FileType))
        words = [chance.getrandbits(32) for _ in range(6)]
        size, node, other = (chance.getrandbits(64) for _ in range(3))
        links, unsupported = chance.getrandbits(32), FileStatUnsupported(chance.getrandbits(3))
        pack_file(files, path, ftype, *words, size, links, node, other, unsupported)
        pack_dir(dirs, path, node, other)
        pack_node(nodes, ftype, *words, size, links, node, other, unsupported)
        names = (FileName(FsType.UNIX, path.decode("utf-8", "surrogateescape")),)
        stats = (FileStat(unsupported, FsType.UNIX, ftype, *words, size, links),)
        wanted[0].append(File(names, stats, node, other))
        wanted[1].append(Dir(names, node, other))
        wanted[2].append(Node(stats, node, other))
    posts: list[tuple[bytearray, Message]] = [
        (files, FhAddFilePost(tuple(wanted[0]))),
        (dirs, FhAddDirPost(tuple(wanted[1]))),
        (nodes, FhAddNodePost(tuple(wanted[2]))),
    ]
    for entries, post in posts:
        assert post_body(50, entries) == registry.encode(post, version)
        assert registry.decode(type(post), post_body(50, entries), version) == post


def test_a_time_that_the_protocol_cannot_say_becomes_the_nearest_it_can() -> None:
    out, node = bytearray(), bytearray()
    pack_file(out, b"/old", FileType.REG, -5, 1 << 33, 7, 0, 0, 0o600, 1, 1 << 40, 9, 512)
    pack_node(node, FileType.REG, -5, 1 << 33, 7, 0, 0, 0o600, 1, 1 << 40, 9, 512)
    (file,) = registry.decode(FhAddFilePost, post_body(1, out), Version.V4).files
    assert (file.stat[0].mtime, file.stat[0].atime, file.stat[0].ctime) == (0, 0xFFFFFFFF, 7)
    assert (file.stat[0].size, file.stat[0].links, file.node, file.fh_info) == (1, 0xFFFFFFFF, 9, 512)
    assert registry.decode(FhAddNodePost, post_body(1, node), Version.V4).nodes[0].stats == file.stat


def test_history_is_packed_faster_than_files_can_be_found() -> None:
    """A tree walk in Python finds some 40,000 files a second; history must not be what slows it."""
    out, number = bytearray(), 60_000
    began = time.process_time()
    for node in range(number):
        pack_file(out, b"/home/user/projects/thing/file", 4, 1, 2, 3, 1000, 100, 0o644, 5, 1, node, node)
        pack_dir(out, b"file", node, 2)
        pack_node(out, 4, 1, 2, 3, 1000, 100, 0o644, 5, 1, node, node)
    assert 3 * number / (time.process_time() - began) > 300_000
