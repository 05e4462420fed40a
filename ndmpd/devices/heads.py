"""This head among others that share its devices: its name, and the reservation key that it is known by.

A key is eight bytes: ``nd``, three bytes that follow from the head's name, and three that make it differ from
that of any other head of this name. So a head knows its own key, keys of heads whose names it knows, and of
every other key whether a head of this kind made it.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ndmpd.errors import NdmpdError

log = logging.getLogger(__name__)

FILE = "reservation.key"
_PREFIX = b"nd"
_NAME_BYTES, _RANDOM_BYTES, _KEY_BYTES = 3, 3, 8
_MOST = 64


def made_by_a_head(key: int) -> bool:
    return key.to_bytes(_KEY_BYTES, "big").startswith(_PREFIX)


def _beginning(name: str) -> bytes:
    """What the keys of heads with this name begin with."""
    return _PREFIX + hashlib.sha256(name.encode()).digest()[:_NAME_BYTES]


def is_of(key: int, name: str) -> bool:
    """Whether it is the key of a head with this name."""
    return key.to_bytes(_KEY_BYTES, "big").startswith(_beginning(name))


@dataclass(frozen=True, slots=True)
class Head:
    """``name`` is what people call it, ``key`` what devices do."""

    name: str
    key: int

    @classmethod
    def of(cls, state_dir: Path, name: str) -> Head:
        """The head that keeps its state in ``state_dir``. Its key is made once, and anew with another name.

        NdmpdError where the file it is kept in is not what was written there.
        """
        path = state_dir / FILE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Of several processes that find none, one makes it.
            fcntl.flock(fd, fcntl.LOCK_EX)
            kept = os.pread(fd, _MOST, 0).decode("ascii", "replace").strip()
            key = _parse(kept, path) if kept else 0
            if kept and is_of(key, name):
                return cls(name, key)
            if kept:
                log.warning("this head is called %s now; devices take what it held under its old name for "
                            "another head's: free them by `ndmpd devices --release`", name)
            made = (_beginning(name) + secrets.token_bytes(_RANDOM_BYTES)).hex()
            os.pwrite(fd, f"{made}\n".encode(), 0)
            os.fsync(fd)
            return cls(name, int(made, 16))
        finally:
            os.close(fd)

    def name_of(self, key: int, names: Iterable[str] = ()) -> str | None:
        """The name of the head with this key, where it is among ``names`` or this one."""
        return next((name for name in (self.name, *names) if is_of(key, name)), None)


def _parse(text: str, path: Path) -> int:
    try:
        key = int(text, 16)
    except ValueError:
        key = 0
    if len(text) != 2 * _KEY_BYTES or not made_by_a_head(key):
        raise NdmpdError(f"{path} holds no reservation key; remove it, and one is made")
    return key
