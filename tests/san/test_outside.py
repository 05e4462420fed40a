"""Disks of the SAN that are files of this machine, and the settings that name them and who may come."""

from __future__ import annotations

from pathlib import Path

import pytest

from ndmpd.config_node import NodeSettings
from ndmpd.errors import ConfigError
from ndmpd.san import San
from ndmpd.san.errors import SanError
from ndmpd.san.outside import outside_disk, with_outside_disks
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sbc import Capacity
from protocol.scsi.sense import SenseKey
from tests.san.conftest import Host


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(b"abcd" * 2048)
    return path


def served(san: San, image: Path, *, read_only: bool = False, block_length: int = 512) -> San:
    return with_outside_disks(
        san, [outside_disk("archive", str(image), read_only=read_only, block_length=block_length)])


def test_a_file_is_a_disk_like_the_others(san: San, image: Path) -> None:
    host = Host(served(san, image), "archive")
    assert Capacity.take_10(host.send(scsi.READ_CAPACITY_10.put(), room=8).data).blocks == 16
    assert host.send(scsi.READ_10.put(lba=1, blocks=1), room=512).data == b"abcd" * 128
    assert host.send(scsi.WRITE_10.put(lba=1, blocks=1), b"x" * 512).good
    assert image.read_bytes()[512:1024] == b"x" * 512
    host.close()


def test_it_may_have_long_blocks(san: San, image: Path) -> None:
    host = Host(served(san, image, block_length=4096), "archive")
    assert host.send(scsi.READ_10.put(lba=1, blocks=1), room=4096).data == b"abcd" * 1024
    host.close()


@pytest.mark.parametrize(("cdb", "out"), [
    (scsi.WRITE_10.put(blocks=1), bytes(512)), (scsi.WRITE_SAME_16.put(blocks=1, ndob=1), b""),
    (scsi.UNMAP.put(length=24), bytes.fromhex("0016001000000000" "0000000000000000" "0000000100000000"))])
def test_one_that_is_only_read_is_never_written(san: San, image: Path, cdb: bytes, out: bytes) -> None:
    before = image.read_bytes()
    host = Host(served(san, image, read_only=True), "archive")
    assert host.send(cdb, out).is_check(SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED)
    assert host.send(scsi.MODE_SENSE_6.put(page=0x3F, allocation=255), room=255).data[2] & 0x80
    assert image.read_bytes() == before
    host.close()


def test_other_processes_know_it_until_it_is_taken_away(san: San, image: Path) -> None:
    served(san, image)
    assert San.open(san.path).unit("archive").path == str(image)
    with_outside_disks(San.open(san.path), [])
    assert "archive" not in San.open(san.path).units


@pytest.mark.parametrize(("name", "what"), [("archive", "nothing"), ("archive", "."), ("disk0", "image")])
def test_what_cannot_be_a_disk_is_told(san: San, image: Path, name: str, what: str) -> None:
    with pytest.raises(SanError, match=name):
        with_outside_disks(san, [outside_disk(name, str(image.parent / what), read_only=False,
                                              block_length=512)])


def settings(folder: Path, text: str) -> NodeSettings:
    (folder / "node.toml").write_text(text.replace("FOLDER", str(folder)))
    return NodeSettings.load(folder / "node.toml")


def secret(folder: Path, name: str, content: str = "a secret of 22 bytes..") -> None:
    (folder / name).write_text(content + "\n")
    (folder / name).chmod(0o600)


USER = '[[san.target.user]]\nname = "head1"\nsecret_file = "FOLDER/theirs"\n'


def test_settings_of_a_target(tmp_path: Path) -> None:
    secret(tmp_path, "theirs")
    secret(tmp_path, "ours", "what the node itself knows")
    found = settings(tmp_path, '[san.target]\nlisten = "tcp:3261:interface=127.0.0.1"\n'
                               'allow = ["iqn.2026-11.com.example:head1"]\n' + USER +
                               'our_name = "node1"\nour_secret_file = "FOLDER/ours"\n'
                               '[san.disk.archive]\npath = "/dev/sdz"\nread_only = true\n').san
    assert (found.target.listen.port, found.target.allow) == (3261, ("iqn.2026-11.com.example:head1",))
    user = found.target.user[0]
    assert user.secret.get_secret_value() == "a secret of 22 bytes.."
    assert user.our_secret.get_secret_value() == "what the node itself knows"
    assert "a secret" not in repr(found) and "node itself" not in repr(found)
    assert (str(found.disk["archive"].path), found.disk["archive"].read_only) == ("/dev/sdz", True)


@pytest.mark.parametrize(("text", "key"), [
    ('[san.target]\nallow = ["head1"]', "san.target.allow[0]"),
    (USER + 'secret = "x"', "secret"),
    (USER + 'our_name = "node1"', "our_secret_file"),
    (USER + 'our_name = "node1"\nour_secret_file = "FOLDER/theirs"', "our_secret_file"),
    (USER + USER, "san.target.user"),
    (USER.replace("theirs", "short"), "secret_file"),
    (USER.replace("theirs", "open"), "chmod 600"),
    ('[san.disk.disk0]\npath = "/dev/sdz"', "san.disk.disk0"),
    ('[san.disk.archive]\npath = "sdz"', "san.disk.archive.path"),
    ('[san.disk.archive]\npath = "/dev/sdz"\nblock_length = 520', "san.disk.archive.block_length")])
def test_mistakes_are_told_with_their_key(tmp_path: Path, text: str, key: str) -> None:
    secret(tmp_path, "theirs")
    secret(tmp_path, "short", "12345678901")
    secret(tmp_path, "open")
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(ConfigError) as told:
        settings(tmp_path, text)
    assert key in str(told.value)
    assert "a secret of 22" not in str(told.value)
