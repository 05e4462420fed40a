"""MOVER's effects: one run at a time, steered from the reactor thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from ndmpd.ports import Transport
from ndmpd.services.mover_backup import BackupRun, LocalSource, RemoteSource
from ndmpd.services.mover_recover import LocalRecover, RecoverRun, RemoteRecover
from ndmpd.services.mover_run import MoverRun
from ndmpd.services.tape import TapeService
from ndmpd.session.effects import MoverContinue, MoverRead, MoverStart
from ndmpd.session.events import MoverHalted, MoverPaused
from ndmpd.session.figures import MoverFigures
from ndmpd.session.window import Window
from protocol.ndmp.codes import MoverMode


class MoverService:
    """``tell`` takes an event from any thread; ``tape_lock`` is held by whoever uses the tape's drive."""

    def __init__(self, tape: TapeService, tape_lock: threading.Lock, open_disk: Callable[[str], Transport],
                 tell: Callable[[MoverPaused | MoverHalted, object], None]) -> None:
        self._tape = tape
        self._tape_lock = tape_lock
        self._open_disk = open_disk
        self._tell = tell
        self._link: tuple[socket.socket, bool] | None = None
        self._run: MoverRun | None = None
        self._figures = MoverFigures()
        self._record_size = 0

    @property
    def run(self) -> object:
        """Identity of the run whose events count; those of an ended one are dropped."""
        return self._run

    def attach(self, connection: socket.socket, local: bool) -> None:
        """The data connection is there; a run can start on it."""
        self._link = connection, local

    def start(self, effect: MoverStart) -> None:
        assert self._link is not None
        connection, local = self._link
        self._link = None
        self._record_size = effect.record_size
        window = Window(effect.record_size, effect.window_offset, effect.window_length)
        base = connection, self._tape, self._tape_lock, window, self._from_run
        run: MoverRun
        if effect.mode == MoverMode.READ:
            source = LocalSource(connection) if local else RemoteSource(connection)
            run = BackupRun(source, self._open_disk, *base)
        elif local:
            run = LocalRecover(self._open_disk, *base)
        else:
            run = RemoteRecover(self._open_disk, *base)
        self._run = run
        run.start()

    def _from_run(self, event: MoverPaused | MoverHalted) -> None:
        self._tell(event, self._run)

    def proceed(self, effect: MoverContinue) -> None:
        if self._run is not None:
            self._run.proceed(Window(self._record_size, effect.window_offset, effect.window_length))

    def read(self, effect: MoverRead) -> None:
        if isinstance(self._run, RecoverRun):
            self._run.read(effect.offset, effect.length)

    def end(self) -> MoverRun | None:
        """Stop moving and close the connection; the run that is on its way out. Its figures stay."""
        if self._link is not None:
            self._link[0].close()
            self._link = None
        run, self._run = self._run, None
        if run is not None:
            self._figures = run.figures()
            run.stop()
        return run

    def release(self) -> None:
        """Figures start anew."""
        self.end()
        self._figures = MoverFigures()

    def figures(self) -> MoverFigures:
        return self._figures if self._run is None else self._run.figures()
