"""Cartridges: which one a job writes or reads next, and how it gets into a drive and into position.

Where cartridges come from is a ``Shelf``: drives that each hold one already, or a changer that brings them to
one drive. ``TapeStation`` opens the drive, positions, and lets go of everything at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ndmpd.client.agents import TapeAgent
from ndmpd.client.connection import Stop
from ndmpd.client.errors import ClientError, MediaError, Refused
from ndmpd.client.observer import Observer
from protocol.ndmp.codes import Error, TapeMtioOp, TapeOpenMode

LOADING = 180.0
"""Seconds that a drive may take to thread a cartridge the robot has just put into it."""
BUSY = 15.0
"""Seconds to wait for a drive that another session is about to give back."""
END_OF_DATA = 1_000_000
"""File marks to skip in order to come to the end of what is recorded: more than any cartridge has."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What is in which drive. ``cartridge`` is the volume tag, "" where it is not known."""

    cartridge: str
    drive: str


class Shelf(Protocol):
    """Where cartridges come from, in the order in which a job uses them."""

    moves: bool
    """Whether cartridges leave their drive, so that it has to unload them first."""

    def bring(self, index: int, cartridge: str, drive: str) -> Loaded:
        """Put cartridge ``index`` of the job (counted from 0) into a drive that is closed.

        ``cartridge`` and ``drive`` are what the catalogue says of it, both "" when writing. Raises MediaError
        where there is no such cartridge.
        """


class Drives:
    """Drives that hold one cartridge each; without names, those that the catalogue remembers."""

    moves = False

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def bring(self, index: int, cartridge: str, drive: str) -> Loaded:
        if not self._names and drive:
            return Loaded(cartridge, drive)
        if index < len(self._names):
            return Loaded(cartridge, self._names[index])
        raise MediaError(f"cartridge {index + 1} is needed and only {len(self._names)} drive(s) were named; "
                         "name more with --drive, or a robot with --changer and --cartridge")


class TapeStation:
    """The job's tape: at most one open drive at a time."""

    def __init__(self, tape: TapeAgent, shelf: Shelf, stop: Stop, observer: Observer) -> None:
        self.tape = tape
        self.loaded: Loaded | None = None
        self._shelf = shelf
        self._stop = stop
        self._observer = observer

    def mount(self, index: int, mode: TapeOpenMode, cartridge: str = "", drive: str = "") -> Loaded:
        """Bring cartridge ``index`` of the job, open its drive and rewind."""
        self.dismount(eject=self._shelf.moves)
        self._observer.doing(f"loading cartridge {cartridge or index + 1}")
        loaded = self._shelf.bring(index, cartridge, drive)
        self._open(loaded.drive, mode)
        self.loaded = loaded
        self.tape.mtio(TapeMtioOp.REW)
        return loaded

    def _open(self, drive: str, mode: TapeOpenMode) -> None:
        begin = time.monotonic()
        while True:
            try:
                return self.tape.open(drive, mode)
            except Refused as refusal:
                patience = 0.0
                if refusal.error == Error.DEVICE_BUSY:
                    patience = BUSY
                elif refusal.error == Error.NO_TAPE_LOADED and self._shelf.moves:
                    patience = LOADING
                if time.monotonic() - begin >= patience:
                    raise self._explained(refusal, drive) from None
            self._stop.check()
            time.sleep(0.5)

    def _explained(self, refusal: Refused, drive: str) -> ClientError:
        match refusal.error:
            case Error.NO_TAPE_LOADED:
                return MediaError(f"there is no cartridge in {drive}")
            case Error.WRITE_PROTECT:
                return MediaError(f"the cartridge in {drive} is write-protected")
            case Error.DEVICE_BUSY:
                return Refused(refusal.request, refusal.error, f"{drive} is in use by somebody else")
            case Error.NO_DEVICE:
                return Refused(refusal.request, refusal.error,
                               f"there is no tape drive {drive!r}; see ndmpc query for their names")
        return refusal

    def skip_files(self, count: int) -> None:
        """From the beginning of the tape to just behind file mark ``count``."""
        if count:
            left = self.tape.mtio(TapeMtioOp.FSF, count)
            if left:
                raise MediaError(f"the cartridge has {count - left} file marks, {count} were to be skipped")

    def skip_all(self) -> int:
        """To the end of what is recorded; returns how many file marks lie before it."""
        left = self.tape.mtio(TapeMtioOp.FSF, END_OF_DATA, accept=(Error.EOM, Error.EOF))
        return END_OF_DATA - left

    def announce(self) -> None:
        if self.loaded is not None:
            self._observer.cartridge(self.loaded.cartridge, self.loaded.drive)

    def write_filemark(self) -> None:
        self.tape.mtio(TapeMtioOp.EOF)

    def dismount(self, eject: bool = False) -> None:
        """Let go of the drive, if one is open; with ``eject`` it unloads its cartridge, else it rewinds."""
        if self.loaded is None:
            return
        self.loaded = None
        try:
            self.tape.mtio(TapeMtioOp.OFF if eject else TapeMtioOp.REW)
        finally:
            self.tape.close()
