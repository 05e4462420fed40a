"""Messages that are well formed and mean harm: fields filled by their type with values nobody would send."""

from __future__ import annotations

import random
import types
from collections.abc import Sequence
from dataclasses import fields
from enum import IntEnum, IntFlag
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.address import Address, TcpAddress
from protocol.ndmp.codes import AddrType, Version
from protocol.ndmp.message import Message, Pval
from tests.fuzz.watch import FORGED

NUMBERS = (0, 0, 1, 2, 3, 4, 7, 123, 255, 512, 1000, 1024, 10240, 65536, 1 << 20, (1 << 31) - 1, 1 << 31,
           (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 10240, (1 << 64) - 1)
NAMES = ("FILESYSTEM", "TYPE", "HIST", "PREFIX", "LEVEL", "EXCLUDE", "FILES", "DIRECT", "RECURSIVE", "UPDATE",
         "DATAMOVER", "IMAGEGAPSIZE", "USER", "CMD", "RULES", "", "A" * 300, f"x\n{FORGED}")
LOOPBACK = 127 << 24 | 1


class Values:
    """``paths``, ``port``: what a hostile peer knows of the server as well as a friendly one."""

    def __init__(self, chance: random.Random, paths: Sequence[str], port: int) -> None:
        self._chance = chance
        self._paths = paths
        self._port = port

    def message(self, kind: type[Message], version: Version) -> Message:
        """A value of ``kind`` that has a form in ``version``."""
        while True:
            value = self._of(kind)
            try:
                registry.encode(value, version)
            except WireError:
                continue
            return value

    def text(self) -> str:
        path = self._chance.choice(self._paths)
        return self._chance.choice((
            "", "y", "n", "0", "9", "tape0", "tape1", "mc0", "disk0", "tar", "image", "/", "..", "../..", ".",
            path, path, path + "/", path + "/..", path + "/../..", path + "/folder0", "/etc/passwd",
            "/vol/disk0", "/vol/disk1", "/proc/self", "\0", "tape0\0", "\udcff\udc80", "%s%n{0}",
            f"x\n{FORGED}", "/" * 3000, "d/" * 2500, "n" * 5000, "-1", "99999999999999999999", "*,*,*,\\,",
            "tape0/../tape1", "../san/disks"))

    def address(self) -> Address:
        """Local, or a port of this machine: nothing here may call strangers."""
        kind = self._chance.choice((AddrType.LOCAL, AddrType.TCP, AddrType.TCP, AddrType.IPC, 77))
        if kind != AddrType.TCP:
            return Address(kind)
        number = self._chance.choice((0, 1, 1, 3))
        ports = self._chance.choices((0, 1, 9, self._port, 65535), k=number)
        return Address(kind, tuple(TcpAddress(LOOPBACK, port) for port in ports))

    def _of(self, kind: type[Message]) -> Message:
        hints = get_type_hints(kind, include_extras=True)
        return kind(**{field.name: self._value(hints[field.name]) for field in fields(kind)})

    def _value(self, hint: Any) -> Any:
        origin = get_origin(hint)
        if origin is Annotated:
            return self._value(get_args(hint)[0])
        if origin in (Union, types.UnionType):
            return self._value(self._chance.choice(get_args(hint)))
        if origin is tuple:
            size = self._chance.choice((0, 1, 1, 2, 5, 40))
            return tuple(self._value(get_args(hint)[0]) for _ in range(size))
        if hint is Address:
            return self.address()
        if hint is Pval:
            return Pval(self._chance.choice(NAMES), self.text())
        if hint is str:
            return self.text()
        if hint is bytes:
            size = self._chance.choice((0, 1, 6, 10, 12, 16, 16, 64, 512, 1000, 70000))
            return self._chance.randbytes(size)
        if issubclass(hint, IntFlag | IntEnum):
            return self._chance.choice(list(hint))
        if issubclass(hint, Message):
            return self._of(hint)
        assert issubclass(hint, int), hint
        return self._chance.choice(NUMBERS)
