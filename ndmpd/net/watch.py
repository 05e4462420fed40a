"""A socket that the reactor watches and somebody else reads."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer


@implementer(IReadDescriptor)
class Watch:
    """Calls ``ready`` whenever ``subject`` has something to read, until ``stop``. Owns no socket."""

    def __init__(self, reactor: Any, subject: socket.socket, ready: Callable[[], None]) -> None:
        self._reactor = reactor
        self._subject = subject
        self._ready = ready
        self._watching = False
        self.resume()

    def fileno(self) -> int:
        return self._subject.fileno()

    def logPrefix(self) -> str:
        return "watch"

    def doRead(self) -> None:
        if self._watching:
            self._ready()

    def connectionLost(self, reason: object) -> None:
        """The reactor stops. A socket that hung up is not told here: it can be read."""
        self._watching = False

    def pause(self) -> None:
        if self._watching:
            self._watching = False
            self._reactor.removeReader(self)

    stop = pause

    def resume(self) -> None:
        if not self._watching and self._subject.fileno() >= 0:
            self._watching = True
            self._reactor.addReader(self)
