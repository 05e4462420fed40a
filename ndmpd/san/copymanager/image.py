"""Tape image: records and filemarks from tape to tape as they are. SPC-4 6.4.6.16."""

from __future__ import annotations

from ndmpd.datapath import length_of
from ndmpd.pieces import Piece, Zeros, behind
from ndmpd.san.copymanager.checks import DESTINATION_AT, SOURCE_AT
from ndmpd.san.copymanager.ends import sense_of
from ndmpd.san.copymanager.engine import Copy
from ndmpd.san.copymanager.failure import CopyFailure
from ndmpd.san.copymanager.pace import RUN
from ndmpd.san.copymanager.streams import Stream
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.segments import TapeImage
from protocol.scsi.sense import SenseKey

_READ_SIZE = 1
"""Of a READ that is to meet a filemark or the end of data: there is no record to be cut."""


def tape_image(copy: Copy, segment: TapeImage) -> None:
    """Ends well at end of data, or after ``count`` filemarks in a row. There is no residue."""
    # Records are copied as long as they are, whatever the descriptors say of blocks.
    source = Stream(copy.end(segment.source, SOURCE_AT), SOURCE_AT, variable=True)
    target = Stream(copy.end(segment.destination, DESTINATION_AT), DESTINATION_AT, variable=True)
    copy.settle()
    same = source.drive is target.drive
    marks = 0
    while True:
        copy.check()
        ahead = source.ahead()
        if ahead.size:
            marks = 0
            pieces = source.read(ahead.size, max(1, min(ahead.count, RUN // ahead.size)))
            _write(copy, target, copy.read_whole(pieces) if same else pieces, ahead.size)
            continue
        if not _passes_mark(source):
            return
        target.command(scsi.WRITE_FILEMARKS_6.put(immed=1, count=1))
        marks += 1
        if marks == segment.count:
            return


def _write(copy: Copy, target: Stream, pieces: list[Piece], size: int) -> None:
    while pieces:
        copy.check()
        done, failure = target.write(pieces, size, length_of(pieces) // size)
        copy.accounts.moved += done
        if failure is not None:
            raise failure
        pieces = behind(pieces, done)


def _passes_mark(source: Stream) -> bool:
    """Whether a filemark lies at the position, which a READ passes; otherwise the data ends there."""
    result, _ = source.end.send(scsi.READ_6_TAPE.put(length=_READ_SIZE), into=[Zeros(_READ_SIZE)])
    sense = sense_of(result)
    if sense is None:
        raise CopyFailure(Asc.COPY_TARGET_OVERRUN, source.end.pointer)
    if sense.key is SenseKey.BLANK_CHECK:
        return False
    if sense.filemark:
        return True
    raise source.end.source_failure(result)
