"""Disks of a target that is not ours (tgtd), backed up and restored as images by the head."""

from __future__ import annotations

import filecmp
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import Ndmpc
from tests.peers.tgt import TARGET, Tgt

pytestmark = [
    pytest.mark.peer, pytest.mark.root, pytest.mark.needs("tgtd", "libiscsi"), pytest.mark.timeout(100)
]  # fmt: skip

MIB = 1 << 20
SIZE = 24 * MIB
LARGE = 256 * MIB
USER, SECRET = "head", "a word of the head"

TABLES = """
[drive.tape0]
device = "virtual:tape0"
[drive.tape1]
device = "virtual:tape1"
[changer.mc0]
device = "virtual:mc0"
[disk.source]
device = "iscsi://127.0.0.1:{port}/{target}/1"
serial = "beaf11"
[disk.target]
device = "iscsi://127.0.0.1:{port}/{target}/2"
[disk.wrong]
device = "iscsi://127.0.0.1:{port}/{target}/3"
serial = "beaf11"
[disk.none]
device = "iscsi://127.0.0.1:{port}/{target}/9"
[filesystem."/vol/source"]
disk = "source"
[filesystem."/vol/target"]
disk = "target"
[filesystem."/vol/wrong"]
disk = "wrong"
[filesystem."/vol/none"]
disk = "none"
[initiator.target."{target}"]
user = "{user}"
secret_file = "{folder}/chap"
header_digest = "crc32c"
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A head with an embedded tape drive, and two disks of tgtd, the first full of noise."""

    tgt: Tgt
    server: ConfiguredServer
    ndmpc: Ndmpc
    catalogue: Path

    @property
    def disks(self) -> list[Path]:
        return self.tgt.disks


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    tgt = Tgt(tmp_path / "tgt")
    for _ in range(3):
        tgt.disk(SIZE)
    noise = random.Random(7)
    tgt.disks[0].write_bytes(noise.randbytes(SIZE))
    tgt.disks[2].write_bytes(noise.randbytes(SIZE))
    tgt.disks[1].write_bytes(b"\xa5" * SIZE)
    tgt.account(USER, SECRET)
    tgt.start()
    (tmp_path / "chap").write_text(SECRET + "\n")
    (tmp_path / "chap").chmod(0o600)
    tables = TABLES.format(port=tgt.port, target=TARGET, folder=tmp_path, user=USER)
    server = ConfiguredServer(tmp_path, tables)
    try:
        server.start()
        yield Site(tgt, server, Ndmpc(server.agent), tmp_path / "catalogue")
    finally:
        server.stop()
        tgt.stop()


def back_up(site: Site, volume: str, status: int = 0) -> dict:
    options = ("-c", site.catalogue, "-B", "image", "--drive", "tape0")
    return site.ndmpc.run("backup", volume, *options, status=status)


def restore(site: Site, status: int = 0) -> dict:
    options = ("-c", site.catalogue, "--to", "/vol/target", "--drive", "tape0")
    return site.ndmpc.run("restore", *options, status=status)


def test_an_image_goes_from_one_disk_to_tape_and_to_the_other_disk(site: Site) -> None:
    assert back_up(site, "/vol/source")["remarks"] == []
    assert restore(site)["remarks"] == []
    assert filecmp.cmp(site.disks[0], site.disks[1], shallow=False)


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("/vol/wrong", "has the serial number 'beaf13', not 'beaf11'"),
        ("/vol/none", "no such logical unit"),
    ],
)
def test_a_disk_that_is_another_or_none_is_not_touched(site: Site, volume: str, said: str) -> None:
    options = ("-c", site.catalogue, "-B", "image", "--drive", "tape0")
    assert said in site.ndmpc.complaint("backup", volume, *options, status=4)


def test_a_target_that_dies_under_a_backup_ends_it_and_comes_back_for_the_next(site: Site) -> None:
    os.truncate(site.disks[0], LARGE)
    site.tgt.stop()
    site.tgt.start()
    with killed_after(site, lambda: tape_bytes(site) > 4 * MIB):
        report = back_up(site, "/vol/source", status=3)
    assert re.search("connection was lost|no iSCSI target", str(report)), report

    os.truncate(site.disks[0], SIZE)
    site.tgt.start()
    assert back_up(site, "/vol/source")["remarks"] == []
    restore(site)
    assert filecmp.cmp(site.disks[0], site.disks[1], shallow=False)


def test_a_target_that_dies_under_a_recover_ends_it_and_comes_back_for_the_next(site: Site) -> None:
    for disk in site.disks[:2]:
        os.truncate(disk, LARGE)
    with site.disks[0].open("r+b") as source:
        source.seek(LARGE - SIZE)
        source.write(b"the end" + site.disks[2].read_bytes()[7:])
    site.tgt.stop()
    site.tgt.start()
    back_up(site, "/vol/source")
    with killed_after(site, lambda: first_bytes(site.disks[1]) != b"\xa5" * 4):
        report = restore(site, status=3)
    assert re.search("connection was lost|no iSCSI target", str(report)), report

    site.tgt.start()
    restore(site)
    assert filecmp.cmp(site.disks[0], site.disks[1], shallow=False)


def tape_bytes(site: Site) -> int:
    return sum(one.stat().st_size for one in (site.server.folder / "state/san/cartridges").rglob("data"))


def first_bytes(disk: Path) -> bytes:
    with disk.open("rb") as file:
        return file.read(4)


@contextmanager
def killed_after(site: Site, due: Callable[[], bool]) -> Iterator[None]:
    """tgtd is gone as soon as ``due``."""
    was_due: list[bool] = []

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if due():
                site.tgt.stop()
                was_due.append(True)
                return
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    watcher.join()
    assert was_due
