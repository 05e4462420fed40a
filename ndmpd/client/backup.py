"""The backup job: a file system to as many cartridges as it takes (draft, appendix D.1 and D.8.1)."""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.client.catalogue import Catalogue, Medium
from ndmpd.client.errors import ClientError, JobFailed, Refused, WrongUsage
from ndmpd.client.media import TapeStation
from ndmpd.client.movement import ALL, Ending, Movement
from protocol.ndmp.codes import DataHaltReason, DataState, MoverMode, MoverPauseReason, TapeOpenMode
from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.mover import MoverGetStateReply

RECORD_UNIT = 512
MAX_RECORD_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class BackupOrder:
    """What to back up and how to write it.

    ``limit``: bytes to put on one cartridge at most, or None. The data goes behind ``file_number`` file marks
    of the first cartridge, with ``append`` behind all of them; every further cartridge is written from its
    beginning.
    """

    butype: str
    environment: tuple[tuple[str, str], ...]
    record_size: int = 256 << 10
    limit: int | None = None
    file_number: int = 0
    append: bool = False

    def __post_init__(self) -> None:
        if self.record_size % RECORD_UNIT or not RECORD_UNIT <= self.record_size <= MAX_RECORD_SIZE:
            raise WrongUsage(f"a record of {self.record_size} bytes cannot be written; "
                            f"take a multiple of {RECORD_UNIT} up to {MAX_RECORD_SIZE}")
        if self.limit is not None and self.limit < self.record_size:
            raise WrongUsage(f"a cartridge limited to {self.limit} bytes does not hold one record")


class Backup:
    """One backup. ``media`` grows as cartridges fill up; the last one is added when the job ends."""

    def __init__(self, order: BackupOrder, movement: Movement, station: TapeStation,
                 catalogue: Catalogue | None, number: int) -> None:
        self.media: list[Medium] = []
        self.remarks: list[str] = []
        self._order = order
        self._movement = movement
        self._station = station
        self._catalogue = catalogue
        self._number = number
        self._offset = 0
        self._file_number = 0

    def run(self) -> Ending:
        """Back up. Returns when both sides are IDLE again and the drive is closed.

        Whatever goes wrong, both sides are stopped and the drive is let go of before the error is passed on.
        """
        order, movement, station = self._order, self._movement, self._station
        stop = movement.data.connection.stop
        try:
            movement.mover.set_record_size(order.record_size)
            station.mount(0, TapeOpenMode.RDWR)
            if order.append:
                self._file_number = station.skip_all()
            else:
                station.skip_files(order.file_number)
                self._file_number = order.file_number
            station.announce()
            movement.join(MoverMode.READ, *self._window())
            movement.data.start_backup(order.butype, order.environment)
            ending = movement.run(self._paused)
            self._filled(ending.mover)
            try:
                station.write_filemark()
                station.dismount()
            except Refused as refusal:
                if ending.whole:
                    raise
                # What ended the job tells more than what comes of it.
                self.remarks.append(f"the cartridge is left as it is ({refusal})")
                self._let_go()
            return ending
        except BaseException:
            stop.heeded = False
            movement.abandon()
            self._let_go()
            raise

    def _window(self) -> tuple[int, int]:
        if self._order.limit is not None:
            return self._offset, self._order.limit - self._order.limit % self._order.record_size
        return self._offset, ALL - self._offset

    def _paused(self, data: DataGetStateReply, mover: MoverGetStateReply) -> None:
        if data.state == DataState.HALTED and data.halt_reason != DataHaltReason.SUCCESSFUL:
            self._movement.mover.close()
            return
        reached = mover.record_num * self._order.record_size
        if mover.pause_reason == MoverPauseReason.SEEK and reached == sum(self._window()):
            # Some servers say SEEK at a window's end both ways; for writing it is EOW (3.6.1.1).
            self.remarks.append("the mover paused for SEEK at the end of a window, where EOW belongs")
        elif mover.pause_reason not in (MoverPauseReason.EOM, MoverPauseReason.EOW):
            reason = getattr(mover.pause_reason, "name", str(mover.pause_reason))
            raise JobFailed(f"the mover paused for {reason}, for which a backup has no remedy")
        self._filled(mover)
        try:
            self._station.write_filemark()
        except Refused as refusal:
            self.remarks.append(f"no file mark could be written at the end of a cartridge ({refusal})")
        self._station.mount(len(self.media), TapeOpenMode.RDWR)
        self._file_number = 0
        self._station.announce()
        self._movement.mover.set_window(*self._window())
        self._movement.mover.resume()

    def _filled(self, mover: MoverGetStateReply) -> None:
        """Note what the cartridge in the drive holds."""
        loaded = self._station.loaded
        if loaded is None:
            raise JobFailed("the mover wrote without a cartridge")
        size = self._order.record_size
        end = mover.record_num * size
        if not 0 <= end - mover.bytes_moved < size:
            # record_num counts records of the stream, the window's offset included (draft 3.6.1.1).
            self.remarks.append(f"the server counts {mover.record_num} records of {size} bytes and "
                                f"{mover.bytes_moved} bytes moved; the bytes are believed")
            end = -(-mover.bytes_moved // size) * size
        medium = Medium(loaded.cartridge, loaded.drive, self._file_number, self._offset, end - self._offset)
        self.media.append(medium)
        self._offset = end
        if self._catalogue is not None:
            self._catalogue.add_medium(self._number, medium)

    def _let_go(self) -> None:
        try:
            self._station.dismount()
        except ClientError:
            # Closing the control connection, which follows, closes the drive as well (draft 3.4.1).
            pass
