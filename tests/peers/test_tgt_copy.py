"""A SAN node whose copy manager reaches disks of other targets: tgtd's, and those of another node of ours.

Source disk on one target, tape on another; the head sends descriptors.
"""

from __future__ import annotations

import filecmp
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ndmpd.san import create
from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import Ndmpc
from tests.peers.san_node import SanNode
from tests.peers.server import REPOSITORY
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
HEAD = """
[drive.tape0]
device = "{tape0}"
[drive.tape1]
device = "{tape1}"
[filesystem."/vol/source"]
disk = "source"
[filesystem."/vol/target"]
disk = "target"
[datamover.copy0]
type = "SCSI"
device = "{copy0}"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A head, a node with two drives, and elsewhere two disks, the first full of noise."""

    folder: Path
    node: SanNode
    server: ConfiguredServer
    disks: tuple[Path, Path]
    tgt: Tgt | None

    def back_up(self, mover: str, drive: str, status: int = 0) -> dict:
        return Ndmpc(self.server.agent).run(
            "backup", "/vol/source", "-c", self.folder / drive, "-B", "image", "--drive", drive,
            "-E", f"DATAMOVER={mover}", status=status)

    def restore(self, mover: str, drive: str) -> dict:
        return Ndmpc(self.server.agent).run(
            "restore", "-c", self.folder / drive, "--to", "/vol/target", "--drive", drive,
            "-E", f"DATAMOVER={mover}")

    def tape(self, drive: str) -> bytes:
        image = self.folder / f"{drive}.tap"
        subprocess.run([sys.executable, "-m", "ndmpd", "tape", "--embedded", self.node.folder, "export",
                        CARTRIDGES[drive], image], check=True, cwd=REPOSITORY, timeout=60)
        return image.read_bytes()

    def written(self, drive: str) -> int:
        """Bytes of noise on its cartridge, a MiB at a time, as long as nobody else has written there."""
        data = self.node.folder / "san/cartridges" / CARTRIDGES[drive] / "data"
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
def site_of(folder: Path, elsewhere: str, size: int) -> Iterator[Site]:
    """``elsewhere``: "tgt" or "node"."""
    with ExitStack() as stack:
        tgt = None
        if elsewhere == "tgt":
            tgt = Tgt(folder / "tgt")
            devices = [str(tgt.disk(size)) for _ in range(2)]
            tgt.account(USER, SECRET)
            disks = (tgt.disks[0], tgt.disks[1])
            chap = CHAP.format(target=TARGET, user=USER, folder=folder)
        else:
            create(folder / "disks", disk_size=size)
            far = SanNode(folder / "disks")
            devices = [far.url(name) for name in ("disk0", "disk1")]
            disks = (folder / "disks/san/disks/disk0.img", folder / "disks/san/disks/disk1.img")
            chap = ""
        (folder / "chap").write_text(SECRET + "\n")
        (folder / "chap").chmod(0o600)
        noise = random.Random(11)
        disks[0].write_bytes(b"".join(noise.randbytes(min(MIB, size - at)) for at in range(0, size, MIB)))
        if tgt is not None:
            stack.callback(tgt.stop)
            tgt.start()
        else:
            far.start()
            stack.callback(far.stop)
        tables = DISKS.format(source=devices[0], target=devices[1]) + chap
        config = folder / "node.toml"
        config.write_text(tables)
        create(folder / "node", capacity=2 * LARGE)
        node = SanNode(folder / "node")
        node.arguments = ("--embedded", str(node.folder), "--config", str(config),
                          "--listen", f"tcp:{node.port}:interface=127.0.0.1")
        node.start()
        stack.callback(node.stop)
        head = HEAD.format(tape0=node.url("tape0"), tape1=node.url("tape1"), copy0=node.url("copy0"))
        server = ConfiguredServer(folder / "head", tables + head)
        server.folder.mkdir()
        stack.callback(server.stop)
        server.start()
        yield Site(folder, node, server, disks, tgt)


@pytest.mark.parametrize("elsewhere", ["tgt", "node"])
def test_both_movers_make_the_same_tape_of_a_disk_elsewhere_and_the_same_disk_of_it(
        tmp_path: Path, elsewhere: str) -> None:
    with site_of(tmp_path, elsewhere, SIZE) as site:
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
    with site_of(tmp_path, "tgt", LARGE) as site:
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
