"""A disk in use on this machine is found by what it is: on real loop devices, and in trees made like /proc
and /sys.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ndmpd.errors import JobRefused, SourceError
from ndmpd.formats.mounts import Identity, Use, uses
from ndmpd.pieces import Inline
from protocol.ndmp.codes import DataOperation
from protocol.scsi.spc import Designator, DesignatorType, put_identification
from tests.formats.image_source import Bench, FileDisk, everything, make_ext

NAA = Designator(DesignatorType.NAA, bytes.fromhex("5000c500a1b2c3d4"))
OTHER = Designator(DesignatorType.NAA, bytes.fromhex("5000c500a1b2c3d5"))


class Machine:
    """Trees like /proc and /sys."""

    def __init__(self, root: Path) -> None:
        self.proc, self.sys = root / "proc", root / "sys"
        (self.proc / "self").mkdir(parents=True)
        (self.sys / "block").mkdir(parents=True)
        self.mounts: list[str] = []
        (self.proc / "self" / "mountinfo").write_text("")
        (self.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")

    def disk(self, name: str, number: str, **files: bytes) -> Path:
        device = self.sys / "block" / name
        (device / "holders").mkdir(parents=True)
        (device / "dev").write_text(number + "\n")
        for path, content in files.items():
            target = device / path.replace("__", "/")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(content)
        return device

    def partition(self, disk: str, name: str, number: str) -> None:
        folder = self.sys / "block" / disk / name
        (folder / "holders").mkdir(parents=True)
        (folder / "dev").write_text(number)

    def mount(self, number: str, point: str, options: str = "rw", source: str = "/dev/x",
              kind: str = "ext4") -> None:
        self.mounts.append(f"30 1 {number} / {point} rw,relatime shared:1 - {kind} {source} "
                           f"{options},errors=continue")
        (self.proc / "self" / "mountinfo").write_text("\n".join(self.mounts) + "\n")

    def uses(self, identity: Identity) -> list[Use]:
        return uses(identity, self.proc, self.sys)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


UNIT = Identity(designators=(NAA,))


def test_a_logical_unit_is_known_by_its_designator(machine):
    machine.disk("sda", "8:0", device__vpd_pg83=put_identification(0, (OTHER,)))
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    machine.mount("8:0", "/", "rw")
    assert machine.uses(UNIT) == []
    machine.mount("8:16", "/mnt/data\\040base", "rw")
    assert machine.uses(UNIT) == [Use("sdb", "/mnt/data base", True)]


def test_partitions_and_holders_count_as_the_disk(machine):
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    machine.partition("sdb", "sdb1", "8:17")
    machine.partition("sdb", "sdb2", "8:18")
    dm = machine.disk("dm-0", "253:0")
    (machine.sys / "block" / "sdb" / "sdb2" / "holders" / "dm-0").symlink_to(dm)
    machine.mount("8:17", "/boot", "ro")
    machine.mount("253:0", "/srv", "rw")
    assert machine.uses(UNIT) == [Use("sdb1", "/boot", False), Use("dm-0", "/srv", True)]


def test_a_file_system_with_a_number_of_its_own_is_found_by_its_source(machine):
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    machine.mount("0:45", "/btrfs", "rw", "/dev/sdb", "btrfs")
    machine.mount("0:46", "/nfs", "rw", "server:/sdb", "nfs")
    assert machine.uses(UNIT) == [Use("sdb", "/btrfs", True)]


def test_swap_is_use(machine):
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    (machine.proc / "swaps").write_text("Filename\tType\n/dev/sdb                 partition\t1\t0\t-2\n")
    assert machine.uses(UNIT) == [Use("sdb", "swap", True)]


def test_a_read_only_mount_of_a_writable_file_system_is_writable(machine):
    """A bind mount may be read-only while the file system is written to elsewhere."""
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    machine.mounts.append("30 1 8:16 / /mnt ro,relatime - ext4 /dev/sdb rw")
    machine.mount("8:99", "/elsewhere")
    assert machine.uses(UNIT) == [Use("sdb", "/mnt", True)]


def test_what_cannot_be_seen_is_not_called_free(machine):
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (NAA,)))
    (machine.proc / "self" / "mountinfo").unlink()
    with pytest.raises(OSError):
        machine.uses(UNIT)


def test_designators_of_ports_and_empty_ones_identify_nothing(machine):
    port = Designator(DesignatorType.NAA, NAA.identifier, association=1)
    machine.disk("sdb", "8:16", device__vpd_pg83=put_identification(0, (port,)))
    machine.mount("8:16", "/mnt")
    assert machine.uses(UNIT) == []
    assert machine.uses(Identity(designators=(port,))) == []


def test_a_file_behind_a_loop_device_is_known_by_its_inode(machine, tmp_path):
    image, link = tmp_path / "image", tmp_path / "other name"
    image.write_bytes(bytes(512))
    os.link(image, link)
    machine.disk("loop0", "7:0", loop__backing_file=str(link).encode() + b"\n")
    machine.disk("loop1", "7:1", loop__backing_file=b"/gone (deleted)\n")
    machine.mount("7:0", "/mnt", "ro")
    machine.mount("7:1", "/other", "rw")
    assert machine.uses(Identity(file=os.stat(image))) == [Use("loop0", "/mnt", False)]


@pytest.fixture
def mounted(tmp_path):
    """A real file system on a real loop device; call with mount options."""
    image, point = tmp_path / "disk.img", tmp_path / "point"
    make_ext(image, "16M", files=4)
    point.mkdir()
    done = []

    def mount(options: str) -> Bench:
        if subprocess.run(["mount", "-o", f"loop,{options}", image, point], capture_output=True,
                          timeout=30).returncode:
            pytest.skip("this machine does not let tests mount a loop device")
        done.append(point)
        other = tmp_path / "other.img"
        other.write_bytes(bytes(16 << 20))
        return Bench(a=FileDisk(image), b=FileDisk(other))

    yield mount
    for place in done:
        subprocess.run(["umount", place], check=True, timeout=30)


@pytest.mark.root
@pytest.mark.needs("mke2fs")
class TestReallyMounted:
    def test_a_disk_mounted_read_write_is_refused_as_a_source_and_as_a_target(self, mounted, tmp_path):
        bench = mounted("rw")
        job = bench.job(DataOperation.BACKUP, FILESYSTEM="/vol/a")
        with pytest.raises(JobRefused, match=f"/vol/a is in use read-write .* at {tmp_path}/point"):
            bench.butype.check(job)
        with pytest.raises(JobRefused, match="in use read-write"):
            next(bench.butype.backup(job))
        with pytest.raises(JobRefused, match="cannot be overwritten"):
            bench.recover(bench.backup("b"), everything("a"))

    def test_a_disk_mounted_read_only_is_a_source_and_no_target(self, mounted):
        bench = mounted("ro")
        stream = bench.backup("a", IMAGEGAPSIZE="0")
        bench.recover(stream, everything("b"))
        with pytest.raises(JobRefused, match="cannot be overwritten"):
            bench.recover(stream, everything("a"))

    def test_a_disk_mounted_while_it_is_copied_ends_the_job(self, mounted, tmp_path):
        image = tmp_path / "disk.img"
        bench = Bench(a=FileDisk(image))
        pieces = bench.butype.backup(bench.job(DataOperation.BACKUP, FILESYSTEM="/vol/a"))
        assert isinstance(next(pieces), Inline)
        mounted("rw")
        with pytest.raises(SourceError, match="while it was read"):
            list(pieces)
