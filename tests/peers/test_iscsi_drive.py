"""A head whose drive and changer are reached over iSCSI: ``ndmpd san serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndmpd.admin.devices import devices
from ndmpd.san import create
from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import Ndmpc
from tests.peers.server import REPOSITORY, Program, free_port

pytestmark = [pytest.mark.needs("libiscsi"), pytest.mark.timeout(110)]

MIB = 1 << 20
CAPACITY = 24 * MIB

TABLES = """
[drive.tape0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:tape0/0"
[changer.mc0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:mc0/0"
[disk.disk0]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:disk0/0"
[disk.disk1]
device = "iscsi://127.0.0.1:{port}/iqn.2026-11.io.ndmpd:disk1/0"
[filesystem."{tree}"]
path = "{tree}"
[filesystem."/vol/disk0"]
disk = "disk0"
[filesystem."/vol/disk1"]
disk = "disk1"
[initiator]
header_digest = "crc32c"
"""


@dataclass(slots=True)
class Node:
    """A SAN node: its folder, and its process while it runs."""

    folder: Path
    port: int
    program: Program | None = None

    def start(self) -> None:
        self.program = Program.start(
            [sys.executable, "-m", "ndmpd", "san", "serve", "--embedded", str(self.folder),
             "--listen", f"tcp:{self.port}:interface=127.0.0.1"],
            self.folder.with_name("node.log"), cwd=REPOSITORY,
        )  # fmt: skip
        self.program.wait_for_port(self.port, 30)

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None

    def disk(self, name: str) -> Path:
        return self.folder / "san" / "disks" / f"{name}.img"


@dataclass(frozen=True, slots=True)
class Site:
    node: Node
    ndmpc: Ndmpc
    tree: Path
    folder: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with made(tmp_path_factory.mktemp("iscsi")) as found:
        yield found


@contextmanager
def made(folder: Path) -> Iterator[Site]:
    node = Node(folder / "node", free_port())
    create(node.folder, capacity=CAPACITY, early_warning=2 * MIB, cartridges=6, disk_size=16 * MIB)
    tree = folder / "export" / "tree"
    tree.mkdir(parents=True)
    noise = random.Random(3)
    for number, size in enumerate((0, 1, 4095, 300_000, 12 * MIB, 9 * MIB + 5, 14 * MIB)):
        (tree / f"file{number}").write_bytes(noise.randbytes(size))
    (folder / "restored").mkdir()
    tables = TABLES.format(port=node.port, tree=folder / "export")
    tables += f'[filesystem."{folder}/restored"]\npath = "{folder}/restored"\n'
    server = ConfiguredServer(folder, tables)
    try:
        node.start()
        server.start()
        yield Site(node, Ndmpc(server.agent), tree, folder)
    finally:
        server.stop()
        node.stop()


def same(one: Path, other: Path) -> None:
    done = subprocess.run(["diff", "-r", one, other], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_devices_behind_a_portal_are_found_and_what_is_printed_configures_them(site: Site) -> None:
    def listed(*arguments: str) -> str:
        done = CliRunner().invoke(devices, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    secret = site.folder / "secret"
    base = f'[[user]]\nname = "u"\nsecret_file = "{secret}"\n[server]\nstate_dir = "{site.folder}/nowhere"\n'
    config = site.folder / "found.toml"
    config.write_text(base)
    arguments = ("--config", str(config), "--portal", f"127.0.0.1:{site.node.port}")
    text = listed(*arguments)
    config.write_text(base + text.partition("# For the configuration:\n")[2])

    found = json.loads(listed(*arguments, "--json"))
    assert found["remarks"] == []
    by_name = {one["configured"]: one for one in found["devices"]}
    assert set(by_name) == {
        "drive tape0", "drive tape1", "changer mc0", "disk disk0", "disk disk1", "datamover copy0"
    }  # fmt: skip
    assert not any(one["problem"] for one in found["devices"])
    assert by_name["drive tape0"]["copies"]["max_segments"] > 1
    assert by_name["changer mc0"]["copies"] is None
    assert "# For the configuration" not in listed(*arguments)


@pytest.mark.parametrize("record", ["64KiB", "1MiB"])
def test_a_tree_spans_cartridges_that_the_changer_brings(site: Site, record: str) -> None:
    catalogue, back = site.folder / f"cat-{record}", site.folder / "restored" / record
    tags = [f"E0100{number}L8" for number in (1, 3, 4)]
    media = ["--drive", "tape0", "--changer", "mc0"]
    for tag in tags:
        media += ["--cartridge", tag]
    report = site.ndmpc.backup(site.tree, catalogue, "-b", record, *media)
    assert len(report["cartridges"]) > 1
    site.ndmpc.restore(catalogue, *media[:4], "--to", str(back))
    same(site.tree, back)


def test_an_image_goes_over_the_network_to_tape_and_back_to_another_disk(site: Site) -> None:
    disk, other = site.node.disk("disk0"), site.node.disk("disk1")
    with disk.open("r+b") as file:
        for at in (0, 5 * MIB, 16 * MIB - 65536):
            file.seek(at)
            file.write(os.urandom(65536))
    media = ("--drive", "tape0")
    site.ndmpc.backup("/vol/disk0", site.folder / "cat-image", "-B", "image", *media)
    site.ndmpc.restore(site.folder / "cat-image", *media, "--to", "/vol/disk1")
    assert disk.read_bytes() == other.read_bytes()


def test_a_node_that_is_started_again_serves_the_next_job(site: Site) -> None:
    site.node.stop()
    catalogue = site.folder / "cat-again"
    options = ("-c", catalogue, "--drive", "tape0")
    complaint = site.ndmpc.complaint("backup", site.tree / "file3", *options, status=4)
    assert "TAPE_OPEN" in complaint
    site.node.start()
    site.ndmpc.backup(site.tree, catalogue, "--drive", "tape0", "--exclude", "file[4-6]")
