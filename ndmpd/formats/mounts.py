"""Whether a disk is in use on this machine: mounted, or swapped on, itself or through what is built on it.

A disk is recognised by what it is, never by a path: a file behind a loop device by its device and inode
number, a logical unit by the designators of VPD page 83h that the kernel keeps in sysfs. Partitions, and
holders such as device-mapper and MD, count as the disk. Mount namespaces other than the server's own are not
seen.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ndmpd.ports import Transport
from protocol.errors import WireError
from protocol.scsi.spc import UNIT, Designator, Vpd, VpdPage

_PROC = Path("/proc")
_SYS = Path("/sys")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Use:
    """Where a disk, or a part of it, is in use. ``place``: a mount point, or "swap"."""

    device: str
    place: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Mounted:
    """A line of mountinfo. ``number``: "major:minor". ``writable``: the file system itself, not only this
    mount.
    """

    number: str
    point: str
    type: str
    source: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """What a disk is known by: ``file``, the open file or block device behind it, and its designators."""

    file: os.stat_result | None = None
    designators: tuple[Designator, ...] = ()


def mounted(proc: Path = _PROC) -> Iterator[Mounted]:
    """What is mounted where this process looks, in the order of mounting. OSError where that does not show.
    """
    for line in (proc / "self" / "mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields, source = before.split(" "), after.split(" ")
        if len(fields) >= 6 and len(source) >= 3:
            # The superblock's own options: behind a read-only bind mount a file system may well be
            # read-write.
            yield Mounted(fields[2], _unescaped(fields[4]), source[0], _unescaped(source[1]),
                          "rw" in source[2].split(","))


def identity_of(transport: Transport, designators: tuple[Designator, ...]) -> Identity:
    """What the disk behind ``transport`` is known by."""
    backing = transport.backing(0, 1)
    return Identity(None if backing is None else os.fstat(backing.file.fd), designators)


def uses(disk: Identity, proc: Path = _PROC, sys: Path = _SYS) -> list[Use]:
    """Everywhere ``disk`` is in use."""
    numbers: dict[str, str] = {}
    for device in _devices(disk, sys):
        _collect(device, sys, numbers)
    return [*_mounts(numbers, proc), *_swaps(numbers, proc)]


def _devices(disk: Identity, sys: Path) -> Iterator[Path]:
    """The block devices of this machine that are the disk (directories of sysfs)."""
    if disk.file is not None and stat.S_ISBLK(disk.file.st_mode):
        number = disk.file.st_rdev
        link = sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}"
        if link.exists():
            yield link.resolve()
    names = {(one.type, one.identifier) for one in disk.designators
             if one.association == UNIT and one.identifier}
    for device in sorted((sys / "block").glob("*")):
        behind = disk.file is not None and _is_loop_over(device, disk.file)
        if behind or (names and names & _designators(device)):
            yield device.resolve()


def _is_loop_over(device: Path, file: os.stat_result) -> bool:
    try:
        behind = os.stat((device / "loop" / "backing_file").read_text().rstrip("\n"))
    except (OSError, ValueError):
        return False
    return (behind.st_dev, behind.st_ino) == (file.st_dev, file.st_ino)


def _designators(device: Path) -> set[tuple[int, bytes]]:
    try:
        page = VpdPage.take((device / "device" / "vpd_pg83").read_bytes(), Vpd.IDENTIFICATION)
    except (OSError, WireError):
        return set()
    return {(one.type, one.identifier) for one in Designator.take_all(page.body) if one.association == UNIT}


def _collect(device: Path, sys: Path, numbers: dict[str, str]) -> None:
    """Add the device, its partitions and what holds them to ``numbers``: "major:minor" to the kernel's name.
    """
    try:
        number = (device / "dev").read_text().strip()
    except OSError:
        return
    if number in numbers:
        return
    numbers[number] = device.name
    for below in sorted(device.glob(f"{device.name}*")):
        _collect(below, sys, numbers)
    for holder in sorted((device / "holders").glob("*")):
        _collect(holder.resolve(), sys, numbers)


def _mounts(numbers: dict[str, str], proc: Path) -> Iterator[Use]:
    names = set(numbers.values())
    for mount in mounted(proc):
        # btrfs shows a number of its own, so the source counts as well.
        kernel_name = os.path.basename(os.path.realpath(mount.source))
        if mount.number in numbers or (mount.source.startswith("/dev/") and kernel_name in names):
            yield Use(numbers.get(mount.number, kernel_name), mount.point, mount.writable)


def _swaps(numbers: dict[str, str], proc: Path) -> Iterator[Use]:
    names = set(numbers.values())
    try:
        lines = (proc / "swaps").read_text("utf-8", "surrogateescape").splitlines()[1:]
    except FileNotFoundError:  # a kernel without swap
        return
    for line in lines:
        name = os.path.basename(os.path.realpath(_unescaped(line.split(" ")[0].split("\t")[0])))
        if name in names:
            yield Use(name, "swap", True)


def _unescaped(field: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
