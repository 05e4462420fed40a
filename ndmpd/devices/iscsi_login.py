"""What an iSCSI login needs to be told, and what its refusals mean."""

from __future__ import annotations

import itertools
import os
import secrets
from dataclasses import dataclass, field

from ndmpd.devices.errors import NoSuchDevice, TransportError

_AUTHENTICATION, _AUTHORIZATION, _NOT_FOUND, _REMOVED = 0x0201, 0x0202, 0x0203, 0x0204


@dataclass(frozen=True, slots=True)
class Chap:
    """Names and secrets: the initiator's, and for mutual CHAP what the target has to prove it knows."""

    user: str
    secret: str = field(repr=False)
    target_user: str = ""
    target_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Login:
    """``target`` "" is a discovery session. ``login_within`` and ``silence`` in seconds: the latter is how
    long a target may give no sign of life.
    """

    host: str
    port: int
    target: str
    initiator: str
    chap: Chap | None = None
    header_digest: bool = False
    login_within: float = 15.0
    silence: float = 15.0

    @property
    def portal(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"iscsi://{self.portal}/{self.target}" if self.target else f"iscsi://{self.portal}"


def refusal(login: Login, status: int | None, said: str) -> TransportError | NoSuchDevice:
    """The error for a login that ended with ``status`` (RFC 7143 11.13.5), None where the library gave up."""
    table = f'[initiator.target."{login.target}"]' if login.target else "[initiator]"
    if status in (_NOT_FOUND, _REMOVED):
        return NoSuchDevice(f"{login}: the portal has no such target; see what it has with: ndmpd devices "
                            f"--portal {login.portal}")
    if status == _AUTHORIZATION:
        return TransportError(f"{login}: the target does not let {login.initiator} in; allow that initiator "
                              "name there, or write another as name under [initiator]")
    if status == _AUTHENTICATION:
        if login.chap is None:
            return TransportError(f"{login}: the target wants a CHAP secret; write user and secret_file "
                                  f"under {table}")
        return TransportError(f"{login}: the target does not accept the secret of {login.chap.user!r}; "
                              f"correct user and secret_file under {table}")
    if status is None and ("CHAP_R" in said or "CHAP_N" in said or "CHAP targetname" in said):
        return TransportError(f"{login}: the target does not prove that it is the right one; correct "
                              f"target_user and target_secret_file under {table}, or what the target has")
    return TransportError(f"{login}: the login failed: {said}")


class Isids:
    """Numbers that tell the sessions of this machine's initiator apart, one for each (RFC 7143 4.4.3.1).

    Two sessions with one number would end each other. The first part is drawn once a process, at random.
    """

    def __init__(self) -> None:
        self._process = -1
        self._random = 0
        self._count = itertools.count()

    def take(self) -> tuple[int, int]:
        if self._process != os.getpid():
            self._process = os.getpid()
            self._random = secrets.randbits(24)
            self._count = itertools.count()
        return self._random, next(self._count) & 0xFFFF


isids = Isids()
