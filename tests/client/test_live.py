"""``ndmpc`` against ``ndmpd serve --embedded``: what a person would type, compared byte for byte."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ndmpd.admin.comparison import compare_trees, first_difference
from tests.peers.server import PASSWORD, REPOSITORY, USER, EmbeddedServer

CAPACITY = 8 << 20
"""Bytes of a cartridge in these tests: the tree takes three of them."""
CARTRIDGES = [word for number in range(1, 5) for word in ("--cartridge", f"E0100{number}L8")]
ROBOT = ["--drive", "tape0", "--changer", "mc0", *CARTRIDGES]


@dataclass(frozen=True, slots=True)
class Live:
    server: EmbeddedServer
    source: Path
    small: Path
    place: Path

    @property
    def url(self) -> str:
        return f"ndmp://{USER}@127.0.0.1:{self.server.port}"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "ndmpd.client", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "NDMPC_PASSWORD": PASSWORD}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*arguments), cwd=REPOSITORY, text=True, capture_output=True,
                              timeout=100, check=False, env=self.environment)

    def json(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == status, done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def backup(self, catalogue: Path, *arguments: str, source: Path | None = None) -> dict[str, Any]:
        report = self.json("backup", self.url, str(source or self.small), "-c", str(catalogue), *arguments)
        assert report["remarks"] == []
        return report

    def restore(self, catalogue: Path, *arguments: str) -> dict[str, Any]:
        report = self.json("restore", self.url, "-c", str(catalogue), *arguments)
        assert report["remarks"] == []
        return report


def grow(root: Path, files: int, size: int) -> Path:
    for at in range(files):
        folder = root / f"folder {at % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{at:03d}").write_bytes(os.urandom(size + at))
    (root / "sparse").touch()
    os.truncate(root / "sparse", 1 << 20)
    (root / "link").symlink_to("folder 0/file-000")
    os.link(root / "folder 0" / "file-000", root / "hard")
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"name that is not UTF-8")
    (root / "folder 1").chmod(0o2750)
    return root


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    source, small = grow(folder / "source", 40, 450_000), grow(folder / "small", 30, 3_000)
    (folder / "back").mkdir()
    server = EmbeddedServer(folder / "state", (source, small, folder / "back"),
                            ("--tape-capacity", str(CAPACITY))).start()
    try:
        yield Live(server, source, small, folder / "back")
    finally:
        server.stop()


@pytest.fixture
def back(live: Live, request: pytest.FixtureRequest) -> Path:
    """A folder to restore to, of this test's own, which does not exist yet."""
    return live.place / "".join(each if each.isalnum() else "-" for each in request.node.name)[:80]


def assert_same(left: Path, right: Path) -> None:
    assert compare_trees(left, right).differences == []


def test_query_shows_everything_that_jobs_need(live: Live) -> None:
    answer = live.json("query", live.url)
    assert {"tar", "image"} <= {each["name"] for each in answer["butypes"]}
    assert [each["name"] for each in answer["tapes"]] == ["tape0", "tape1"]
    assert [each["name"] for each in answer["changers"]] == ["mc0"]
    assert {str(live.source), "/vol/disk0", "/vol/disk1"} <= {each["name"] for each in answer["filesystems"]}
    assert set(answer["addresses"]) == {"LOCAL", "TCP"}
    assert answer["refused"] == {}
    assert "mc0" in live.run("query", live.url).stdout


@pytest.mark.parametrize("version", ["3", "4"])
@pytest.mark.parametrize("connections", ["local", "tcp", "swapped"])
def test_a_tree_comes_back_identical(live: Live, back: Path, tmp_path: Path, version: str,
                                     connections: str) -> None:
    if (version, connections) == ("3", "swapped"):
        pytest.skip("version 3 does not say when a connecting mover gets its window")
    ways = {"local": [], "tcp": ["--tape", live.url], "swapped": ["--tape", live.url, "--swap-connect"]}
    options = ["--ndmp-version", version, "--drive", "tape0", *ways[connections]]
    live.backup(tmp_path / "cat", *options)
    report = live.restore(tmp_path / "cat", *options, "--to", str(back))
    assert report["names_recovered"] == 1
    assert_same(live.small, back)


@pytest.mark.parametrize("connections", ["local", "tcp"])
def test_a_robot_brings_as_many_cartridges_as_it_takes(live: Live, back: Path, tmp_path: Path,
                                                       connections: str) -> None:
    options = [*ROBOT, *(["--tape", live.url] if connections == "tcp" else [])]
    report = live.backup(tmp_path / "cat", *options, source=live.source)
    cartridges = report["cartridges"]
    assert [each["cartridge"] for each in cartridges] == ["E01001L8", "E01002L8", "E01003L8"]
    for before, after in pairwise(cartridges):
        assert after["offset"] == before["offset"] + before["length"]
        assert before["length"] % (256 << 10) == 0
    live.restore(tmp_path / "cat", *options[:4], *options[12:], "--to", str(back))
    assert_same(live.source, back)


def test_a_window_per_cartridge_ends_where_it_was_told_to(live: Live, back: Path, tmp_path: Path) -> None:
    report = live.backup(tmp_path / "cat", *ROBOT, "--limit", "64KiB", "-b", "16KiB", "--history", "n")
    assert [each["length"] for each in report["cartridges"][:-1]] == [65536] * (len(report["cartridges"]) - 1)
    live.restore(tmp_path / "cat", "--drive", "tape0", "--changer", "mc0", "--to", str(back))
    assert_same(live.small, back)


@pytest.mark.parametrize("history", ["f", "d"])
def test_one_file_is_restored_directly_from_the_cartridge_that_has_it(
        live: Live, back: Path, tmp_path: Path, history: str) -> None:
    live.backup(tmp_path / "cat", *ROBOT, "--history", history, source=live.source)
    name = "folder 4/file-039"
    report = live.restore(tmp_path / "cat", "--drive", "tape0", "--changer", "mc0", f"{back}/renamed={name}")
    assert first_difference(str(live.source / name), str(back / "renamed")) is None
    assert report["names_recovered"] == 1
    assert report["bytes"] < 4 << 20, "direct access does not read the whole backup"


def test_both_kinds_of_history_and_the_tape_itself_list_the_same(live: Live, tmp_path: Path) -> None:
    listings = []
    for history in ("f", "d"):
        catalogue = tmp_path / history
        live.backup(catalogue, "--drive", "tape0", "--history", history)
        listings.append(live.json("toc", "-c", str(catalogue))["entries"])
    live.backup(tmp_path / "n", "--drive", "tape0", "--history", "n")
    assert live.run("toc", "-c", str(tmp_path / "n")).returncode == 8
    listings.append(live.json("toc", live.url, "-c", str(tmp_path / "n"), "--drive", "tape0")["entries"])
    # A node of several names has one position in directory and node history: that of its first name.
    several = {f"/{place.relative_to(live.small)}" for place in live.small.rglob("*")
               if place.is_file() and place.lstat().st_nlink > 1}
    by_path = [{each["path"]: (each["type"], each["size"], each["mtime"], each["mode"],
                               each["path"] in several or each["fh_info"])
                for each in entries} for entries in listings]
    expected = {"/"} | {f"/{place.relative_to(live.small)}" for place in live.small.rglob("*")}
    assert set(by_path[0]) == expected
    assert by_path[0] == by_path[1]
    assert set(by_path[2]) == expected


def test_a_second_backup_behind_the_first_leaves_both_restorable(
        live: Live, back: Path, tmp_path: Path) -> None:
    live.backup(tmp_path / "cat", "--drive", "tape0")
    second = live.backup(tmp_path / "cat", "--drive", "tape0", "--append")
    assert second["cartridges"][0]["file_number"] >= 1
    for number in ("1", "2"):
        live.restore(tmp_path / "cat", "--drive", "tape0", "--backup", number, "--to", f"{back}-{number}")
        assert_same(live.small, Path(f"{back}-{number}"))


@pytest.mark.parametrize("size", ["512", "64512", "1MiB"])
def test_every_record_size_works(live: Live, back: Path, tmp_path: Path, size: str) -> None:
    live.backup(tmp_path / "cat", "--drive", "tape0", "-b", size)
    live.restore(tmp_path / "cat", "--drive", "tape0", "--to", str(back))
    assert_same(live.small, back)


def test_an_image_of_a_disk_is_recovered_onto_another(live: Live, tmp_path: Path) -> None:
    with live.server.disk("disk0").open("r+b") as disk:
        for at in (0, 123 << 20, (1 << 30) - 65536):
            disk.seek(at)
            disk.write(os.urandom(65536))
    live.backup(tmp_path / "cat", "--drive", "tape0", "-B", "image", "--history", "n", "-E", "DATAMOVER=NAS",
                source=Path("/vol/disk0"))
    live.restore(tmp_path / "cat", "--drive", "tape0", "--to", "/vol/disk1")
    assert first_difference(str(live.server.disk("disk0")), str(live.server.disk("disk1"))) is None


def test_a_name_that_is_not_in_the_backup_ends_with_1_and_is_named(
        live: Live, back: Path, tmp_path: Path) -> None:
    live.backup(tmp_path / "cat", "--drive", "tape0")
    arguments = ["restore", live.url, "-c", str(tmp_path / "cat"), "--drive", "tape0", "--to", str(back),
                 "link", "no/such"]
    report = live.json(*arguments, status=1)
    assert [each["status"] for each in report["names_failed"]] == ["FAILED_NOT_FOUND"]
    assert report["names_recovered"] == 1
    assert live.run(*arguments, "--allow-partial").returncode == 0


def await_drive_in_use(claim: Path) -> None:
    """Until a session holds the lock on the drive's claim."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError), claim.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
        time.sleep(0.002)
    raise AssertionError("no session took the drive")


def test_ctrl_c_ends_with_130_and_the_drive_is_free_at_once(live: Live, tmp_path: Path) -> None:
    arguments = ["backup", live.url, str(live.source), *ROBOT, "-b", "512", "-c", str(tmp_path / "cat")]
    job = subprocess.Popen(live.command(*arguments), cwd=REPOSITORY, env=live.environment, text=True,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    await_drive_in_use(live.server.state / "run" / "tape0.claim")
    job.send_signal(signal.SIGINT)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 130, output
    live.backup(tmp_path / "after", "--drive", "tape0")


def test_a_killed_dma_frees_its_drive(live: Live, tmp_path: Path) -> None:
    job = subprocess.Popen(live.command("backup", live.url, str(live.source), *ROBOT, "-b", "512"),
                           cwd=REPOSITORY, env=live.environment, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    job.kill()
    job.wait()
    live.backup(tmp_path / "after", "--drive", "tape0")


@pytest.mark.parametrize(("arguments", "status"), [
    (["--drive", "tape9"], 4),
    (["--drive", "tape0", "-B", "nosuch"], 4),
    (["--drive", "tape0", "--changer", "mc9", "--cartridge", "E01001L8"], 4),
    (["--drive", "tape0", "--changer", "mc0", "--cartridge", "MISSING"], 7),
    (["--drive", "tape0", "-b", "1000"], 2),
    ([], 7),
])
def test_what_cannot_be_done_ends_with_its_own_status(live: Live, arguments: list[str], status: int) -> None:
    done = live.run("backup", live.url, str(live.small), *arguments)
    assert done.returncode == status, done.stderr


def test_a_file_system_that_is_not_exported_is_refused(live: Live) -> None:
    assert live.run("backup", live.url, "/etc", "--drive", "tape0").returncode == 4


def test_a_wrong_password_ends_with_6(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(live.command("query", live.url), cwd=REPOSITORY, text=True, capture_output=True,
                          timeout=60, check=False, env={**os.environ, "NDMPC_PASSWORD": "wrong"})
    assert done.returncode == 6
