"""Text in the form key=value, as login and text PDUs carry it. RFC 7143 6.1."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from protocol.bits import Buffer
from protocol.errors import WireError

MAX_VALUE = 8192
MAX_PAIRS = 128
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9.+@_#-]{0,62}")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]{1,16}|[0-9]{1,20}")

Pairs = list[tuple[str, str]]


def take_text(data: Buffer) -> Pairs:
    """The pairs in their order; each key once (6.2). WireError for what is no such text."""
    pairs: Pairs = []
    seen = set()
    for part in bytes(data).split(b"\0"):
        if not part:
            continue
        try:
            key, equals, value = part.decode("utf-8").partition("=")
        except UnicodeDecodeError as error:
            raise WireError("the text of a negotiation is not UTF-8") from error
        if not equals or not _KEY.fullmatch(key) or len(value) > MAX_VALUE:
            raise WireError(f"{part[:40]!r} is not key=value")
        if key in seen:
            raise WireError(f"the key {key} comes twice")
        if len(pairs) >= MAX_PAIRS:
            raise WireError(f"more than {MAX_PAIRS} keys at a time")
        seen.add(key)
        pairs.append((key, value))
    return pairs


def put_text(pairs: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs)


def take_number(value: str) -> int:
    """A numerical value, decimal or hexadecimal."""
    if not _NUMBER.fullmatch(value):
        raise WireError(f"{value[:40]!r} is not a number")
    return int(value, 16) if value[:2] in ("0x", "0X") else int(value)


def take_binary(value: str, limit: int) -> bytes:
    """A binary value of at most ``limit`` bytes: hexadecimal or base64."""
    if len(value) > 2 + 2 * limit:
        raise WireError(f"a binary value of more than {limit} bytes")
    kind, digits = value[:2].lower(), value[2:]
    try:
        if kind == "0x":
            found = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
        elif kind == "0b":
            found = base64.b64decode(digits, validate=True)
        else:
            raise WireError(f"{value[:10]!r} is not a binary value")
    except (ValueError, binascii.Error) as error:
        raise WireError("a binary value with something else in it") from error
    if not found or len(found) > limit:
        raise WireError(f"a binary value of {len(found)} bytes")
    return found


def put_binary(value: bytes) -> str:
    return "0x" + value.hex()
