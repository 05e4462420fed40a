"""What a turn of the session sends and wants done, in order: sequence numbers, headers, replies, posts.

One turn is one call of ``Session.start``, ``receive`` or ``handle``. A request stays ``open`` from its
arrival to its reply, across turns where a service has to act first; there is one at most.
"""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.session.effects import Effect, Note, Send
from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, Error, HasAssociatedMessage, LogType, MessageType, Version
from protocol.ndmp.header import Header
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.message import Message, Reply

_U32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Request:
    """What identifies a request in its reply; ``code`` may be a number nobody knows."""

    sequence: int
    code: Code | int


class Outbox:
    """Collects effects. ``version`` is the one that bodies are encoded for."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.open: Request | None = None
        self._effects: list[Effect] = []
        self._sequence = 0
        self._now = 0

    def begin(self, now: float) -> None:
        """A turn starts; ``now`` is Unix time."""
        self._now = int(now) & _U32

    def drain(self) -> list[Effect]:
        """The turn is over: its effects."""
        effects, self._effects = self._effects, []
        return effects

    @property
    def effects(self) -> list[Effect]:
        """Those of this turn so far."""
        return self._effects

    def do(self, effect: Effect) -> None:
        self._effects.append(effect)

    def note(self, kind: LogType, text: str) -> None:
        self.do(Note(kind, text))

    def answer(self, reply: Reply, delay: float = 0.0) -> None:
        """Reply to the open request. ``reply_sequence`` is the request's (2.7)."""
        try:
            body = registry.encode(reply, self.version)
        except WireError as error:
            self.note(LogType.ERROR, f"a reply cannot be encoded: {error}")
            self.refuse(Error.XDR_ENCODE)
            return
        self._reply(Error.NO_ERR, body, delay)

    def refuse(self, error: Error) -> None:
        """Reply to the open request by an error in the header, with no body (2.7)."""
        self._reply(error, b"", 0.0)

    def _reply(self, error: Error, body: bytes, delay: float) -> None:
        request, self.open = self.open, None
        if request is None:
            raise AssertionError("a second reply to one request")
        header = self._header(MessageType.REPLY, request.code, request.sequence, error)
        self.do(Send(header + body, delay))

    def post(self, body: Message) -> None:
        """Send what needs no answer."""
        self.post_packed(registry.code_of(type(body)), registry.encode(body, self.version))

    def post_packed(self, code: int, body: bytes) -> None:
        """``post`` for a body that is encoded already: file history comes by the million."""
        self.do(Send(self._header(MessageType.POST, code, 0, Error.NO_ERR) + body))

    def log(self, kind: LogType, text: str, about_last: bool = False) -> None:
        """A LOG_MESSAGE; ``about_last`` associates it with the message sent last (4.2.1)."""
        valid = HasAssociatedMessage(about_last)
        about = self._sequence if about_last else 0
        self.post(LogMessagePost(kind, 0, printable(text), valid, about))

    def _header(self, kind: MessageType, code: int, reply_sequence: int, error: Error) -> bytes:
        self._sequence = self._sequence % _U32 + 1
        return Header(self._sequence, self._now, kind, code, reply_sequence, error).encode()


def printable(text: str) -> str:
    """``text`` as XDR can carry it. Names of files as ``os.fsdecode`` gives them keep their bytes."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
