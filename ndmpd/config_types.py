"""Values of the configuration that are written as text: sizes, addresses, devices, names.

Each is parsed once, when the file is read, into a frozen value; a text that does not parse raises ValueError
with what is wrong and what to write instead. No file is opened here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", start=1):
    _UNITS[_letter + "b"] = 1000**_power
    _UNITS[_letter + "ib"] = 1024**_power

_SIZE = re.compile(r"(\d+)\s*([a-z]*)", re.IGNORECASE)


def parse_size(text: str | int) -> int:
    """Bytes from ``80MB`` (decimal), ``8GiB`` (binary) or a plain number of bytes."""
    if isinstance(text, bool) or not isinstance(text, str | int):
        raise ValueError("is not a size; write it like \"80MB\" or \"8GiB\"")
    match = _SIZE.fullmatch(str(text).strip())
    factor = _UNITS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{text!r} is not a size; write it like \"80MB\" or \"8GiB\"")
    return int(match[1]) * factor


@dataclass(frozen=True, slots=True)
class Listen:
    """A TCP address to listen on. ``interface``: an IP address, "" for all; port 0: any free one."""

    port: int
    interface: str = ""

    @property
    def endpoint(self) -> str:
        """The same as a Twisted endpoint string."""
        where = ":interface=" + self.interface.replace(":", "\\:") if self.interface else ""
        return f"tcp:{self.port}{where}"

    @classmethod
    def parse(cls, text: str) -> Listen:
        wanted = "write tcp:PORT or tcp:PORT:interface=ADDRESS"
        fields = [field.replace("\\:", ":") for field in re.split(r"(?<!\\):", text)]
        if len(fields) < 2 or fields[0] != "tcp" or not fields[1].isdecimal() or int(fields[1]) > 65535:
            raise ValueError(f"{text!r} is not a listening address; {wanted}")
        interface = ""
        for option in fields[2:]:
            name, _, interface = option.partition("=")
            if name != "interface":
                raise ValueError(f"{option!r} is not an option of a listening address; {wanted}")
            try:
                interface = str(ipaddress.ip_address(interface))
            except ValueError:
                raise ValueError(f"{interface!r} is not an IP address; {wanted}") from None
        return cls(int(fields[1]), interface)


@dataclass(frozen=True, slots=True)
class PortRange:
    """TCP ports ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def ports(self) -> range:
        return range(self.low, self.high + 1)

    @classmethod
    def parse(cls, text: str) -> PortRange:
        match = re.fullmatch(r"(\d+)-(\d+)", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
            raise ValueError(f"{text!r} is not a range of ports; write it like \"20000-20099\"")
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Virtual:
    """A unit of the embedded SAN."""

    name: str

    def __str__(self) -> str:
        return f"virtual:{self.name}"


@dataclass(frozen=True, slots=True)
class Node:
    """A SCSI unit of this machine by its device node: ``/dev/sgN``, ``/dev/nstN`` or a link to one."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Iscsi:
    """A logical unit of an iSCSI target."""

    host: str
    port: int
    target: str
    lun: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"iscsi://{host}:{self.port}/{self.target}/{self.lun}"


Device = Virtual | Node | Iscsi

ISCSI_PORT = 3260
_ISCSI = re.compile(r"iscsi://(?:\[([0-9a-fA-F:.]+)\]|([^/:\[\]@\s]+))(?::(\d+))?"
                    r"/((?:iqn|eui|naa)\.[^/\s]+)/(\d+)")
_UNIT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def parse_device(text: str) -> Device:
    """``virtual:NAME``, ``/dev/sgN``, ``/dev/nstN`` or ``iscsi://host[:port]/iqn/lun``."""
    if text.startswith("virtual:"):
        return Virtual(parse_unit_name(text.removeprefix("virtual:")))
    if text.startswith("/dev/") and "/../" not in text and not text.endswith("/"):
        return Node(text)
    match = _ISCSI.fullmatch(text)
    if match is not None:
        port, lun = int(match[3] or ISCSI_PORT), int(match[5])
        if 1 <= port <= 65535 and lun <= 16383:
            return Iscsi(match[1] or match[2], port, match[4], lun)
    raise ValueError(f"{text!r} is not a device; write virtual:NAME, /dev/sgN, /dev/nstN or "
                     "iscsi://HOST[:PORT]/TARGET-NAME/LUN")


def parse_unit_name(text: str) -> str:
    """A name that appears in commands, paths and iSCSI names."""
    if _UNIT_NAME.fullmatch(text) is None:
        raise ValueError(f"{text!r} cannot be a name; use letters, digits, '.', '_' and '-', "
                         "beginning with a letter or digit, at most 64")
    return text


def parse_export_name(text: str) -> str:
    """An export's name as DMAs write it: an absolute path in its shortest form, like ``/export/home``."""
    parts = text.split("/")
    if not text.startswith("/") or len(text) > 400 or "\0" in text or (
            text != "/" and any(part in ("", ".", "..") for part in parts[1:])):
        raise ValueError(f"{text!r} cannot be the name of an export; write an absolute path without '.', "
                         "'..' or a final '/', like \"/export/home\"")
    return text


def parse_wwn(text: str) -> str:
    """A world wide name as 16 or 32 lower-case hexadecimal digits, however it was decorated."""
    digits = re.sub(r"^(naa\.|eui\.|0x)", "", text.strip().lower()).replace(":", "")
    if re.fullmatch(r"[0-9a-f]{16}([0-9a-f]{16})?", digits) is None:
        raise ValueError(f"{text!r} is not a world wide name; write its 16 or 32 hexadecimal digits, "
                         "as `ndmpd devices` prints them")
    return digits


def parse_serial(text: str) -> str:
    """A unit serial number: what VPD page 80h holds, without the spaces around it."""
    serial = text.strip()
    if not 1 <= len(serial) <= 252 or not serial.isascii() or not serial.isprintable():
        raise ValueError("is not a serial number; write its printable characters, as `ndmpd devices` prints "
                         "them")
    return serial


def _text(parse: Callable[[str], Any]) -> BeforeValidator:
    """Parse a text; a value of another type is refused with what the parser would have wanted."""

    def check(value: Any) -> Any:
        if isinstance(value, Listen | PortRange | Virtual | Node | Iscsi):
            return value
        if not isinstance(value, str):
            raise ValueError(f"is {value!r}; write a text in quotes")
        return parse(value)

    return BeforeValidator(check)


Size = Annotated[int, BeforeValidator(parse_size)]
ListenAt = Annotated[Listen, _text(Listen.parse)]
Ports = Annotated[PortRange, _text(PortRange.parse)]
At = Annotated[Virtual | Node | Iscsi, _text(parse_device)]
UnitName = Annotated[str, _text(parse_unit_name)]
ExportName = Annotated[str, _text(parse_export_name)]
Wwn = Annotated[str, _text(parse_wwn)]
Serial = Annotated[str, _text(parse_serial)]
