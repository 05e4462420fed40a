"""The settings of a SAN node: what of other targets its copy manager reaches; mistakes by their keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.config_node import NodeSettings
from ndmpd.config_types import Iscsi, Node
from ndmpd.devices.foreign import foreign
from ndmpd.errors import ConfigError
from protocol.scsi.spc import DeviceType

TARGET = "iqn.2026-11.example:disks"


def load(folder: Path, text: str) -> NodeSettings:
    (folder / "node.toml").write_text(text)
    return NodeSettings.load(folder / "node.toml")


def test_disks_and_drives_of_other_targets_are_for_the_copy_manager(tmp_path: Path) -> None:
    settings = load(tmp_path, f"""
[disk.a]
device = "iscsi://192.0.2.9:3261/{TARGET}/1"
[disk.off]
device = "/dev/sg7"
online = false
[drive.t]
device = "/dev/sg3"
""")
    assert {name: unit.device for _, name, unit in settings.units} == {
        "a": Iscsi("192.0.2.9", 3261, TARGET, 1), "off": Node("/dev/sg7"), "t": Node("/dev/sg3")}
    found = foreign(settings.units, settings.initiator)
    assert [(one.name, one.type) for one in found] == [("a", DeviceType.DISK), ("t", DeviceType.TAPE)]


@pytest.mark.parametrize(("text", "said"), [
    ('[disk.a]\ndevice = "virtual:disk0"\n', "disk.a.device: is a unit of this node"),
    ('[changer.mc0]\ndevice = "/dev/sg1"\n', "changer: is not known here"),
    (f'[initiator.target."{TARGET}"]\nheader_digest = "crc32c"\n', "no device is reached at this target"),
    ('[disk.a]\n', "disk.a.device: is missing"),
    ('[disk.a\n', "is not TOML"),
])
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    assert said in str(error.value)
    assert "node.toml: " in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        NodeSettings.load(tmp_path / "none.toml")
