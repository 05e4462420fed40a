"""MOVER's effects: one run at a time, steered from the reactor thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from ndmpd.services.hello import Hello, NobodyThere, Role, meet
from ndmpd.services.mover_backup import BackupRun, OpenSource
from ndmpd.services.mover_recover import LocalRecover, RecoverRun, RemoteRecover
from ndmpd.services.mover_run import MoverRun, PeerClosed, Tell
from ndmpd.services.mover_source import MoverSource
from ndmpd.services.receiving import RemoteSource
from ndmpd.services.sources import LocalSource, Source
from ndmpd.services.tape import TapeService
from ndmpd.services.transfer import MakeTransfer
from ndmpd.session.effects import MoverContinue, MoverRead, MoverStart
from ndmpd.session.figures import MoverFigures
from ndmpd.session.window import Window
from protocol.ndmp.codes import MoverMode


class MoverService:
    """``tell`` takes an event from any thread; ``tape_lock`` is held by whoever uses the tape's drive."""

    def __init__(self, tape: TapeService, tape_lock: threading.Lock, make_transfer: MakeTransfer,
                 tell: Tell) -> None:
        self._tape = tape
        self._tape_lock = tape_lock
        self._make_transfer = make_transfer
        self._tell = tell
        self._link: tuple[socket.socket, bool] | None = None
        self._run: MoverRun | None = None
        """The latest. An ended one may still finish what it has on the tape, and its figures tell of that."""
        self._ended = True
        self._record_size = 0
        self.local = False
        """Whether the latest run's other end is this server's DATA."""
        self.mode = MoverMode.NOACTION

    def hears(self, run: MoverRun) -> bool:
        """Whether events of ``run`` count; those of an ended one are dropped."""
        return run is self._run and not self._ended

    def attach(self, connection: socket.socket, local: bool) -> None:
        """The data connection is there; a run can start on it."""
        self._link = connection, local

    def start(self, effect: MoverStart) -> None:
        assert self._link is not None
        connection, local = self._link
        self._link = None
        self.local, self.mode = local, effect.mode
        self._record_size = effect.record_size
        window = Window(effect.record_size, effect.window_offset, effect.window_length)
        base = connection, self._tape, self._tape_lock, window, self._tell
        run: MoverRun
        if effect.mode == MoverMode.READ:
            opened: OpenSource = _at_the_other_end if local else _another_server
            run = BackupRun(opened, self._make_transfer, *base)
        elif local:
            run = LocalRecover(self._make_transfer, *base)
        else:
            run = RemoteRecover(self._make_transfer, *base)
        self._run, self._ended = run, False
        run.start()

    def proceed(self, effect: MoverContinue) -> None:
        if self._run is not None and not self._ended:
            self._run.proceed(Window(self._record_size, effect.window_offset, effect.window_length))

    def read(self, effect: MoverRead) -> None:
        if isinstance(self._run, RecoverRun):
            self._run.read(effect.offset, effect.length)

    def end(self) -> MoverRun | None:
        """Stop moving and close the connection; the run that may be on its way out. Its figures stay."""
        if self._link is not None:
            self._link[0].close()
            self._link = None
        if self._run is not None and not self._ended:
            self._ended = True
            self._run.stop()
        return self._run

    def lose(self, gone: Callable[[socket.socket], bool]) -> None:
        """Break the data connection where its peer is ``gone``: a run that waits for it waits no longer."""
        if self._run is not None:
            self._run.lose(gone)

    def release(self) -> None:
        """Nobody asks for the figures any more."""
        self.end()

    def shares(self) -> dict[str, int]:
        """Bytes of the latest run by the data mover that moved them; they only grow until another starts, but
        for the head's, which may be told too low for a moment.
        """
        return {} if self._run is None else self._run.shares()

    def figures(self) -> MoverFigures:
        return MoverFigures() if self._run is None else self._run.figures()


def _at_the_other_end(run: BackupRun) -> Source:
    """What of this server sends the stream."""
    try:
        theirs, asked = meet(run.connection, Hello(Role.MOVER_READ))
    except NobodyThere as gone:
        raise PeerClosed from gone
    return MoverSource(run) if theirs.role is Role.MOVER_WRITE else LocalSource(run.connection, asked)


def _another_server(run: BackupRun) -> Source:
    return RemoteSource(run.connection)
