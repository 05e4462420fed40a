"""``ndmpd devices``: what it lists of an embedded SAN, what it says of units, and what it offers to paste."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndmpd.admin.devices import Device, copying, described, devices, stanzas
from ndmpd.config_types import Iscsi, Node
from ndmpd.devices.discovery import Copies, Found
from ndmpd.san import create
from protocol.scsi.spc import DeviceType

DRIVE = Found(
    Node("/dev/nst0"), ("/dev/sg3",), DeviceType.TAPE, "HP", "Ultrium 8", "K4B1", "HU10", "5000e11100a54001",
    ("naa.5000e11100a54001",),
)  # fmt: skip


def test_the_units_of_an_embedded_san_are_known_by_their_configured_names(tmp_path: Path) -> None:
    create(tmp_path, disk_size=1 << 20, cartridges=2)
    done = CliRunner().invoke(devices, ["--embedded", str(tmp_path), "--json"])
    found = {one["configured"]: one for one in json.loads(done.stdout)["devices"]}
    assert found["drive tape0"]["kind"] == "tape drive"
    assert found["drive tape0"]["device"] == "virtual:tape0"
    assert found["changer mc0"]["serial"]
    assert found["disk disk1"]["wwn"]
    assert 0x0A in found["datamover copy0"]["copies"]["segments"]
    assert None not in found


def test_a_unit_that_does_not_answer_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "c.toml").write_text(
        f'[server]\nstate_dir = "{tmp_path}/state"\n[[user]]\nname = "u"\nsecret_file = "{tmp_path}/secret"\n'
        '[drive.tape0]\ndevice = "/dev/nst250"\n[drive.tape1]\ndevice = "virtual:x"\nonline = false\n'
    )
    done = CliRunner().invoke(devices, ["--config", str(tmp_path / "c.toml")])
    assert done.exit_code == 0, done.output
    assert "not usable: /dev/nst250 is not there; switch the device on" in done.stdout
    assert "not usable: offline by configuration" in done.stdout
    assert "For the configuration" not in done.stdout


def test_what_is_not_configured_gets_a_table_with_a_free_name() -> None:
    changer = Found(Iscsi("::1", 3260, "iqn.2001-04.com.example:mc", 2), type=DeviceType.CHANGER)
    away = Found(Node("/dev/sg9"), type=DeviceType.TAPE, problem="it is gone")
    enclosure = Found(Node("/dev/sg4"), type=0x0D)
    known = Device(Found(Node("/dev/sg7"), type=DeviceType.TAPE), ("drive", "tape0"))
    offered = list(stanzas([known, Device(DRIVE), Device(changer), Device(away), Device(enclosure)]))
    assert offered == [
        '[drive.tape1]\ndevice = "/dev/nst0"\nwwn = "5000e11100a54001"\nserial = "HU10"\n',
        '[changer.mc0]\ndevice = "iscsi://[::1]:3260/iqn.2001-04.com.example:mc/2"\n',
    ]


def test_a_processor_is_a_data_mover_only_if_it_copies() -> None:
    gateway = Found(Node("/dev/sg5"), type=DeviceType.PROCESSOR)
    assert list(stanzas([Device(gateway)])) == []
    copier = Found(Node("/dev/sg5"), type=DeviceType.PROCESSOR, copies=Copies())
    assert list(stanzas([Device(copier)])) == ['[datamover.copy0]\ntype = "SCSI"\ndevice = "/dev/sg5"\n']


def test_a_unit_is_described_in_a_few_lines() -> None:
    assert list(described(Device(DRIVE, ("drive", "tape0")))) == [
        "/dev/nst0  (/dev/sg3)",
        "    tape drive: HP Ultrium 8 K4B1, serial number HU10",
        "    names: naa.5000e11100a54001",
        "    configured as [drive.tape0]",
    ]


def test_what_a_copy_manager_can_do_is_one_line() -> None:
    assert copying(Copies()) == "does not say which segments it takes"
    assert copying(Copies((2, 10), (0xE4,), 2, 1, 1024, 1 << 28)) == (
        "segments 02 0Ah, at most 1 segments a command, at most 2 units a command, 268435456 bytes a segment"
    )


@pytest.mark.parametrize("portal", ["host:x", ":3260", "host:0", "host:99999", ""])
def test_a_portal_that_is_none_is_a_mistake_of_the_command_line(portal: str) -> None:
    done = CliRunner().invoke(devices, ["--portal", portal])
    assert done.exit_code == 2
    assert "is not a portal; write HOST or HOST:PORT" in done.output
