"""``ndmpd demo``: its parts, and the whole of it as a person starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndmpd.admin import demo as module
from ndmpd.admin.comparison import first_difference
from ndmpd.admin.demo import Proof, demo, fill_disk, soil, tree_size
from ndmpd.admin.demo_server import DemoServer, ServerFailed
from ndmpd.client.jobs import Report
from ndmpd.errors import NdmpdError
from tests.peers.server import REPOSITORY


def whole(operation: str) -> Report:
    return Report(operation, whole=True)


def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "DISK_SIZE", 256 << 20)
    disk = tmp_path / "disk"
    disk.touch()
    os.truncate(disk, 256 << 20)
    return disk


def test_a_disk_is_filled_with_a_file_system_of_real_files(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("of this machine")
    disk = small_disk(tmp_path, monkeypatch)
    said = fill_disk(disk, tree)
    assert disk.stat().st_size == 256 << 20
    if "ext4" not in said:
        pytest.skip("mke2fs is not installed")
    with disk.open("rb") as file:
        file.seek(0x438)
        assert file.read(2) == b"\x53\xef", "the magic number of ext4"


def test_without_mke2fs_a_disk_gets_data_and_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(tmp_path, monkeypatch)
    assert "random data" in fill_disk(disk, None)
    assert disk.stat().st_size == 256 << 20
    with disk.open("rb") as file:
        assert file.read(4096) != bytes(4096)
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) < 256 << 20


def test_the_second_disk_is_unlike_the_first_before_the_recover(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = small_disk(tmp_path, monkeypatch)
    blank = tmp_path / "blank"
    blank.touch()
    os.truncate(blank, 256 << 20)
    soil(disk)
    assert first_difference(str(disk), str(blank)) == 0
    assert disk.stat().st_size == 256 << 20


def test_the_size_of_a_tree_counts_every_file(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(bytes(1000))
    (tmp_path / "d" / "b").write_bytes(bytes(234))
    assert tree_size(tmp_path) == 1234


def test_identical_means_no_difference_and_two_whole_jobs() -> None:
    good = Proof("tree", "tar", "NAS", whole("backup"), whole("restore"), 1, 1)
    assert good.identical
    assert good.document()["identical"] is True
    lossy = whole("restore")
    lossy.failed.append(("", 2))
    for proof in (Proof("tree", "tar", "NAS", whole("backup"), lossy, 1, 1),
                  Proof("tree", "tar", "NAS", Report("backup"), whole("restore"), 1, 1),
                  Proof("tree", "tar", "NAS", whole("backup"), whole("restore"), 1, 1, ["x"], 1)):
        assert not proof.identical


def test_a_difference_ends_with_1_and_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = Proof("tree", "tar", "NAS", whole("backup"), whole("restore"), 3, 9, ["a: missing"], 1)
    monkeypatch.setattr(module, "run", lambda *_: iter([bad]))
    shown = CliRunner().invoke(demo, [str(tmp_path)])
    assert shown.exit_code == 1
    assert "a: missing" in shown.output and "DIFFERENT" in shown.output
    assert "identical." not in shown.output
    as_json = CliRunner().invoke(demo, [str(tmp_path), "--json"])
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["identical"] is False


def test_a_failed_job_ends_with_1_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise NdmpdError("the backup of the tree ended INTERNAL_ERROR")

    monkeypatch.setattr(module, "run", fail)
    done = CliRunner().invoke(demo, [str(tmp_path), "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["problem"] == "the backup of the tree ended INTERNAL_ERROR"


def test_too_little_room_is_said_before_anything_starts(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(module, "ROOM", 1e18)
    done = CliRunner().invoke(demo, [str(tmp_path), "--json"])
    assert done.exit_code == 1
    assert "TMPDIR" in json.loads(done.stdout)["problem"]


def test_a_server_that_does_not_come_up_is_quoted_and_leaves_no_process(tmp_path: Path) -> None:
    server = DemoServer(tmp_path, (tmp_path,), ("--no-such-option",))
    with pytest.raises(ServerFailed, match="ended with status"), server:
        pass


def test_the_whole_demonstration_on_a_small_tree(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    for at in range(100):
        (tree / "folder" / f"file{at}").write_bytes(os.urandom(at * 100))
    done = subprocess.run([sys.executable, "-m", "ndmpd", "demo", str(tree), "--json"], cwd=REPOSITORY,
                          text=True, capture_output=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["identical"] is True
    by_type = {(proof["butype"], proof["datamover"]): proof for proof in document["proofs"]}
    assert set(by_type) == {("tar", "NAS"), ("image", "NAS"), ("image", "SCSI")}
    assert by_type["tar", "NAS"]["entries"] == 102
    assert by_type["image", "NAS"]["bytes"] == 1 << 30
    for by_head, by_copy_manager in zip(by_type["image", "NAS"]["head"], by_type["image", "SCSI"]["head"],
                                        strict=True):
        assert by_head["operation"] == by_copy_manager["operation"]
        assert (by_head["used"], by_copy_manager["used"]) == ("NAS", "SCSI copy0")
        assert by_head["bytes_offloaded"] == 0 < by_copy_manager["bytes_offloaded"]
        assert by_copy_manager["bytes_by_head"] < by_head["bytes_by_head"]
        assert by_copy_manager["head_bytes_read_and_written"] < by_head["head_bytes_read_and_written"]
        assert by_copy_manager["head_cpu_seconds"] > 0 < by_head["head_cpu_seconds"]
    assert "What the NAS head did" in done.stderr
