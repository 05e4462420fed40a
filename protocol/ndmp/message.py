"""The base of every body, and of every struct inside one.

A message is declared once, as a frozen dataclass: its fields in the draft's order *are* its wire form, in
both directions (``forms`` says which type stands for what). What differs between the versions is marked
beside the field::

    @dataclass(frozen=True, slots=True)
    class MoverGetStateReply(Reply):                            # ``error`` comes first, from Reply
        mode: Annotated[MoverMode | int, V4_ONLY] = MoverMode.NOACTION
        state: MoverState | int = MoverState.IDLE

A field with a mark that may keep it off the wire needs a default, which is what decoding then gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self, get_type_hints

from protocol.errors import WireError
from protocol.ndmp.codes import Error, Version
from protocol.ndmp.forms import Form, form_of
from protocol.xdr import Reader, Writer


@dataclass(frozen=True, slots=True)
class Only:
    """Mark: the field exists in this version alone."""

    version: Version


@dataclass(frozen=True, slots=True)
class InV3:
    """Mark: version 3 has another form for the field."""

    form: Form


class Case:
    """Mark: an arm of an XDR union; present where the first field of the message is one of ``values``."""

    __slots__ = ("values",)

    def __init__(self, *values: int) -> None:
        self.values = values


class Leads:
    """Mark: the field precedes the inherited ``error`` on the wire."""


V3_ONLY = Only(Version.V3)
V4_ONLY = Only(Version.V4)


@dataclass(frozen=True, slots=True)
class Message:
    """A body, or a part of one. Fields are compared by value; nothing is checked until it is put."""

    def put(self, writer: Writer, version: Version) -> None:
        """Append the form of ``version``. Raises WireError where a value does not fit its field."""
        for place in _layout(type(self), version):
            if place.arms and getattr(self, place.chosen_by) not in place.arms:
                continue
            try:
                place.form.put(getattr(self, place.name), writer, version)
            except WireError as error:
                raise WireError(f"{type(self).__name__}.{place.name}: {error}") from None

    @classmethod
    def take(cls, reader: Reader, version: Version) -> Self:
        """Read the form of ``version``. Raises WireError where the data are not of that form."""
        values: dict[str, Any] = {}
        for place in _layout(cls, version):
            if place.arms and values[place.chosen_by] not in place.arms:
                continue
            try:
                values[place.name] = place.form.take(reader, version)
            except WireError as error:
                raise WireError(f"{cls.__name__}.{place.name}: {error}") from None
        return cls(**values)

    @classmethod
    def least(cls, version: Version) -> int:
        """Bytes of the smallest value of this class."""
        return sum(place.form.least(version) for place in _layout(cls, version) if not place.arms)


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """A reply body. Everything but the error has a default, so that a refusal is ``SomeReply(error)``."""

    error: Error | int = Error.NO_ERR


@dataclass(frozen=True, slots=True)
class Pval(Message):
    """``ndmp_pval``: a named value, of an environment above all."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class _Place:
    """One field as it stands in one version; with ``arms`` it depends on the field ``chosen_by``."""

    name: str
    form: Form
    arms: tuple[int, ...]
    chosen_by: str


_layouts: dict[tuple[type[Message], Version], tuple[_Place, ...]] = {}


def _layout(cls: type[Message], version: Version) -> tuple[_Place, ...]:
    """The fields of ``cls`` that are on the wire in ``version``, in wire order."""
    layout = _layouts.get((cls, version))
    if layout is None:
        layout = _layouts[cls, version] = _lay_out(cls, version)
    return layout


def _lay_out(cls: type[Message], version: Version) -> tuple[_Place, ...]:
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]
    leading: list[_Place] = []
    following: list[_Place] = []
    for name in names:
        marks = getattr(hints[name], "__metadata__", ())
        if any(isinstance(mark, Only) and mark.version != version for mark in marks):
            continue
        form = form_of(hints[name])
        arms: tuple[int, ...] = ()
        ranks = following
        for mark in marks:
            if isinstance(mark, InV3) and version == Version.V3:
                form = mark.form
            elif isinstance(mark, Case):
                arms = mark.values
            elif mark is Leads:
                ranks = leading
        ranks.append(_Place(name, form, arms, names[0]))
    return (*leading, *following)
