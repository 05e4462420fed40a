"""Reads the golden files: the bytes of every message, written down field by field.

A file has sections ``[v3 v4] MOVER_READ request``, ``[v4] MOVER_LISTEN reply: two addresses``: the versions
that share the bytes, the message, its kind, and after a colon which of several samples it is. Below stand the
bytes in hex; ``#`` begins a comment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol.ndmp import registry
from protocol.ndmp.codes import Code, Version
from protocol.ndmp.message import Message

FOLDER = Path(__file__).parents[2] / "golden" / "ndmp"

_CLASSES = {
    "request": registry.request_class,
    "reply": registry.reply_class,
    "post": registry.post_class,
}


@dataclass(frozen=True, slots=True)
class Golden:
    """``data`` are the bytes of the body."""

    version: Version
    title: str
    data: bytes

    @property
    def code(self) -> Code:
        return Code[self.title.split()[0]]

    @property
    def kind(self) -> str:
        return self.title.partition(":")[0].split()[1]

    @property
    def cls(self) -> type[Message]:
        found = _CLASSES[self.kind](self.code, self.version)
        assert found is not None, f"{self} has no class"
        return found

    def __str__(self) -> str:
        return f"{self.version.name.lower()} {self.title}"


def read() -> list[Golden]:
    """Every golden of every file."""
    return [golden for path in sorted(FOLDER.glob("*.txt")) for golden in _read(path.read_text("ascii"))]


def _read(text: str) -> list[Golden]:
    found = []
    for section in text.split("\n[")[1:]:
        heading, _, body = section.partition("\n")
        versions, _, title = heading.partition("] ")
        data = bytes.fromhex("".join(line.partition("#")[0] for line in body.splitlines()))
        found += [Golden(Version[version.upper()], title, data) for version in versions.split()]
    return found


GOLDENS = read()
