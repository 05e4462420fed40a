"""Exports are found by name, and nothing else is."""

from __future__ import annotations

import os

import pytest

from ndmpd.config import Settings
from ndmpd.errors import JobRefused
from ndmpd.volumes import ConfiguredVolumes


@pytest.fixture
def volumes(tmp_path):
    for name in ("home", "home/sub", "deep"):
        (tmp_path / name).mkdir()
    settings = Settings.embedded(tmp_path / "state", exports=[tmp_path / "home", tmp_path / "deep"])
    return ConfiguredVolumes(settings)


def test_a_path_is_found_in_the_export_with_the_longest_name(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    exports = [tmp_path / "a", tmp_path / "a/b"]
    volumes = ConfiguredVolumes(Settings.embedded(tmp_path / "state", exports=exports))
    volume, inside = volumes.locate(f"{tmp_path}/a/b/c/d")
    assert (volume.name, volume.path, inside) == (f"{tmp_path}/a/b", f"{tmp_path}/a/b", "c/d")
    volume, inside = volumes.locate(f"{tmp_path}/a/bb")
    assert (volume.name, inside) == (f"{tmp_path}/a", "bb")


def test_an_exports_own_name_is_its_root_however_it_is_written(volumes):
    for text in ("/vol/disk0", "/vol/disk0/", "//vol//./disk0/."):
        volume, inside = volumes.locate(text)
        assert (volume.name, volume.disk, volume.path, inside) == ("/vol/disk0", "disk0", None, "")


@pytest.mark.parametrize("path", ["/vol/disk", "/vol/disk00", "/vol", "/", "/vol/disk1x/y", "/etc/passwd"])
def test_a_name_that_only_begins_alike_is_in_no_export(volumes, path):
    with pytest.raises(JobRefused, match=r"is in no export; write one of: .*/vol/disk0"):
        volumes.locate(path)


@pytest.mark.parametrize("path", [
    "/vol/disk0/..", "/vol/disk0/../disk1", "/vol/disk0/a/../b", "/vol/disk0/\0"])
def test_a_path_that_climbs_is_refused_even_where_it_would_stay_inside(volumes, path):
    with pytest.raises(JobRefused, match=r"holds '\.\.'"):
        volumes.locate(path)


def test_a_relative_path_is_refused(volumes):
    with pytest.raises(JobRefused, match="not an absolute path"):
        volumes.locate("vol/disk0")


def test_an_export_of_the_root_directory_name_holds_everything_else(tmp_path):
    (tmp_path / "all").mkdir()
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    config = tmp_path / "c.toml"
    config.write_text(f'[server]\nstate_dir = "{tmp_path}/state"\n'
                      f'[[user]]\nname = "u"\nsecret_file = "{secret}"\n'
                      f'[filesystem."/"]\npath = "{tmp_path}/all"\n')
    volume, inside = ConfiguredVolumes(Settings.load(config)).locate("/x/y")
    assert (volume.name, inside) == ("/", "x/y")


def test_open_root_opens_the_folder(volumes, tmp_path):
    volume, _ = volumes.locate(str(tmp_path / "home"))
    root = volume.open_root()
    assert os.listdir(root.fd) == ["sub"]
    root.close()


def test_a_disk_export_has_no_folder_to_open(volumes):
    with pytest.raises(JobRefused, match="use the image butype"):
        volumes.locate("/vol/disk0")[0].open_root()


def test_a_folder_that_went_away_is_named(volumes, tmp_path):
    volume, _ = volumes.locate(str(tmp_path / "deep"))
    (tmp_path / "deep").rmdir()
    with pytest.raises(JobRefused, match="deep cannot be opened"):
        volume.open_root()


def test_the_names_are_listed_in_order(volumes, tmp_path):
    assert volumes.names() == sorted(["/vol/disk0", "/vol/disk1", f"{tmp_path}/home", f"{tmp_path}/deep"])
