"""The variables of a job, as the DMA sent them (draft 3.5.2.3).

A name sent twice counts once, the first time: ndmjob puts the catalogue's variables behind the user's.
EXCLUDE and FILES are the exceptions, they accumulate. Unknown variables and values that cannot be read never
fail a job; they fall back to the default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_TRUE = frozenset("yt1")
_FALSE = frozenset("nf0")
_COMMA = re.compile(r"(?<!\\),")


class Environment:
    """Variables in the order sent. Names are case-sensitive, as DMAs write them in capitals."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs = tuple((name, value) for name, value in pairs)
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Everything as sent, repeated names included: what GET_ENV gives back."""
        return self._pairs

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def get(self, name: str, default: str = "") -> str:
        """The value that counts, or ``default`` where the variable was not sent."""
        return self._first.get(name, default)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value sent under ``name``."""
        return tuple(value for sent, value in self._pairs if sent == name)

    def flag(self, name: str, default: bool) -> bool:
        """A y/n variable. Read by its first letter, in either case; t/f and 1/0 are understood too."""
        letter = self.letter(name)
        if letter in _TRUE:
            return True
        if letter in _FALSE:
            return False
        return default

    def letter(self, name: str) -> str:
        """The first letter of the value in lower case, "" where there is none."""
        return self.get(name).strip()[:1].lower()

    def number(self, name: str, default: int, *, low: int = 0, high: int = (1 << 64) - 1) -> int:
        """A decimal number, or ``default`` where it is missing, not a number, or not within [low, high]."""
        text = self.get(name).strip()
        if not text.isascii() or not text.isdigit() or len(text) > 20:
            return default
        value = int(text)
        return value if low <= value <= high else default

    @property
    def excludes(self) -> tuple[str, ...]:
        """Patterns of EXCLUDE: repeated as ndmjob does it, split at commas as Bareos joins them (``\\,``
        stays).
        """
        found: list[str] = []
        for value in self.all("EXCLUDE"):
            found += (part.replace("\\,", ",") for part in _COMMA.split(value) if part)
        return tuple(dict.fromkeys(found))

    @property
    def files(self) -> tuple[str, ...]:
        """Values of FILES: what of the file system is to be backed up; empty for all of it. Never split."""
        return tuple(dict.fromkeys(value for value in self.all("FILES") if value))
