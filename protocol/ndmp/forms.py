"""How one value stands on the wire. A form is found from the type of the field that holds the value.

====================  ==================================================
type of the field     on the wire
====================  ==================================================
``U8 U16 I16 U32``    four bytes, the range checked
``U64``               ``ndmp_u_quad``: high and low u_long
``str``, ``bytes``    ``string<>``, ``opaque<>``
``SomeEnum | int``    enum; a number without a member stays a plain int
``SomeFlags``         u_long of bits; unknown bits are kept
``tuple[X, ...]``     ``X<>``
``tuple[X, Y]``       X, then Y
a ``Message``         its struct
====================  ==================================================

Anything else is written beside the field: ``Annotated[type, form]``.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, Any, Protocol, Self, Union, get_args, get_origin

from protocol.ndmp.codes import Error, MoverHaltReason, Version
from protocol.xdr import Reader, Writer

V3_NEAREST: Mapping[type[IntEnum], Mapping[int, int]] = {
    Error: {
        Error.SEQUENCE_NUM: Error.ILLEGAL_ARGS,
        Error.READ_IN_PROGRESS: Error.ILLEGAL_STATE,
        Error.PRECONDITION: Error.ILLEGAL_STATE,
        Error.CLASS_NOT_SUPPORTED: Error.NOT_SUPPORTED,
        Error.VERSION_NOT_SUPPORTED: Error.NOT_SUPPORTED,
        Error.EXT_DUPL_CLASSES: Error.ILLEGAL_ARGS,
        Error.EXT_DANDN_ILLEGAL: Error.ILLEGAL_ARGS,
    },
    MoverHaltReason: {MoverHaltReason.MEDIA_ERROR: MoverHaltReason.INTERNAL_ERROR},
}
"""What a version 3 peer is told for a member that only version 4 has."""


class Form(Protocol):
    """Puts and takes values of one kind."""

    def put(self, value: Any, writer: Writer, version: Version) -> None: ...

    def take(self, reader: Reader, version: Version) -> Any: ...

    def least(self, version: Version) -> int:
        """Bytes of the smallest value: what bounds the number of elements of an array."""


class Struct(Protocol):
    """What a message class offers a form that contains it."""

    def put(self, writer: Writer, version: Version) -> None: ...

    @classmethod
    def take(cls, reader: Reader, version: Version) -> Self: ...

    @classmethod
    def least(cls, version: Version) -> int: ...


@dataclass(frozen=True, slots=True)
class Unsigned:
    """u_char, u_short or u_long by ``bits``."""

    bits: int

    def put(self, value: int, writer: Writer, version: Version) -> None:
        writer.uint(value, self.bits)

    def take(self, reader: Reader, version: Version) -> int:
        return reader.uint(self.bits)

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Signed:
    """short by ``bits``."""

    bits: int

    def put(self, value: int, writer: Writer, version: Version) -> None:
        writer.sint(value, self.bits)

    def take(self, reader: Reader, version: Version) -> int:
        return reader.sint(self.bits)

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Quad:
    """``ndmp_u_quad``."""

    def put(self, value: int, writer: Writer, version: Version) -> None:
        writer.uhyper(value)

    def take(self, reader: Reader, version: Version) -> int:
        return reader.uhyper()

    def least(self, version: Version) -> int:
        return 8


@dataclass(frozen=True, slots=True)
class Text:
    """``string<>``."""

    def put(self, value: str, writer: Writer, version: Version) -> None:
        writer.string(value)

    def take(self, reader: Reader, version: Version) -> str:
        return reader.string()

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Opaque:
    """``opaque<>``."""

    def put(self, value: bytes, writer: Writer, version: Version) -> None:
        writer.opaque(value)

    def take(self, reader: Reader, version: Version) -> bytes:
        return reader.opaque()

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Fixed:
    """``opaque[size]``."""

    size: int

    def put(self, value: bytes, writer: Writer, version: Version) -> None:
        writer.fixed(value, self.size)

    def take(self, reader: Reader, version: Version) -> bytes:
        return reader.fixed(self.size)

    def least(self, version: Version) -> int:
        return self.size + -self.size % 4


@dataclass(frozen=True, slots=True)
class Enumerated:
    """A member of ``kind``, or a plain int where it has no such member."""

    kind: type[IntEnum]

    def put(self, value: int, writer: Writer, version: Version) -> None:
        if version == Version.V3:
            value = V3_NEAREST.get(self.kind, {}).get(value, value)
        writer.sint(value)

    def take(self, reader: Reader, version: Version) -> int:
        number = reader.sint()
        try:
            return self.kind(number)
        except ValueError:
            return number

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Flags:
    """A u_long of bits of ``kind``."""

    kind: type[IntFlag]

    def put(self, value: int, writer: Writer, version: Version) -> None:
        writer.uint(value)

    def take(self, reader: Reader, version: Version) -> IntFlag:
        return self.kind(reader.uint())

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Nested:
    """The struct of a message class."""

    kind: type[Struct]

    def put(self, value: Struct, writer: Writer, version: Version) -> None:
        value.put(writer, version)

    def take(self, reader: Reader, version: Version) -> Struct:
        return self.kind.take(reader, version)

    def least(self, version: Version) -> int:
        return self.kind.least(version)


@dataclass(frozen=True, slots=True)
class Array:
    """``element<>``: a count, then that many."""

    element: Form

    def put(self, value: tuple[Any, ...], writer: Writer, version: Version) -> None:
        writer.uint(len(value))
        for item in value:
            self.element.put(item, writer, version)

    def take(self, reader: Reader, version: Version) -> tuple[Any, ...]:
        number = reader.count(self.element.least(version))
        return tuple([self.element.take(reader, version) for _ in range(number)])

    def least(self, version: Version) -> int:
        return 4


@dataclass(frozen=True, slots=True)
class Row:
    """One value of each of ``columns``."""

    columns: tuple[Form, ...]

    def put(self, value: tuple[Any, ...], writer: Writer, version: Version) -> None:
        for form, item in zip(self.columns, value, strict=True):
            form.put(item, writer, version)

    def take(self, reader: Reader, version: Version) -> tuple[Any, ...]:
        return tuple([form.take(reader, version) for form in self.columns])

    def least(self, version: Version) -> int:
        return sum(form.least(version) for form in self.columns)


def form_of(hint: Any) -> Form:
    """The form for a field annotated with ``hint``; TypeError where the table above has no row for it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for mark in arguments[1:]:
            if hasattr(mark, "put"):
                form: Form = mark
                return form
        return form_of(arguments[0])
    if origin in (Union, types.UnionType):
        kind, plain = arguments
        if issubclass(kind, IntEnum) and plain is int:
            return Enumerated(kind)
    elif origin is tuple:
        if arguments[-1] is Ellipsis:
            return Array(form_of(arguments[0]))
        return Row(tuple(form_of(argument) for argument in arguments))
    elif hint is str:
        return Text()
    elif hint is bytes:
        return Opaque()
    elif isinstance(hint, type) and issubclass(hint, IntFlag):
        return Flags(hint)
    elif hasattr(hint, "take"):
        return Nested(hint)
    raise TypeError(f"no wire form follows from {hint}")


U8 = Annotated[int, Unsigned(8)]
U16 = Annotated[int, Unsigned(16)]
U32 = Annotated[int, Unsigned(32)]
U64 = Annotated[int, Quad()]
I16 = Annotated[int, Signed(16)]
