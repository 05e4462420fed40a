"""A control connection as the DMA holds it: one request at a time, posts dispatched whenever they come.

The server speaks first (NOTIFY_CONNECTION_STATUS), then the version is settled (CONNECT_OPEN), then the user
proves who he is (``ndmpd.client.auth``). Posts may arrive at any time, also between a request and its reply;
each goes to ``on_post`` at once, so that nothing piles up. A post handler must not send requests.

Waits are cut into slices of ``SLICE`` seconds, so that a wish to stop is noticed soon. No body is ever logged
here: it may carry a password.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ndmpd.client.errors import ClientError, Interrupted, Refused, Unreachable
from ndmpd.client.url import ServerUrl
from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, ConnectionStatusReason, Error, MessageType, Version
from protocol.ndmp.connect import ConnectCloseRequest, ConnectOpenReply, ConnectOpenRequest
from protocol.ndmp.header import SIZE, Header
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.notify import NotifyConnectionStatusPost
from protocol.ndmp.record import Unframer, frame
from protocol.xdr import Reader

CONNECT_TIMEOUT = 20.0
REPLY_TIMEOUT = 120.0
"""Seconds for an answer that needs no device."""
DEVICE_TIMEOUT = 1800.0
"""Seconds for a rewind, a locate or a move of the robot's arm."""
SLICE = 0.25
MAX_RECORD = 16 << 20
"""The largest record taken from a server: far above any reply, so that a wrong length is not believed."""
RECEIVE = 256 << 10

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Reply)
PostHandler = Callable[[int, Message], None]
RawHandler = Callable[[int, bytes], bool]


@dataclass(slots=True)
class Stop:
    """The user's wish to stop. Shared by all connections of a job; ``heeded`` is off while it cleans up."""

    requested: bool = False
    heeded: bool = True

    def check(self) -> None:
        if self.requested and self.heeded:
            raise Interrupted("interrupted: the job was aborted")


def ignore_post(code: int, post: Message) -> None:
    """The post handler of those who wait for nothing."""


def take_no_raw(code: int, body: bytes) -> bool:
    """The raw handler of those who want every post decoded."""
    return False


class Connection:
    """A control connection that is open at ``version``."""

    def __init__(self, sock: socket.socket, place: str, stop: Stop | None = None) -> None:
        self.place = place
        self.version = Version.V4
        self.on_post: PostHandler = ignore_post
        self.on_raw_post: RawHandler = take_no_raw
        self.stop = stop or Stop()
        self._socket = sock
        self._unframer = Unframer(MAX_RECORD)
        self._records: deque[bytes] = deque()
        self._sequence = 0

    @classmethod
    def open(cls, url: ServerUrl, version: Version | None = None, stop: Stop | None = None) -> Connection:
        """Connect and settle the version: ``version`` exactly, or the highest that both sides know.

        Raises Unreachable where no NDMP server answers there, or not in that version.
        """
        try:
            sock = socket.create_connection((url.host, url.port), CONNECT_TIMEOUT)
        except OSError as problem:
            raise Unreachable(f"cannot connect to {url.place}: {problem.strerror or problem}; "
                              "is the server running, and is the port right?") from None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection = cls(sock, url.place, stop)
        try:
            connection._settle(version)
        except BaseException:
            connection.drop()
            raise
        return connection

    def _settle(self, version: Version | None) -> None:
        greeting: list[NotifyConnectionStatusPost] = []

        def greeted(code: int, post: Message) -> None:
            if isinstance(post, NotifyConnectionStatusPost):
                greeting.append(post)

        self.on_post = greeted
        deadline = time.monotonic() + CONNECT_TIMEOUT
        while not greeting:
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.place} takes connections but does not greet as NDMP servers do")
            self.pump(SLICE)
        self.on_post = ignore_post
        hello = greeting[0]
        if hello.reason != ConnectionStatusReason.CONNECTED:
            name = getattr(hello.reason, "name", hello.reason)
            raise Unreachable(f"{self.place} turns the connection away ({name}): "
                              f"{hello.text_reason or 'no reason given'}")
        wanted = version or Version(min(hello.protocol_version, max(Version)))
        self.version = wanted
        try:
            self.call(Code.CONNECT_OPEN, ConnectOpenRequest(wanted), ConnectOpenReply)
        except Refused as refusal:
            raise Unreachable(f"{self.place} offers NDMP version {hello.protocol_version} and refuses "
                              f"{wanted.value}: {refusal}") from None

    def call(self, code: Code, body: Message, reply: type[R], *, accept: Sequence[Error] = (),
             timeout: float = REPLY_TIMEOUT) -> R:
        """Send a request and return its reply.

        Raises Refused for any error not in ``accept``, Unreachable when the server is gone or silent for
        ``timeout`` seconds, Interrupted when the user wants to stop.
        """
        sequence = self._send(code, body)
        deadline = time.monotonic() + timeout
        while True:
            answer = self._next_reply()
            if answer is not None:
                header, data = answer
                if header.reply_sequence == sequence:
                    break
                continue
            if time.monotonic() > deadline:
                raise Unreachable(f"{self.place} has not answered {code.name} for {timeout:.0f} seconds")
            self._receive(SLICE)
        if header.error != Error.NO_ERR:
            raise Refused(code.name, header.error)
        message = self._decode(reply, data)
        if message.error != Error.NO_ERR and message.error not in accept:
            raise Refused(code.name, message.error)
        return message

    def _send(self, code: Code, body: Message) -> int:
        self.stop.check()
        self._sequence += 1
        header = Header(self._sequence, int(time.time()) & 0xFFFFFFFF, MessageType.REQUEST, code)
        try:
            record = header.encode() + registry.encode(body, self.version)
        except WireError as problem:
            raise ClientError(f"{code.name} does not fit version {self.version.value}: {problem}") from None
        try:
            self._socket.settimeout(REPLY_TIMEOUT)
            self._socket.sendall(frame(record))
        except OSError as problem:
            raise Unreachable(f"{self.place} closed the connection ({problem})") from None
        return self._sequence

    def pump(self, seconds: float) -> None:
        """Dispatch the posts that are here; wait up to ``seconds`` for the first if there are none."""
        self._receive(seconds)
        while True:
            answer = self._next_reply()
            if answer is None:
                return

    @property
    def backlog(self) -> bool:
        """Whether received records are waiting to be looked at, so that a select would not tell."""
        return bool(self._records)

    def fileno(self) -> int:
        return self._socket.fileno()

    def _next_reply(self) -> tuple[Header, bytes] | None:
        """Dispatch posts up to the next reply; None when all that was received is dealt with."""
        while self._records:
            record = self._records.popleft()
            try:
                header = Header.take(Reader(record))
            except WireError as problem:
                raise Unreachable(f"{self.place} does not speak NDMP: {problem}") from None
            data = record[SIZE:]
            if header.message_type == MessageType.REPLY:
                return header, data
            if self.on_raw_post(header.message_code, data):
                continue
            kind = registry.post_class(header.message_code, self.version)
            if kind is not None:
                self.on_post(header.message_code, self._decode(kind, data))
        return None

    def _decode(self, kind: type[M], data: bytes) -> M:
        try:
            return registry.decode(kind, data, self.version)
        except WireError as problem:
            raise Unreachable(f"{self.place} sent a {kind.__name__} that is not one: {problem}") from None

    def _receive(self, seconds: float) -> None:
        """Take what has arrived; wait for it up to ``seconds`` (no longer than a slice)."""
        self.stop.check()
        ready, _, _ = select.select([self._socket], [], [], min(seconds, SLICE))
        if not ready:
            return
        try:
            data = self._socket.recv(RECEIVE)
        except OSError as problem:
            raise Unreachable(f"{self.place} closed the connection ({problem})") from None
        if not data:
            raise Unreachable(f"{self.place} closed the connection")
        try:
            self._records.extend(self._unframer.feed(data))
        except WireError as problem:
            raise Unreachable(f"{self.place} does not speak NDMP: {problem}") from None

    def close(self) -> None:
        """Take leave (CONNECT_CLOSE, which has no reply) and hang up."""
        try:
            self._send(Code.CONNECT_CLOSE, ConnectCloseRequest())
        except (Unreachable, Interrupted):
            pass
        self.drop()

    def drop(self) -> None:
        """Hang up without a word; the server releases what this connection held."""
        self._socket.close()


def await_posts(connections: Sequence[Connection], seconds: float) -> None:
    """Dispatch posts of all ``connections``; wait up to ``seconds`` for the first."""
    if not any(connection.backlog for connection in connections):
        for connection in connections:
            connection.stop.check()
        select.select(connections, [], [], seconds)
    for connection in connections:
        connection.pump(0)
