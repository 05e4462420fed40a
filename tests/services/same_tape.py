"""One image, written by the head and by a copy manager, and restored by the one that did not write it.

``Case`` is everything that must make no difference between the two: the disk, records, windows, where the
cartridges end, what the copy manager can do, and which of its answers are lost.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from hypothesis import strategies as st

from ndmpd.devices.disk import Disk
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import TransportError
from ndmpd.formats import image_disk
from ndmpd.formats.environment import Environment
from ndmpd.formats.image import Image
from ndmpd.formats.image_disk import Survey
from ndmpd.formats.image_map import Extent, ImageMap, MapBuilder
from ndmpd.formats.job import Job, Selection
from ndmpd.pieces import Piece
from ndmpd.ports import Command, Result, Transport
from ndmpd.san import Flush, San
from ndmpd.san.medium import Medium
from ndmpd.san.nexus import Nexus
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import DataOperation, MoverHaltReason, Version
from protocol.scsi.command import Status
from protocol.scsi.sense import CopySense, Sense
from protocol.scsi.xcopy import EXTENDED_COPY
from protocol.streams.image import ALL_ZEROS, ENTRY, PAGE, Contents, Header, take_map
from tests.formats.image_source import DiskVolumes, everything
from tests.formats.recorder import RecordingReporter
from tests.services.copy_rig import CopyRig, Place, Places

SIZE = 6 << 20
"""Bytes of a disk here."""
USUAL = (10240, 64512, 65536, 262144)
"""Record sizes that DMAs use."""
CARTRIDGES = 9
OCEAN = random.Random(9).randbytes(SIZE)
_OLD = bytes(range(1, 256)) * (SIZE // 255 + 1)


@dataclass(frozen=True)
class Sparse:
    """Data in places of a sparse file, the map from GET LBA STATUS. ``zero_run``: bytes of zeros that are
    left out, at least.
    """

    extents: tuple[tuple[int, int], ...]
    zero_run: int


@dataclass(frozen=True)
class Mapped:
    """Any map at all, of a disk that is data everywhere: data, zeros and gaps in runs of blocks."""

    runs: tuple[tuple[int, int, bool], ...]
    """Gap before, blocks, whether they are zeros."""


@dataclass(frozen=True)
class FileSystem:
    """An ext4 made by mke2fs with blocks of so many bytes; ``gap`` is IMAGEGAPSIZE."""

    block: int
    gap: str


Source = Sparse | Mapped | FileSystem


@dataclass(frozen=True)
class Case:
    """``block``: bytes of a block of the disk, and ``target`` of the one that it is restored to.

    ``share`` and ``more``: a cartridge meets early warning after so many hundredths of the stream and so
    many bytes; ``zone``: bytes behind that, in which the DMA goes on ``stay`` times. ``cuts``: where windows
    of the restore begin, in thousandths of all records.
    """

    record: int
    block: int
    source: Source
    windows: tuple[int, ...] = ()
    share: int = 200
    more: int = 0
    zone: int = 0
    batch: int = 1 << 20
    limits: dict[str, object] = field(default_factory=dict)
    answers: str = ""
    cuts: tuple[int, ...] = ()
    stay: int = 0
    target: int = 512


def _pages(most: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(1, 3), st.integers(1, most))


def sources(block: int, *, file_systems: bool) -> st.SearchStrategy[Source]:
    extents = st.lists(st.tuples(_pages(300), _pages(500)), min_size=1, max_size=30).map(tuple)
    sparse = st.builds(Sparse, extents, st.sampled_from((4096, 16384, 65536)))
    gaps = st.one_of(st.just(0), st.integers(0, 40))
    blocks = st.one_of(st.integers(1, 9), st.integers(1, SIZE // 5 // block))
    runs = st.lists(st.tuples(gaps, blocks, st.booleans()), min_size=1, max_size=40).map(tuple)
    mapped = st.builds(Mapped, runs)
    kinds: list[st.SearchStrategy[Source]] = [sparse, mapped]
    if file_systems:
        gap = st.sampled_from(("", "0", "8k", "65536"))
        kinds.append(st.builds(FileSystem, st.sampled_from((1024, 4096)), gap))
    return st.one_of(kinds)


LIMITS = st.one_of(st.just({}), st.fixed_dictionaries({}, optional={
    "max_segments": st.sampled_from((1, 2, 7, 40)),
    "max_list_length": st.sampled_from((512, 1024, 4096)),
    "max_segment_length": st.sampled_from((64 << 10, 1 << 20)),
    "max_inline_length": st.sampled_from((512, 20000)),
    "data_granularity": st.sampled_from((512, 4096)),
    "max_cscds": st.just(2),
    "cat": st.just(False),
    "inline": st.just(False),
    "held": st.just(False),
    "without": st.sampled_from(((8, 9), (0, 1), (4,), (4, 5), (5, 7), (8,), (1, 9)))}))
"""What a copy manager can do, as profiles.json says it."""


@st.composite
def cases(draw: st.DrawFn, block: int, record: int | None, *, file_systems: bool) -> Case:
    if record is None:
        usual, any_size = st.sampled_from((512, 1024, 4000, 102400, 1 << 20)), st.integers(1, 2048)
        record = draw(usual | any_size.map(lambda count: count * 512))
    whole = draw(st.booleans())
    return Case(
        record, block, draw(sources(block, file_systems=file_systems)),
        windows=tuple(draw(st.lists(st.one_of(st.just(1), st.integers(1, 40)), max_size=6))),
        share=200 if whole else draw(st.integers(30, 110)),
        more=draw(st.integers(0, 2 * record)),
        zone=draw(st.sampled_from((0, 1, record // 2, record, 3 * record + 5)) | st.integers(0, 1 << 20)),
        batch=draw(st.sampled_from((record, 3 * record, 1 << 20, 80 << 20))),
        limits=draw(LIMITS),
        answers=draw(st.sampled_from(("", "", "lost at the end", "lost"))),
        cuts=tuple(sorted(draw(st.sets(st.integers(1, 999), max_size=5)))),
        stay=draw(st.sampled_from((0, 0, 1, 2, 5))),
        target=draw(st.sampled_from((block, block, 512, 4096))))


class Answers:
    """Around the transports of copy managers. ``kind``: what becomes of the answer to a copy.

    "lost at the end": none comes where the tape met early warning. "silent at the end": it is GOOD there.
    "lost": none comes in one of four cases, wherever that is.
    """

    def __init__(self, kind: str, rng: random.Random) -> None:
        self.kind = kind
        self.spoiled = 0
        self._rng = rng

    def __call__(self, name: str, transport: Transport) -> Transport:
        return _Around(self, transport) if self.kind and name.startswith("copy") else transport

    def answer(self, result: Result) -> Result:
        chosen = self._rng.random() < 0.25 if self.kind == "lost" else _met_the_end(result)
        if not chosen:
            return result
        self.spoiled += 1
        if self.kind == "silent at the end":
            return Result(Status.GOOD, b"", result.transferred)
        raise TransportError("the answer was lost")


class _Around:
    def __init__(self, answers: Answers, transport: Transport) -> None:
        self._answers, self._transport = answers, transport

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def execute(self, command: Command) -> Result:
        result = self._transport.execute(command)
        copies = command.cdb[0] == EXTENDED_COPY.opcode and command.cdb[1] & 0x1F == 0
        return self._answers.answer(result) if copies else result


def _met_the_end(result: Result) -> bool:
    if result.status != Status.CHECK_CONDITION:
        return False
    report = CopySense.of(Sense.take(result.sense)).destination_sense
    return report is not None and report.sense is not None and report.sense.eom


class SameRig(CopyRig):
    """Takes the records of a cartridge from its files, all at once."""

    def records(self, san: San) -> list[bytes]:
        number = next(at for at, one in enumerate(self.place.cartridges) if one is san)
        medium = Medium(self.place.san.cartridges / f"E01{number + 1:03}L8", Flush.NOTHING, readonly=True)
        file = medium.open_data()
        content = Path(f"/proc/self/fd/{file.fd}").read_bytes()
        found, place = [], 0
        # A tape that is closed behind its last record gets a filemark.
        assert medium.map.marks <= 1
        while place < medium.map.objects - medium.map.marks:
            run = medium.map.at(place)
            assert run is not None and run.size, "a filemark between records"
            found += [content[run.offset + at * run.size:run.offset + (at + 1) * run.size]
                      for at in range(run.count)]
            place += run.count
        file.close()
        medium.close()
        return found


@contextmanager
def _prepared(place: Place, case: Case, images: dict[int, Path]) -> Iterator[dict[str, str]]:
    """disk0 is what the case says; the variables of the backup."""
    source = case.source
    with place.san.disk_path("disk0").open("r+b") as disk:
        disk.truncate(0)
        disk.truncate(SIZE)
        match source:
            case Sparse():
                at = 0
                for gap, pages in source.extents:
                    at += gap * PAGE
                    disk.seek(at)
                    disk.write(OCEAN[at:at + pages * PAGE])
                    at += pages * PAGE
                disk.truncate(SIZE)
            case Mapped():
                disk.write(OCEAN)
            case FileSystem():
                disk.write(images[source.block].read_bytes())
    if isinstance(source, Sparse):
        with patch.object(image_disk, "ZERO_RUN", source.zero_run):
            yield {}
    elif isinstance(source, Mapped):
        known = Survey(_map(source, SIZE // case.block), Contents(3), case.block, ())
        with patch("ndmpd.formats.image.survey", lambda *_: known):
            yield {}
    else:
        yield {"IMAGEGAPSIZE": source.gap}


def _map(source: Mapped, blocks: int) -> ImageMap:
    builder = MapBuilder()
    at = 0
    for gap, count, zeros in source.runs:
        at += gap
        builder.add(Extent(min(at, blocks), max(0, min(count, blocks - at)), zeros))
        at += count
    return builder.finish()


def _expected(stream: bytes, disk0: bytes) -> bytes:
    """What the image makes of a disk full of something old, by its own header and map."""
    header = Header.take(stream)
    words: array[int] = take_map(stream[PAGE:PAGE + header.extents * ENTRY])
    found = bytearray(_OLD[:SIZE])
    for lba, length in zip(words[::2], words[1::2], strict=True):
        start, size = lba * header.block_length, (length & ~ALL_ZEROS) * header.block_length
        found[start:start + size] = bytes(size) if length >= ALL_ZEROS else disk0[start:start + size]
    return bytes(found)


def spans_of(rig: CopyRig, tapes: Sequence[Sequence[bytes]], record: int,
             cuts: Sequence[int]) -> list[tuple[San, int, int]]:
    """The windows of a restore: cut at the ends of cartridges, and at ``cuts`` thousandths of all records."""
    total = sum(map(len, tapes))
    inner = {total * cut // 1000 for cut in cuts}
    spans, first = [], 0
    for san, tape in zip(rig.used, tapes, strict=True):
        end = first + len(tape)
        borders = [first, *sorted(cut for cut in inner if first < cut < end), end]
        spans += [(san, a * record, (b - a) * record) for a, b in pairwise(borders) if a < b]
        first = end
    return spans


@dataclass(frozen=True)
class Work:
    """What a case came to: ``offloaded`` bytes moved by the copy manager in the backup."""

    records: int
    cartridges: int
    offloaded: int


def both_ways(places: Places, case: Case, images: dict[int, Path]) -> Work:
    """Backup by each mover, restore by the other; fails where anything differs."""
    tapes: dict[Mover, list[list[bytes]]] = {}
    offloaded = 0
    rng = random.Random(case.record * 31 + case.batch)
    for writer, reader in ((Mover.NAS, Mover.AUTO), (Mover.AUTO, Mover.NAS)):
        place = places.get(cartridges=CARTRIDGES, block_length=case.block, disk_size=SIZE,
                           target_block=case.target)
        place.profile(case.limits)
        pieces = _plan(place, case, images)
        warn = max(1, sum(piece.length for piece in pieces) * case.share // 100 + case.more)
        place.fit(max(warn + case.zone, case.record), max(case.zone, case.record - warn))
        wrap = Answers(case.answers, rng)
        with SameRig(place, writer, batch=case.batch, wrap=wrap, paths=2) as rig:
            written, sent = rig.backup(pieces, case.record, windows=case.windows, stay=case.stay)
            assert sent.finished, (sent.failure, rig.ended, rig.log())
            assert rig.ended == MoverHalted(MoverHaltReason.CONNECT_CLOSED)
            tapes[writer] = written
            if writer is Mover.AUTO:
                offloaded = sent.offloaded
            place.san.disk_path("disk1").write_bytes(_OLD[:SIZE])
            rig.asked = reader
            _restore(rig, spans_of(rig, written, case.record, case.cuts), case.record)
            stream = b"".join(record for tape in written for record in tape)
            wanted = _expected(stream, place.san.disk_path("disk0").read_bytes())
            assert place.san.disk_path("disk1").read_bytes() == wanted, f"restored by {reader}"
    assert tapes[Mover.AUTO] == tapes[Mover.NAS]
    return Work(sum(map(len, tapes[Mover.NAS])), len(tapes[Mover.NAS]), offloaded)


def _job(open_disk: Callable[[str], Transport], operation: DataOperation,
         selections: tuple[Selection, ...] = (), **variables: str) -> Job:
    return Job(Environment(variables.items()), DiskVolumes(("disk0", "disk1")), RecordingReporter(),
               Version.V4, selections, open_disk, operation)


def _plan(place: Place, case: Case, images: dict[int, Path]) -> list[Piece]:
    """The pieces of the image."""
    with Nexus(place.san.path) as nexus, _prepared(place, case, images) as variables:
        job = _job(lambda name: EmbeddedTransport(place.san.path, name, nexus), DataOperation.BACKUP,
                   FILESYSTEM="/vol/disk0", **variables)
        return list(Image(Disk).backup(job))


def _restore(rig: CopyRig, spans: list[tuple[San, int, int]], record: int) -> None:
    job = _job(rig.disk, DataOperation.RECOVER, (everything("disk1"),))
    butype = Image(Disk)
    happened = rig.recover(lambda reader: butype.recover(job, reader), spans, record)
    assert happened[-1] == MoverHalted(MoverHaltReason.CONNECT_CLOSED), (happened, rig.log())
