"""Proof of identity (3.1.2): what a client shows, checked against what the policy knows.

Comparisons take the same time whether the name, the method or the secret is wrong. No secret, and no answer
to a challenge, is put into a text here.
"""

from __future__ import annotations

import hashlib
import hmac

from ndmpd.session.facts import AuthPolicy, User
from protocol.ndmp.codes import AuthType
from protocol.ndmp.connect import CHALLENGE_SIZE, AuthData

_PASSWORD_LIMIT = 32
_PASSWORD_AREA = 64

_NOBODY = User(b"\0", frozenset())


def digest(secret: bytes, challenge: bytes) -> bytes:
    """The 16 bytes that answer ``challenge``: MD5 over password, zeros, challenge, and password again.

    That is 128 bytes; a password longer than 32 bytes is cut.
    """
    password = secret[:_PASSWORD_LIMIT]
    padding = bytes(_PASSWORD_AREA - 2 * len(password))
    return hashlib.md5(password + padding + challenge + password, usedforsecurity=False).digest()


def proves(proof: AuthData, policy: AuthPolicy, challenge: bytes | None) -> bool:
    """Whether ``proof`` opens the session. ``challenge``: the last one given out, None if it was used up.

    An empty secret opens nothing, whatever was sent.
    """
    if proof.auth_type == AuthType.NONE:
        return AuthType.NONE in policy.methods
    user = policy.users.get(proof.auth_id, _NOBODY)
    if proof.auth_type == AuthType.TEXT:
        sent = proof.auth_password.encode("utf-8", "surrogateescape")
        right = hmac.compare_digest(sent, user.secret)
    elif proof.auth_type == AuthType.MD5:
        expected = digest(user.secret, challenge or bytes(CHALLENGE_SIZE))
        right = hmac.compare_digest(proof.auth_digest, expected) and challenge is not None
    else:
        right = False
    return right and bool(user.secret) and proof.auth_type in user.methods
