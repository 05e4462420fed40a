"""A control connection held by hand: any bytes out, every record in, nothing assumed of either side."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass

from ndmpd.client.auth import md5_digest
from protocol.ndmp import registry
from protocol.ndmp.codes import AuthType, Code, MessageType, Version
from protocol.ndmp.config import ConfigGetAuthAttrReply, ConfigGetAuthAttrRequest
from protocol.ndmp.connect import AuthData, ConnectClientAuthRequest, ConnectOpenRequest
from protocol.ndmp.data import DataGetStateRequest
from protocol.ndmp.header import SIZE, Header
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.record import Unframer, frame
from protocol.xdr import Reader
from tests.peers.server import PASSWORD, USER

PATIENCE = 30.0
"""Seconds that any one answer may take; a drive that another session lets go of is waited for 5 s."""
LONGEST = 80 << 20


class Silence(AssertionError):
    """The server owes an answer."""


@dataclass(frozen=True, slots=True)
class Received:
    header: Header
    body: bytes

    @property
    def is_reply(self) -> bool:
        return self.header.message_type == MessageType.REPLY


class Peer:
    """``asked``: sequence numbers of the requests sent, ``last``: the last of them, for messages.

    ``received``: records of the server, in order. ``closed``: the server has hung up.
    """

    def __init__(self, port: int, version: Version = Version.V4) -> None:
        self.version = version
        self.asked: list[int] = []
        self.last = ""
        self.received: list[Received] = []
        self.closed = False
        self._unframer = Unframer(LONGEST)
        self._sequence = 0
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # Out.

    def send(self, data: bytes) -> bool:
        """Send bytes as they are; False where the server has hung up. What it sends meanwhile is kept."""
        view = memoryview(data)
        deadline = time.monotonic() + PATIENCE
        self.socket.setblocking(False)
        while view and not self.closed:
            readable, writable, _ = select.select([self.socket], [self.socket], [], 1.0)
            if readable:
                self._receive()
            if writable and not self.closed:
                try:
                    view = view[self.socket.send(view):]
                except BlockingIOError:
                    continue
                except OSError:
                    self.closed = True
            if time.monotonic() > deadline:
                raise Silence("the server takes no more bytes")
        return not self.closed

    def record(self, code: int, body: bytes = b"") -> bool:
        """Send a request; its reply is owed from now on."""
        return self.send(frame(self.next_header(code) + body))

    def next_header(self, code: int) -> bytes:
        """The header of a request, which counts as asked."""
        self._sequence += 1
        self.asked.append(self._sequence)
        return Header(self._sequence, 0, MessageType.REQUEST, code).encode()

    def request(self, body: Message) -> bool:
        self.last = f"{body!r:.300}"
        return self.record(registry.code_of(type(body)), registry.encode(body, self.version))

    # In.

    @property
    def replies(self) -> list[Received]:
        return [one for one in self.received if one.is_reply]

    def posts(self, code: Code) -> list[Received]:
        return [one for one in self.received if not one.is_reply and one.header.message_code == code]

    def _receive(self) -> None:
        try:
            data = self.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
        for record in self._unframer.feed(data):
            self.received.append(Received(Header.take(Reader(record)), record[SIZE:]))

    def wait(self, seconds: float) -> bool:
        """Take in what comes next, waiting up to ``seconds`` for it; False if nothing came."""
        ready, _, _ = select.select([self.socket], [], [], seconds)
        if ready and not self.closed:
            self._receive()
        return bool(ready)

    def settle(self, patience: float = PATIENCE) -> None:
        """Until every request has its reply, or the server has hung up; Silence where neither happens."""
        deadline = time.monotonic() + patience
        while not self.closed and self._answered() < len(self.asked):
            self.wait(0.5)
            if time.monotonic() > deadline:
                raise Silence(f"{self._answered()} replies to {len(self.asked)} requests after "
                              f"{patience:.0f} s, the last: {self.last}")

    def until_closed(self, patience: float = PATIENCE) -> None:
        """Until the server hangs up; Silence where it does not."""
        deadline = time.monotonic() + patience
        while not self.closed:
            self.wait(0.5)
            if time.monotonic() > deadline:
                raise Silence(f"the connection is still open after {patience} s")

    def _answered(self) -> int:
        return sum(one.is_reply for one in self.received)

    def ask(self, body: Message, patience: float = PATIENCE) -> Reply:
        """Send one request and return its reply. Silence where there is none."""
        self.request(body)
        self.settle(patience)
        last = self.replies[-1]
        if last.header.reply_sequence != self.asked[-1]:
            raise Silence(f"the server hung up on {type(body).__name__}")
        kind = registry.reply_class(registry.code_of(type(body)), self.version)
        assert kind is not None
        if last.header.error:
            return kind(last.header.error)
        return registry.decode(kind, last.body, self.version)

    def check_replies(self) -> None:
        """Each request has had one reply, in order; where the server hung up, the first ones of them."""
        answered = [one.header.reply_sequence for one in self.replies]
        assert answered == self.asked[:len(answered)], f"asked {self.asked}, replies to {answered}"
        assert self.closed or len(answered) == len(self.asked)
        sequences = [one.header.sequence for one in self.received]
        assert sequences == list(range(1, len(sequences) + 1))

    # The usual beginnings.

    def open(self) -> Peer:
        """Settle the version."""
        assert not self.ask(ConnectOpenRequest(self.version)).error
        return self

    def log_in(self, password: str = PASSWORD) -> Reply:
        """Prove by MD5 to be the server's user, or try to."""
        challenge = self.ask(ConfigGetAuthAttrRequest(AuthType.MD5))
        assert isinstance(challenge, ConfigGetAuthAttrReply)
        digest = md5_digest(password, challenge.server_attr.challenge)
        return self.ask(ConnectClientAuthRequest(AuthData(AuthType.MD5, auth_id=USER, auth_digest=digest)))

    def ping(self) -> float:
        """Seconds that a state takes, asked of a session that is logged in."""
        begun = time.monotonic()
        assert not self.ask(DataGetStateRequest()).error
        return time.monotonic() - begun


def logged_in(port: int, version: Version = Version.V4) -> Peer:
    peer = Peer(port, version).open()
    assert not peer.log_in().error
    return peer
