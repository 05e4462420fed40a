"""State of a unit in a small file, replaced as a whole.

The file has two slots; a store writes the older one, with the next sequence number and a checksum. A process
killed inside a store leaves the other slot, which is what the next load finds. The file is also the unit's
lock.

Without ``durable`` a power loss may lose the latest states, or all of them; ``load`` then gives an earlier
one or None, and the unit takes that for a power on.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from ndmpd.san.errors import SanError
from ndmpd.san.locks import SharedFile

_HEAD = struct.Struct(">4sQI")
_CHECKSUM = 4
_OVERHEAD = _HEAD.size + _CHECKSUM
_MAGIC = b"nSan"
SLOT = 256 * 1024
_AT_ONCE = 4096
MAX_STATE = SLOT - _OVERHEAD


class StateFile:
    """``load`` and ``store`` are for the holder of ``lock``; ``load`` alone also works without it."""

    __slots__ = ("_durable", "_payload", "_sequence", "_slot", "file")

    def __init__(self, path: Path, *, durable: bool = False) -> None:
        self.file = SharedFile(path, os.O_RDWR | os.O_CREAT)
        self._durable = durable
        self._sequence = 0
        self._slot = 1
        self._payload: bytes | None = None

    @property
    def sequence(self) -> int:
        """Number of the state last loaded or stored: it has not changed while this has not."""
        return self._sequence

    def load(self) -> bytes | None:
        """The state last stored; None if there is none."""
        if self.stands():
            return self._payload
        # A reader without the lock can meet a slot that is being written, and then, late, the other one.
        for _ in range(100):
            heads = [os.pread(self.file.fd, _AT_ONCE, at * SLOT) for at in (0, 1)]
            found = [self._sequence_of(head) for head in heads]
            newest = max(found)
            if newest and newest == self._sequence:
                return self._payload
            for slot in sorted((0, 1), key=found.__getitem__, reverse=True):
                payload = self._payload_of(heads[slot], slot)
                if payload is not None:
                    self._sequence, self._slot, self._payload = found[slot], slot, payload
                    return payload
            if not newest:
                break
        self._sequence, self._slot, self._payload = 0, 1, None
        return None

    def stands(self) -> bool:
        """Whether the state is the one last loaded, which is asked with every command: the next store goes to
        the other slot, where there still is the state before it, or nothing.
        """
        head = os.pread(self.file.fd, _OVERHEAD, (1 - self._slot) * SLOT)
        return self._sequence_of(head) == self._sequence - 1 if self._sequence else not head

    def _sequence_of(self, head: bytes) -> int:
        if len(head) < _OVERHEAD or head[:4] != _MAGIC:
            return 0
        return int(_HEAD.unpack_from(head)[1])

    def _payload_of(self, head: bytes, slot: int) -> bytes | None:
        if not self._sequence_of(head):
            return None
        length = _HEAD.unpack_from(head)[2]
        if length > MAX_STATE:
            return None
        data = head[_OVERHEAD:_OVERHEAD + length]
        if len(data) < length:
            data += os.pread(self.file.fd, length - len(data), slot * SLOT + len(head))
        return data if _sum(head[:_HEAD.size], data) == head[_HEAD.size:_OVERHEAD] else None

    def store(self, payload: bytes, *, durable: bool = False) -> None:
        """Replace the state. Call it after ``load`` and under the same lock."""
        if len(payload) > MAX_STATE:
            raise SanError(f"{self.file.path}: a state of {len(payload)} bytes does not fit {MAX_STATE}")
        sequence, slot = self._sequence + 1, 1 - self._slot
        head = _HEAD.pack(_MAGIC, sequence, len(payload))
        os.pwrite(self.file.fd, head + _sum(head, payload) + payload, slot * SLOT)
        if durable or self._durable:
            os.fdatasync(self.file.fd)
        self._sequence, self._slot, self._payload = sequence, slot, payload


def _sum(head: bytes, payload: bytes) -> bytes:
    return zlib.crc32(payload, zlib.crc32(head)).to_bytes(_CHECKSUM, "big")
