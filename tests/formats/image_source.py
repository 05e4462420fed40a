"""A disk in a file, and the stream of a backup in memory: what tests of the image butype work on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.errors import JobRefused, StreamError
from ndmpd.formats.environment import Environment
from ndmpd.formats.image import Image
from ndmpd.formats.job import Job, Selection
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros
from ndmpd.ports import Command, Result, SourceFault
from protocol.ndmp.codes import DataOperation, Version
from protocol.scsi.sbc import Capacity, LbaRun, TransferLimits
from protocol.scsi.spc import Designator
from tests.formats.recorder import RecordingReporter


@dataclass
class FileDisk:
    """A disk whose blocks are those of a file; it is its own transport. ``status``: what GET LBA STATUS says.
    """

    path: Path
    block_length: int = 512
    status: list[LbaRun] | None = None
    known: tuple[Designator, ...] = ()
    log: list[str] = field(default_factory=list)
    limits: TransferLimits = field(default_factory=TransferLimits)
    write_protected: bool = False

    most = None

    def __post_init__(self) -> None:
        self.file = OpenFile(os.open(self.path, os.O_RDWR), str(self.path))

    @property
    def capacity(self) -> Capacity:
        thin = self.status is not None
        return Capacity(self.path.stat().st_size // self.block_length, self.block_length, thin, thin)

    def designators(self) -> tuple[Designator, ...]:
        return self.known

    def open(self) -> None:
        self.log.append("open")

    def read(self, lba: int, blocks: int, destinations: Sequence[Piece]) -> None:
        [piece] = destinations
        piece.data[:] = self.blocks(lba, blocks)

    def blocks(self, lba: int, blocks: int) -> bytes:
        data = os.pread(self.file.fd, blocks * self.block_length, lba * self.block_length)
        assert len(data) == blocks * self.block_length
        return data

    def lba_status(self, lba: int = 0, end: int | None = None) -> Iterator[LbaRun]:
        end = self.capacity.blocks if end is None else end
        for run in self.status or ():
            first, last = max(lba, run.lba), min(end, run.lba + run.blocks)
            if first < last:
                yield LbaRun(first, last - first, run.status)

    def write(self, lba: int, blocks: int, pieces: Sequence[Piece]) -> tuple[SourceFault, ...]:
        [piece] = pieces
        assert piece.length == blocks * self.block_length
        assert lba + blocks <= self.capacity.blocks
        if isinstance(piece, Zeros):
            self.log.append(f"zeros {lba}+{blocks}")
            data = bytes(piece.length)
        else:
            self.log.append(f"write {lba}+{blocks}")
            data = piece.data
        os.pwrite(self.file.fd, data, lba * self.block_length)
        return ()

    def synchronize(self) -> None:
        self.log.append("synchronize")

    def execute(self, command: Command) -> Result:
        raise AssertionError("no command is sent to this disk")

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return FileExtent(self.file, lba * self.block_length, blocks * self.block_length, strict=True)

    def close(self) -> None:
        self.log.append("close")


def render(pieces: Iterable[Piece], disks: dict[str, FileDisk]) -> bytes:
    """The bytes of a plan."""
    out = bytearray()
    for piece in pieces:
        match piece:
            case Inline(data):
                out += data
            case Zeros(length):
                out += bytes(length)
            case LunExtent(disk, lba, blocks, block_length):
                assert disks[disk].block_length == block_length
                out += disks[disk].blocks(lba, blocks)
            case _:
                raise AssertionError(f"an image has no {piece}")
    return bytes(out)


class MemoryStream:
    """``ports.StreamReader`` over bytes."""

    def __init__(self, data: bytes, disks: dict[str, FileDisk]) -> None:
        self._data, self._disks = data, disks
        self.position = 0

    def want(self, offset: int, length: int) -> None:
        self.position = offset

    def read(self, size: int) -> bytes:
        data = self._data[self.position:self.position + size]
        self.position += len(data)
        return data

    def read_some(self, size: int) -> bytes:
        return self.read(size)

    def into(self, destinations: Sequence[Piece]) -> None:
        for piece in destinations:
            data = self.read(piece.length)
            if len(data) < piece.length:
                raise StreamError("the stream ends early")
            if isinstance(piece, LunExtent):
                disk = self._disks[piece.disk]
                if piece.skip or piece.short:
                    # As a data path does it: the rest of a block that is filled in part stays.
                    whole = bytearray(disk.blocks(piece.lba, piece.blocks))
                    whole[piece.skip:len(whole) - piece.short] = data
                    data = bytes(whole)
                disk.write(piece.lba, piece.blocks, [Inline(data)])
            else:
                assert isinstance(piece, Zeros)


@dataclass(frozen=True)
class DiskVolume:
    name: str
    disk: str | None
    path: str | None = None


class DiskVolumes:
    """Every disk NAME as /vol/NAME, and a folder /tree."""

    def __init__(self, disks: Iterable[str]) -> None:
        self._volumes = {f"/vol/{name}": DiskVolume(f"/vol/{name}", name) for name in disks}
        self._volumes["/tree"] = DiskVolume("/tree", None, "/usr")

    def locate(self, path: str) -> tuple[DiskVolume, str]:
        for name, volume in self._volumes.items():
            if path.rstrip("/") == name or path.startswith(name + "/"):
                return volume, path[len(name):].strip("/")
        raise JobRefused(f"{path} is in no export")


class Bench:
    """Disks by name, and jobs on them."""

    def __init__(self, **disks: FileDisk) -> None:
        self.disks = disks
        self.butype = Image(lambda transport, name: transport)
        self.notes = RecordingReporter()

    def job(self, operation: DataOperation, selections: tuple[Selection, ...] = (), **variables: str) -> Job:
        self.notes = RecordingReporter()
        return Job(Environment(variables.items()), DiskVolumes(self.disks), self.notes, Version.V4,
                   selections, self.disks.__getitem__, operation)

    def backup(self, disk: str, **environment: str) -> bytes:
        job = self.job(DataOperation.BACKUP, FILESYSTEM=f"/vol/{disk}", **environment)
        self.butype.check(job)
        return render(self.butype.backup(job), self.disks)

    def recover(self, stream: bytes, *selections: Selection, **environment: str) -> None:
        job = self.job(DataOperation.RECOVER, selections, **environment)
        self.butype.check(job)
        self.butype.recover(job, MemoryStream(stream, self.disks))


def everything(disk: str) -> Selection:
    """The selection of the whole image for another disk."""
    return Selection("/", f"/vol/{disk}/", "/")


def make_ext(path: Path, size: str, *options: str, files: int = 60, kind: str = "ext4") -> None:
    """A file system of ``size`` made by mke2fs: files of many sizes, some removed again, so that there are
    gaps.
    """
    with tempfile.TemporaryDirectory() as tree:
        for number in range(files):
            folder = Path(tree, f"d{number % 7}")
            folder.mkdir(exist_ok=True)
            (folder / f"f{number}").write_bytes(bytes([number + 1]) * (number * 3001 % 240_000))
        subprocess.run(["truncate", "-s", size, path], check=True)
        subprocess.run(["mke2fs", "-q", "-F", "-t", kind, "-d", tree, *options, path], check=True,
                       timeout=100)
    removals = "".join(f"rm d{number % 7}/f{number}\n" for number in range(0, files, 3))
    subprocess.run(["debugfs", "-w", "-f", "-", path], input=removals.encode(), check=True, timeout=100,
                   capture_output=True)
