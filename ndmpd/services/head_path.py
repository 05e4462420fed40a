"""The head's own data path (TYPE=NAS): it reads the sources, and writes the drive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Piece, Zeros
from ndmpd.ports import SourceFault, Transport
from ndmpd.services.lowering import Lowering


class HeadPath:
    """``open_disk`` is for blocks, which are lowered to what the host can move."""

    def __init__(self, open_disk: Callable[[str], Transport]) -> None:
        self.lowering = Lowering(open_disk)

    def write(self, drive: TapeDrive, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """``count`` records from ``pieces``; as ``TapeDrive.write_records``. Blocks that cannot be read are
        zeros, and among the faults.
        """
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
        return replace(written, faults=(*faults, *written.faults)) if faults else written

    def close(self) -> None:
        self.lowering.close()
