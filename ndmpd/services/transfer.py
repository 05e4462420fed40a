"""Which data mover carries a job: the DMA's DATAMOVER variable, and the order in which movers are tried.

NAS is the head itself, which can carry everything. SCSI is a copy manager, which carries blocks of disks that
it reaches. AUTO, the default, tries the copy managers in the order of the configuration, then the head; where
one fails in mid-stream the next goes on at the very record. SCSI forbids the head to take over, NAS forbids
copy managers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Generic, Protocol, TypeVar

from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Written
from ndmpd.errors import JobRefused, NdmpdError
from ndmpd.formats.environment import Environment
from ndmpd.offload.ends import TapeEnd
from ndmpd.pieces import Piece
from ndmpd.ports import Transport
from ndmpd.services.copy_path import CopyPath, Restored, Settle, blocks_among
from ndmpd.services.copying import Copying, PathFailed, Run
from ndmpd.services.head_path import HeadPath
from protocol.ndmp.codes import LogType

log = logging.getLogger(__name__)

VARIABLE = "DATAMOVER"
USED = "DATAMOVER_USED"
"""Comes back with the type of the mover that did it, and its name; ignored on input."""
OFFLOADED = "DATAMOVER_OFFLOADED"
BY_HEAD = "DATAMOVER_BY_HEAD"
"""Come back with bytes of the stream: moved by copy managers, and through the head. Ignored on input."""

Say = Callable[[LogType, str], None]


MakeTransfer = Callable[["Mover", Run], "Transfer"]
"""The data paths of a run, given what type of data mover the DMA asked for."""


class Mover(StrEnum):
    NAS = "NAS"
    SCSI = "SCSI"
    AUTO = "AUTO"


def movers_of(used: str) -> list[str]:
    """The names of data movers in a DATAMOVER_USED."""
    return [name.removeprefix(f"{Mover.SCSI} ") for name in used.split(", ") if name]


class NoMoverLeft(NdmpdError):
    """DATAMOVER=SCSI, and no copy manager can go on."""


def choose(environment: Environment, *, blocks: bool, local: bool, there: bool) -> Mover:
    """What the DMA asks for. Raises JobRefused where that cannot be had.

    ``blocks``: the stream is made of a disk's blocks; ``local``: the other end of the data connection, a
    mover or another DATA, is this server's; ``there``: there is a data mover of type SCSI.
    """
    asked = environment.get(VARIABLE).strip().upper() or Mover.AUTO
    if asked not in list(Mover):
        raise JobRefused(f"{VARIABLE}={asked!r} is not a type of data mover; send NAS, SCSI or AUTO")
    if asked == Mover.SCSI:
        why = ("this server has no data mover of type SCSI" if not there else
               "copy managers carry blocks of disks, as the butype image has them" if not blocks else
               "the other end of the data connection is on another server" if not local else "")
        if why:
            raise JobRefused(f"{VARIABLE}=SCSI, but {why}; send AUTO or NAS to let the head move the data")
    return Mover(asked)


P = TypeVar("P", bound=Copying)


class InOrder(Generic[P]):
    """Copy managers in the order in which a run tries them. ``say`` is a LOG_MESSAGE to the DMA."""

    def __init__(self, asked: Mover, paths: Sequence[P], say: Say) -> None:
        self._asked = asked
        self._say = say
        self._all = tuple(paths)
        self._left = list(paths) if asked is not Mover.NAS else []
        self._named: list[P] = []
        self._head_took_over = False

    @property
    def any(self) -> bool:
        """Whether there is one to ask, or a refusal due because there is none."""
        return bool(self._left) or self._asked is Mover.SCSI

    @property
    def carried(self) -> dict[str, int]:
        """Bytes that did not pass through the head, for each copy manager that carried any; from any thread.
        """
        return {path.name: path.carried for path in self._all if path.carried}

    @property
    def offloaded(self) -> int:
        return sum(self.carried.values())

    @property
    def used(self) -> str:
        """The movers that carried anything, as DATAMOVER_USED has it."""
        names = [f"{Mover.SCSI} {name}" for name in self.carried]
        return ", ".join([*names, Mover.NAS] if self._head_took_over or not names else names)

    @property
    def next(self) -> P | None:
        """The one whose turn it is; None where the head's is."""
        return self._left[0] if self._left else None

    def has(self, path: P | None) -> bool:
        return path in self._left

    def first(self, ready: Callable[[P], object]) -> P | None:
        """The first that can go on, made ``ready``; None for the head. Raises NoMoverLeft."""
        while self._left:
            path = self._left[0]
            try:
                ready(path)
            except PathFailed as failure:
                self.drop(path, failure)
                continue
            return path
        self.check_head()
        return None

    def check_head(self) -> None:
        """Raises NoMoverLeft where the head may not take over."""
        if self._asked is Mover.SCSI:
            raise NoMoverLeft(f"no copy manager can go on, and {VARIABLE}=SCSI forbids the head to; send "
                              "AUTO to allow it")

    def name(self, path: P) -> None:
        """Name it once it has moved something: what it claims to do, and does not, would be news of nothing.
        """
        if path.carried and path not in self._named:
            self._named.append(path)
            self._say(LogType.NORMAL, f"data mover {path.name} (SCSI) moves the data")

    def drop(self, path: P, failure: PathFailed) -> None:
        """Go on without ``path``, for the rest of the run."""
        self.name(path)
        self._left.remove(path)
        path.close()
        following = f"data mover {self._left[0].name} (SCSI)" if self._left else "the head (NAS)"
        if self._left or self._asked is not Mover.SCSI:
            self._head_took_over = not self._left
            self._say(LogType.WARNING, f"data mover {path.name} (SCSI): {failure}; {following} goes on")
        else:
            self._say(LogType.ERROR, f"data mover {path.name} (SCSI): {failure}")

    def close(self) -> None:
        for path in self._left:
            path.close()


class Loans(Protocol):
    """Drives that one session of this server lends to the copies of another."""

    def borrow(self, name: str) -> Transport:
        """Access to a drive that another session has, until the transport is closed. Raises DeviceBusy."""

    def await_copies(self, name: str) -> None:
        """Return once no other session's copies move the tape of our own drive. Raises DeviceBusy."""


class Transfer:
    """The data paths of one run of the mover. ``say`` is a LOG_MESSAGE to the DMA. ``loans`` None: there are
    no copies to tapes of other sessions.
    """

    def __init__(self, asked: Mover, head: HeadPath, copy_paths: Sequence[CopyPath], say: Say,
                 loans: Loans | None = None) -> None:
        self.head = head
        self.loans = loans
        self._borrowed: dict[str, Transport] = {}
        self._say = say
        self._movers = InOrder(asked, copy_paths, say)
        self._opened: CopyPath | None = None
        self._drive: TapeDrive | None = None
        self._all = tuple(copy_paths)

    @property
    def batch(self) -> int | None:
        """Bytes that the copy manager in use takes at a time; None where none is in use."""
        return self._opened.batch if self._opened is not None and self._movers.has(self._opened) else None

    @property
    def offloaded(self) -> int:
        """Bytes of the stream that did not pass through the head."""
        return self._movers.offloaded

    @property
    def carried(self) -> dict[str, int]:
        """The same for each copy manager that carried any; from any thread."""
        return self._movers.carried

    @property
    def used(self) -> str:
        """The movers that carried anything, as DATAMOVER_USED has it."""
        return self._movers.used

    def prepare(self, drive: TapeDrive) -> None:
        """Blocks are to come: have the first copy manager ready by then. What is wrong with it is dealt with
        once they are there.
        """
        if path := self._movers.next:
            with suppress(PathFailed):
                path.open(drive)
                self._opened, self._drive = path, drive

    def write(self, drive: TapeDrive, pieces: Sequence[Piece], record_size: int, count: int) -> Written:
        """``count`` records from ``pieces``, or fewer: the rest is to be given again. Raises NoMoverLeft,
        DeviceError, PositionLost.
        """
        for lost in self._all:
            if lost.failure is not None:
                raise lost.failure
        path = self._path(drive, pieces)
        if path is None:
            return self.head.write(drive, pieces, record_size, count)
        try:
            written = path.write(drive, pieces, record_size, count)
        except PathFailed as failure:
            self._movers.drop(path, failure)
            return Written(failure.records, faults=failure.faults)
        self._movers.name(path)
        return written

    def read(self, drive: TapeDrive, destinations: Sequence[Piece], record_size: int) -> Restored:
        """Whole records from the tape into ``destinations``, as far as a copy manager does it; ``leave``
        says how many of the next are for the head.
        """
        path = self._path(drive, destinations)
        if path is None:
            return Restored(0, sum(piece.length for piece in destinations) // record_size)
        try:
            restored = path.read(drive, destinations, record_size)
        except PathFailed as failure:
            self._movers.drop(path, failure)
            return Restored(failure.records)
        self._movers.name(path)
        return restored

    def copy(self, drive: TapeDrive, to: TapeEnd, record_size: int, records: int,
             settle: Settle) -> Restored | None:
        """Whole records from the tape onto that of ``to``, a drive that its session lends, as far as a copy
        manager does it; None where none ever will.
        """
        if self.loans is None:
            return None
        if to.name not in self._borrowed:
            try:
                self._borrowed[to.name] = self.loans.borrow(to.name)
            except (NdmpdError, OSError) as failure:
                self._say(LogType.NORMAL, f"the head (NAS) moves the data: {failure}")
                self.loans = None
                return None
        path = self._movers.first(partial(self._ready, drive))
        if path is None:
            return None
        self._opened, self._drive = path, drive
        try:
            copied = path.copy(drive, to, record_size, records, settle)
        except PathFailed as failure:
            self._movers.drop(path, failure)
            return Restored(failure.records)
        self._movers.name(path)
        return copied

    def carries(self, pieces: Sequence[Piece]) -> bool:
        """Whether a copy manager may carry any of ``pieces``."""
        return blocks_among(pieces) and self._movers.any

    def _path(self, drive: TapeDrive, pieces: Sequence[Piece]) -> CopyPath | None:
        """The copy manager for ``pieces``, ready for ``drive``; None for the head."""
        if not blocks_among(pieces):
            return None
        path = self._movers.first(partial(self._ready, drive))
        if path is not None:
            self._opened, self._drive = path, drive
        return path

    def _ready(self, drive: TapeDrive, path: CopyPath) -> None:
        if path is not self._opened or drive is not self._drive:
            path.open(drive)

    def close(self) -> None:
        for transport in self._borrowed.values():
            with suppress(NdmpdError, OSError):
                transport.close()
        self._movers.close()
        self.head.close()
