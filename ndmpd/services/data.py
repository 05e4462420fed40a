"""DATA's effects: a data connection, and a data process that works on it."""

from __future__ import annotations

import logging
import pickle
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Protocol

from ndmpd.errors import StreamError
from ndmpd.services import transfer
from ndmpd.services.hello import Hello, greeting
from ndmpd.services.jobs import Counters, Events, Order
from ndmpd.session import events
from ndmpd.session.effects import DataStart
from ndmpd.session.events import Event
from ndmpd.session.figures import DataFigures
from protocol.ndmp.codes import DataHaltReason, Error, Version

log = logging.getLogger(__name__)

_CHUNK = 256 << 10


class Watched(Protocol):
    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self) -> None: ...


class Processes(Protocol):
    """Starts and ends data processes, by a number that the caller chooses."""

    def spawn(self, job: int, session: socket.socket, connection: socket.socket, counters: int) -> None: ...

    def kill(self, job: int) -> None: ...


class DataService:
    """``tell`` takes an event; ``watch`` has the reactor call back when a socket can be read.

    ``pause`` and ``resume`` hold back what a job tells (history above all) while the DMA does not read.
    """

    def __init__(self, processes: Processes, watch: Callable[[socket.socket, Callable[[], None]], Watched],
                 tell: Callable[[Event], None]) -> None:
        self._processes = processes
        self._watch = watch
        self._tell = tell
        self._link: tuple[socket.socket, bool] | None = None
        self._peer: Hello | None = None
        """Who is at the other end of a local channel, once it has said so."""
        self._watching: Watched | None = None
        self._job: socket.socket | None = None
        self._number = 0
        self._incoming = Events()
        self._counters: Counters | None = None
        self.order: Order | None = None
        """What the latest job was told, until it is released."""
        self.used = ""
        """Its DATAMOVER_USED, once it has said so."""
        self._over = False
        self._paused = False
        self._starting = False
        """The job has not yet told that it has started."""

    def attach(self, connection: socket.socket, local: bool) -> None:
        """The data connection is there. Until a job has it, its loss is noticed here."""
        self._link, self._peer = (connection, local), None
        self._watching = self._watch(connection, self._peek)

    def _peek(self) -> None:
        assert self._link is not None
        connection, local = self._link
        try:
            if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                if local and self._peer is None:
                    # Taken away, so that its loss can still be seen.
                    self._peer = greeting(connection)
                else:
                    # A mover that sends before it is asked: the job will read it.
                    self._stop_watching()
                return
        except BlockingIOError:
            return
        except (OSError, StreamError) as failure:
            log.info("data connection: %s", failure)
        self._drop()
        self._tell(events.DataHalted(DataHaltReason.CONNECT_ERROR, "the data connection was lost"))

    def start(self, effect: DataStart, version: Version) -> None:
        """Have a process run the job; answers with DataStarted or DataFailed."""
        if self._link is None:
            self._tell(events.DataFailed(Error.ILLEGAL_STATE, "there is no data connection"))
            return
        self._stop_watching()
        connection, local = self._link
        order = Order(version, effect.operation, effect.butype, effect.environment, effect.nlist, local,
                      self._peer)
        self._end_job()
        self._forget()
        self.order = order
        self._counters = counters = Counters()
        self._number += 1
        try:
            self._job = self._spawned(order, connection, counters)
        except OSError as failure:
            self._rewatch()
            self._tell(events.DataFailed(Error.UNDEFINED, f"no process could be made for the job: {failure}"))
            return
        self._over, self._starting = False, True
        self._incoming = Events()
        self._watching = self._watch(self._job, self._hear)
        if self._paused:
            self._watching.pause()

    def _spawned(self, order: Order, connection: socket.socket, counters: Counters) -> socket.socket:
        """Our end of the socket to a process that is being handed its order."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._processes.spawn(self._number, theirs, connection, counters.fd)
            _hand_over(pickle.dumps(order, pickle.HIGHEST_PROTOCOL), ours)
        except BaseException:
            ours.close()
            raise
        return ours

    def look(self) -> None:
        """Hear what a job has told that is being started: it came before whatever its mover tells now."""
        if self._job is not None and self._starting:
            self._hear()

    def _hear(self) -> None:
        """Something of the job can be read, or it has ended."""
        job = self._job
        if job is None:
            return
        try:
            data = job.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended()
            return
        for event in self._incoming.feed(data):
            self._take(event)
            if self._job is not job:
                return

    def _take(self, event: Event) -> None:
        match event:
            case events.DataStarted():
                self._starting = False
            case events.DataVariable(transfer.USED, used):
                self.used = used
            case events.DataHalted():
                self._over = True
                self._drop()
            case events.DataFailed():
                self._over = True
                self._end_job()
                self._rewatch()
        self._tell(event)

    def _rewatch(self) -> None:
        """The job was refused: the connection waits for another."""
        if self._link is not None:
            self._watching = self._watch(self._link[0], self._peek)

    def _ended(self) -> None:
        """The process is gone. Unless it said how the job ended, it died."""
        with suppress(StreamError):
            self._incoming.finish()
        self._end_job()
        if not self._over:
            self._over = True
            self._drop()
            text = "the data process died; see the server's log"
            self._tell(events.DataFailed(Error.UNDEFINED, text))
            self._tell(events.DataHalted(DataHaltReason.INTERNAL_ERROR, text))

    def end(self) -> None:
        """Abort: the job's process is ended, the connection closed, nothing more is told."""
        if self._job is not None:
            self._processes.kill(self._number)
        self._over = True
        self._end_job()
        self._drop()

    def release(self) -> None:
        """Figures start anew."""
        self.end()
        self._forget()

    def _forget(self) -> None:
        self.order, self.used = None, ""
        if self._counters is not None:
            self._counters.close()
            self._counters = None

    def lose(self, gone: Callable[[socket.socket], bool]) -> None:
        """Break the data connection where its peer is ``gone``: a job that waits for it waits no longer."""
        if self._link is not None and gone(self._link[0]):
            log.warning("data connection: the peer does not answer any more")
            with suppress(OSError):
                self._link[0].shutdown(socket.SHUT_RDWR)

    def pause(self) -> None:
        self._paused = True
        if self._job is not None and self._watching is not None:
            self._watching.pause()

    def resume(self) -> None:
        self._paused = False
        if self._job is not None and self._watching is not None:
            self._watching.resume()

    def figures(self) -> DataFigures:
        if self._counters is None:
            return DataFigures()
        done, expected = self._counters.read()
        return DataFigures(done, None if expected is None else max(0, expected - done))

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.stop()
            self._watching = None

    def _end_job(self) -> None:
        self._stop_watching()
        if self._job is not None:
            self._job.close()
            self._job = None

    def _drop(self) -> None:
        """Let go of the data connection."""
        if self._job is None:
            self._stop_watching()
        if self._link is not None:
            self._link[0].close()
            self._link = None


def _hand_over(order: bytes, job: socket.socket) -> None:
    """Send ``order`` without waiting. What the socket does not take at once (a long file list) is sent by a
    thread as the process reads; should that die meanwhile, its end of the socket tells.
    """
    sent = 0
    with suppress(BlockingIOError):
        while sent < len(order):
            sent += job.send(memoryview(order)[sent:], socket.MSG_DONTWAIT)
    if sent == len(order):
        job.shutdown(socket.SHUT_WR)
        return

    def send_rest(job: socket.socket) -> None:
        with job, suppress(OSError):
            job.sendall(memoryview(order)[sent:])
            job.shutdown(socket.SHUT_WR)

    Thread(target=send_rest, args=(job.dup(),), name="order", daemon=True).start()
