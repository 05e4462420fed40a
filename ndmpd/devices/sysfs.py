"""SCSI units that Linux knows, as sysfs shows them: which generic node belongs to which device.

A drive is known to its administrator as ``/dev/nst0`` or by a link below ``/dev/tape/by-id``; commands go to
the generic node of the same unit, ``/dev/sgN``, whose number says nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ndmpd.devices.errors import NoSuchDevice

_CLASSES = ("scsi_generic", "scsi_tape", "scsi_changer", "block")
_HOST = re.compile(r"host\d+")
_ST_MODES = "lma"
"""Last letters of the tape driver's further nodes: nst0l, nst0m, nst0a are nst0."""


@dataclass(frozen=True, slots=True)
class KernelUnit:
    """``nodes``: what people call it, such as ``/dev/nst0``, the best first. Texts are from its INQUIRY."""

    generic: str
    nodes: tuple[str, ...]
    type: int
    vendor: str
    product: str
    revision: str


class Sysfs:
    """``sys`` and ``dev`` are elsewhere in tests."""

    def __init__(self, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> None:
        self._sys = sys
        self._dev = dev

    def generic(self, path: str) -> str:
        """The generic node of the unit that ``path``, a node or a link to one, belongs to. NoSuchDevice."""
        real = os.path.realpath(path)
        if not os.path.exists(real):
            raise NoSuchDevice(f"{path} is not there; switch the device on, or see what there is with: ndmpd "
                               "devices")
        name = os.path.basename(real)
        if os.path.dirname(real) != os.path.realpath(self._dev):
            raise NoSuchDevice(f"{path} is {real}, which is no node of /dev; name /dev/sgN or /dev/nstN")
        for one in _CLASSES:
            entry = self._sys / "class" / one / name
            if not entry.exists():
                continue
            if one == "scsi_generic":
                return real
            if (entry / "partition").exists():
                raise NoSuchDevice(f"{path} is a partition; name the disk as a whole")
            for found in self._generics(entry / "device"):
                return found
            if one != "block":
                raise NoSuchDevice(f"{path} has no generic node; load the kernel's module: modprobe sg")
        raise NoSuchDevice(f"{path} is no SCSI device, or its generic node is missing (modprobe sg)")

    def _generics(self, device: Path) -> Iterator[str]:
        folder = device / "scsi_generic"
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield str(self._dev / entry.name)

    def segments(self, generic: str) -> int | None:
        """Pieces of memory that the host adapter of a generic node's unit takes with one command."""
        device = os.path.realpath(self._sys / "class" / "scsi_generic" / os.path.basename(generic) / "device")
        for folder in Path(device).parents:
            if _HOST.fullmatch(folder.name):
                size = _said(self._sys / "class" / "scsi_host" / folder.name / "sg_tablesize")
                return int(size) if size.isdecimal() and int(size) else None
        return None

    def units(self) -> list[KernelUnit]:
        """All units with a generic node, in the order of its number."""
        folder = self._sys / "class" / "scsi_generic"
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        names = [name for name in names if name[2:].isdecimal()]
        return [self._unit(name) for name in sorted(names, key=lambda name: int(name[2:]))]

    def _unit(self, name: str) -> KernelUnit:
        device = self._sys / "class" / "scsi_generic" / name / "device"
        kind = _said(device / "type")
        return KernelUnit(str(self._dev / name), self._nodes(device), int(kind) if kind.isdecimal() else 0x1F,
                          _said(device / "vendor"), _said(device / "model"), _said(device / "rev"))

    def _nodes(self, device: Path) -> tuple[str, ...]:
        """Stable links first, then the nodes of the drivers; of a tape's, the one that does not rewind."""
        names = []
        for folder in ("scsi_tape", "scsi_changer", "block"):
            below = device / folder
            entries = sorted(entry.name for entry in below.iterdir()) if below.is_dir() else []
            names += [name for name in entries if folder != "scsi_tape" or (
                name.startswith("nst") and name[-1] not in _ST_MODES)]
        nodes = [str(self._dev / name) for name in names]
        links = [str(link) for kind in ("tape", "disk") for link in self._links(kind)
                 if os.path.realpath(link) in {os.path.realpath(node) for node in nodes}]
        return (*links, *nodes)

    def _links(self, kind: str) -> list[Path]:
        folder = self._dev / kind / "by-id"
        return sorted(folder.iterdir()) if folder.is_dir() else []


def _said(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
