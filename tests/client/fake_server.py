"""A scripted NDMP server: DATA, MOVER and TAPE in one object that does what a test tells it.

Every request is logged by name and answered with NO_ERR, unless ``refuse`` says otherwise or a hook does
more. The hooks run after the state change that the request itself makes; they change ``data`` and ``mover``
and queue posts.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from protocol.ndmp import registry
from protocol.ndmp.address import LOCAL, Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    Code,
    ConnectionStatusReason,
    DataHaltReason,
    DataOperation,
    DataState,
    Error,
    MessageType,
    MoverHaltReason,
    MoverPauseReason,
    MoverState,
    Version,
)
from protocol.ndmp.data import DataGetEnvReply, DataGetStateReply
from protocol.ndmp.header import SIZE, Header
from protocol.ndmp.message import Message, Pval, Reply
from protocol.ndmp.mover import MoverGetStateReply
from protocol.ndmp.notify import (
    NotifyConnectionStatusPost,
    NotifyDataHaltedPost,
    NotifyMoverHaltedPost,
    NotifyMoverPausedPost,
)
from protocol.ndmp.record import Unframer, frame
from protocol.xdr import Reader

RECORD = 10240
Hook = Callable[["Filer"], None]


class Filer:
    """The state of the scripted server, shared by its connections."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.bodies: list[Message] = []
        self.refuse: dict[Code, list[Error]] = {}
        self.answers: dict[Code, Reply] = {}
        self.hooks: dict[Code, Hook] = {}
        self.data = DataGetStateReply()
        self.mover = MoverGetStateReply(record_size=RECORD)
        self.environment: tuple[Pval, ...] = ()
        self.version = Version.V4
        self.greeting = ConnectionStatusReason.CONNECTED
        self.queue: list[tuple[str, Code, Message]] = []

    # -- what hooks use

    def post(self, side: str, code: Code, body: Message) -> None:
        """Queue a post for the connection of ``side``: data or mover."""
        self.queue.append((side, code, body))

    def pause(self, reason: MoverPauseReason, records: int, seek: int = 0) -> None:
        """The mover pauses having dealt with ``records`` records of the stream."""
        self.mover = replace(self.mover, state=MoverState.PAUSED, pause_reason=reason, record_num=records,
                             bytes_moved=records * RECORD)
        self.post("mover", Code.NOTIFY_MOVER_PAUSED, NotifyMoverPausedPost(reason, seek))

    def halt_data(self, reason: DataHaltReason = DataHaltReason.SUCCESSFUL) -> None:
        self.data = replace(self.data, state=DataState.HALTED, halt_reason=reason)
        self.post("data", Code.NOTIFY_DATA_HALTED, NotifyDataHaltedPost(reason))

    def halt_mover(self, reason: MoverHaltReason = MoverHaltReason.CONNECT_CLOSED, records: int | None = None,
                   moved: int | None = None) -> None:
        records = self.mover.record_num if records is None else records
        self.mover = replace(self.mover, state=MoverState.HALTED, halt_reason=reason, record_num=records,
                             bytes_moved=records * RECORD if moved is None else moved)
        self.post("mover", Code.NOTIFY_MOVER_HALTED, NotifyMoverHaltedPost(reason))

    def end(self, records: int, moved: int | None = None) -> None:
        """Both sides come to a good end."""
        self.halt_data()
        self.halt_mover(records=records, moved=moved)

    # -- what the server does

    def answer(self, code: Code, body: Message) -> Reply | None:
        self.log.append(code.name)
        self.bodies.append(body)
        reply = registry.reply_class(code, self.version)
        if reply is None:
            return None
        if self.refuse.get(code):
            return reply(self.refuse[code].pop(0))
        self._change(code)
        if code in self.hooks:
            self.hooks[code](self)
        if code == Code.DATA_GET_STATE:
            return self.data
        if code == Code.MOVER_GET_STATE:
            return self.mover
        if code == Code.DATA_GET_ENV:
            return DataGetEnvReply(env=self.environment)
        if code in (Code.MOVER_LISTEN, Code.DATA_LISTEN):
            local = getattr(body, "addr_type", None) == AddrType.LOCAL
            address = LOCAL if local else Address(AddrType.TCP, (TcpAddress(0x7F000001, 4711),))
            return reply(Error.NO_ERR, address)  # type: ignore[call-arg]
        return self.answers.get(code, reply())

    def _change(self, code: Code) -> None:
        match code:
            case Code.MOVER_LISTEN:
                self.mover = replace(self.mover, state=MoverState.LISTEN)
            case Code.DATA_CONNECT | Code.MOVER_CONNECT:
                self.mover = replace(self.mover, state=MoverState.ACTIVE)
                self.data = replace(self.data, state=DataState.CONNECTED)
            case Code.DATA_START_BACKUP:
                self.data = replace(self.data, state=DataState.ACTIVE, operation=DataOperation.BACKUP)
            case Code.DATA_START_RECOVER | Code.DATA_START_RECOVER_FILEHIST:
                self.data = replace(self.data, state=DataState.ACTIVE, operation=DataOperation.RECOVER)
            case Code.MOVER_CONTINUE:
                self.mover = replace(self.mover, state=MoverState.ACTIVE, pause_reason=MoverPauseReason.NA)
            case Code.MOVER_CLOSE:
                self.halt_mover()
            case Code.DATA_ABORT:
                self.halt_data(DataHaltReason.ABORTED)
            case Code.MOVER_ABORT:
                self.halt_mover(MoverHaltReason.ABORTED)
            case Code.DATA_STOP:
                self.data = DataGetStateReply()
            case Code.MOVER_STOP:
                self.mover = MoverGetStateReply(record_size=RECORD)

    def requests(self, *without: str) -> list[str]:
        """The log without the polling and the log-in."""
        polling = {"DATA_GET_STATE", "MOVER_GET_STATE", "CONNECT_OPEN", "CONFIG_GET_AUTH_ATTR",
                   "CONNECT_CLIENT_AUTH", *without}
        return [name for name in self.log if name not in polling]

    def sent(self, kind: type[Message]) -> list[Message]:
        return [body for body in self.bodies if isinstance(body, kind)]


class FakeServer:
    """Serves a ``Filer`` on a loopback port until closed."""

    def __init__(self, filer: Filer) -> None:
        self.filer = filer
        self._lock = threading.Lock()
        self._sides: dict[str, socket.socket] = {}
        self._sequence = 0
        self._open: list[tuple[socket.socket, threading.Thread]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def login(self) -> Login:
        return Login(ServerUrl("127.0.0.1", self.port, "me"), "secret", AuthType.TEXT)

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for sock, thread in self._open:
            thread.join(1.0)  # reads what the client said last
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def cut(self, side: str) -> None:
        """Lose the connection of ``side``: data or mover."""
        self._sides[side].shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                self._open.append((sock, thread))
                thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError):
            with self._lock:
                self._send(sock, Code.NOTIFY_CONNECTION_STATUS,
                           NotifyConnectionStatusPost(self.filer.greeting, 4, "as scripted"))
            unframer = Unframer(1 << 24)
            while data := sock.recv(65536):
                for record in unframer.feed(data):
                    with self._lock:
                        self._take(sock, record)

    def _take(self, sock: socket.socket, record: bytes) -> None:
        header = Header.take(Reader(record))
        code = Code(header.message_code)
        side = code.name.split("_")[0].lower()
        self._sides[{"tape": "mover"}.get(side, side)] = sock
        request = registry.request_class(code, self.filer.version)
        assert request is not None
        body = registry.decode(request, record[SIZE:], self.filer.version)
        reply = self.filer.answer(code, body)
        if reply is not None:
            self._send(sock, code, reply, header.sequence)
        queue, self.filer.queue = self.filer.queue, []
        for wanted, post_code, post in queue:
            self._send(self._sides.get(wanted, sock), post_code, post)

    def _send(self, sock: socket.socket, code: Code, body: Message, reply_to: int | None = None) -> None:
        self._sequence += 1
        kind = MessageType.REQUEST if reply_to is None else MessageType.REPLY
        header = Header(self._sequence, 0, kind, code, reply_to or 0)
        sock.sendall(frame(header.encode() + registry.encode(body, self.filer.version)))


