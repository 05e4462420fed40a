"""Drives of other targets as copy sources and destinations: one record a command, as the standard has it.

What lies ahead on their tapes, and how much room there is, such drives do not tell; so no record is asked for
before it is wanted, and none is sent before the one before it is known to be on tape.
"""

from __future__ import annotations

from collections.abc import Sequence

from ndmpd.pieces import Inline, Piece, behind, first
from ndmpd.san.copymanager.contact import Contact
from ndmpd.san.copymanager.ends import End, sense_of
from ndmpd.san.copymanager.failure import CopyFailure, field_failure
from ndmpd.san.copymanager.residue import read_whole
from ndmpd.san.copymanager.streams import Passed, Stream
from ndmpd.san.copymanager.supply import CHUNK
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import SenseKey


class ForeignStream(Stream):
    """A drive of another target."""

    def __init__(self, end: End, at: int, contact: Contact, *, variable: bool = False) -> None:
        super().__init__(end, at, variable=variable)
        self._most = contact.most

    def transfer(self, length: int, at: int) -> int:
        size = super().transfer(length, at)
        if size > self._most:
            raise field_failure(at)
        return size

    def read(self, size: int, most: int) -> list[Piece]:
        data = bytearray(size)
        result, _ = self.end.send(self._cdb(scsi.READ_6_TAPE, size), into=[Inline(data)])
        if result.status != Status.GOOD:
            raise self.end.source_failure(result)
        if result.transferred != size:
            raise CopyFailure(Asc.COPY_TARGET_UNDERRUN, self.end.pointer)
        return [Inline(data)]

    def passed(self) -> Passed:
        data = bytearray(self._most)
        result, _ = self.end.send(scsi.READ_6_TAPE.put(length=len(data)), into=[Inline(data)])
        if result.status == Status.GOOD:
            return Passed([Inline(data)], len(data))
        sense = sense_of(result)
        if sense is not None and sense.key is SenseKey.BLANK_CHECK:
            return Passed()
        if sense is not None and sense.filemark:
            return Passed(mark=True)
        short = sense.residue if sense is not None and sense.ili and not sense.eom else None
        if short is None or not 0 < short < len(data) or sense is None or sense.key is not SenseKey.NO_SENSE:
            # Nothing of a record that is longer than one command moves can be copied.
            raise self.end.source_failure(result)
        size = len(data) - short
        return Passed([Inline(memoryview(data)[:size])], size)

    def write(self, pieces: Sequence[Piece], size: int, most: int) -> tuple[int, CopyFailure | None]:
        if size > self._most:
            raise CopyFailure(Asc.COPY_TARGET_OVERRUN, self.end.pointer)
        done = 0
        for _ in range(max(1, min(most, CHUNK // size))):
            record, pieces = first(pieces, size), behind(pieces, size)
            try:
                # All of it is known to be readable before the drive hears of it.
                data = record[0] if isinstance(record[0], Inline) and len(record) == 1 else read_whole(record)
                out = data if isinstance(data, Inline) else Inline(data)
                result, _ = self.end.send(self._cdb(scsi.WRITE_6_TAPE, size), [out])
            except CopyFailure as failure:
                return done, failure
            if result.status != Status.GOOD:
                return done + self.landed(result, size, self.block), self.end.destination_failure(result)
            done += size
        return done, None

    def _cdb(self, form: scsi.Cdb, size: int) -> bytes:
        return form.put(fixed=1, length=size // self.block) if self.block else form.put(length=size)


def stream_of(end: End, at: int, *, variable: bool = False) -> Stream:
    """The stream device that byte ``at`` of a segment names. CopyFailure for an end that is none."""
    if end.contact is not None:
        return ForeignStream(end, at, end.contact, variable=variable)
    return Stream(end, at, variable=variable)
