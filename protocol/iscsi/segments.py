"""What follows a basic header segment: additional headers, digests, data with its padding.

RFC 7143 11.2.2 to 11.2.5 and 13.1. A digest is the CRC32C of its segment, padding included, least
significant byte first.
"""

from __future__ import annotations

from enum import IntEnum
from typing import cast

from crc32c import crc32c

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError

DIGEST = 4
MAX_CDB = 260
"""Longest CDB there is (SPC-4 4.2.3: a variable-length CDB)."""
_IN_HEADER = 16


def padding(length: int) -> int:
    """Bytes that fill a segment of ``length`` bytes up to a multiple of four."""
    return -length % 4


def put_digest(*parts: Buffer) -> bytes:
    """The digest of a segment whose bytes are ``parts``, padding included."""
    value = 0
    for part in parts:
        value = crc32c(cast(bytes, part), value)
    return value.to_bytes(DIGEST, "little")


class AhsType(IntEnum):
    """11.2.2.1."""

    EXTENDED_CDB = 1
    BIDIRECTIONAL_LENGTH = 2


_HEAD = Layout(4, length=Bits(0, 16), type=Bits(2, 6), specific=Bits(3, 8))


def take_extended_cdb(cdb: bytes, segments: Buffer) -> bytes:
    """``cdb``, which fills the header, with what the additional header segments add to it (11.2.2.3).

    Segments of other types are skipped. WireError where they do not fit into one another, or the CDB would be
    longer than any is.
    """
    at = 0
    while at < len(segments):
        head = _HEAD.take(segments, at)
        # The length counts what follows the type: the reserved byte, then the specific part.
        end = at + 3 + head["length"]
        if not head["length"] or end > len(segments):
            raise WireError(f"an additional header segment of {head['length']} bytes does not fit")
        if head["type"] == AhsType.EXTENDED_CDB:
            cdb += bytes(segments[at + 4:end])
            if len(cdb) > MAX_CDB:
                raise WireError(f"a CDB of {len(cdb)} bytes")
        at = end + padding(end)
    return cdb


def put_extended_cdb(cdb: bytes) -> bytes:
    """The additional header segment for what of ``cdb`` does not fit the header; nothing where all does."""
    rest = cdb[_IN_HEADER:]
    if not rest:
        return b""
    return (_HEAD.put(length=len(rest) + 1, type=AhsType.EXTENDED_CDB) + rest
            + bytes(padding(len(rest))))
