"""Server-free backup with ndmjob as the DMA: the copy manager and the head write the same tape, each reads
what the other has written, and by the copy manager next to nothing passes through the head.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ndmpd.admin.demo_costs import Costs, head_costs
from tests.peers.conftest import Serving
from tests.peers.ndmjob import Job, Ndmjob
from tests.peers.ndmjob_index import Index
from tests.peers.server import EmbeddedServer

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob"), pytest.mark.timeout(300)]

SBIN = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
MOVERS = {"NAS": "tape0", "SCSI": "tape1"}
CARTRIDGES = {"tape0": "E01001L8", "tape1": "E01002L8"}
USED = {"NAS": "NAS", "SCSI": "SCSI copy0"}
EXTENT = 4 << 20
LEAST_FILES, MOST_FILES = 20 << 20, 80 << 20
MOST_THROUGH_HEAD = 0.001
"""Of the bytes of an image, by the copy manager."""
MOST_TIME = 0.25
MOST_TIME_FOR_BYTES = 0.05
"""Of the head's own processor time for an image of 1 GiB: with the costs of any job, and beyond them."""


@pytest.fixture(scope="module")
def san(serving: Serving, folder: Path) -> Iterator[EmbeddedServer]:
    with serving(folder / "serverfree", capacity=8 << 30) as server:
        yield server


@pytest.fixture(scope="module")
def files(san: EmbeddedServer, folder: Path) -> Path:
    """``disk0`` with an ext4 file system full of files of this machine."""
    copies = folder / "serverfree-files"
    library = Path(sysconfig.get_path("stdlib"))
    room = MOST_FILES
    for file in sorted(library.rglob("*")):
        if file.is_file() and room > 0:
            room -= file.stat().st_size
            place = copies / file.relative_to(library)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    disk = san.disk("disk0")
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(copies), str(disk)], check=True, env=SBIN, timeout=60
    )
    settle(disk)
    assert disk.stat().st_blocks * 512 > LEAST_FILES
    return disk


def job(server: EmbeddedServer, mover: str, separate: bool) -> Job:
    agent = server.agent(4)
    return Job(agent, MOVERS[mover], "image", tape=agent if separate else None, timeout=120)


def back_up(
    ndmjob: Ndmjob,
    server: EmbeddedServer,
    mover: str,
    separate: bool,
    index: Path,
    volume: str = "/vol/disk0",
) -> Index:
    done = ndmjob.backup(job(server, mover, separate), volume, index, {"DATAMOVER": mover})
    assert done.succeeded, done.explain()
    return Index.read(index)


def assert_same(one: Path, other: Path) -> None:
    compared = subprocess.run(["cmp", str(one), str(other)], capture_output=True, text=True, timeout=120)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def soil(disk: Path) -> None:
    """Leave nothing on ``disk`` as it was: what is not written is not equal to anything afterwards."""
    size = disk.stat().st_size
    chance = random.Random(size)
    with disk.open("r+b") as file:
        for _ in range(256):
            file.seek(chance.randrange(size // 4096) * 4096)
            file.write(chance.randbytes(4096))


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize("separate", [False, True], ids=["LOCAL", "TCP"])
def test_both_movers_write_the_same_tape_and_each_restores_what_the_other_wrote(
    ndmjob: Ndmjob, san: EmbeddedServer, files: Path, folder: Path, tmp_path: Path, separate: bool
) -> None:
    indexes = {mover: folder / f"free-{mover}-{separate}.index" for mover in MOVERS}
    for mover, index in indexes.items():
        written = back_up(ndmjob, san, mover, separate, index)
        assert written.variable("DATAMOVER_USED") == USED[mover]
        san.tape_command("export", CARTRIDGES[MOVERS[mover]], str(tmp_path / f"{mover}.tap"))
    assert (tmp_path / "NAS.tap").stat().st_size > LEAST_FILES
    assert_same(tmp_path / "NAS.tap", tmp_path / "SCSI.tap")

    target = san.disk("disk1")
    for writer, reader in (("SCSI", "NAS"), ("NAS", "SCSI")):
        soil(target)
        restore = ndmjob.restore(
            job(san, writer, separate), "/vol/disk1", index=indexes[writer], variables={"DATAMOVER": reader}
        )
        assert restore.succeeded, restore.explain()
        assert ("data mover copy0 (SCSI) moves the data" in restore.log) == (reader == "SCSI"), restore.log
        assert_same(files, target)
        checked = subprocess.run(
            ["fsck.ext4", "-fn", str(target)], capture_output=True, text=True, env=SBIN, timeout=60
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


@dataclass(frozen=True, slots=True)
class Spent:
    """By the head for one job, and what the server says of it."""

    costs: Costs
    by_head: int
    offloaded: int


def measure(
    ndmjob: Ndmjob, server: EmbeddedServer, mover: str, index: Path, volume: str = "/vol/disk0"
) -> Spent:
    assert server.program is not None
    before = head_costs(server.program.process.pid)
    written = back_up(ndmjob, server, mover, True, index, volume)
    costs = head_costs(server.program.process.pid) - before
    said = [int(written.variable(f"DATAMOVER_{name}") or -1) for name in ("BY_HEAD", "OFFLOADED")]
    return Spent(costs, *said)


def settle(disk: Path) -> None:
    """When ``disk`` is written out it is decided which of its zeros are holes: images leave those out."""
    with disk.open("r+b") as file:
        os.fsync(file.fileno())


def fill(disk: Path, size: int) -> None:
    """Random data from the beginning on, as a disk that is in use has it."""
    chance = random.Random(size)
    with disk.open("r+b") as file:
        for at in range(0, size, EXTENT):
            file.seek(at)
            file.write(chance.randbytes(EXTENT))


def assert_next_to_nothing_passed(spent: dict[str, Spent], size: int) -> None:
    """The account of the system agrees with what the server says, for either mover."""
    assert spent["NAS"].by_head >= size and spent["NAS"].offloaded == 0, spent
    assert spent["NAS"].costs.moved >= 2 * size, f"the account misses what the head moves: {spent}"
    assert spent["SCSI"].offloaded == size, spent
    assert spent["SCSI"].by_head < MOST_THROUGH_HEAD * size, spent
    assert spent["SCSI"].costs.moved < MOST_THROUGH_HEAD * size, spent


def test_by_the_copy_manager_next_to_nothing_passes_through_the_head(
    ndmjob: Ndmjob, serving: Serving, folder: Path
) -> None:
    size = 256 << 20
    with serving(folder / "through", capacity=1 << 30) as server:
        fill(server.disk("disk0"), size)
        spent = {mover: measure(ndmjob, server, mover, folder / f"through-{mover}.index") for mover in MOVERS}
    assert_next_to_nothing_passed(spent, size)


@pytest.mark.slow
def test_a_copy_manager_saves_the_head_nearly_all_processor_time(
    ndmjob: Ndmjob, serving: Serving, folder: Path
) -> None:
    """Onto erased cartridges. A job has costs of its own, those of its processes, whoever moves the bytes:
    they are told by the image of an empty disk."""
    size, turns = 1 << 30, 5
    with serving(folder / "saves", capacity=2 << 30) as server:
        fill(server.disk("disk0"), size)
        index = folder / "saves.index"
        seconds = dict.fromkeys((*MOVERS, "empty"), 0.0)
        for _ in range(turns):
            seconds["empty"] += measure(ndmjob, server, "SCSI", index, "/vol/disk1").costs.seconds
            spent = {}
            for mover, drive in MOVERS.items():
                server.tape_command("erase", CARTRIDGES[drive])
                spent[mover] = measure(ndmjob, server, mover, index)
                seconds[mover] += spent[mover].costs.seconds
            assert_next_to_nothing_passed(spent, size)
    for what, sum_of_turns in seconds.items():
        print(f"{what}: {sum_of_turns / turns:.3f} s of processor time for a job")
    assert seconds["SCSI"] < MOST_TIME * seconds["NAS"], seconds
    assert seconds["SCSI"] - seconds["empty"] < MOST_TIME_FOR_BYTES * seconds["NAS"], seconds
