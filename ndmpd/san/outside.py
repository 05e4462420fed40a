"""Disks of the SAN that are files or block devices of this machine, as the configuration names them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import replace

from ndmpd.san.errors import SanError
from ndmpd.san.folder import San, UnitRecord
from protocol.scsi.spc import DeviceType

_FIRST_INDEX = 1000
"""They count behind the SAN's own disks."""


def outside_disk(name: str, path: str, *, read_only: bool, block_length: int) -> UnitRecord:
    """A unit for it. SanError where it cannot be one."""
    try:
        fd = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    except OSError as error:
        raise SanError(f"disk {name}: {path} cannot be opened ({error.strerror}); write the path of a file "
                       "or block device that this user may use, or read_only = true") from error
    try:
        mode, size = os.fstat(fd).st_mode, os.lseek(fd, 0, os.SEEK_END)
    except OSError as error:
        raise SanError(f"disk {name}: {path} is no file or block device ({error.strerror})") from error
    finally:
        os.close(fd)
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)) or size < block_length:
        raise SanError(f"disk {name}: {path} is no file or block device of {block_length} bytes or more")
    return UnitRecord(name, DeviceType.DISK, 0, block_length, path, read_only)


def with_outside_disks(san: San, disks: Iterable[UnitRecord]) -> San:
    """The SAN with these disks besides its own, for all its processes; others from outside are gone."""
    units = {name: one for name, one in san.units.items() if not one.path}
    for index, disk in enumerate(disks, _FIRST_INDEX):
        if disk.name in units:
            raise SanError(f"the embedded SAN has a unit {disk.name} of its own; give the disk another name")
        units[disk.name] = replace(disk, index=index)
    found = replace(san, units=units)
    if found.units != san.units:
        found.save()
    return found
