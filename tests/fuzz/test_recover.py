"""Hostile streams on recover, through a data process and the real file system: only the export changes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import zlib
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from protocol.ndmp.codes import DataHaltReason
from protocol.streams import image, tar, tarentry
from protocol.streams.tar import Type
from tests.fuzz import streams
from tests.fuzz.budget import run_cases
from tests.fuzz.peer import Peer, logged_in
from tests.fuzz.recover import recover
from tests.fuzz.watch import Watch

PRECIOUS = "what must stay as it is"

SWAPPER = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
one, other = (os.fsencode(path) for path in sys.argv[1:])
print("swapping", flush=True)
while os.getppid() == int(os.environ["PARENT"]):
    for _ in range(1000):
        libc.renameat2(-100, one, -100, other, 2)  # AT_FDCWD, RENAME_EXCHANGE
"""


@dataclass(frozen=True, slots=True)
class Trap:
    """``dest`` is exported, ``outside`` beside it is not."""

    dest: Path
    outside: Path

    def state(self) -> list[tuple[str, int, int, int, int, int]]:
        found = []
        for folder in (self.outside, self.outside.parent):
            for path in [folder, *sorted(folder.iterdir())]:
                status = path.lstat()
                if path not in (self.dest, self.outside.parent):
                    found.append((str(path), status.st_mode, status.st_uid, status.st_nlink, status.st_size,
                                  status.st_ctime_ns))
        return found

    def clear(self) -> None:
        for path in self.dest.iterdir():
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
                shutil.rmtree(path)
            else:
                path.unlink()


@pytest.fixture
def trap(dest: Path) -> Iterator[Trap]:
    outside = dest.parent / "outside"
    outside.mkdir()
    (outside / "precious").write_text(PRECIOUS)
    (outside / "precious").chmod(0o600)
    (outside / "deep").mkdir()
    trap = Trap(dest, outside)
    before = trap.state()
    yield trap
    assert trap.state() == before
    assert (outside / "precious").read_text() == PRECIOUS
    trap.clear()
    shutil.rmtree(outside)


@pytest.mark.root
def test_tar_streams(watch: Watch, bystander: Peer, trap: Trap) -> None:
    ends: set[DataHaltReason] = set()
    before = trap.state()
    with logged_in(watch.server.port) as peer:
        def case(chance: random.Random) -> None:
            original = chance.choice(("/", "/", "", "/a", "/way", "/swapped"))
            ends.add(recover(peer, "tar", streams.stream(chance), str(trap.dest), original))
            assert trap.state() == before
            if chance.random() < 0.5:  # else what one stream left is what the next one finds
                trap.clear()

        assert run_cases("test_tar_streams", 80, case)
    assert ends <= {DataHaltReason.SUCCESSFUL, DataHaltReason.INTERNAL_ERROR}


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Another process exchanges the two as fast as it can."""
    process = subprocess.Popen([sys.executable, "-c", SWAPPER, str(one), str(other)], stdout=subprocess.PIPE,
                               env={**os.environ, "PARENT": str(os.getpid())})
    try:
        assert process.stdout is not None and process.stdout.readline()
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


@pytest.mark.root
@pytest.mark.parametrize("below", ["", "/swapped", "/swapped/deep", "/swapped/new"])
def test_a_folder_that_becomes_a_link_while_files_are_restored_below_it(
        watch: Watch, bystander: Peer, trap: Trap, below: str) -> None:
    def entry(name: bytes, kind: Type, data: bytes = b"", link: bytes = b"") -> bytes:
        head = tarentry.put(name, 0o777, 12345, 12345, len(data), 10**18, kind, link)
        return head + data.ljust(tar.padded(len(data)), b"\0")

    prefix = b"" if below else b"swapped/"
    parts = [entry(prefix or b"./", Type.FOLDER)]
    for number in range(30):
        parts += [entry(prefix + b"precious", Type.REGULAR, b"overwritten"),
                  entry(prefix + b"deep/", Type.FOLDER),
                  entry(prefix + b"deep/%d" % number, Type.REGULAR, b"new"),
                  entry(prefix + b"link", Type.SYMLINK, link=b"precious"),
                  entry(prefix + b"fifo", Type.FIFO),
                  entry(prefix + b"hard%d" % number, Type.LINK, link=prefix + b"precious")]
    stream = b"".join(parts) + tar.END
    before = trap.state()

    with logged_in(watch.server.port) as peer:
        def case(chance: random.Random) -> None:
            # Each time anew: a link in a folder's place is replaced by one, and then there is no race.
            (trap.dest / "swapped" / "deep").mkdir(parents=True)
            (trap.dest / "other").symlink_to("../outside")
            with swapping(trap.dest / "swapped", trap.dest / "other"):
                recover(peer, "tar", stream, str(trap.dest) + below)
            assert trap.state() == before
            trap.clear()

        assert run_cases("test_a_folder_that_becomes_a_link", 6, case)


def hostile_image(chance: random.Random, capacity: int) -> bytes:
    """An image whose checksums are right and whose map may lie."""
    count = chance.choice((0, 1, 2, 3, 50))
    starts = sorted(chance.randrange(capacity) for _ in range(count))
    lengths = [chance.choice((1, 8, 100)) for _ in range(count)]
    words = array("Q")
    for start, length in zip(starts, lengths, strict=True):
        words.extend((start, length | chance.choice((0, image.ALL_ZEROS))))
    lie = chance.random() < 0.7
    if lie and count:
        at = chance.randrange(2 * count)
        words[at] = chance.choice((0, 1, capacity - 1, capacity, 1 << 40, (1 << 63) - 1, 1 << 63,
                                   (1 << 64) - 1))
    table = image.put_map(words)
    zeros = [bool(word & image.ALL_ZEROS) for word in words[1::2]]
    blocks = [word & ~image.ALL_ZEROS for word in words[1::2]]
    data_blocks = sum(length for length, zero in zip(blocks, zeros, strict=True) if not zero)
    zero_blocks = sum(length for length, zero in zip(blocks, zeros, strict=True) if zero)
    known = image.Contents(chance.randrange(4))
    header = image.Header(512, chance.choice((capacity, capacity, 1, capacity + 1, 1 << 40)),
                          chance.choice((count, count, count + 1)), data_blocks % (1 << 64),
                          zero_blocks % (1 << 64), zlib.crc32(table), known)
    body = header.put() + table.ljust(image.map_length(count), b"\0") + chance.randbytes(200_000)
    return body + image.End(len(body), data_blocks % (1 << 64), zlib.crc32(table)).put()


def test_images_whose_maps_lie(watch: Watch, bystander: Peer) -> None:
    target, other = watch.server.disk("disk1"), watch.server.disk("disk0")
    size, untouched = target.stat().st_size, other.stat()
    with logged_in(watch.server.port) as peer:
        def case(chance: random.Random) -> None:
            stream = hostile_image(chance, size // 512)
            reason = recover(peer, "image", stream, "/vol/disk1")
            assert reason in (DataHaltReason.SUCCESSFUL, DataHaltReason.INTERNAL_ERROR)
            assert target.stat().st_size == size
            assert other.stat() == untouched
            assert target.stat().st_blocks * 512 < 64 << 20

        assert run_cases("test_images_whose_maps_lie", 50, case)
