"""The connection itself: which version is spoken, who speaks, when it ends (2.11.2, 2.11.3, 3.1)."""

from __future__ import annotations

from collections.abc import Callable

from ndmpd.session import authentication
from ndmpd.session.effects import Disconnect, ReleaseAll
from ndmpd.session.facts import AuthPolicy, ServerFacts
from ndmpd.session.outbox import Outbox
from ndmpd.session.refused import Refused
from protocol.ndmp.codes import AuthType, ConnectionStatusReason, Error, LogType, Version
from protocol.ndmp.config import ConfigGetAuthAttrReply, ConfigGetAuthAttrRequest
from protocol.ndmp.connect import (
    CHALLENGE_SIZE,
    AuthAttr,
    AuthData,
    ConnectClientAuthReply,
    ConnectClientAuthRequest,
    ConnectCloseRequest,
    ConnectOpenReply,
    ConnectOpenRequest,
    ConnectServerAuthReply,
    ConnectServerAuthRequest,
)
from protocol.ndmp.notify import NotifyConnectionStatusPost

_NAME_SHOWN = 64
"""Characters of a claimed user name that are written into a log."""


class Connection:
    """``negotiated``: the version is settled, by CONNECT_OPEN or any other request. ``closed``: it is over.
    ``failures``: logins that failed.

    ``new_challenge`` gives 64 unpredictable bytes at each call.
    """

    def __init__(self, server: ServerFacts, policy: AuthPolicy, outbox: Outbox,
                 new_challenge: Callable[[], bytes]) -> None:
        self.negotiated = False
        self.closed = False
        self.authorized = False
        self.user: str | None = None
        self._server = server
        self._policy = policy
        self._out = outbox
        self._new_challenge = new_challenge
        self._challenge: bytes | None = None
        self.failures = 0

    def greet(self) -> None:
        """The first message of every session (4.1.2)."""
        self._out.post(NotifyConnectionStatusPost(ConnectionStatusReason.CONNECTED, self._server.highest, ""))

    def refuse(self, text: str) -> None:
        """Greet with a refusal, and close."""
        self._out.post(NotifyConnectionStatusPost(ConnectionStatusReason.REFUSED, self._server.highest, text))
        self._end()

    def shut_down(self) -> None:
        """End the session from this side (2.11.2)."""
        self._out.post(NotifyConnectionStatusPost(ConnectionStatusReason.SHUTDOWN, self._out.version, ""))
        self._end()

    def lost(self) -> None:
        """The peer is gone: 3.4.1 has its devices closed, and nobody is left to tell anything."""
        self.closed = True
        self._out.do(ReleaseAll())

    def _end(self) -> None:
        """Whatever the session holds is free again by the time the peer sees the end."""
        self.closed = True
        self._out.do(ReleaseAll())
        self._out.do(Disconnect())

    def open(self, request: ConnectOpenRequest) -> None:
        """3.1.1. A version that is not spoken is refused; the peer may try another."""
        if self.negotiated:
            raise Refused(Error.ILLEGAL_STATE)
        if not self._server.speaks(request.protocol_version):
            raise Refused(Error.ILLEGAL_ARGS)
        self.negotiated = True
        self._out.version = Version(request.protocol_version)
        self._out.answer(ConnectOpenReply())

    def close(self, request: ConnectCloseRequest) -> None:
        """3.1.3: gets no reply."""
        self._out.open = None
        self._end()

    def get_auth_attr(self, request: ConfigGetAuthAttrRequest) -> None:
        """3.2.4: a new challenge each time, of which the last one counts."""
        if request.auth_type not in self._policy.methods:
            raise Refused(Error.ILLEGAL_ARGS)
        attr = AuthAttr(request.auth_type)
        if request.auth_type == AuthType.MD5:
            self._challenge = self._new_challenge()
            if len(self._challenge) != CHALLENGE_SIZE:
                raise ValueError(f"a challenge has {CHALLENGE_SIZE} bytes")
            attr = AuthAttr(AuthType.MD5, self._challenge)
        self._out.answer(ConfigGetAuthAttrReply(server_attr=attr))

    def client_auth(self, request: ConnectClientAuthRequest) -> None:
        """3.1.2. A challenge serves one attempt. A failure after a success leaves the session as it was."""
        proof = request.auth_data
        if proof.auth_type not in self._policy.methods:
            raise Refused(Error.ILLEGAL_ARGS)
        challenge = self._challenge
        if proof.auth_type == AuthType.MD5:
            self._challenge = None
        if not authentication.proves(proof, self._policy, challenge):
            self._fail(proof)
            return
        self.authorized = True
        self.user = proof.auth_id if proof.auth_type != AuthType.NONE else None
        self._out.answer(ConnectClientAuthReply())

    def _fail(self, proof: AuthData) -> None:
        """Answer late, and end it after some. The note names the user, never what was sent as proof."""
        self.failures += 1
        self._out.note(LogType.WARNING, f"user {proof.auth_id[:_NAME_SHOWN]!r} failed to authenticate by "
                                        f"{AuthType(proof.auth_type).name}, attempt {self.failures} of "
                                        f"{self._policy.max_failures}")
        self._out.answer(ConnectClientAuthReply(Error.NOT_AUTHORIZED), self._policy.failure_delay)
        if self.failures >= self._policy.max_failures:
            self.shut_down()

    def server_auth(self, request: ConnectServerAuthRequest) -> None:
        """3.1.4, for the user that the DMA proved to be. TEXT is refused: it would send the secret back."""
        attr = request.client_attr
        if attr.auth_type == AuthType.NONE:
            self._out.answer(ConnectServerAuthReply(server_result=AuthData(AuthType.NONE)))
            return
        if attr.auth_type != AuthType.MD5:
            raise Refused(Error.ILLEGAL_ARGS)
        if self.user is None:
            raise Refused(Error.NOT_AUTHORIZED)
        answer = authentication.digest(self._policy.users[self.user].secret, attr.challenge)
        self._out.answer(ConnectServerAuthReply(
            server_result=AuthData(AuthType.MD5, auth_id=self.user, auth_digest=answer)))
