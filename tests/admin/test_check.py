"""``ndmpd check`` tells what is wrong, what will not work, and by its exit status which of the two."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from ndmpd.admin.check import check
from ndmpd.san import create


@pytest.fixture
def run(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)

    def put(text: str, auth: str = "md5", options: tuple[str, ...] = ()):
        path = tmp_path / "ndmpd.toml"
        path.write_text(f'[server]\nstate_dir = "{tmp_path}/state"\n[[user]]\nname = "u"\nauth = ["{auth}"]\n'
                        f'secret_file = "{secret}"\n{text}')
        result = CliRunner().invoke(check, ["--config", str(path), *options])
        assert "hunter2" not in result.output
        return result

    return put


def test_a_good_configuration_is_listed_and_exits_0(run):
    result = run('[filesystem."/usr"]\npath = "/usr"\n[drive.tape0]\ndevice = "virtual:tape0"\n')
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert all(line.startswith("ok ") for line in lines), result.output
    assert any("filesystem /usr: /usr" in line for line in lines)


def test_every_mistake_is_listed_and_exits_1(run):
    result = run('[drive.tape0]\ndevice = "st0"\n[filesystem."/x"]\n')
    assert result.exit_code == 1
    keys = [line.split(": ")[1] for line in result.output.splitlines()]
    assert keys == ['filesystem."/x"', "drive.tape0.device"]


def test_a_missing_file_exits_1(tmp_path):
    result = CliRunner().invoke(check, ["--config", str(tmp_path / "none")])
    assert result.exit_code == 1 and "cannot be read" in result.output


@pytest.mark.parametrize(("text", "auth", "warning"), [
    ("", "md5", "nothing is exported"),
    ("", "md5", "there is none, so data can only go"),
    ("", "text", "crosses the network readably"),
    ('[drive.tape0]\ndevice = "/dev/sg4711"\n', "md5", "/dev/sg4711 is not there; switch the device on"),
    ('[drive.tape0]\ndevice = "/dev/shm"\n', "md5", "is no SCSI device"),
    ('[datamover.gw]\ntype = "SCSI"\ndevice = "/dev/sg4711"\n', "md5", "datamover gw: /dev/sg4711"),
])
def test_what_will_not_work_is_a_warning_and_exits_0(run, text, auth, warning):
    result = run(text, auth)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert any(line.startswith("warning") and warning in line for line in lines), lines


def test_a_virtual_unit_is_looked_up_in_the_san_that_is_there(run, tmp_path):
    text = '[drive.tape9]\ndevice = "virtual:tape9"\n'
    assert "no such unit" not in run(text).output
    create(tmp_path / "state", capacity=1 << 20, cartridges=1, drives=1, disks=1, disk_size=1 << 20,
           early_warning=0)
    assert "no such unit; it has copy0, disk0, mc0, tape0" in run(text).output


def test_an_offline_unit_is_no_problem(run):
    assert "offline by configuration" in run('[drive.t]\ndevice = "/dev/sg4711"\nonline = false\n').output


def test_scripts_get_json(run):
    found = json.loads(run("", options=("--json",)).output)
    assert {"verdict", "text"} == set(found[0])
    assert {"ok", "warning"} == {one["verdict"] for one in found}
