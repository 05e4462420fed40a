"""Making an embedded SAN with its usual units, or finding the one that is there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ndmpd.san.errors import SanError
from ndmpd.san.folder import BLOCK_LENGTHS, SETTINGS, USUAL_BLOCK, Flush, San, UnitRecord, wanted_lengths
from ndmpd.san.library import Library, new_elements
from ndmpd.san.locks import SharedFile
from ndmpd.san.medium import CartridgeFacts, create_cartridge, early_warning_zone
from ndmpd.san.nexus import FOLDER as NEXUS_FOLDER
from protocol.scsi.spc import DeviceType

GIB = 1 << 30
CHANGER = "mc0"
COPY_MANAGER = "copy0"
_SPARE_SLOTS = 8
_PATIENCE = 60.0


def barcode(number: int) -> str:
    """Barcode of the ``number``-th cartridge, counted from 1: E01001L8, E01002L8 ..."""
    return f"E01{number:03}L8"


def create(
    state_dir: str | Path, *, capacity: int = 8 * GIB, cartridges: int = 8, drives: int = 2, disks: int = 2,
    disk_size: int = GIB, slots: int | None = None, mailslots: int = 2, early_warning: int | None = None,
    flush: Flush = Flush.JOURNAL, block_length: int = USUAL_BLOCK,
    block_lengths: Mapping[str, int] | None = None,
) -> San:
    """The embedded SAN in ``state_dir``/san. It is made where there is none yet; one that is there stays.

    Changer mc0, drives tape0.., cartridges E01001L8.., the first ones in the drives with their home slots
    known and empty, disks disk0.. as sparse files, copy manager copy0. Sizes in bytes; ``early_warning``:
    the zone before the end of a cartridge (see ``early_warning_zone``); ``slots``: as many as cartridges, and
    eight, unless told. ``block_length``: of the disks' logical blocks, 512 or 4096; ``block_lengths``: of
    disks that differ, by name.
    """
    path = Path(state_dir).absolute() / "san"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = SharedFile(path / "creating", os.O_RDWR | os.O_CREAT)
    lock.lock(_PATIENCE)
    try:
        if (path / SETTINGS).exists():
            return _with_copy_manager(San.open(path))
        zone = early_warning_zone(capacity) if early_warning is None else early_warning
        if not 0 <= zone < capacity:
            raise SanError(f"an early-warning zone of {zone} bytes does not fit a cartridge of {capacity}")
        lengths = [(block_lengths or {}).get(f"disk{number}", block_length) for number in range(disks)]
        for length in lengths:
            if length not in BLOCK_LENGTHS:
                raise SanError(f"a disk cannot have logical blocks of {length} bytes; give it blocks of "
                               f"{wanted_lengths()}")
            if disk_size <= 0 or disk_size % length:
                raise SanError(f"the disk size {disk_size} is not a multiple of {length} bytes")
        units = [UnitRecord(CHANGER, DeviceType.CHANGER)]
        units += [UnitRecord(f"tape{number}", DeviceType.TAPE, number) for number in range(drives)]
        units += [UnitRecord(f"disk{number}", DeviceType.DISK, number, length)
                  for number, length in enumerate(lengths)]
        units.append(UnitRecord(COPY_MANAGER, DeviceType.PROCESSOR))
        san = San(path, secrets.token_bytes(16), flush, {one.name: one for one in units})
        names = [barcode(number) for number in range(1, cartridges + 1)]
        _fill(san, names, capacity, zone, disk_size)
        slots = cartridges + _SPARE_SLOTS if slots is None else slots
        elements = new_elements(names, drives, slots, mailslots, loaded=min(drives, cartridges))
        Library(san).initialize(elements)
        san.save()
        return san
    finally:
        lock.close()


def _with_copy_manager(san: San) -> San:
    """A SAN made before there were copy managers gets its own."""
    if san.of_type(DeviceType.PROCESSOR):
        return san
    san = replace(san, units={**san.units, COPY_MANAGER: UnitRecord(COPY_MANAGER, DeviceType.PROCESSOR)})
    san.save()
    return san


def _fill(san: San, cartridges: list[str], capacity: int, early_warning: int, disk_size: int) -> None:
    for folder in ("units", "cartridges", "disks", NEXUS_FOLDER):
        (san.path / folder).mkdir(exist_ok=True)
    for name in cartridges:
        add_cartridge(san, name, capacity, early_warning)
    for disk in san.of_type(DeviceType.DISK):
        with open(san.disk_path(disk.name), "ab") as file:
            file.truncate(disk_size)


def add_cartridge(san: San, name: str, capacity: int, early_warning: int) -> None:
    """A blank cartridge, not yet in the library."""
    facts = CartridgeFacts(name, capacity, early_warning, serial=san.serial(name))
    create_cartridge(san.cartridges / name, facts)
