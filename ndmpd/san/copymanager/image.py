"""Tape image: records and filemarks from tape to tape as they are. SPC-4 6.4.6.16."""

from __future__ import annotations

from ndmpd.datapath import length_of
from ndmpd.pieces import Piece, behind
from ndmpd.san.copymanager.checks import DESTINATION_AT, SOURCE_AT
from ndmpd.san.copymanager.drives import stream_of
from ndmpd.san.copymanager.engine import Copy
from ndmpd.san.copymanager.streams import Stream
from protocol.scsi import command as scsi
from protocol.scsi.segments import TapeImage


def tape_image(copy: Copy, segment: TapeImage) -> None:
    """Ends well at end of data, or after ``count`` filemarks in a row. There is no residue."""
    # Records are copied as long as they are, whatever the descriptors say of blocks.
    source = stream_of(copy.end(segment.source, SOURCE_AT), SOURCE_AT, variable=True)
    target = stream_of(copy.end(segment.destination, DESTINATION_AT), DESTINATION_AT, variable=True)
    copy.settle()
    same = source.drive is target.drive
    marks = 0
    while True:
        copy.check()
        passed = source.passed()
        if passed.size:
            marks = 0
            _write(copy, target, copy.read_whole(passed.pieces) if same else passed.pieces, passed.size)
            continue
        if not passed.mark:
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
