"""Addresses of NDMP servers as people write them: ``ndmp://user@host:port``.

A password does not belong here: command lines are visible to every user of a machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ndmpd.client.errors import UrlError

DEFAULT_PORT = 10000
"""IANA's port for NDMP."""


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """Where a server is and who calls. ``user`` "" stands for none given."""

    host: str
    port: int = DEFAULT_PORT
    user: str = ""

    @classmethod
    def parse(cls, text: str) -> ServerUrl:
        """Raises UrlError with what is wrong and how it should look."""
        shape = "write it as ndmp://user@host:port"
        if "://" not in text:
            text = f"ndmp://{text}"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as problem:
            raise UrlError(f"{text!r} is no server address ({problem}); {shape}") from None
        if parts.scheme != "ndmp":
            raise UrlError(f"{parts.scheme}:// is not spoken here; {shape}")
        if parts.password is not None:
            raise UrlError("a password in an address can be seen by every user of this machine; "
                           "use --password-file or the variable NDMPC_PASSWORD")
        if not host:
            raise UrlError(f"{text!r} names no host; {shape}")
        if port == 0:
            raise UrlError(f"0 is no port to connect to; {shape}")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise UrlError(f"{text!r} has more than a server in it; {shape}, devices by options")
        return cls(host, port or DEFAULT_PORT, unquote(parts.username or ""))

    @property
    def place(self) -> str:
        """``host:port``, the host in brackets if it has colons."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"ndmp://{self.user}@{self.place}" if self.user else f"ndmp://{self.place}"
