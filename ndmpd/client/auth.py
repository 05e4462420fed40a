"""Proving to a server who calls (draft 3.1.2), and where the password comes from.

By default only MD5 is used, which does not send the password. Sending it as it is must be asked for, because
a false server could otherwise have it by offering nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sys
from getpass import getpass
from pathlib import Path

from ndmpd.client.connection import Connection
from ndmpd.client.errors import NotAuthorized, Refused
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import AuthType, Code, Error
from protocol.ndmp.config import (
    ConfigGetAuthAttrReply,
    ConfigGetAuthAttrRequest,
    ConfigGetServerInfoReply,
    ConfigGetServerInfoRequest,
)
from protocol.ndmp.connect import AuthData, ConnectClientAuthReply, ConnectClientAuthRequest

LONGEST_PASSWORD = 32
"""Bytes of a password that the 128-byte MD5 message has room for at each end."""


def md5_digest(password: str, challenge: bytes) -> bytes:
    """The answer to a 64-byte ``challenge``.

    MD5 over 128 bytes: the password at both ends, the challenge so that it ends one password length before
    the middle of the message's second half, zeros elsewhere.
    """
    secret = password.encode("utf-8", "surrogateescape")
    if not 0 < len(secret) <= LONGEST_PASSWORD:
        raise NotAuthorized(f"MD5 authentication takes passwords of 1 to {LONGEST_PASSWORD} bytes")
    message = bytearray(128)
    message[:len(secret)] = secret
    message[64 - len(secret):128 - len(secret)] = challenge
    message[128 - len(secret):] = secret
    return hashlib.md5(message, usedforsecurity=False).digest()


def authenticate(connection: Connection, user: str, password: str, method: AuthType = AuthType.MD5) -> None:
    """Authenticate by ``method``. Raises NotAuthorized with what to do about it."""
    try:
        if method == AuthType.NONE:
            proof = AuthData(AuthType.NONE)
        elif method == AuthType.TEXT:
            proof = AuthData(AuthType.TEXT, auth_id=user, auth_password=password)
        else:
            challenge = connection.call(Code.CONFIG_GET_AUTH_ATTR, ConfigGetAuthAttrRequest(AuthType.MD5),
                                        ConfigGetAuthAttrReply).server_attr.challenge
            proof = AuthData(AuthType.MD5, auth_id=user, auth_digest=md5_digest(password, challenge))
        connection.call(Code.CONNECT_CLIENT_AUTH, ConnectClientAuthRequest(proof), ConnectClientAuthReply)
    except Refused as refusal:
        if refusal.error == Error.NOT_AUTHORIZED:
            raise NotAuthorized(f"{connection.place} does not accept {user!r} with this password") from None
        offered = connection.call(Code.CONFIG_GET_SERVER_INFO, ConfigGetServerInfoRequest(),
                                  ConfigGetServerInfoReply).auth_type
        names = ", ".join(getattr(each, "name", str(each)).lower() for each in offered)
        raise NotAuthorized(f"{connection.place} does not authenticate by {method.name.lower()} ({refusal}); "
                            f"it offers {names or 'nothing'}: choose one by --auth") from None


def find_password(url: ServerUrl, file: str | None, variable: str) -> str:
    """The password for ``url``: from ``file``, else the environment ``variable``, else asked for at the
    terminal.

    Raises NotAuthorized where there is nobody to ask.
    """
    if file is not None:
        try:
            return Path(file).read_text("utf-8", "surrogateescape").split("\n", 1)[0]
        except OSError as problem:
            raise NotAuthorized(f"{file}: cannot read the password: {problem.strerror}") from None
    if variable in os.environ:
        return os.environ[variable]
    if not sys.stdin.isatty():
        raise NotAuthorized(f"no password for {url}: give --password-file, or set {variable}")
    return getpass(f"Password for {url}: ")
