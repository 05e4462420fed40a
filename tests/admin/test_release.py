"""``ndmpd devices --release``: what it frees, what it leaves alone, and what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ndmpd.__main__ import main
from ndmpd.config import Settings
from ndmpd.devices.opener import Opener
from ndmpd.san import Flush, create

MIB = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """The folder of a server with an embedded SAN, which does not run."""
    home = tmp_path / "server"
    (home / "run").mkdir(parents=True)
    create(home, capacity=4 * MIB, cartridges=2, disk_size=MIB, flush=Flush.NOTHING)
    return home


@pytest.fixture
def other(tmp_path: Path, server: Path) -> Iterator[Opener]:
    """Another head at the same SAN, which holds tape0."""
    home = tmp_path / "other"
    (home / "run").mkdir(parents=True)
    (home / "san").symlink_to(server / "san")
    opener = Opener(Settings.embedded(home))
    opener.device("tape0")
    yield opener
    opener.close()


def run(server: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["devices", "--release", *arguments, "--embedded", str(server)])


def test_a_drive_of_another_head_is_freed_and_its_holder_named(server: Path, other: Opener) -> None:
    said = run(server, "tape0")
    assert said.exit_code == 0
    assert f"tape0 was held by head {other.head.name} (key {other.head.key:016x}" in said.output
    again = run(server, "tape0", "--json")
    assert again.exit_code == 0 and json.loads(again.stdout) == {"device": "tape0", "held_by": None}


def test_what_a_session_of_this_server_uses_is_left_alone(server: Path) -> None:
    opener = Opener(Settings.embedded(server))
    transport = opener.device("tape0")
    said = run(server, "tape0")
    assert said.exit_code == 4 and "in use by another session; see `ndmpd sessions`" in said.stderr
    transport.close()
    opener.close()
    assert run(server, "tape0").output == "tape0 was free\n"


def test_what_is_not_there_is_said(server: Path, tmp_path: Path) -> None:
    assert run(server, "tape7").exit_code == 3
    assert run(tmp_path / "nowhere", "tape0").exit_code == 2
    nothing = CliRunner().invoke(main, ["devices", "--release", "", "--embedded", str(server)])
    assert nothing.exit_code == 3
    elsewhere = ["--config", str(tmp_path / "none.toml")]
    missing = CliRunner().invoke(main, ["devices", "--release", "tape0", *elsewhere])
    assert missing.exit_code == 1 and "cannot be read" in missing.stderr


def test_a_portal_is_not_looked_behind_while_a_device_is_freed(server: Path) -> None:
    said = run(server, "tape0", "--portal", "192.0.2.1")
    assert said.exit_code == 2 and "--portal and --release exclude each other" in said.stderr


def test_without_a_configuration_it_is_said_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndmpd.admin.devices.DEFAULT_FILE", tmp_path / "ndmpd.toml")
    said = CliRunner().invoke(main, ["devices", "--release", "tape0"])
    assert said.exit_code == 1 and "name the server's configuration with --config" in said.stderr
