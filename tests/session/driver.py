"""A DMA and a set of services for tests of the session core: asks, tells events, decodes what comes back.

Requests are encoded and replies decoded by ``protocol.ndmp``, which has golden tests of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from ndmpd.session import (
    AuthPolicy,
    DataFigures,
    MoverFigures,
    ServerFacts,
    Session,
    User,
    effects,
    events,
)
from ndmpd.session.effects import Effect
from ndmpd.session.events import Event
from protocol.ndmp import registry
from protocol.ndmp.address import TcpAddress
from protocol.ndmp.codes import AuthType, Code, Error, LogType, MessageType, TapeOpenMode, Version
from protocol.ndmp.connect import AuthData, ConnectClientAuthRequest, ConnectOpenRequest
from protocol.ndmp.header import SIZE, Header
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.tape import TapeCloseReply, TapeCloseRequest, TapeOpenReply, TapeOpenRequest
from protocol.xdr import Reader

HERE = TcpAddress(0x0A000001, 10001)
PEER = TcpAddress(0x0A000002, 20002)
ALL_ONES = (1 << 64) - 1
RECORD = 10240

USERS = {
    "ndmp": User(b"secret", frozenset({AuthType.TEXT, AuthType.MD5})),
    "md5": User(b"secret", frozenset({AuthType.MD5})),
    "empty": User(b"", frozenset({AuthType.TEXT, AuthType.MD5})),
}
POLICY = AuthPolicy(USERS, methods=frozenset({AuthType.TEXT, AuthType.MD5}))

COMPLETING = (effects.Perform, effects.DataListen, effects.DataConnect, effects.DataStart,
              effects.MoverListen, effects.MoverConnect)


class Kind(Enum):
    REPLY = "reply"
    POST = "post"


@dataclass(frozen=True)
class Seen:
    """One record that the session sent."""

    kind: Kind
    header: Header
    body: Message | None
    delay: float = 0.0

    @property
    def code(self) -> Code:
        return Code(self.header.message_code)

    @property
    def error(self) -> Error | None:
        """What a reply says: the header's error where it has no body."""
        if self.kind is Kind.POST:
            return None
        return self.body.error if isinstance(self.body, Reply) else Error(self.header.error)


@dataclass
class FakeFigures:
    data_figures: DataFigures = field(default_factory=DataFigures)
    mover_figures: MoverFigures = field(default_factory=MoverFigures)

    def data(self) -> DataFigures:
        return self.data_figures

    def mover(self) -> MoverFigures:
        return self.mover_figures


class Challenges:
    """Sixty-four bytes that differ at every call."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self) -> bytes:
        self.given.append(bytes([len(self.given) + 1]) * 64)
        return self.given[-1]


class Dma:
    """``log`` keeps every effect; ``seen`` every record sent, decoded."""

    def __init__(self, version: Version = Version.V4, *, policy: AuthPolicy = POLICY,
                 server: ServerFacts = ServerFacts(), authorized: bool = True) -> None:  # noqa: B008
        self.figures = FakeFigures()
        self.challenges = Challenges()
        self.session = Session(server, policy, self.figures, self.challenges)
        self.log: list[Effect] = []
        self.seen: list[Seen] = []
        self.sequence = 0
        self.now = 1000.0
        self._take(self.session.start(self.now))
        if authorized:
            assert self.ask(ConnectOpenRequest(version)) == Error.NO_ERR
            proof = AuthData(AuthType.TEXT, "ndmp", "secret")
            assert self.ask(ConnectClientAuthRequest(proof)) == Error.NO_ERR

    def ask(self, request: Message) -> Error | None:
        """The error of the reply; None while the request waits for a service."""
        replies = [seen for seen in self.turn(request) if seen.kind is Kind.REPLY]
        assert len(replies) <= 1
        return replies[0].error if replies else None

    def turn(self, request: Message) -> list[Seen]:
        code = registry.code_of(type(request))
        return self.record(code, registry.encode(request, self.session.version))

    def record(self, code: int, body: bytes = b"", kind: int = MessageType.REQUEST) -> list[Seen]:
        self.sequence += 1
        return self.raw(Header(self.sequence, 0, kind, code).encode() + body)

    def raw(self, record: bytes) -> list[Seen]:
        self.now += 1
        return self._take(self.session.receive(record, self.now))

    def tell(self, event: Event) -> list[Seen]:
        self.now += 1
        return self._take(self.session.handle(event, self.now))

    def _take(self, done: list[Effect]) -> list[Seen]:
        self.log += done
        self.last = done
        seen = [decoded(effect, self.session.version) for effect in done if isinstance(effect, effects.Send)]
        self.seen += seen
        return seen

    # What most stories begin with

    def open_tape(self, mode: TapeOpenMode = TapeOpenMode.RDWR) -> None:
        assert self.ask(TapeOpenRequest("tape0", mode)) is None
        self.tell(events.Performed(TapeOpenReply()))

    def close_tape(self) -> None:
        assert self.ask(TapeCloseRequest()) is None
        self.tell(events.Performed(TapeCloseReply()))

    # What a test looks at

    @property
    def deeds(self) -> list[Effect]:
        """Effects of the last turn that are neither sent nor noted."""
        return [effect for effect in self.last if not isinstance(effect, effects.Send | effects.Note)]

    @property
    def notes(self) -> list[str]:
        return [effect.text for effect in self.log if isinstance(effect, effects.Note)]

    @property
    def complaints(self) -> list[str]:
        """Notes of the core's own bugs."""
        return [effect.text for effect in self.log
                if isinstance(effect, effects.Note) and effect.kind == LogType.ERROR and "bug" in effect.text]


def decoded(sent: effects.Send, version: Version) -> Seen:
    header = Header.take(Reader(sent.record))
    data = sent.record[SIZE:]
    if header.message_type == MessageType.REPLY:
        if header.error != Error.NO_ERR:
            assert data == b"", "2.7: an error in the header comes without a body"
            return Seen(Kind.REPLY, header, None, sent.delay)
        cls = registry.reply_class(header.message_code, version)
        assert header.reply_sequence
    else:
        assert header.reply_sequence == 0
        cls = registry.post_class(header.message_code, version)
    assert cls is not None
    return Seen(Kind.REPLY if header.message_type == MessageType.REPLY else Kind.POST, header,
                registry.decode(cls, data, version), sent.delay)


def posts(seen: list[Seen]) -> list[Message | None]:
    return [one.body for one in seen if one.kind is Kind.POST]
