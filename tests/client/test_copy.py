"""``ndmpc copy`` against live servers: disk to disk and tape to tape, on one server and between two."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ndmpd.admin.comparison import compare_trees
from ndmpd.client.__main__ import main
from ndmpd.client.errors import ExitStatus
from ndmpd.san.copymanager.profile import PROFILES
from protocol.scsi.segments import SegmentType
from tests.peers.server import PASSWORD, USER, EmbeddedServer
from tests.peers.simh import tape_files
from tests.peers.spanning import fill_disk, first_difference

CAPACITY = 12 << 20
DATA = 6 << 20
RECORD = 65536


@dataclass(frozen=True, slots=True)
class Ground:
    one: EmbeddedServer
    other: EmbeddedServer
    tree: Path
    place: Path

    def url(self, server: EmbeddedServer, path: str | Path = "") -> str:
        return f"ndmp://{USER}@127.0.0.1:{server.port}{path}"

    def run(self, command: str, *arguments: str | Path, status: int = 0) -> dict[str, Any]:
        done = CliRunner().invoke(main, [command, *map(os.fspath, arguments), "--json", "-q"],
                                  env={"NDMPC_PASSWORD": PASSWORD, "NDMPC_TO_PASSWORD": PASSWORD})
        assert done.exit_code == status, done.output
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def exported(self, server: EmbeddedServer, cartridge: str) -> list[list[bytes]]:
        """The records of each tape file."""
        file = self.place / "exported.tap"
        file.unlink(missing_ok=True)
        server.tape_command("export", cartridge, str(file))
        return tape_files(file)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("copies")
    tree, place = folder / "tree", folder / "place"
    (tree / "folder").mkdir(parents=True)
    place.mkdir()
    for number in range(20):
        (tree / "folder" / f"file {number}").write_bytes(os.urandom(3000 * number))
    (tree / "link").symlink_to("folder/file 1")
    servers = [EmbeddedServer(folder / name, (tree, place), ("--tape-capacity", str(CAPACITY)))
               for name in ("one", "other")]
    try:
        for server in servers:
            server.start()
        fill_disk(servers[0].disk("disk0"), DATA)
        yield Ground(*servers, tree, place)
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def tape(ground: Ground) -> list[list[bytes]]:
    """The cartridge in ``tape0``: two tape files of records of different sizes."""
    drive = ("--drive", "tape0")
    ground.run("backup", ground.url(ground.one), "/vol/disk0", "-B", "image", "-b", str(RECORD), *drive)
    ground.run("backup", ground.url(ground.one), ground.tree, "-b", str(2 * RECORD), "--append", *drive)
    files = ground.exported(ground.one, "E01001L8")
    assert [len(one[0]) for one in files if one] == [RECORD, 2 * RECORD]
    return files


# Disks.

@pytest.mark.parametrize(("mover", "used", "swapped"), [
    ("AUTO", "SCSI copy0", False), ("SCSI", "SCSI copy0", True), ("NAS", "NAS", False), ("NAS", "NAS", True)])
def test_a_disk_is_copied_by_whom_the_dma_wants(ground: Ground, mover: str, used: str, swapped: bool) -> None:
    fill_disk(ground.one.disk("disk1"), 1 << 20, seed=7)
    report = ground.run("copy", ground.url(ground.one, "/vol/disk0"), "/vol/disk1", "--type", "image", "-E",
                        f"DATAMOVER={mover}", *(["--swap-connect"] if swapped else []))
    assert first_difference(ground.one.disk("disk0"), ground.one.disk("disk1")) is None
    for side in ("environment", "source_environment"):
        returned = {each["name"]: each["value"] for each in report[side]}
        assert returned["DATAMOVER_USED"] == used
        assert int(returned["DATAMOVER_OFFLOADED"]) == (DATA if used != "NAS" else 0)
        assert int(returned["DATAMOVER_OFFLOADED"]) + int(returned["DATAMOVER_BY_HEAD"]) == report["bytes"]


@pytest.mark.parametrize("swapped", [False, True], ids=["destination listens", "source listens"])
def test_a_disk_is_copied_to_another_server(ground: Ground, swapped: bool) -> None:
    fill_disk(ground.other.disk("disk1"), 1 << 20, seed=7)
    report = ground.run("copy", ground.url(ground.one, "/vol/disk0"), ground.url(ground.other, "/vol/disk1"),
                        "--type", "image", *(["--swap-connect"] if swapped else []))
    assert {"name": "DATAMOVER_USED", "value": "NAS"} in report["environment"]
    assert first_difference(ground.one.disk("disk0"), ground.other.disk("disk1")) is None


def test_copy_managers_reach_no_further_than_their_server(ground: Ground) -> None:
    report = ground.run("copy", ground.url(ground.one, "/vol/disk0"), ground.url(ground.other, "/vol/disk1"),
                        "--type", "image", "-E", "DATAMOVER=SCSI", status=ExitStatus.REFUSED)
    assert "DATA_START_BACKUP" in report["problem"]


@pytest.mark.parametrize("elsewhere", [False, True], ids=["this server", "another server"])
def test_a_tree_is_copied(ground: Ground, elsewhere: bool) -> None:
    target = ground.place / f"copied {elsewhere}"
    to = ground.url(ground.other, str(target).replace(" ", "%20")) if elsewhere else str(target)
    report = ground.run("copy", ground.url(ground.one, ground.tree), to)
    assert report["result"] == "ok" and report["source_halt"] == report["destination_halt"] == "SUCCESSFUL"
    assert compare_trees(ground.tree, target).differences == []


def test_a_disk_that_is_too_small_is_refused_and_the_source_is_let_go(ground: Ground) -> None:
    small = ground.other.disk("disk1")
    size = small.stat().st_size
    os.truncate(small, 64 << 20)
    try:
        report = ground.run("copy", ground.url(ground.one, "/vol/disk0"),
                            ground.url(ground.other, "/vol/disk1"), "--type", "image",
                            status=ExitStatus.FAILED)
        assert report["destination_halt"] != "SUCCESSFUL"
    finally:
        os.truncate(small, size)


def test_paths_on_one_side_only_are_a_mistake(ground: Ground) -> None:
    report = ground.run("copy", ground.url(ground.one, "/vol/disk0"), ground.url(ground.other), "--type",
                        "image", status=ExitStatus.USAGE)
    assert "or none" in report["problem"]


# Tapes.

@pytest.mark.parametrize("way", ["copy manager", "no copies between tapes", "TCP", "TCP swapped"])
def test_a_tape_is_copied_with_its_records_and_marks(ground: Ground, tape: list[list[bytes]],
                                                     way: str) -> None:
    profile = ground.one.state / "san" / PROFILES
    server = ground.other if "TCP" in way else ground.one
    arguments = ["--drive", "tape0", "--to-drive", "tape1", *(["--swap-connect"] if "swap" in way else [])]
    if "no " in way:
        profile.write_text(json.dumps({"copy0": {"without": [SegmentType.STREAM_TO_STREAM]}}))
    logged = ground.one.log_file.stat().st_size
    try:
        report = ground.run("copy", ground.url(ground.one), ground.url(server), *arguments)
    finally:
        profile.unlink(missing_ok=True)
    log = ground.one.log_file.read_text()[logged:]
    assert ("bytes by SCSI copy0" in log) == (way == "copy manager")
    assert ground.exported(server, "E01002L8") == tape
    assert (report["tape_files"], report["bytes"]) == (2, sum(len(one) for file in tape for one in file))
    assert (report["source_halt"], report["destination_halt"]) == ("CONNECT_CLOSED", "CONNECT_CLOSED")


def test_a_tape_file_goes_on_with_the_next_cartridge_where_one_is_full(
        ground: Ground, tape: list[list[bytes]]) -> None:
    arguments = ["--changer", "mc0", "--drive", "tape0", "--cartridge", "E01001L8", "--to-drive", "tape1",
                 "--to-cartridge", "E01003L8", "--to-cartridge", "E01004L8"]
    ground.run("copy", ground.url(ground.one), "=", *arguments[:-2], "--files", "1")
    ground.run("copy", ground.url(ground.one), "=", *arguments, "--files", "1", "--append")
    first, second = ground.exported(ground.one, "E01003L8"), ground.exported(ground.one, "E01004L8")
    assert first[0] == tape[0]
    assert first[1] + second[0] == tape[0]
    assert 0 < len(second[0]) < len(tape[0])


def test_without_another_cartridge_a_full_one_ends_the_copy(ground: Ground, tape: list[list[bytes]]) -> None:
    arguments = [ground.url(ground.one), "=", "--drive", "tape0", "--to-drive", "tape1"]
    ground.run("copy", *arguments)
    report = ground.run("copy", *arguments, "--append", status=ExitStatus.MEDIA)
    assert "cartridge 2 is needed" in report["problem"]
    ground.run("copy", *arguments)
    assert ground.exported(ground.one, "E01002L8") == tape
