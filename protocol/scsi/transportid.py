"""TransportIDs: how SCSI names an initiator port. SPC-4 7.6.4.

Those of iSCSI are understood in both formats; those of other protocols are kept as they came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol.bits import Bits, Buffer, Layout
from protocol.scsi.sense import ParameterError

_HEAD = Layout(4, format=Bits(0, 2, 6), protocol=Bits(0, 4), length=Bits(2, 16))
_ISCSI = 5
_NAME_ALONE, _NAME_AND_SESSION = 0, 1
_FIXED = 24
"""Bytes of a TransportID of every other protocol."""
_SHORTEST = 20
MAX_NAME = 223
"""Longest iSCSI name (RFC 7143 4.2.7.2)."""
_MAX_ISCSI = MAX_NAME + len(",i,0x") + 12 + 1
_PORT = re.compile(r"(?P<name>[^,]+),i,0x(?P<isid>[0-9A-Fa-f]{12})")
_PROTOCOLS = {0: "FC", 1: "SPI", 3: "SBP", 4: "SRP", 6: "SAS", 10: "PCIe"}


@dataclass(frozen=True, slots=True)
class IscsiPort:
    """An iSCSI initiator port; ``isid`` None: the name alone, and so every port of that initiator."""

    name: str
    isid: int | None = None

    @property
    def text(self) -> str:
        """The port's name as SCSI has it (RFC 7143 4.3.4): name, ``,i,0x`` and the ISID."""
        return self.name if self.isid is None else f"{self.name},i,0x{self.isid:012x}"

    @classmethod
    def parse(cls, text: str) -> IscsiPort | None:
        """The port that ``text`` names, ISID included; None where it names none."""
        found = _PORT.fullmatch(text)
        if found is None or len(found["name"]) > MAX_NAME:
            return None
        return cls(found["name"], int(found["isid"], 16))

    def put(self) -> bytes:
        name = self.text.encode() + b"\0"
        name = name.ljust(max(_SHORTEST, -(-len(name) // 4) * 4), b"\0")
        form = _NAME_ALONE if self.isid is None else _NAME_AND_SESSION
        return _HEAD.put(format=form, protocol=_ISCSI, length=len(name)) + name


@dataclass(frozen=True, slots=True)
class OtherPort:
    """An initiator port of a protocol that this software does not speak; ``data`` is all of its 24 bytes."""

    data: bytes

    @property
    def text(self) -> str:
        protocol = self.data[0] & 0x0F
        return f"{_PROTOCOLS.get(protocol, f'protocol {protocol}')} {self.data[1:].strip(bytes(1)).hex()}"

    def put(self) -> bytes:
        return self.data


TransportId = IscsiPort | OtherPort


def take_transport_id(data: Buffer, at: int = 0) -> tuple[TransportId, int]:
    """The TransportID at ``at``, and where it ends. ParameterError, with the offset of what is wrong."""
    if len(data) - at < _FIXED:
        raise ParameterError("a TransportID is cut off", at)
    field = _HEAD.take(data, at)
    if field["protocol"] != _ISCSI:
        return OtherPort(bytes(data[at:at + _FIXED])), at + _FIXED
    end = at + _HEAD.size + field["length"]
    if field["length"] < _SHORTEST or field["length"] % 4 or end > len(data):
        raise ParameterError(f"an iSCSI TransportID of {field['length']} bytes", at + 2)
    name, zero, rest = bytes(data[at + _HEAD.size:end]).partition(b"\0")
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = ""
    # RFC 7143 4.2.7: no control characters and no spaces; what is shown to people keeps to its line.
    if not zero or any(rest) or not text.isprintable() or not text or len(name) > _MAX_ISCSI:
        raise ParameterError("an iSCSI TransportID without a proper name", at + _HEAD.size)
    if field["format"] == _NAME_ALONE:
        return IscsiPort(text), end
    port = IscsiPort.parse(text)
    if field["format"] != _NAME_AND_SESSION or port is None:
        raise ParameterError(f"{text!r} names no iSCSI initiator port", at)
    return port, end
