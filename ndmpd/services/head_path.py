"""The head's own data path (TYPE=NAS): it reads the sources, and writes the drive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written, shifted
from ndmpd.errors import NdmpdError
from ndmpd.pieces import LunExtent, Piece, Zeros, behind, first
from ndmpd.ports import SourceFault, Transport
from ndmpd.services.lowering import Lowering

IN_MEMORY = 8 << 20
"""Bytes of a disk's blocks that are in memory at a time, where the disk is no local file."""


class HeadPath:
    """``open_disk`` is for blocks, which are lowered to what the host can move."""

    def __init__(self, open_disk: Callable[[str], Transport]) -> None:
        self.lowering = Lowering(open_disk)

    def write(self, drive: TapeDrive, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """``count`` records from ``pieces``; as ``TapeDrive.write_records``. Blocks that cannot be read are
        zeros, and among the faults.
        """
        if all(self._at_hand(piece) for piece in pieces):
            return self._write(drive, pieces, record_size, count)
        done = 0
        faults: tuple[SourceFault, ...] = ()
        while True:
            batch = min(count - done, max(1, IN_MEMORY // record_size))
            written = self._write(drive, first(pieces, batch * record_size), record_size, batch)
            faults += shifted(done * record_size, written.faults)
            done += written.records
            if done == count or written.records < batch or written.early_warning:
                return Written(done, written.early_warning, written.end_of_medium, faults)
            pieces = behind(pieces, batch * record_size)

    def _at_hand(self, piece: Piece) -> bool:
        if not isinstance(piece, LunExtent):
            return True
        try:
            return self.lowering.destination(piece) is not None
        except NdmpdError:
            return False

    def _write(self, drive: TapeDrive, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        sources: list[Piece] = []
        faults: list[SourceFault] = []
        at = 0
        for piece in pieces:
            end = at + piece.length
            try:
                for source in self.lowering.sources(piece):
                    sources.append(source)
                    at += source.length
            except NdmpdError as failure:
                faults.append(SourceFault(piece, at, end - at, str(failure)))
                sources.append(Zeros(end - at))
                at = end
        written = drive.write_records(sources, record_size, count)
        if not faults:
            return written
        return Written(written.records, written.early_warning, written.end_of_medium,
                       (*faults, *written.faults))

    def close(self) -> None:
        self.lowering.close()
