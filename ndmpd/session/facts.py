"""What the session core is told about its server and its users, settled before the connection is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.ndmp.codes import AuthType, Version


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """``highest``: the version offered first; version 3 is spoken always.

    Mover records in bytes: a SCSI drive in variable block mode takes 24 bits of length, and none smaller than
    512 is in use.
    """

    highest: Version = Version.V4
    min_record_size: int = 512
    max_record_size: int = 4 << 20

    def __post_init__(self) -> None:
        if not 0 < self.min_record_size <= self.max_record_size < 1 << 24:
            raise ValueError("record sizes must lie between 1 and 16777215 bytes")

    def speaks(self, version: int) -> bool:
        return Version.V3 <= version <= self.highest


@dataclass(frozen=True, slots=True)
class User:
    """``secret`` as the user types it, in bytes; ``methods`` he may prove it by."""

    secret: bytes = field(repr=False)
    methods: frozenset[AuthType] = frozenset({AuthType.MD5})


@dataclass(frozen=True, slots=True)
class AuthPolicy:
    """Who may do what is asked of a session.

    ``users``: those that may come from the peer's address, by name. ``methods``: those the server offers at
    all; with NONE among them anybody may come in. A wrong answer is held back ``failure_delay`` seconds, and
    ``max_failures`` of them end the connection.
    """

    users: Mapping[str, User]
    methods: frozenset[AuthType] = frozenset({AuthType.MD5})
    failure_delay: float = 2.0
    max_failures: int = 3
