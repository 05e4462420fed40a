"""The folder that an embedded SAN lives in, and the units it has.

    san.json             identity, settings and units; written last when the SAN is made
    library              which cartridge is in which element (ndmpd.san.library)
    units/NAME           state and lock of a unit
    cartridges/BARCODE/  data, journal and cartridge.json (ndmpd.san.medium)
    disks/NAME.img       blocks of a disk, sparse
    nexus/ID             lock files of live nexuses
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ndmpd.san.errors import SanError
from protocol.scsi.spc import CodeSet, Designator, DesignatorType, DeviceType

SETTINGS = "san.json"
VENDOR = "NDMPD"
USUAL_BLOCK = 512
BLOCK_LENGTHS = (USUAL_BLOCK, 4096)
"""Bytes that a disk's logical blocks may have, so that they fit a page and a physical block."""
_COMPANY = 0x024E44
"""Company id in the NAA designators: one with the bit set that says "locally administered"."""


class Flush(StrEnum):
    """What a synchronised WRITE FILEMARKS makes safe against power loss (see ``ndmpd.san.medium``)."""

    NOTHING = "nothing"
    JOURNAL = "journal"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """One unit of the SAN. ``index``: the how-manieth drive of the changer a tape drive is.

    ``block_length``: bytes of a disk's logical blocks. ``path``: a disk that is a file or block device
    outside the SAN's folder. ``read_only``: a disk that is not written.
    """

    name: str
    type: DeviceType
    index: int = 0
    block_length: int = USUAL_BLOCK
    path: str = ""
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class San:
    """An embedded SAN: where it is and what it has. Immutable; state is in the files of the units."""

    path: Path
    id: bytes
    flush: Flush
    units: dict[str, UnitRecord]

    @classmethod
    def open(cls, san_dir: str | Path) -> San:
        """SanError where the folder holds no embedded SAN."""
        path = Path(san_dir).absolute()
        try:
            settings = json.loads((path / SETTINGS).read_bytes())
            units = {name: _unit(name, unit) for name, unit in settings["units"].items()}
            return cls(path, bytes.fromhex(settings["id"]), Flush(settings["flush"]), units)
        except FileNotFoundError:
            raise SanError(f"{path} holds no embedded SAN; `ndmpd serve --embedded` makes one") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise SanError(f"{path / SETTINGS} cannot be read ({error}); restore it from a backup") from error

    def save(self) -> None:
        replace_file(self.path / SETTINGS, json.dumps({
            "id": self.id.hex(), "flush": self.flush,
            "units": {one.name: _settings(one) for one in self.units.values()},
        }, indent=2).encode())

    def unit(self, name: str) -> UnitRecord:
        try:
            return self.units[name]
        except KeyError:
            raise SanError(f"the embedded SAN has no unit {name!r}; it has {', '.join(self.units)}") from None

    def of_type(self, kind: DeviceType) -> list[UnitRecord]:
        return sorted((one for one in self.units.values() if one.type is kind), key=lambda one: one.index)

    def state_path(self, unit: str) -> Path:
        return self.path / "units" / unit

    def disk_path(self, disk: str) -> Path:
        outside = self.unit(disk).path
        return Path(outside) if outside else self.path / "disks" / f"{disk}.img"

    @property
    def cartridges(self) -> Path:
        return self.path / "cartridges"

    def _digest(self, unit: str) -> bytes:
        return hashlib.sha256(self.id + unit.encode()).digest()

    def serial(self, unit: str) -> str:
        """Unit serial number: a function of the SAN's identity and the unit's name."""
        return self._digest(unit)[16:24].hex().upper()

    def naa(self, unit: str) -> bytes:
        """NAA IEEE Registered Extended designator, 16 bytes (SPC-4 7.8.6.6.5)."""
        specific = int.from_bytes(self._digest(unit)[:13], "big") & (1 << 100) - 1
        return (6 << 124 | _COMPANY << 100 | specific).to_bytes(16, "big")

    def designators(self, unit: str, product: str) -> tuple[Designator, ...]:
        """What VPD page 83h says of the unit."""
        t10 = f"{VENDOR:8}{product:16}{self.serial(unit)}".encode("ascii")
        return (Designator(DesignatorType.NAA, self.naa(unit)),
                Designator(DesignatorType.T10, t10, CodeSet.ASCII))


def _unit(name: str, settings: dict[str, Any]) -> UnitRecord:
    """A unit as ``san.json`` has it. Raises ValueError, LookupError, TypeError, AttributeError."""
    length = settings.get("block_length", USUAL_BLOCK)
    if length not in BLOCK_LENGTHS:
        raise ValueError(f"{name} has a block_length of {length!r}; write {wanted_lengths()}")
    return UnitRecord(name, DeviceType(settings["type"]), settings.get("index", 0), length,
                      settings.get("path", ""), settings.get("read_only", False))


def _settings(unit: UnitRecord) -> dict[str, Any]:
    found: dict[str, Any] = {"type": int(unit.type), "index": unit.index}
    if unit.type is DeviceType.DISK:
        found["block_length"] = unit.block_length
    if unit.path:
        found |= {"path": unit.path, "read_only": unit.read_only}
    return found


def wanted_lengths() -> str:
    """For messages."""
    return " or ".join(map(str, BLOCK_LENGTHS))


def replace_file(path: Path, content: bytes) -> None:
    """Write ``path`` as a whole: it has the old content or the new, whenever power fails."""
    fresh = path.with_name(path.name + ".new")
    with open(fresh, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
