"""A control connection on Twisted: records in, records out, and how fast either may go.

One request is under way at a time. Records behind it wait; when a few do, or when the peer does not read its
replies, nothing more is read from it, so that it costs no more memory than one record.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ndmpd.net.shell import Shell
from ndmpd.net.silence import LOOK_EVERY, PATIENCE, silent
from ndmpd.session.events import Shutdown
from protocol.errors import WireError
from protocol.ndmp.record import Unframer, frame

log = logging.getLogger(__name__)

MAX_RECORD = 64 << 20
"""Bytes of one record of a peer that has logged in: TAPE_WRITE carries a whole tape record."""
STRANGER_RECORD = 4096
"""Bytes of one record before that: a login is far smaller."""
WAITING = 4
"""Records that may wait before nothing more is read."""
LOGIN_WITHIN = 60.0
"""Seconds in which a peer must log in."""


@implementer(IPushProducer)
class Control(Protocol):
    """``make_shell`` gives the connection its shell. ``logged_in`` is called once the peer has logged in,
    ``ended`` when the connection is gone and all is free.
    """

    def __init__(self, reactor: Any, make_shell: Callable[[Control], Shell],
                 logged_in: Callable[[], None], ended: Callable[[], None]) -> None:
        self._reactor = reactor
        self._make_shell = make_shell
        self._logged_in = logged_in
        self._ended = ended
        self._unframer = Unframer(STRANGER_RECORD)
        self._waiting: deque[bytes] = deque()
        self._congested = False
        self._held = False
        self._behind: list[Callable[[], None]] = []
        """What waits for the record that is held back."""
        self._reading = True
        self._turning = False
        self._closing: Deferred[None] | None = None
        self._gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)
        self._login = self._reactor.callLater(LOGIN_WITHIN, self._too_slow)
        self._look = self._reactor.callLater(LOOK_EVERY, self._look_after_peers)
        self._shell = self._make_shell(self)
        self._shell.start()

    def _look_after_peers(self) -> None:
        """Let go of peers that lost their power while something was under way to them."""
        self._look = self._reactor.callLater(LOOK_EVERY, self._look_after_peers)
        transport: Any = self.transport
        if silent(transport.getHandle()):
            log.warning("the peer has not answered for %d s", PATIENCE)
            transport.abortConnection()
        else:
            self._shell.lose(silent)

    def _too_slow(self) -> None:
        self.drop_stranger(f"nobody logged in within {LOGIN_WITHIN:.0f} s")

    def drop_stranger(self, reason: str) -> None:
        """End the session unless the peer has logged in."""
        if self.connected and not self._shell.session.authorized:
            log.warning("%s", reason)
            self.shut_down()

    def account(self) -> dict[str, Any]:
        """What the session can say of itself; nothing before the connection is made."""
        return self._shell.account() if self.connected or self._closing is not None else {}

    def shut_down(self) -> None:
        """This side ends the session."""
        self._shell.handle(Shutdown())

    def finish(self) -> Deferred[None] | None:
        """End the session if it is there still; fires when everything is free."""
        if self._closing is None and self.connected:
            self.shut_down()
            return self._gone
        return self._closing

    def dataReceived(self, data: bytes) -> None:
        # What breaks the framing is dealt with behind the records before it, which have replies coming.
        with suppress(WireError):
            self._waiting.extend(self._unframer.feed(data))
        self.turn()

    def turn(self) -> None:
        """Give the session what it can take; called again whenever that changes."""
        if self._turning:
            return
        self._turning = True
        session = self._shell.session
        try:
            while self._waiting and not (session.busy or session.closed or self._congested or self._held):
                self._shell.receive(self._waiting.popleft())
                if session.authorized and self._unframer.max_record != MAX_RECORD:
                    self._unframer.max_record = MAX_RECORD
                    self._logged_in()
        finally:
            self._turning = False
        broken = self._unframer.broken
        if broken and not (self._waiting or session.busy or session.closed or self._held):
            log.error("the peer does not speak NDMP: %s", broken)
            self.shut_down()
        self._read_on(len(self._waiting) < WAITING and not self._congested and not self._held)

    def _read_on(self, wanted: bool) -> None:
        transport: Any = self.transport
        if wanted == self._reading or transport is None or transport.disconnecting:
            return
        self._reading = wanted
        if wanted:
            transport.resumeProducing()
        else:
            transport.pauseProducing()

    # What the shell calls.

    def send(self, record: bytes) -> None:
        if self._held:
            self._behind.append(lambda: self.send(record))
            return
        transport: Any = self.transport
        transport.write(frame(record))

    def hold(self, seconds: float, record: bytes) -> None:
        def go_on() -> None:
            self._held = False
            self.send(record)
            behind, self._behind = self._behind, []
            for act in behind:
                act()
            if not self._congested:
                self._shell.resume()
            self.turn()

        self._held = True
        self._shell.pause()
        self._reactor.callLater(seconds, go_on)

    def disconnect(self) -> None:
        if self._held:
            self._behind.append(self.disconnect)
            return
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()
        # A peer that does not read must not keep the connection.
        self._reactor.callLater(5.0, transport.abortConnection)

    # How fast the peer reads.

    def pauseProducing(self) -> None:
        self._congested = True
        self._shell.pause()
        self._read_on(False)

    def resumeProducing(self) -> None:
        self._congested = False
        if not self._held:
            self._shell.resume()
        self.turn()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` follows."""

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        for later in self._login, self._look:
            if later.active():
                later.cancel()
        log.info("connection closed")
        self._closing = self._shell.close()
        self._closing.addBoth(self._over)

    def _over(self, result: object) -> None:
        self._gone.callback(None)
        self._ended()
