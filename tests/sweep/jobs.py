"""Backups and recovers drawn from a seed, and the butype that carries them out.

A stream is cut from bytes that the test knows, so what must be on the tape is known without asking the code
under test.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ndmpd.errors import SourceError
from ndmpd.formats.job import Job
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros
from ndmpd.ports import SourceFault, StreamReader
from ndmpd.services.inlets import ConnectionBroken
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import ButypeAttr, LogType, Version
from tests.sweep.stand import Killed

BLOCK = 512
SEA = random.Random(0).randbytes(1 << 20)
"""What files and disk hold; inline pieces are cut from it as well."""
UNREADABLE = "/proc/self/mem"
"""Reading it at offset 0 is an input/output error."""


class Source:
    """The file and the disk whose content is ``SEA``; descriptors are opened once."""

    def __init__(self, folder: Path) -> None:
        path = folder / "sea"
        path.write_bytes(SEA)
        self.file = OpenFile(os.open(path, os.O_RDONLY), str(path))
        self.bad = OpenFile(os.open(UNREADABLE, os.O_RDONLY), UNREADABLE)


@dataclass(frozen=True)
class Shape:
    """One piece: its kind, and where in ``SEA`` (in blocks, for ``lun``) it is cut, in bytes."""

    kind: str
    start: int
    length: int

    def content(self) -> bytes:
        if self.kind in ("zeros", "unreadable"):
            return bytes(self.length)
        return SEA[self.start:self.start + self.length].ljust(self.length, b"\0")

    def piece(self, source: Source, strict: bool) -> Piece:
        match self.kind:
            case "inline":
                return Inline(SEA[self.start:self.start + self.length])
            case "zeros":
                return Zeros(self.length)
            case "file" | "shrunk":
                return FileExtent(source.file, self.start, self.length, strict)
            case "unreadable":
                return FileExtent(source.bad, 0, self.length, strict)
            case _:
                return LunExtent("disk0", self.start // BLOCK, self.length // BLOCK)

    @property
    def whole(self) -> bool:
        return self.kind not in ("shrunk", "unreadable")


RECORD_SIZES = (512, 512, 1024, 4000, 10240, 64512, 65536)


def padded(stream: bytes, record: int) -> list[bytes]:
    """``stream`` as records, the last filled up with zeros."""
    stream += bytes(-len(stream) % record)
    return [stream[at:at + record] for at in range(0, len(stream), record)]


@dataclass(frozen=True)
class Work:
    """One backup. ``windows`` in records, then without end; ``batch``: bytes of a command at most."""

    version: Version
    local: bool
    record: int
    shapes: tuple[Shape, ...]
    windows: tuple[int, ...]
    capacity: int
    early_warning: int
    strict: bool
    batch: int

    @cached_property
    def stream(self) -> bytes:
        return b"".join(shape.content() for shape in self.shapes)

    @cached_property
    def records(self) -> list[bytes]:
        return padded(self.stream, self.record)

    def with_hole(self, rng: random.Random) -> Work:
        """As this, with one piece that cannot be read whole."""
        if rng.random() < 0.5:
            hole = Shape("unreadable", 0, rng.randint(1, 3 * self.record))
        else:
            start = len(SEA) - rng.randint(0, 2 * self.record)
            hole = Shape("shrunk", start, len(SEA) - start + rng.randint(1, 2 * self.record))
        at = rng.randint(0, len(self.shapes))
        return Work(self.version, self.local, self.record, (*self.shapes[:at], hole, *self.shapes[at:]),
                    self.windows, self.capacity, self.early_warning, self.strict, self.batch)


SMALL = ((20_000, 0), (20_511, 4_000), (40_000, 9_000))
"""Capacity and early-warning zone of the cartridges that a stream may need several of."""
LARGE = (64 << 20, 1 << 20)


def draw(rng: random.Random, *, most_records: int = 40) -> Work:
    """A backup; never empty."""
    record = 1 << 20 if rng.random() < 0.02 else rng.choice(RECORD_SIZES)
    small = record <= 1024 and rng.random() < 0.4
    room = min(most_records * record, 3 << 20 if record == 1 << 20 else 300_000)
    size = rng.randint(1, room)
    strict = rng.random() < 0.3
    kinds = ["file", "lun", "inline"] if strict else ["inline", "inline", "zeros", "file", "lun"]
    shapes: list[Shape] = []
    while size > 0 and len(shapes) < 60:
        kind = rng.choice(kinds)
        most = rng.choice((600, 2 * record, room))
        length = min(size, rng.randint(1, most), 400_000)
        start = rng.randint(0, len(SEA) - length - BLOCK)
        if kind == "lun":
            start, length = start // BLOCK * BLOCK, -(-length // BLOCK) * BLOCK
        shapes.append(Shape(kind, start, length))
        size -= length
    windows = tuple(rng.randint(1, 12) for _ in range(rng.choice((0, 0, 1, 3))))
    version = Version.V3 if rng.random() < 0.2 else Version.V4
    capacity, early_warning = rng.choice(SMALL) if small else LARGE
    return Work(version, rng.random() < 0.6, record, tuple(shapes), windows, capacity, early_warning, strict,
                record * rng.choice((1, 3, 8, 4096)))


@dataclass
class Range:
    """A part of the stream to recover: how, and what came. ``target``: where ``into`` put it."""

    offset: int
    length: int
    how: str
    target: OpenFile | None = None
    start: int = 0
    got: bytes = b""
    done: bool = False
    error: OSError | None = None


@dataclass
class Planned:
    """The butype of the sweep: yields the pieces of its ``work``, or takes ``ranges`` of the stream.

    ``dies_at``: the piece, or the range, before which its process is gone. As ``tar`` does it reports what
    could not be read or written and goes on; as ``image``, with ``strict``, it ends the job.
    """

    work: Work
    source: Source
    ranges: list[Range] = field(default_factory=list)
    dies_at: int | None = None
    name: str = "planned"
    blocks: bool = True
    faults: list[SourceFault] = field(default_factory=list)

    def attributes(self) -> ButypeAttr:
        return ButypeAttr(0)

    def default_env(self) -> list[tuple[str, str]]:
        return []

    def check(self, job: Job) -> None:
        pass

    def backup(self, job: Job) -> Iterator[Piece]:
        for number, shape in enumerate(self.work.shapes):
            if number == self.dies_at:
                raise Killed
            yield shape.piece(self.source, self.work.strict)
        if self.dies_at == len(self.work.shapes):
            raise Killed

    def fault(self, job: Job, fault: SourceFault) -> None:
        self.faults.append(fault)
        if self.work.strict:
            raise SourceError(f"a block could not be read ({fault.reason})")
        job.report.log(LogType.ERROR, f"something could not be read ({fault.reason})")

    def recover(self, job: Job, stream: StreamReader) -> None:
        for number, wanted in enumerate(self.ranges):
            if number == self.dies_at:
                raise Killed
            stream.want(wanted.offset, wanted.length)
            if wanted.how == "read":
                wanted.got = stream.read(wanted.length)
                wanted.done = len(wanted.got) == wanted.length
                if not wanted.done:
                    raise ConnectionBroken("the stream ended early")
                continue
            piece: Piece
            if wanted.how == "zeros":
                piece = Zeros(wanted.length)
            elif wanted.how == "disk":
                piece = LunExtent("disk1", wanted.start // BLOCK, wanted.length // BLOCK)
            else:
                assert wanted.target is not None
                piece = FileExtent(wanted.target, wanted.start, wanted.length, self.work.strict)
            try:
                stream.into([piece])
                wanted.done = True
            except OSError as failure:
                wanted.error = failure
                if self.work.strict:
                    raise
                job.report.log(LogType.ERROR, f"something could not be written ({failure})")

    def list(self, job: Job, stream: StreamReader) -> None:
        stream.want(0, ALL_ONES)
