"""The management socket: a UNIX socket of the listener, one line of JSON in, one document of JSON out.

The socket lies in a folder of the server's own user. Whoever else reaches it all the same is sent away, and
one who is slow to ask, or to take the answer, loses the connection: nothing waits for him.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from ndmpd.net.dataconn import short
from ndmpd.net.watch import Watch

log = logging.getLogger(__name__)

SOCKET = "admin"
"""Its name in ``state_dir``/run."""
LONGEST_REQUEST = 4096
ASKING = 2.0
"""Seconds that a request may take to arrive."""
TAKING = 5.0
"""Seconds that its answer may take to be taken."""
MOST = 32
"""Connections at a time; another takes the place of the oldest."""
_CREDENTIALS = struct.Struct("iII")

Document = dict[str, Any]
Answer = Callable[[Document], Deferred[Document]]


class ManagementServer(Factory):
    """Answers by ``answer`` at ``run``/admin, from now on until ``stop``. Raises OSError."""

    noisy = False

    def __init__(self, reactor: Any, run: Path, answer: Answer) -> None:
        self.reactor = reactor
        self.answer = answer
        self.connections: dict[_Connection, None] = {}
        self._path = run / SOCKET
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with short(self._path) as path:
            self._listening.bind(path)
            os.chmod(path, 0o600)
        self._listening.listen(MOST)
        self._watch = Watch(reactor, self._listening, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
            with connection:
                connection.setblocking(False)
                self.reactor.adoptStreamConnection(connection.fileno(), connection.family, self)
        except OSError as failure:
            log.warning("a question of an operator: %s", failure)

    def buildProtocol(self, address: object) -> _Connection:
        if len(self.connections) >= MOST:
            next(iter(self.connections)).leave()
        return _Connection(self)

    def stop(self) -> None:
        """Whoever waits for an answer has none. Idempotent."""
        self._watch.stop()
        for connection in list(self.connections):
            connection.leave()
        if self._listening.fileno() >= 0:
            self._listening.close()
            self._path.unlink(missing_ok=True)


class _Connection(Protocol):
    """One request and its answer."""

    def __init__(self, server: ManagementServer) -> None:
        self._server = server
        self._request = bytearray()
        self._asked = False
        self._late: Any = None

    def connectionMade(self) -> None:
        self._server.connections[self] = None
        self._late = self._server.reactor.callLater(ASKING, self.leave)
        transport: Any = self.transport
        if not _may_ask(transport.socket):
            self._say({"error": "only root and the user that the server runs as may ask"})

    def dataReceived(self, data: bytes) -> None:
        if self._asked:
            return
        self._request += data
        line, newline, _ = self._request.partition(b"\n")
        if len(line) > LONGEST_REQUEST:
            self._say({"error": f"a request has at most {LONGEST_REQUEST} bytes"})
        elif newline:
            self._ask(bytes(line))

    def _ask(self, line: bytes) -> None:
        self._asked = True
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            self._say({"error": "a request is one line with an object of JSON"})
            return
        self._late.cancel()  # from here on it is we who take the time
        answered = self._server.answer(request)
        answered.addErrback(self._failed)
        answered.addCallback(self._say)

    def _failed(self, failure: Failure) -> Document:
        log.error("%s", failure.getTraceback())
        return {"error": "internal error; see the server's log"}

    def _say(self, answer: Document) -> None:
        self._asked = True
        if not self.connected:
            return
        if self._late.active():
            self._late.cancel()
        self._late = self._server.reactor.callLater(TAKING, self.leave)
        transport: Any = self.transport
        transport.write(json.dumps(answer).encode() + b"\n")
        transport.loseConnection()

    def leave(self) -> None:
        """Without another word."""
        transport: Any = self.transport
        transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._server.connections.pop(self, None)
        if self._late is not None and self._late.active():
            self._late.cancel()


def _may_ask(connection: socket.socket) -> bool:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(credentials)
    return uid in (0, os.geteuid())
