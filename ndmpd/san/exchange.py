"""Cartridges to and from SIMH tape images. Memory is bounded; record bytes go from file to file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ndmpd.datapath import copy_to_file
from ndmpd.pieces import FileExtent, Inline, OpenFile, Piece
from ndmpd.ports import SourceFault
from ndmpd.san.errors import SanError
from ndmpd.san.medium import Medium
from protocol.errors import WireError
from protocol.streams import simh

_RECORDS_AT_ONCE = 512
_MARKS_AT_ONCE = 65536


@dataclass(frozen=True, slots=True)
class Moved:
    """What went: records, filemarks, bytes of records, and of the records those that were damaged before."""

    records: int = 0
    marks: int = 0
    size: int = 0
    damaged: int = 0


def _image_pieces(medium: Medium, data: OpenFile) -> Iterator[list[Piece]]:
    """The image of the whole tape, in parts of bounded length."""
    place = 0
    while run := medium.map.at(place):
        if not run.size:
            count = min(run.count, _MARKS_AT_ONCE)
            yield [Inline(simh.MARK * count)]
        else:
            count = min(run.count, _RECORDS_AT_ONCE)
            before, after = Inline(simh.before(run.size)), Inline(simh.after(run.size))
            extents = (FileExtent(data, run.offset + number * run.size, run.size) for number in range(count))
            yield list(chain.from_iterable((before, extent, after) for extent in extents))
        place += count
    yield [Inline(simh.END_OF_MEDIUM)]


def export_image(medium: Medium, path: Path) -> Moved:
    """Write the tape to ``path``, which appears, or changes, only once it is whole."""
    fresh = path.with_name(path.name + ".new")
    data = medium.open_data()
    at = 0
    try:
        with open(fresh, "wb") as image:
            for pieces in _image_pieces(medium, data):
                faults: list[SourceFault] = []
                at += copy_to_file(pieces, image.fileno(), at, faults)
                if faults:
                    raise SanError(f"{medium.facts.barcode} cannot be read: {faults[0].reason}")
            image.flush()
            os.fsync(image.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
        data.close()
    return Moved(medium.map.objects - medium.map.marks, medium.map.marks, medium.map.used)


def _survey(objects: Iterator[simh.Record | simh.Mark]) -> Moved:
    records = marks = size = damaged = 0
    for one in objects:
        if isinstance(one, simh.Mark):
            marks += 1
        else:
            records, size, damaged = records + 1, size + one.size, damaged + one.damaged
    return Moved(records, marks, size, damaged)


def _scan(image: OpenFile) -> Iterator[simh.Record | simh.Mark]:
    return simh.scan(lambda offset, size: os.pread(image.fd, size, offset))


def survey_image(path: Path) -> Moved:
    """What a tape image holds. SanError where it is not one, or is cut off."""
    image = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path))
    try:
        return _survey(_scan(image))
    except WireError as error:
        raise SanError(f"{path}: {error}") from error
    finally:
        image.close()


def import_image(medium: Medium, path: Path) -> Moved:
    """Make the tape what ``path`` holds; what was on it is gone.

    SanError, before anything is changed, where the image is not one or does not fit the cartridge.
    """
    found = survey_image(path)
    if found.size > medium.facts.capacity:
        raise SanError(f"{path} has {found.size} bytes of records, {medium.facts.barcode} has room for "
                       f"{medium.facts.capacity}: import it under a new name")
    if medium.facts.protected:
        raise SanError(f"{medium.facts.barcode} is write protected; see `ndmpd tape label --help`")
    image = OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path))
    medium.truncate(0)
    try:
        for size, pieces in _batches(_scan(image), image):
            if not size:
                medium.mark(len(pieces))
                continue
            faults: list[SourceFault] = []
            medium.append(pieces, size, len(pieces), faults)
            if faults:
                raise SanError(f"{path} changed or failed while it was read: {faults[0].reason}")
    except BaseException:
        medium.truncate(0)
        raise
    finally:
        image.close()
    medium.flush()
    return found


def _batches(
    objects: Iterator[simh.Record | simh.Mark], image: OpenFile,
) -> Iterator[tuple[int, list[Piece]]]:
    """Records of one size that follow each other; or, with size 0, as many empty pieces as filemarks."""
    size, pieces = 0, list[Piece]()
    for one in objects:
        new = 0 if isinstance(one, simh.Mark) else one.size
        if pieces and (new != size or len(pieces) == _RECORDS_AT_ONCE):
            yield size, pieces
            pieces = []
        size = new
        pieces.append(Inline(b"") if isinstance(one, simh.Mark) else FileExtent(image, one.offset, one.size))
    if pieces:
        yield size, pieces
