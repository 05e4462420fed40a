"""``ndmpd demo``: the whole job on this machine alone, and proof that everything came back.

A server with an embedded SAN is started in a temporary folder. A tree is backed up as ``tar`` and restored
beside it; a disk with a file system full of this machine's own files is backed up as an ``image`` and
recovered onto a second disk, once for every kind of data mover. Both results are compared with their
originals, byte for byte. What each mover left to the head is shown side by side.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal

from ndmpd.admin.comparison import compare_trees, first_difference
from ndmpd.admin.demo_movers import Share, metered, side_by_side
from ndmpd.admin.demo_server import DemoServer
from ndmpd.client.backup import BackupOrder
from ndmpd.client.catalogue import Catalogue
from ndmpd.client.connection import Stop
from ndmpd.client.display import Bar
from ndmpd.client.jobs import Report, Tapes, run_backup, run_restore
from ndmpd.client.options import stoppable
from ndmpd.client.restore import RestoreOrder, Wanted
from ndmpd.client.servers import Servers
from ndmpd.errors import NdmpdError
from ndmpd.san import San
from ndmpd.san.maintenance import at_rest

DATAMOVERS = ("NAS", "SCSI")
"""Kinds of data mover that carry the image, each from the same disk to its own tape and back."""
CARTRIDGE = "E01002L8"
"""The one in tape1 of a new SAN: it takes the images."""
RECORD_SIZE = 256 << 10
DISK_SIZE = 1 << 30
"""Of the embedded SAN's disks."""
MOST_ON_DISK = DISK_SIZE * 3 // 4
ROOM = 1.1
"""Free space wanted, as a multiple of what will be written."""


@dataclass(slots=True)
class Proof:
    """One thing that was backed up, restored and compared. ``entries``: files, directories and links."""

    name: str
    butype: str
    datamover: str
    backup: Report
    restore: Report
    entries: int
    size: int
    differences: list[str] = field(default_factory=list)
    differing: int = 0
    shares: tuple[Share, ...] = ()
    """The head's part in the backup and in the restore."""

    @property
    def identical(self) -> bool:
        return self.differing == 0 and self.backup.exit_status == 0 and self.restore.exit_status == 0

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name, "butype": self.butype, "datamover": self.datamover,
            "identical": self.identical, "entries": self.entries, "bytes": self.size,
            "differing": self.differing, "differences": self.differences,
            "backup": self.backup.document(), "restore": self.restore.document(),
            "head": [share.document() for share in self.shares],
        }


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, file_okay=False, resolve_path=True))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def demo(path: str | None, as_json: bool) -> None:
    """Back up PATH and a disk image to virtual tapes, restore both, and compare.

    Nothing outside a temporary folder is written. PATH is Python's standard library unless given. The exit
    status is 1 if anything did not come back as it was.
    """
    console = Console(stderr=True) if as_json else Console()
    proofs: list[Proof] = []
    problem = ""
    try:
        with stoppable() as stop, tempfile.TemporaryDirectory(prefix="ndmpd-demo-") as folder:
            for proof in run(Path(path or sysconfig.get_path("stdlib")), Path(folder), stop, console):
                proofs.append(proof)
                show(console, proof)
    except (NdmpdError, OSError) as error:
        problem = str(error)
        console.print("[bold red]✗[/] ", end="")
        console.print(problem, markup=False, highlight=False)
    identical = not problem and all(proof.identical for proof in proofs)
    shares = [share for proof in proofs if proof.butype == "image" for share in proof.shares]
    if shares:
        console.print(side_by_side(sorted(shares, key=lambda share: share.report.operation)))
    if as_json:
        json.dump({"identical": identical, "problem": problem,
                   "proofs": [proof.document() for proof in proofs]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif identical:
        console.print("[bold green]Everything came back identical.[/]")
    sys.exit(0 if identical else 1)


def run(source: Path, folder: Path, stop: Stop, console: Console) -> Iterator[Proof]:
    """Make the demonstration in ``folder``; each proof as soon as it is there."""
    size = tree_size(source)
    needed = int(ROOM * (size * (3 if os.geteuid() else 2) + 4 * min(size, MOST_ON_DISK)))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NdmpdError(f"{folder.parent} has {decimal(free)} free and {decimal(needed)} may be needed; "
                         "name a smaller PATH, or set TMPDIR to a place with more room")
    if os.geteuid():
        # Only root can give files back to their owners, so the original has to be ours.
        source = Path(shutil.copytree(source, folder / "source", symlinks=True))
    restored = folder / "restored"
    restored.mkdir()
    capacity = max(8 << 30, 2 * size)
    with DemoServer(folder, (source, restored), ("--tape-capacity", str(capacity))) as server:
        console.print(f"[bold]NDMP server with an embedded SAN[/] on {server.login.url.place}, "
                      f"[dim]state in {folder}[/]", highlight=False)
        try:
            yield prove_tree(server, source, restored, stop, console)
            contents = fill_disk(server.disks / "disk0.img", source if size <= MOST_ON_DISK else None)
            console.print(f"disk0 holds {contents}", highlight=False)
            for datamover in DATAMOVERS:
                yield prove_image(server, datamover, stop, console)
        except NdmpdError as error:
            raise NdmpdError(f"{error}\nthe server's last words:\n{server.log_tail()}") from error


def tree_size(path: Path) -> int:
    """Bytes of disk space that the files below ``path`` take, every name counted."""
    total = 0
    for parent, _, names in os.walk(path):
        for name in names:
            total += os.lstat(os.path.join(parent, name)).st_size
    return total


@contextmanager
def connected(server: DemoServer, stop: Stop) -> Iterator[Servers]:
    """DATA and MOVER on two connections, as most backup applications have them."""
    login = server.login
    with Servers(login, login, stop) as servers:
        yield servers
    stop.heeded = True


def there_and_back(server: DemoServer, drive: str, order: BackupOrder, destination: str, title: str,
                   stop: Stop, console: Console) -> tuple[Share, Share]:
    """Back up by ``order`` onto the cartridge in ``drive``, restore to ``destination``."""
    datamover = dict(order.environment).get("DATAMOVER", DATAMOVERS[0])
    place = server.folder / "demo.catalogue"
    with Catalogue.open(place, create=True) as catalogue:
        with (metered(server.pid) as backup_meter, connected(server, stop) as servers,
              Bar(console, f"back up {title}") as bar):
            backup = run_backup(servers, Tapes((drive,)), order, stop=stop, observer=bar,
                                catalogue=catalogue)
        if not backup.whole or backup.backup is None:
            raise NdmpdError(f"the backup of the {title} ended {backup.data_halt} / {backup.mover_halt}")
        back = RestoreOrder(order.butype, tuple(catalogue.environment(backup.backup)), order.record_size,
                            tuple(backup.media), (Wanted("", destination),), destination)
        with (metered(server.pid) as restore_meter, connected(server, stop) as servers,
              Bar(console, f"restore {title}", backup.size) as bar):
            restore = run_restore(servers, Tapes((drive,)), back, stop=stop, observer=bar)
    return Share(datamover, backup, backup_meter), Share(datamover, restore, restore_meter)


def prove_tree(server: DemoServer, source: Path, restored: Path, stop: Stop, console: Console) -> Proof:
    order = BackupOrder("tar", (("FILESYSTEM", str(source)), ("TYPE", "tar"), ("HIST", "y")), RECORD_SIZE)
    shares = there_and_back(server, "tape0", order, str(restored), "tree", stop, console)
    tally = compare_trees(source, restored)
    return Proof(f"tree {source}", "tar", "NAS", shares[0].report, shares[1].report, tally.entries,
                 tally.size, tally.differences, tally.differing, shares)


def prove_image(server: DemoServer, datamover: str, stop: Stop, console: Console) -> Proof:
    """Image disk0 onto a tape and recover it onto disk1, which holds something else before.

    Each mover finds the tape blank and the disk without space of its own: to write over what another has
    written is a good deal faster.
    """
    original, copy = server.disks / "disk0.img", server.disks / "disk1.img"
    with at_rest(San.open(server.disks.parent), CARTRIDGE, changing=True) as medium:
        medium.truncate(0)
        medium.forget_tail()
    soil(copy)
    settle(original)
    order = BackupOrder("image", (("FILESYSTEM", "/vol/disk0"), ("TYPE", "image"), ("HIST", "n"),
                                  ("DATAMOVER", datamover)), RECORD_SIZE)
    title = f"image by {datamover}"
    shares = there_and_back(server, "tape1", order, "/vol/disk1", title, stop, console)
    at = first_difference(str(original), str(copy))
    differences = [] if at is None else [f"the disks differ at byte {at}"]
    return Proof("image disk0", "image", datamover, shares[0].report, shares[1].report, 1,
                 original.stat().st_size, differences, len(differences), shares)


def soil(disk: Path) -> None:
    """Leave nothing on ``disk`` but data in places all along it, so that only a real recover makes it equal
    to another.
    """
    with disk.open("r+b") as file:
        file.truncate(0)
        file.truncate(DISK_SIZE)
        for at in range(0, DISK_SIZE, DISK_SIZE // 64):
            file.seek(at)
            file.write(b"\xa5" * 4096)


def settle(disk: Path) -> None:
    """Have ``disk`` written out and in no cache: space that is allocated but never written is a hole, which
    images leave out, only until somebody has read it.
    """
    with disk.open("r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fill_disk(disk: Path, tree: Path | None) -> str:
    """Put an ext4 file system with ``tree`` on ``disk``, or data and holes where that cannot be done.

    Says what it holds now.
    """
    mke2fs = shutil.which("mke2fs") or shutil.which("mke2fs", path="/sbin:/usr/sbin")
    if mke2fs is not None and tree is not None:
        made = subprocess.run([mke2fs, "-q", "-F", "-t", "ext4", "-d", str(tree), str(disk)], check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=600)
        if made.returncode == 0:
            return f"an ext4 file system with a copy of {tree}"
    extents, extent, chance = 24, 3 << 20, random.Random(4)
    with disk.open("r+b") as file:
        for index in range(extents):
            file.seek(index * (DISK_SIZE // extents) // 4096 * 4096)
            file.write(chance.randbytes(extent))
    return f"{extents} extents of random data with holes between them"


def show(console: Console, proof: Proof) -> None:
    """What was proved, in a line; then every difference that was kept."""
    what = decimal(proof.size)
    if proof.butype == "tar":
        what = f"{proof.entries:,} entries, {what}"
    rates = f"backup {proof.backup.rate / 1e6:,.0f} MB/s, restore {proof.restore.rate / 1e6:,.0f} MB/s"
    mark = "[bold green]✓ identical[/]" if proof.identical else "[bold red]✗ DIFFERENT[/]"
    console.print(f"{mark}  {proof.name} ({proof.butype}, TYPE={proof.datamover}): {what}; {rates}",
                  highlight=False)
    for report in (proof.backup, proof.restore):
        if report.exit_status:
            console.print(f"  {report.operation}: {report.exit_status.name.lower()}, "
                          f"{report.lost} lost, {len(report.failed)} names failed", style="red")
        for _, text in report.messages[:10]:
            console.print(f"  {text}", style="yellow", markup=False, highlight=False)
    for difference in proof.differences:
        console.print(f"  {difference}", style="red", markup=False, highlight=False)
    if proof.differing > len(proof.differences):
        console.print(f"  and {proof.differing - len(proof.differences):,} more differences", style="red")
