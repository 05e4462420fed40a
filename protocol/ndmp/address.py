"""Addresses of data connections (3.5.1.1 of the draft, ``ndmp_addr``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from protocol.errors import WireError
from protocol.ndmp.codes import AddrType, Version
from protocol.ndmp.forms import U16, U32
from protocol.ndmp.message import V3_ONLY, V4_ONLY, Case, InV3, Message
from protocol.xdr import Reader, Writer


@dataclass(frozen=True, slots=True)
class TcpAddress(Message):
    """An IPv4 address as a number (192.0.2.1 is 0xC0000201), a port, and what extensions say about them."""

    ip: U32
    port: U16
    env: Annotated[tuple[tuple[str, str], ...], V4_ONLY] = ()


class _OneTcpAddress:
    """Version 3 has room for one address, and no count."""

    def put(self, value: tuple[TcpAddress, ...], writer: Writer, version: Version) -> None:
        if not value:
            raise WireError("a TCP address is needed")
        value[0].put(writer, version)

    def take(self, reader: Reader, version: Version) -> tuple[TcpAddress, ...]:
        return (TcpAddress.take(reader, version),)

    def least(self, version: Version) -> int:
        return TcpAddress.least(version)


@dataclass(frozen=True, slots=True)
class Address(Message):
    """Where to connect. Several TCP addresses are ways to the same place, to be tried in order.

    An address type that this table does not know has no further fields.
    """

    addr_type: AddrType | int
    tcp: Annotated[tuple[TcpAddress, ...], Case(AddrType.TCP), InV3(_OneTcpAddress())] = ()
    loop_id: Annotated[U32, Case(AddrType.FC), V3_ONLY] = 0
    ipc: Annotated[bytes, Case(AddrType.IPC)] = b""


LOCAL = Address(AddrType.LOCAL)
