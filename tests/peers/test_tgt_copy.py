"""Copy managers that reach units of other targets: source disk on one, tape on another.

The other target is tgtd, or another node of ours; the copy manager is a SAN node's, or the head's own.
"""

from __future__ import annotations

import filecmp
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndmpd.__main__ import main
from ndmpd.san import create
from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import Ndmpc
from tests.peers.san_node import SanNode
from tests.peers.tgt import TARGET, Tgt

pytestmark = [
    pytest.mark.peer, pytest.mark.root, pytest.mark.needs("tgtd", "libiscsi"), pytest.mark.timeout(100)
]  # fmt: skip

MIB = 1 << 20
SIZE = 40 * MIB + 3 * 4096
"""No multiple of what is read ahead, nor of a record."""
LARGE = 160 * MIB
MARKS = 64
"""More bytes than a SIMH image has behind its last record."""
USER, SECRET = "node", "a word of the node"
CARTRIDGES = {"tape0": "E01001L8", "tape1": "E01002L8"}

DISKS = """
[disk.source]
device = "{source}"
[disk.target]
device = "{target}"
"""
CHAP = """
[initiator.target."{target}"]
user = "{user}"
secret_file = "{folder}/chap"
"""
EXPORTS = """
[filesystem."/vol/source"]
disk = "source"
[filesystem."/vol/target"]
disk = "target"
"""
MOVER = """
[datamover.copy0]
type = "SCSI"
device = "{}"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A head, and disks and drives wherever they are; the first disk is full of noise.

    ``tapes``: the folder of the embedded SAN that has the drives.
    """

    folder: Path
    server: ConfiguredServer
    tapes: Path
    disks: tuple[Path, Path]
    tgt: Tgt | None = None

    def back_up(self, mover: str, drive: str, status: int = 0) -> dict:
        return Ndmpc(self.server.agent).run(
            "backup", "/vol/source", "-c", self.folder / drive, "-B", "image", "--drive", drive,
            "-E", f"DATAMOVER={mover}", status=status)

    def restore(self, mover: str, drive: str, status: int = 0) -> dict:
        return Ndmpc(self.server.agent).run(
            "restore", "-c", self.folder / drive, "--to", "/vol/target", "--drive", drive,
            "-E", f"DATAMOVER={mover}", status=status)

    def tape(self, drive: str) -> bytes:
        image = self.folder / f"{drive}.tap"
        words = ["tape", "--embedded", str(self.tapes), "export", CARTRIDGES[drive], str(image)]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return image.read_bytes()

    def written(self, drive: str) -> int:
        """Bytes of noise on its cartridge, a MiB at a time, as long as nobody else has written there."""
        data = self.tapes / "san/cartridges" / CARTRIDGES[drive] / "data"
        with data.open("rb") as file:
            for at in range(0, LARGE, MIB):
                file.seek(at)
                if not any(file.read(16)):
                    return at
        return LARGE

    def restored(self) -> bool:
        return filecmp.cmp(*self.disks, shallow=False)

    def spoil(self) -> None:
        size = self.disks[1].stat().st_size
        self.disks[1].write_bytes(b"\xa5" * size)


def used(report: dict) -> str:
    return next(one["value"] for one in report["environment"] if one["name"] == "DATAMOVER_USED")


@contextmanager
def disks_of_tgt(folder: Path, size: int) -> Iterator[tuple[str, tuple[Path, Path], Tgt]]:
    """tgtd with two disks and a CHAP account; the tables by which they are reached."""
    tgt = Tgt(folder / "tgt")
    source, target = (str(tgt.disk(size)) for _ in range(2))
    tgt.account(USER, SECRET)
    (folder / "chap").write_text(SECRET + "\n")
    (folder / "chap").chmod(0o600)
    fill(tgt.disks[0])
    tgt.start()
    try:
        chap = CHAP.format(target=TARGET, user=USER, folder=folder)
        yield DISKS.format(source=source, target=target) + chap, (tgt.disks[0], tgt.disks[1]), tgt
    finally:
        tgt.stop()


@contextmanager
def node_with(folder: Path, config: str = "", *, disk: int = MIB) -> Iterator[SanNode]:
    """A node that has read ``config``, and disks of ``disk`` bytes of its own."""
    create(folder, capacity=2 * LARGE, disk_size=disk)
    node = SanNode(folder)
    file = folder.with_suffix(".toml")
    file.write_text(config)
    node.arguments = ("--embedded", str(folder), "--config", str(file),
                      "--listen", f"tcp:{node.port}:interface=127.0.0.1")
    node.start()
    try:
        yield node
    finally:
        node.stop()


@contextmanager
def head_with(folder: Path, tables: str) -> Iterator[ConfiguredServer]:
    server = ConfiguredServer(folder, tables)
    folder.mkdir()
    try:
        yield server.start()
    finally:
        server.stop()


def drives(place: str) -> str:
    return "".join(f'[drive.{name}]\ndevice = "{place.format(name)}"\n' for name in CARTRIDGES)


def fill(disk: Path) -> None:
    noise, size = random.Random(11), disk.stat().st_size
    disk.write_bytes(b"".join(noise.randbytes(min(MIB, size - at)) for at in range(0, size, MIB)))


@contextmanager
def disks_of_tgt_and_drives_of_the_node(folder: Path, size: int = SIZE) -> Iterator[Site]:
    with (disks_of_tgt(folder, size) as (tables, disks, tgt), node_with(folder / "node", tables) as node,
          head_with(folder / "head", tables + drives(node.url("{}")) + EXPORTS
                    + MOVER.format(node.url("copy0"))) as server):
        yield Site(folder, server, node.folder, disks, tgt)


@contextmanager
def disks_of_tgt_and_drives_of_the_head(folder: Path) -> Iterator[Site]:
    """The copy manager is the head's own."""
    with (disks_of_tgt(folder, SIZE) as (tables, disks, tgt),
          head_with(folder / "head", tables + drives("virtual:{}") + EXPORTS
                    + MOVER.format("virtual:copy0")) as server):
        yield Site(folder, server, server.folder / "state", disks, tgt)


@contextmanager
def disks_of_a_node_and_drives_of_another(folder: Path, copier: str = "drives") -> Iterator[Site]:
    """``copier``: whether the copy manager is that of the node with the "drives", or that with the "disks".
    """
    with ExitStack() as stack:
        if copier == "drives":
            far = stack.enter_context(node_with(folder / "disks", disk=SIZE))
            disks = DISKS.format(source=far.url("disk0"), target=far.url("disk1"))
            near = stack.enter_context(node_with(folder / "drives", disks))
            tapes, mover = near, near
        else:
            tapes = stack.enter_context(node_with(folder / "drives"))
            mover = far = stack.enter_context(node_with(folder / "disks", drives(tapes.url("{}")), disk=SIZE))
            disks = DISKS.format(source=far.url("disk0"), target=far.url("disk1"))
        images = tuple(far.folder / f"san/disks/{name}.img" for name in ("disk0", "disk1"))
        fill(images[0])
        server = stack.enter_context(head_with(
            folder / "head", disks + drives(tapes.url("{}")) + EXPORTS + MOVER.format(mover.url("copy0"))))
        yield Site(folder, server, tapes.folder, (images[0], images[1]))


SITES = {
    "tgt to a node": disks_of_tgt_and_drives_of_the_node,
    "tgt to the head": disks_of_tgt_and_drives_of_the_head,
    "a node to a node": disks_of_a_node_and_drives_of_another,
    "a node by a node": partial(disks_of_a_node_and_drives_of_another, copier="disks"),
}


@pytest.mark.parametrize("where", SITES)
def test_both_movers_make_the_same_tape_of_a_disk_elsewhere_and_the_same_disk_of_it(
        tmp_path: Path, where: str) -> None:
    with SITES[where](tmp_path) as site:
        site.spoil()
        through, server_free = site.back_up("NAS", "tape0"), site.back_up("SCSI", "tape1")
        assert (used(through).split()[0], used(server_free)) == ("NAS", "SCSI copy0")
        assert through["remarks"] == server_free["remarks"] == []
        image = site.tape("tape0")
        assert len(image) > SIZE
        assert image == site.tape("tape1")
        for mover, drive in (("SCSI", "tape0"), ("NAS", "tape1")):
            assert site.restore(mover, drive)["remarks"] == []
            assert site.restored(), mover
            site.spoil()


@pytest.fixture
def tgt_site(tmp_path: Path) -> Iterator[Site]:
    with disks_of_tgt_and_drives_of_the_node(tmp_path, LARGE) as site:
        yield site


def test_a_source_that_dies_under_a_copy_leaves_a_tape_without_a_wrong_record_and_comes_back(
        tgt_site: Site) -> None:
    site = tgt_site
    assert site.tgt is not None
    with killed_after(site.tgt, lambda: site.written("tape1") > 20 * MIB):
        report = site.back_up("SCSI", "tape1", status=3)
    assert "not reachable (0D/02)" in str(report["messages"])
    torn = site.tape("tape1")
    assert 20 * MIB < len(torn) < LARGE

    site.tgt.start()
    with killed_after(site.tgt, lambda: site.written("tape0") > 20 * MIB):
        report = site.back_up("AUTO", "tape0", status=3)
    assert "the head (NAS) goes on" in str(report["messages"])
    assert "could not be read" in str(report["messages"])

    site.tgt.start()
    assert used(site.back_up("NAS", "tape0")).startswith("NAS")
    assert used(site.back_up("SCSI", "tape1")) == "SCSI copy0"
    whole = site.tape("tape1")
    assert whole == site.tape("tape0")
    kept = len(torn) - MARKS
    assert torn[:kept] == whole[:kept]


def test_a_destination_that_dies_under_a_copy_ends_it_and_comes_back(tgt_site: Site) -> None:
    site = tgt_site
    assert site.tgt is not None
    site.back_up("SCSI", "tape1")
    before = site.disks[1].read_bytes()
    for mover in ("SCSI", "AUTO"):
        with killed_after(site.tgt, lambda: at(site.disks[1], 20 * MIB) != before[20 * MIB:][:16]):
            report = site.restore(mover, "tape1", status=3)
        assert "not reachable (0D/02)" in str(report["messages"])
        site.disks[1].write_bytes(before)
        site.tgt.start()
    assert site.restore("SCSI", "tape1")["remarks"] == []
    assert site.restored()


def at(disk: Path, place: int) -> bytes:
    with disk.open("rb") as file:
        file.seek(place)
        return file.read(16)


@contextmanager
def killed_after(tgt: Tgt, due: Callable[[], bool]) -> Iterator[None]:
    """tgtd is gone as soon as ``due``."""
    was_due: list[bool] = []

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if due():
                tgt.stop()
                was_due.append(True)
                return
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()
    assert was_due
