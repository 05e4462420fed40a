"""From what people call a device to its generic node, by a sysfs that a test makes up."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.devices.errors import NoSuchDevice
from ndmpd.devices.sysfs import KernelUnit, Sysfs

NAMES = {"scsi_tape": ("st0", "st0l", "nst0", "nst0a", "nst0m"), "scsi_changer": ("sch0",), "block": ("sda",)}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A tape drive (sg3), a changer (sg10), a disk with a partition (sg0), an enclosure (sg1), and a disk
    that no SCSI driver has."""
    (tmp_path / "dev/tape/by-id").mkdir(parents=True)
    add(tmp_path, 0, 0, "block", "ATA", "DISK")
    add(tmp_path, 1, 13, None, "ACME", "SHELF")
    add(tmp_path, 3, 1, "scsi_tape", "HP", "Ultrium 8")
    add(tmp_path, 10, 8, "scsi_changer", "STK", "L700")
    partition = tmp_path / "sys/class/block/sda1"
    partition.mkdir()
    (partition / "partition").write_text("1\n")
    (tmp_path / "sys/class/block/nvme0n1/device").mkdir(parents=True)
    for name in ("sda1", "nvme0n1", "null"):
        (tmp_path / "dev" / name).touch()
    (tmp_path / "dev/tape/by-id/scsi-3500-nst").symlink_to("../../nst0")
    return tmp_path


def add(root: Path, number: int, kind: int, driver: str | None, vendor: str, product: str) -> None:
    device = root / f"sys/devices/{number}"
    folders = {"scsi_generic": (f"sg{number}",)}
    if driver is not None:
        folders[driver] = NAMES[driver]
    for folder, names in folders.items():
        for name in names:
            entry = device / folder / name
            entry.mkdir(parents=True)
            (entry / "device").symlink_to(device)
            listed = root / "sys/class" / folder / name
            listed.parent.mkdir(parents=True, exist_ok=True)
            listed.symlink_to(entry)
            (root / "dev" / name).touch()
    for file, text in (("type", kind), ("vendor", vendor.ljust(8)), ("model", product), ("rev", "1.0 ")):
        (device / file).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("name", "generic"),
    [
        ("sg3", "sg3"), ("nst0", "sg3"), ("st0", "sg3"), ("nst0a", "sg3"), ("sch0", "sg10"), ("sda", "sg0"),
        ("tape/by-id/scsi-3500-nst", "sg3"),
    ],
)  # fmt: skip
def test_every_name_of_a_unit_leads_to_its_generic_node(machine: Path, name: str, generic: str) -> None:
    found = Sysfs(machine / "sys", machine / "dev").generic(str(machine / "dev" / name))
    assert found == str(machine / "dev" / generic)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nst7", "is not there; switch the device on"),
        ("sda1", "is a partition; name the disk as a whole"),
        ("nvme0n1", "is no SCSI device"),
        ("null", "is no SCSI device"),
        ("../sys/devices", "no node of /dev"),
    ],
)
def test_what_leads_nowhere_says_why(machine: Path, name: str, said: str) -> None:
    with pytest.raises(NoSuchDevice, match=said):
        Sysfs(machine / "sys", machine / "dev").generic(str(machine / "dev" / name))


def test_without_the_generic_driver_it_says_what_to_load(machine: Path) -> None:
    folder = machine / "sys/devices/3/scsi_generic"
    for entry in (folder / "sg3").iterdir():
        entry.unlink()
    (folder / "sg3").rmdir()
    with pytest.raises(NoSuchDevice, match="modprobe sg"):
        Sysfs(machine / "sys", machine / "dev").generic(str(machine / "dev/nst0"))


def test_units_are_listed_with_what_to_call_them(machine: Path) -> None:
    dev = str(machine / "dev")
    assert Sysfs(machine / "sys", machine / "dev").units() == [
        KernelUnit(f"{dev}/sg0", (f"{dev}/sda",), 0, "ATA", "DISK", "1.0"),
        KernelUnit(f"{dev}/sg1", (), 13, "ACME", "SHELF", "1.0"),
        KernelUnit(
            f"{dev}/sg3", (f"{dev}/tape/by-id/scsi-3500-nst", f"{dev}/nst0"), 1, "HP", "Ultrium 8", "1.0"
        ),
        KernelUnit(f"{dev}/sg10", (f"{dev}/sch0",), 8, "STK", "L700", "1.0"),
    ]


def test_a_machine_without_scsi_has_no_units(tmp_path: Path) -> None:
    assert Sysfs(tmp_path, tmp_path).units() == []


def test_the_host_adapter_says_how_many_pieces_of_memory_a_command_may_have(tmp_path: Path) -> None:
    unit = tmp_path / "sys/devices/pci0/host7/target7:0:0/7:0:0:0"
    unit.mkdir(parents=True)
    entry = tmp_path / "sys/class/scsi_generic/sg4"
    entry.mkdir(parents=True)
    (entry / "device").symlink_to(unit)
    adapter = tmp_path / "sys/class/scsi_host/host7"
    adapter.mkdir(parents=True)
    sysfs = Sysfs(tmp_path / "sys", tmp_path / "dev")
    assert sysfs.segments("/dev/sg4") is None
    (adapter / "sg_tablesize").write_text("256\n")
    assert sysfs.segments("/dev/sg4") == 256
    assert sysfs.segments("/dev/sg5") is None
