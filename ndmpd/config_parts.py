"""What the tables of the configuration are made of: frozen, strict, telling each mistake with its key."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict

K = TypeVar("K")
V = TypeVar("V")
Table = Annotated[Mapping[K, V], AfterValidator(MappingProxyType)]


def no_rows() -> Mapping[str, Any]:
    return MappingProxyType({})


class Mistakes(ValueError):
    """Mistakes that a look at several keys found: pairs of (key, relative to the table looked at; text)."""

    def __init__(self, *found: tuple[str, str]) -> None:
        super().__init__(found)
        self.found = found


class Part(BaseModel):
    """A table of the file: frozen, and a key it does not know is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Origin(BaseModel):
    """Context of the validators. ``lenient``: a password file that others may read is accepted."""

    lenient: bool = False
