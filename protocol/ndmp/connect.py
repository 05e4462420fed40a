"""CONNECT: opening a session and saying who one is (3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.ndmp.codes import AuthType
from protocol.ndmp.forms import U16, Fixed
from protocol.ndmp.message import Case, Message, Reply

CHALLENGE_SIZE = 64
"""Bytes of an MD5 challenge."""
DIGEST_SIZE = 16
"""Bytes of the digest that answers it."""


@dataclass(frozen=True, slots=True)
class AuthData(Message):
    """``ndmp_auth_data``: proof of identity. An unknown type has no further fields."""

    auth_type: AuthType | int
    auth_id: Annotated[str, Case(AuthType.TEXT, AuthType.MD5)] = ""
    auth_password: Annotated[str, Case(AuthType.TEXT)] = ""
    auth_digest: Annotated[bytes, Case(AuthType.MD5), Fixed(DIGEST_SIZE)] = bytes(DIGEST_SIZE)


@dataclass(frozen=True, slots=True)
class AuthAttr(Message):
    """``ndmp_auth_attr``: what proof is asked for. An unknown type has no further fields."""

    auth_type: AuthType | int
    challenge: Annotated[bytes, Case(AuthType.MD5), Fixed(CHALLENGE_SIZE)] = bytes(CHALLENGE_SIZE)


NO_PROOF = AuthData(AuthType.NONE)
NO_CHALLENGE = AuthAttr(AuthType.NONE)


@dataclass(frozen=True, slots=True)
class ConnectOpenRequest(Message):
    """3.1.1. The one message that has the same form in every version there ever was."""

    protocol_version: U16


@dataclass(frozen=True, slots=True)
class ConnectOpenReply(Reply):
    """3.1.1."""


@dataclass(frozen=True, slots=True)
class ConnectClientAuthRequest(Message):
    """3.1.2."""

    auth_data: AuthData


@dataclass(frozen=True, slots=True)
class ConnectClientAuthReply(Reply):
    """3.1.2."""


@dataclass(frozen=True, slots=True)
class ConnectCloseRequest(Message):
    """3.1.3. Gets no reply."""


@dataclass(frozen=True, slots=True)
class ConnectServerAuthRequest(Message):
    """3.1.4."""

    client_attr: AuthAttr


@dataclass(frozen=True, slots=True)
class ConnectServerAuthReply(Reply):
    """3.1.4."""

    server_result: AuthData = NO_PROOF
