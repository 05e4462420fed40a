"""A head and a SAN node with nothing in common but a wire: two network namespaces, joined by a pair of veth
interfaces whose counters tell what went over it. Root alone can have that.
"""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ndmpd.client.options import PASSWORD_VARIABLE
from ndmpd.san import create
from tests.peers.configured import ConfiguredServer
from tests.peers.ndmpc import url
from tests.peers.san_node import PREFIX
from tests.peers.server import PASSWORD, REPOSITORY, NotReady, Program

HEAD, NODE = "192.0.2.1", "192.0.2.2"
_ISCSI, _NDMP = 3260, 10000
_WIRE = "wire"
_NAME = re.compile(r"ndmpd-(\d+)-(?:head|node)\b")
_PATIENCE = 60.0
_CARTRIDGES = {"tape0": "E01001L8", "tape1": "E01002L8"}
_TABLES = f"""
[drive.tape0]
device = "iscsi://{NODE}:{_ISCSI}/{PREFIX}tape0/0"
[drive.tape1]
device = "iscsi://{NODE}:{_ISCSI}/{PREFIX}tape1/0"
[disk.disk0]
device = "iscsi://{NODE}:{_ISCSI}/{PREFIX}disk0/0"
[datamover.copy0]
type = "SCSI"
device = "iscsi://{NODE}:{_ISCSI}/{PREFIX}copy0/0"
[filesystem."/vol/disk0"]
disk = "disk0"
"""


class NoNamespaces(Exception):
    """Network namespaces cannot be made here; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One that exists, by its name."""

    name: str

    def command(self, *words: str) -> list[str]:
        """What runs ``words`` in it."""
        return ["ip", "netns", "exec", self.name, *words]

    def serve(self, words: Sequence[str], log: Path, port: int) -> Program:
        """Start a server in it; returns when that listens on ``port``."""
        program = Program.start(self.command(*words), log, cwd=REPOSITORY)
        deadline = time.monotonic() + _PATIENCE
        while not _run("ss", "-N", self.name, "-Hltn", f"sport = :{port}"):
            if program.process.poll() is not None or time.monotonic() > deadline:
                program.stop()
                raise NotReady(f"nothing listens on port {port} of {self.name}:\n{program.log_tail()}")
            time.sleep(0.05)
        return program

    def traffic(self) -> int:
        """Bytes that its end of the wire has sent and received up to now, headers of packets included."""
        (found,) = json.loads(_run("ip", "-n", self.name, "-s", "-j", "link", "show", "dev", _WIRE))
        return int(found["stats64"]["rx"]["bytes"]) + int(found["stats64"]["tx"]["bytes"])


@contextmanager
def two_networks() -> Iterator[tuple[Namespace, Namespace]]:
    """The head's and the node's, with their addresses; gone at the end, whatever happened.

    NoNamespaces where this machine does not let us.
    """
    if os.geteuid() != 0:
        raise NoNamespaces("needs root, for network namespaces: run it with sudo")
    if shutil.which("ip") is None:
        raise NoNamespaces("ip is not installed: apt-get install iproute2")
    _remove_strays()
    head, node = (Namespace(f"ndmpd-{os.getpid()}-{end}") for end in ("head", "node"))
    with ExitStack() as stack:
        for one in (head, node):
            try:
                _run("ip", "netns", "add", one.name)
            except subprocess.CalledProcessError as error:
                raise NoNamespaces(f"no network namespace can be made: {error.stderr.strip()}; allow it "
                                   "(CAP_SYS_ADMIN, CAP_NET_ADMIN)") from error
            stack.callback(_run, "ip", "netns", "del", one.name)
        _run("ip", "link", "add", _WIRE, "netns", head.name, "type", "veth",
             "peer", "name", _WIRE, "netns", node.name)
        for one, address in ((head, HEAD), (node, NODE)):
            _run("ip", "-n", one.name, "address", "add", f"{address}/24", "dev", _WIRE)
            for link in ("lo", _WIRE):
                _run("ip", "-n", one.name, "link", "set", link, "up")
        yield head, node


def _remove_strays() -> None:
    """Namespaces of processes that were killed."""
    for pid in set(_NAME.findall(_run("ip", "netns", "list"))):
        if not Path("/proc", pid).exists():
            for end in ("head", "node"):
                subprocess.run(["ip", "netns", "del", f"ndmpd-{pid}-{end}"], capture_output=True, timeout=20)


def _run(*words: str) -> str:
    """What a command prints; CalledProcessError where it fails."""
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_PATIENCE,
                          stdin=subprocess.DEVNULL)
    return done.stdout


@dataclass(frozen=True, slots=True)
class Backup:
    """``traffic``: bytes over the head's wire, both ways, while the DMA had the job done."""

    traffic: int
    used: str
    moved: int


@dataclass(frozen=True, slots=True)
class Site:
    """The head in one network and the SAN node in the other, both running."""

    folder: Path
    network: Namespace
    head: ConfiguredServer

    @property
    def disk(self) -> Path:
        """Behind the node's disk0."""
        return self.folder / "node" / "san" / "disks" / "disk0.img"

    def back_up(self, mover: str, drive: str) -> Backup:
        """The image of the node's disk to the node's ``drive``, told by a DMA on the head."""
        catalogue = self.folder / f"{drive}.catalogue"
        words = self.network.command(
            sys.executable, "-m", "ndmpd.client", "backup", url(self.head.agent), "/vol/disk0",
            "-B", "image", "-c", str(catalogue), "--drive", drive, "-E", f"DATAMOVER={mover}", "--json")
        before = self.network.traffic()
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=REPOSITORY,
                              env={**os.environ, PASSWORD_VARIABLE: PASSWORD}, stdin=subprocess.DEVNULL)
        traffic = self.network.traffic() - before
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.head.log_file.read_text()[-3000:]}"
        report = json.loads(done.stdout)
        variables = {one["name"]: one["value"] for one in report["environment"]}
        return Backup(traffic, variables["DATAMOVER_USED"], report["bytes"])

    def same_tapes(self) -> bool:
        """Whether both drives hold the same cartridge, as SIMH images of at least the disk's size."""
        images = [self._export(drive) for drive in _CARTRIDGES]
        try:
            large = all(one.stat().st_size > self.disk.stat().st_size for one in images)
            return large and filecmp.cmp(*images, shallow=False)
        finally:
            for one in images:
                one.unlink()

    def _export(self, drive: str) -> Path:
        image = self.folder / f"{drive}.tap"
        _run(sys.executable, "-m", "ndmpd", "tape", "--embedded", str(self.folder / "node"),
             "export", _CARTRIDGES[drive], str(image))
        return image


@contextmanager
def two_sites(folder: Path, size: int) -> Iterator[Site]:
    """Head and node, the node with a disk of ``size`` random bytes, none of which is stored twice.

    NoNamespaces where they cannot be.
    """
    with two_networks() as (head, node), ExitStack() as stack:
        create(folder / "node", cartridges=2, capacity=2 * size + (64 << 20), disk_size=size)
        server = ConfiguredServer(folder / "head", _TABLES, port=_NDMP)
        site = Site(folder, head, server)
        _fill(site.disk)
        program = node.serve(
            [sys.executable, "-m", "ndmpd", "san", "serve", "--embedded", str(folder / "node"),
             "--listen", f"tcp:{_ISCSI}:interface={NODE}"], folder / "node.log", _ISCSI)
        stack.callback(program.stop)
        server.folder.mkdir()
        server.configure()
        server.program = head.serve(server.command, server.log_file, _NDMP)
        stack.callback(server.stop)
        yield site


def _fill(disk: Path) -> None:
    size, step = disk.stat().st_size, 4 << 20
    with disk.open("r+b") as file:
        for at in range(0, size, step):
            file.write(os.urandom(min(step, size - at)))
        file.flush()
        os.fsync(file.fileno())
