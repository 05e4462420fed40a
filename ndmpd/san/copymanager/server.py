"""The copy manager's process: commands come over an AF_UNIX socket, each connection has a thread.

A connection belongs to one nexus. Killed at any moment, the process leaves the units as the last command of
a copy left them; the copies that ran are over, and nothing is known of them any more.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from ndmpd.san.copymanager.contact import Foreign
from ndmpd.san.copymanager.ends import Units
from ndmpd.san.copymanager.executor import Executor
from ndmpd.san.copymanager.operations import Operations
from ndmpd.san.copymanager.reach import Reach
from ndmpd.san.copymanager.wire import SOCKET, Request, address
from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from ndmpd.san.locks import SharedFile
from ndmpd.san.nexus import NAME
from protocol.errors import WireError

_log = logging.getLogger(__name__)

_LOCK = "copymanager.lock"
_BACKLOG = 128
MAX_CONNECTIONS = 1024
_BREATH = 0.05
_SENDING = 30.0
"""Seconds that an initiator may take to take an answer."""
PROCESS_NAME = "ndmpd-copy"
"""What the process is called where it is forked from a server that has another name."""


class CopyManagerServer:
    """Listens from the moment it is made. SanError where another process is the copy manager of this SAN.

    ``foreign``: units of other targets that copies may reach besides those of the SAN.
    """

    def __init__(self, san_dir: str | Path, foreign: Iterable[Foreign] = ()) -> None:
        self.san = San.open(san_dir)
        self.reach = Reach(foreign)
        self.operations = Operations()
        self._lock = SharedFile(self.san.path / _LOCK, os.O_RDWR | os.O_CREAT)
        if not self._lock.try_lock():
            self._lock.close()
            raise SanError(f"another process is the copy manager of {self.san.path} already; "
                           f"see which with: fuser -v {self.san.path / _LOCK}")
        self._guard = threading.Lock()
        self._nexuses: Counter[str] = Counter()
        self._connections: set[socket.socket] = set()
        self._stopping = False
        # Whoever held the lock before is dead, and its socket with it.
        (self.san.path / SOCKET).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with address(self.san.path) as name:
            self._listener.bind(name)
        self._listener.listen(_BACKLOG)

    def run(self) -> None:
        """Serve until ``stop``."""
        try:
            while not self._stopping:
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    if self._stopping:
                        break
                    # Out of descriptors, as a rule: others may give some back.
                    _log.warning("a connection could not be taken: %s", error)
                    time.sleep(_BREATH)
                    continue
                self._take(connection)
        finally:
            self._listener.close()
            (self.san.path / SOCKET).unlink(missing_ok=True)
            self.reach.close()
            self._lock.close()

    def _take(self, connection: socket.socket) -> None:
        with self._guard:
            full = len(self._connections) >= MAX_CONNECTIONS or self._stopping
            if not full:
                self._connections.add(connection)
        if not full:
            try:
                threading.Thread(target=self._serve, args=(connection,), daemon=True,
                                 name="copy manager").start()
                return
            except RuntimeError as error:
                _log.warning("no thread for a connection: %s", error)
        with self._guard:
            self._connections.discard(connection)
        connection.close()

    def stop(self) -> None:
        """End ``run``; copies that are under way are aborted."""
        self._stopping = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._guard:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        nexus = ""
        units = Units(self.san, self.reach)
        executor = Executor(units, self.operations, _hung_up(connection))
        try:
            while (request := Request.receive(connection)) is not None:
                if not nexus:
                    nexus = self._enter(request.nexus)
                if request.nexus != nexus:
                    raise WireError(f"nexus {request.nexus} on the connection of {nexus}")
                reply = executor.execute(request)
                connection.settimeout(_SENDING)
                reply.send(connection)
                connection.settimeout(None)
        except (OSError, WireError) as error:
            _log.info("connection of nexus %s: %s", nexus or "?", error)
        finally:
            units.close()
            self._leave(nexus)
            with self._guard:
                self._connections.discard(connection)
            connection.close()

    def _enter(self, nexus: str) -> str:
        if not NAME.fullmatch(nexus):
            raise WireError(f"{nexus!r} cannot name a nexus")
        with self._guard:
            self._nexuses[nexus] += 1
        return nexus

    def _leave(self, nexus: str) -> None:
        with self._guard:
            self._nexuses[nexus] -= 1
            lost = self._nexuses[nexus] <= 0
            if lost:
                del self._nexuses[nexus]
        if lost and nexus:
            self.operations.lose(nexus)
            self.reach.lose(nexus)


def _hung_up(connection: socket.socket) -> Callable[[], bool]:
    """Whether the peer has closed, without reading from it."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)

    return lambda: bool(poll.poll(0))


def serve(san_dir: str | Path, ready: Callable[[], None] | None = None,
          foreign: Iterable[Foreign] = ()) -> None:
    """Be the copy manager of the SAN until killed; ``ready`` is called once commands can come."""
    server = CopyManagerServer(san_dir, foreign)
    if ready is not None:
        ready()
    server.run()
