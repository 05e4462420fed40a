"""Messages, events and effects as one line of text, and requests, events and replies back from it.

``NAME field=value ...``. Values: numbers, with ``all`` for all ones; names of enum members (``A|B`` for
flags); ``local`` or ``IP:PORT`` for an address; ``[A=1,B=2]`` for an environment; ``[old->new@fh_info]`` for
an nlist; anything else as text, quoted as in a shell where it has blanks. Defaults are left out.
"""

from __future__ import annotations

import dataclasses
import shlex
import types
from enum import IntEnum, IntFlag
from ipaddress import IPv4Address
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from protocol.ndmp.address import LOCAL, Address, TcpAddress
from protocol.ndmp.codes import AddrType
from protocol.ndmp.data import Name
from protocol.ndmp.message import Pval

ALL_ONES = (1 << 64) - 1


# Values to text

def written(value: Any) -> str:
    match value:
        case IntFlag():
            return "|".join(str(bit.name) for bit in type(value) if bit in value) or "0"
        case IntEnum():
            return value.name
        case int() if value == ALL_ONES:
            return "all"
        case Address() if value.addr_type == AddrType.TCP:
            return "+".join(written(one) for one in value.tcp)
        case Address():
            return "local" if value == LOCAL else f"type:{int(value.addr_type)}"
        case TcpAddress():
            return f"{IPv4Address(value.ip)}:{value.port}"
        case Pval():
            return f"{value.name}={value.value}"
        case Name():
            return f"{value.original_path}->{value.destination_path}@{written(value.fh_info)}"
        case (str(), str()):
            return f"{value[0]}={value[1]}"
        case tuple():
            return "[" + ",".join(written(one) for one in value) + "]"
        case bytes():
            return f"{len(value)} bytes"
        case _:
            return str(value)


def fields_of(value: Any) -> str:
    """`` field=value`` for every field that is not at its default, nor the error of a reply."""
    told = ""
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if field.name != "error" and held != field.default:
            told += f" {field.name}={shlex.quote(written(held)) if ' ' in written(held) else written(held)}"
    return told


# Text to values

def parse(cls: type, words: list[str]) -> Any:
    """The ``cls`` that ``field=value`` words describe."""
    hints = get_type_hints(cls)
    given = dict(word.split("=", 1) for word in words)
    return cls(**{name: read(hints[name], text) for name, text in given.items()})


def read(hint: Any, text: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return read(arguments[0], text)
    if origin in (Union, types.UnionType):
        kind = arguments[0]
        return int(text) if text.lstrip("-").isdigit() else kind[text]
    if origin is tuple:
        inner = text.removeprefix("[").removesuffix("]")
        return tuple(read(arguments[0], one) for one in inner.split(",") if one)
    if hint is int:
        return ALL_ONES if text == "all" else int(text)
    if hint is Address:
        return LOCAL if text == "local" else Address(AddrType.TCP, tuple(map(tcp, text.split("+"))))
    if hint is TcpAddress:
        return tcp(text)
    if hint is Pval:
        return Pval(*text.split("=", 1))
    if hint is Name:
        paths, _, fh_info = text.partition("@")
        original, _, destination = paths.partition("->")
        return Name(original, destination, "", "", ALL_ONES, read(int, fh_info or "all"))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return hint[text]
    if hint is bytes:
        return bytes(int(text))
    return text


def tcp(text: str) -> TcpAddress:
    host, _, port = text.partition(":")
    return TcpAddress(int(IPv4Address(host)), int(port))
