"""The header in front of every body (2.7): the same 24 bytes in every version."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from protocol.errors import WireError
from protocol.ndmp.codes import Code, Error, MessageType
from protocol.xdr import Reader

_WORDS = struct.Struct(">6I")

SIZE = _WORDS.size
"""Bytes of a header; the body is what follows in the record."""

_Kind = TypeVar("_Kind", bound=IntEnum)


@dataclass(frozen=True, slots=True)
class Header:
    """``ndmp_header``.

    Sequence numbers start at one on each side and go up by one per message. ``time_stamp``: seconds since
    1970, modulo 2**32. ``reply_sequence``: of the request, in a reply; else 0. Where ``error`` is not NO_ERR,
    no body follows. A number that is no member of its enum stays a plain int.
    """

    sequence: int
    time_stamp: int
    message_type: MessageType | int
    message_code: Code | int
    reply_sequence: int = 0
    error: Error | int = Error.NO_ERR

    def encode(self) -> bytes:
        """The 24 bytes. Raises WireError where a number does not fit 32 bits."""
        try:
            return _WORDS.pack(self.sequence, self.time_stamp, self.message_type, self.message_code,
                               self.reply_sequence, self.error)
        except struct.error as error:
            raise WireError(f"{self}: {error}") from None

    @classmethod
    def take(cls, reader: Reader) -> Header:
        """Read a header; the body is left for ``registry.decode``."""
        sequence, time_stamp, kind, code, reply_sequence, error = _WORDS.unpack(reader.fixed(SIZE))
        return cls(sequence, time_stamp, _member(MessageType, kind), _member(Code, code), reply_sequence,
                   _member(Error, error))


def _member(kind: type[_Kind], number: int) -> _Kind | int:
    try:
        return kind(number)
    except ValueError:
        return number
