"""Server-free movement: against the head's own, what planning costs, and how many commands it takes."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context

from ndmpd.devices.disk import Disk
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.offload.abilities import Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import DiskEnd, TapeEnd
from ndmpd.offload.plan import CopyCommand
from ndmpd.pieces import LunExtent, Piece, Zeros
from ndmpd.san import San
from ndmpd.san.nexus import Nexus
from protocol.scsi.copyresults import RECEIVE_OPERATING_PARAMETERS, OperatingParameters
from protocol.scsi.spc import Designator, DesignatorType
from tests.bench.dma import Job, timed
from tests.bench.place import Place
from tests.bench.rows import Subject

RECORD = 65536
BLOCK = 512
EXTENTS_FOR_EACH_FILE = 10
"""Extents of the map, for each file of the scale: a million of 100,000."""
GIB = 1 << 30
_PAGE = 4096


def image_by_each(place: Place) -> list[Subject]:
    """The same image by both types of data mover, to the same tape."""
    size = place.scale.size
    place.disk("disk0")

    def by(mover: str) -> Callable[[], float]:
        job = Job("image", "/vol/disk0", "tape0", at_least=size, mover=mover)
        return lambda: timed(place.ours.agent, job).seconds

    return [Subject("NAS", by("NAS"), size), Subject("ndmpd", by("SCSI"), size)]


def planning(place: Place) -> list[Subject]:
    extents = EXTENTS_FOR_EACH_FILE * place.scale.files
    return [Subject("ndmpd", lambda: _in_a_process(_plan, extents)[0], extents)]


def planning_memory(place: Place) -> list[Subject]:
    extents = EXTENTS_FOR_EACH_FILE * place.scale.files
    return [Subject("ndmpd", lambda: _in_a_process(_plan, extents)[1])]


def commands(place: Place) -> list[Subject]:
    """By the limits that the embedded copy manager tells, of a disk that is one extent."""
    abilities = Abilities.of(_parameters(place), None)
    pieces = [LunExtent("disk", 0, GIB // BLOCK)]
    steps = backup_steps(pieces, RECORD, _tape(), {"disk": _disk(GIB)}, abilities)
    count = sum(isinstance(step, CopyCommand) for step in steps)
    return [Subject("ndmpd", lambda: float(count))]


def _parameters(place: Place) -> OperatingParameters:
    san = San.open(place.ours.state / "san")
    with Nexus(san.path) as nexus:
        unit = Disk(EmbeddedTransport(san.path, "copy0", nexus), "copy0")
        try:
            unit.ready()
            cdb = RECEIVE_OPERATING_PARAMETERS.put(allocation=4096)
            return OperatingParameters.take(unit.ask("receive operating parameters", cdb, 4096))
        finally:
            unit.close()


def _in_a_process(work: Callable[[int], tuple[float, float]], extents: int) -> tuple[float, float]:
    """In a fresh process, whose peak of memory is the work's alone."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (extents,))


def _plan(extents: int) -> tuple[float, float]:
    """Seconds to plan a map of so many extents, and the most memory that the process had, in bytes."""
    types = frozenset(range(0x13)) | {0xE4}
    abilities = Abilities(types, 64, 1024, 65536, 0, 65536)
    disk = _disk(extents * 64 * BLOCK)
    began = time.perf_counter()
    for _ in backup_steps(_fragments(extents), RECORD, _tape(), {"disk": disk}, abilities):
        pass
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _fragments(extents: int) -> Iterator[Piece]:
    """A fragmented disk as ``image`` has it: each extent is padded to its place modulo a page."""
    position = 0
    for number in range(extents):
        lba, blocks = number * 64, 8 + number % 40
        if gap := (lba * BLOCK - position) % _PAGE:
            yield Zeros(gap)
        yield LunExtent("disk", lba, blocks)
        position += gap + blocks * BLOCK
    yield Zeros(-position % RECORD)


def _tape() -> TapeEnd:
    return TapeEnd("tape", Designator(DesignatorType.NAA, b"\x60" + bytes(15)))


def _disk(size: int) -> DiskEnd:
    return DiskEnd("disk", Designator(DesignatorType.NAA, b"\x61" + bytes(15)), BLOCK, size // BLOCK)
