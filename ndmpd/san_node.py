"""The wiring of a SAN node: the embedded SAN as iSCSI target, and its copy manager beside it."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol

from ndmpd.config_types import Listen
from ndmpd.errors import ConfigError
from ndmpd.net.watch import Watch
from ndmpd.san import San
from ndmpd.san.target.portal import Access, Portal

log = logging.getLogger(__name__)

_BACKLOG = 128
_REST = 0.5
"""Seconds before a copy manager that died is started again."""


def serve(san: San, listen: Listen, access: Access, level: str, config: Path | None = None) -> None:
    """Run until SIGTERM or SIGINT. ConfigError where the address cannot be had.

    ``config``: the file that names units of other targets for the copy manager (``NodeSettings``).
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    logging.basicConfig(level=level, stream=sys.stderr,
                        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
    listening = _listening(listen)
    portal = Portal(san, access)
    copier = CopyManagerProcess(reactor, san.path, config)

    def accept() -> None:
        try:
            connection, _ = listening.accept()
        except OSError as failure:
            log.warning("accept: %s", failure)
        else:
            portal.accepted(connection)

    watch = Watch(reactor, listening, accept)
    reactor.addSystemEventTrigger("before", "shutdown", watch.stop)
    reactor.addSystemEventTrigger("before", "shutdown", copier.stop)
    reactor.callWhenRunning(copier.start)
    log.info("listening on %s port %d for initiators of %s", *listening.getsockname()[:2], san.path)
    try:
        reactor.run()
    finally:
        listening.close()
        portal.stop()


def _listening(listen: Listen) -> socket.socket:
    host = listen.interface or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, listen.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"{listen.endpoint}: cannot be listened on ({error.strerror}); stop what uses it, "
                          "or choose another") from error
    listening.setblocking(False)
    return listening


class CopyManagerProcess(ProcessProtocol):
    """The process that carries out EXTENDED COPY, started again when it dies.

    It ends when its standard input does, so that it never outlives this process.
    """

    def __init__(self, reactor: Any, san_dir: Path, config: Path | None) -> None:
        self._reactor = reactor
        self._command = [sys.executable, "-m", "ndmpd.san.copymanager", str(san_dir)]
        if config is not None:
            # What transports and secrets there are is beyond the SAN itself to know.
            self._command = [sys.executable, "-m", "ndmpd", "san", "copymanager", str(san_dir), str(config)]
        self._process: Any = None
        self._stopping = False

    def start(self) -> None:
        if not self._stopping:
            self._process = self._reactor.spawnProcess(self, sys.executable, self._command, env=None,
                                                       childFDs={0: "w", 1: 1, 2: 2})

    def stop(self) -> None:
        self._stopping = True
        if self._process is not None:
            with suppress(ProcessExitedAlready):
                self._process.signalProcess("TERM")

    def processEnded(self, reason: Any) -> None:
        if not self._stopping:
            log.error("the copy manager of the embedded SAN ended (%s); starting it again", reason.value)
            self._reactor.callLater(_REST, self.start)
