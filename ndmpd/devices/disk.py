"""A disk: capacity, blocks in and out, and which blocks it has stored. SBC-3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ndmpd.datapath import length_of
from ndmpd.devices.errors import DeviceError
from ndmpd.devices.tape_outcome import shifted
from ndmpd.devices.unit import SHORT, Unit
from ndmpd.pieces import Piece, behind, first
from ndmpd.ports import SourceFault, Transport
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.command import Status
from protocol.scsi.sbc import Capacity, DiskSpecific, LbaRun, Provisioning, TransferLimits, take_lba_status
from protocol.scsi.spc import ALL_PAGES, ModeParameters, Vpd

_STATUS_SIZE = 16384
"""Bytes of LBA status asked for at a time: a thousand runs."""
_TRANSFER = 300.0
"""Seconds for one transfer."""
_MOST_10 = 0xFFFF


class Disk(Unit):
    """Addresses and lengths in logical blocks of ``capacity.block_length`` bytes."""

    def __init__(self, transport: Transport, name: str = "disk") -> None:
        super().__init__(transport, name)
        self.capacity = Capacity(0, 512)
        self.limits = TransferLimits()
        self.write_protected = False

    def open(self) -> None:
        """Clear what unit attentions are pending; find capacity and limits. DeviceError where not ready."""
        if not self.ready(SHORT):
            raise DeviceError(self.saying("test unit ready, no medium"), Status.CHECK_CONDITION)
        self.capacity = self._find_capacity()
        try:
            self.limits = TransferLimits.take(self.vital(Vpd.BLOCK_LIMITS).body)
        except (DeviceError, WireError):
            self.limits = TransferLimits()
        cdb = command.MODE_SENSE_6.put(dbd=1, page=ALL_PAGES, allocation=192)
        try:
            mode = ModeParameters.take_6(self.ask("mode sense", cdb, 192))
            self.write_protected = DiskSpecific.take(mode.specific).write_protected
        except (DeviceError, WireError):
            self.write_protected = False

    def close(self) -> None:
        self.transport.close()

    def _find_capacity(self) -> Capacity:
        cdb = command.READ_CAPACITY_16.put(allocation=32)
        try:
            return Capacity.take_16(self.ask("read capacity", cdb, 32))
        except DeviceError as error:
            if not error.refused:
                raise
        return Capacity.take_10(self.ask("read capacity", command.READ_CAPACITY_10.put(), 8))

    def read(self, lba: int, blocks: int, destinations: Sequence[Piece]) -> None:
        """Blocks into ``destinations``, in order. DeviceError where one cannot be read."""
        for at, count, part, _ in self._parts(lba, blocks, destinations):
            cdb = self._cdb(command.READ_10, command.READ_16, at, count)
            self.must(f"read {count} blocks at {at}", cdb, into=part, timeout=_TRANSFER)

    def write(self, lba: int, blocks: int, pieces: Sequence[Piece]) -> tuple[SourceFault, ...]:
        """``pieces`` onto blocks; what could not be read of them is written as zeros, and returned."""
        faults: tuple[SourceFault, ...] = ()
        for at, count, part, before in self._parts(lba, blocks, pieces):
            cdb = self._cdb(command.WRITE_10, command.WRITE_16, at, count)
            answer = self.must(f"write {count} blocks at {at}", cdb, out=part, timeout=_TRANSFER)
            faults += shifted(before, answer.faults)
        return faults

    def _parts(self, lba: int, blocks: int,
               pieces: Sequence[Piece]) -> Iterator[tuple[int, int, Sequence[Piece], int]]:
        """What single commands move, as the disk and the transport take it: (first block, blocks, pieces,
        bytes moved before).
        """
        block = length_of(pieces) // blocks if blocks else 1
        most = self.limits.longest or blocks
        if self.transport.most is not None:
            most = min(most, max(1, self.transport.most // block))
        moved = 0
        while blocks > most:
            yield lba, most, first(pieces, most * block), moved
            pieces = behind(pieces, most * block)
            lba, blocks, moved = lba + most, blocks - most, moved + most * block
        yield lba, blocks, pieces, moved

    @staticmethod
    def _cdb(short: command.Cdb, long: command.Cdb, lba: int, blocks: int) -> bytes:
        form = long if lba + blocks > 0xFFFFFFFF or blocks > _MOST_10 else short
        return form.put(lba=lba, blocks=blocks)

    def synchronize(self) -> None:
        """Have what was written on the medium."""
        self.must("synchronize cache", command.SYNCHRONIZE_CACHE_10.put(), timeout=_TRANSFER)

    def lba_status(self, lba: int = 0, end: int | None = None) -> Iterator[LbaRun]:
        """Runs of blocks with one provisioning status, in order and without gaps, from ``lba`` to ``end``.

        A disk that does not know (no thin provisioning) has it all mapped.
        """
        end = self.capacity.blocks if end is None else min(end, self.capacity.blocks)
        while lba < end:
            try:
                runs = self._runs(lba)
            except DeviceError as error:
                if not error.refused:
                    raise
                yield LbaRun(lba, end - lba, Provisioning.MAPPED)
                return
            for run in runs:
                blocks = min(run.lba + run.blocks, end) - lba
                if run.lba > lba or blocks <= 0:
                    raise WireError(f"{self.name}: LBA status of block {run.lba} came for {lba}")
                yield LbaRun(lba, blocks, run.status)
                lba += blocks
                if lba >= end:
                    return

    def _runs(self, lba: int) -> tuple[LbaRun, ...]:
        cdb = command.GET_LBA_STATUS.put(lba=lba, allocation=_STATUS_SIZE)
        runs = take_lba_status(self.ask(f"get LBA status at {lba}", cdb, _STATUS_SIZE))
        if not runs:
            raise WireError(f"{self.name}: no LBA status for block {lba}")
        return runs
