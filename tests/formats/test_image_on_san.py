"""The image butype on disks of the embedded SAN, read and written by SCSI commands only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ndmpd.devices.disk import Disk
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.formats.environment import Environment
from ndmpd.formats.image import Image
from ndmpd.formats.job import Job
from ndmpd.pieces import Inline, LunExtent, Zeros
from ndmpd.san import San, create
from ndmpd.san.nexus import Nexus
from protocol.ndmp.codes import DataOperation, LogType, Version
from protocol.streams.image import PAGE, Header
from tests.formats.image_source import DiskVolumes, MemoryStream, everything, make_ext
from tests.formats.recorder import RecordingReporter

MIB = 1 << 20


class Rig:
    """A SAN with two disks, and jobs on them."""

    def __init__(self, state_dir: Path) -> None:
        self.san: San = create(state_dir, capacity=64 * MIB, cartridges=1, drives=1, disk_size=64 * MIB)
        self.nexus = Nexus(self.san.path)
        self.notes = RecordingReporter()
        self.butype = Image(Disk)

    def path(self, disk: str) -> Path:
        return self.san.disk_path(disk)

    def transport(self, name: str) -> EmbeddedTransport:
        return EmbeddedTransport(self.san.path, name, self.nexus)

    def opened(self, name: str) -> Disk:
        disk = Disk(self.transport(name), name)
        disk.open()
        return disk

    def job(self, operation: DataOperation, selections=(), **variables: str) -> Job:
        self.notes = RecordingReporter()
        return Job(Environment(variables.items()), DiskVolumes(("disk0", "disk1")), self.notes, Version.V4,
                   selections, self.transport, operation)

    def backup(self, disk: str, **variables: str) -> bytes:
        job = self.job(DataOperation.BACKUP, FILESYSTEM=f"/vol/{disk}", **variables)
        self.butype.check(job)
        out = bytearray()
        for piece in self.butype.backup(job):
            match piece:
                case Inline(data):
                    out += data
                case Zeros(length):
                    out += bytes(length)
                case LunExtent(name, lba, blocks):
                    buffer = bytearray(piece.length)
                    self.opened(name).read(lba, blocks, [Inline(buffer)])
                    out += buffer
        assert self.notes.variables["estimate"] == str(len(out))
        return bytes(out)

    def recover(self, stream: bytes, disk: str) -> None:
        job = self.job(DataOperation.RECOVER, (everything(disk),))
        self.butype.check(job)
        writers = {name: Writer(self, name) for name in ("disk0", "disk1")}
        self.butype.recover(job, MemoryStream(stream, writers))


class Writer:
    """Puts blocks on a disk as a data path would: by WRITE."""

    def __init__(self, rig: Rig, name: str) -> None:
        self._rig, self._name = rig, name

    def write(self, lba: int, blocks: int, pieces) -> None:
        assert not self._rig.opened(self._name).write(lba, blocks, pieces)


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.nexus.close()


def fill(path: Path, *places: tuple[int, bytes]) -> None:
    with open(path, "r+b") as file:
        for offset, data in places:
            file.seek(offset)
            file.write(data)


def test_a_sparse_disk_makes_a_small_stream_and_comes_back_sparse(rig):
    fill(rig.path("disk0"), (0, b"a" * 70000), (20 * MIB, b"b" * MIB), (64 * MIB - 512, b"c" * 512))
    stream = rig.backup("disk0")
    assert len(stream) < 2 * MIB
    rig.recover(stream, "disk1")
    assert rig.path("disk1").read_bytes() == rig.path("disk0").read_bytes()
    assert rig.path("disk1").stat().st_blocks * 512 < 3 * MIB


def test_what_was_on_the_target_becomes_zeros_where_the_image_has_zeros(rig):
    fill(rig.path("disk0"), (MIB, b"a" * MIB))
    fill(rig.path("disk1"), (0, b"old" * (8 * MIB)))
    rig.recover(rig.backup("disk0"), "disk1")
    assert rig.path("disk1").read_bytes() == rig.path("disk0").read_bytes()


def test_an_empty_disk_is_hardly_a_stream_at_all(rig):
    stream = rig.backup("disk0")
    assert len(stream) < 3 * PAGE
    fill(rig.path("disk1"), (5 * MIB, b"old"))
    rig.recover(stream, "disk1")
    assert not rig.path("disk1").read_bytes().strip(b"\0")


def test_the_stream_is_the_same_from_either_disk(rig):
    for disk in ("disk0", "disk1"):
        fill(rig.path(disk), (MIB, b"a" * MIB))
    assert rig.backup("disk0") == rig.backup("disk1")


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_blocks_allocated_ahead_are_zeros_whoever_has_read_them(folder):
    """On the file system of this machine, and on tmpfs."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        rig = Rig(Path(state))
        with open(rig.path("disk0"), "r+b") as file:
            os.posix_fallocate(file.fileno(), 8 * MIB, 16 * MIB)
        fill(rig.path("disk0"), (0, b"a" * 70000), (10 * MIB, b"b" * MIB))
        stream = rig.backup("disk0")
        assert len(stream) < 2 * MIB
        rig.path("disk0").read_bytes()
        assert rig.backup("disk0") == stream
        rig.nexus.close()


@pytest.mark.needs("mke2fs")
def test_unused_blocks_and_known_zeros_are_both_left_out(rig):
    make_ext(rig.path("disk0"), "64M")
    whole = Header.take(rig.backup("disk0"))
    header = Header.take(rig.backup("disk0", IMAGEGAPSIZE="0"))
    assert header.data_blocks < whole.data_blocks
    assert header.zero_blocks < whole.zero_blocks
    assert not rig.notes.texts(LogType.WARNING)
