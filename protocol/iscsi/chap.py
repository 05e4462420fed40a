"""CHAP: how each side shows that it knows a secret without sending it. RFC 1994, RFC 7143 12.1.3.

An algorithm's response is the hash of the identifier, the secret and the challenge, in this order.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import IntEnum

MAX_BINARY = 1024
"""Bytes of a challenge or response: RFC 7143 12.1.3."""


class Algorithm(IntEnum):
    """Numbers of the IANA registry of PPP authentication algorithms."""

    MD5 = 5
    SHA_256 = 7


_HASHES = {Algorithm.MD5: hashlib.md5, Algorithm.SHA_256: hashlib.sha256}


def response(algorithm: Algorithm, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    return _HASHES[algorithm](bytes((identifier,)) + secret + challenge).digest()


def matches(algorithm: Algorithm, identifier: int, secret: bytes, challenge: bytes, answer: bytes) -> bool:
    """Whether ``answer`` is the response; takes the same time wherever it differs."""
    return hmac.compare_digest(response(algorithm, identifier, secret, challenge), answer)
