"""How a copy ends inside a segment, on its way from where it happened to the sense data."""

from __future__ import annotations

from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Reported, SegmentPointer, Sense, SenseKey


class CopyFailure(Exception):
    """Ends a copy with COPY ABORTED and ``code``. Never leaves the copy manager.

    ``source`` and ``destination``: what a unit reported. ``segment``: the one at fault, where that is not the
    one in work.
    """

    def __init__(self, code: int, pointer: SegmentPointer | None = None, *, source: Reported | None = None,
                 destination: Reported | None = None, segment: int | None = None) -> None:
        super().__init__(f"{code >> 8:02X}/{code & 0xFF:02X}")
        self.code = code
        self.pointer = pointer
        self.source = source
        self.destination = destination
        self.segment = segment


class CopyStopped(Exception):
    """The copy was aborted, or the nexus that sent it is gone. ``segment`` as ``CopyFailure`` has it."""

    segment: int | None = None


UNREADABLE = Reported(Status.CHECK_CONDITION,
                      Sense(SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR).put_fixed())
"""What a disk says of blocks that cannot be read; they are found out only when another unit takes them."""


def field_failure(byte: int, code: int = Asc.INVALID_FIELD_IN_PARAMETERS,
                  bit: int | None = None) -> CopyFailure:
    """A field of the segment descriptor is wrong."""
    return CopyFailure(code, SegmentPointer(byte, in_segment=True, bit=bit))
