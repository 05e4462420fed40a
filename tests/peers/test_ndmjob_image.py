"""ndmjob as the DMA: an ext4 file system on one disk of the SAN to tape, and onto another disk."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from tests.peers.ndmjob import Job, Ndmjob
from tests.peers.server import EmbeddedServer

pytestmark = [
    pytest.mark.peer, pytest.mark.needs("ndmjob", "mke2fs"), pytest.mark.timeout(300),
]  # fmt: skip

SBIN = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}


@pytest.fixture(scope="module")
def source(server: EmbeddedServer, odd_tree: Path) -> Path:
    """``disk0`` with a file system on it that holds the odd tree."""
    disk = server.disk("disk0")
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(odd_tree), str(disk)], check=True, env=SBIN, timeout=60
    )
    return disk


def scribble(disk: Path, seed: int) -> None:
    """Put data where the image has zeros: they must be written, or read as zeros, all the same."""
    chance = random.Random(seed)
    size = disk.stat().st_size
    with disk.open("r+b") as file:
        for _ in range(64):
            file.seek(chance.randrange(size // 4096) * 4096)
            file.write(chance.randbytes(4096))


@pytest.mark.parametrize("separate", [False, True], ids=["LOCAL", "TCP"])
@pytest.mark.parametrize("version", [3, 4])
def test_an_image_is_brought_back_onto_another_disk(
    ndmjob: Ndmjob, server: EmbeddedServer, source: Path, folder: Path, version: int, separate: bool
) -> None:
    agent = server.agent(version)
    job = Job(agent, "tape0", "image", tape=agent if separate else None)
    index = folder / f"image-{version}-{separate}.index"
    backup = ndmjob.backup(job, "/vol/disk0", index)
    assert backup.succeeded, backup.explain()
    target = server.disk("disk1")
    scribble(target, seed=version)
    restore = ndmjob.restore(job, "/vol/disk1", index=index)
    assert restore.succeeded, restore.explain()
    compared = subprocess.run(["cmp", str(source), str(target)], capture_output=True, text=True, timeout=120)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    checked = subprocess.run(
        ["e2fsck", "-fn", str(target)], capture_output=True, text=True, env=SBIN, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
