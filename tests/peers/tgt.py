"""Debian's tgtd, an iSCSI target not written by this project, on a free loopback port, bounded in time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.config_types import Iscsi
from tests.peers.server import NotReady, Program, free_port

TARGET = "iqn.2026-11.io.ndmpd.test:disks"
_READY = 10.0
_CONTROLS = 32749
"""tgtd takes no number above 32767."""


@dataclass(slots=True)
class Tgt:
    """One target with logical units 1, 2, ...: disks, each a file of ``folder``, and tapes. It ends by itself
    after ``lifetime`` seconds.

    The number of tgtd's control socket is made of its port: two instances never share one.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    program: Program | None = None
    disks: list[Path] = field(default_factory=list)
    accounts: list[tuple[str, str, bool]] = field(default_factory=list)
    lifetime: int = 110

    @property
    def control(self) -> int:
        return self.port % _CONTROLS

    def start(self) -> Tgt:
        """Start it, with the disks and accounts that were added before."""
        self.program = Program.start(
            ["timeout", "-k5", str(self.lifetime), "tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{self.port}",
             "-C", str(self.control)], self.folder / "tgtd.log")
        self._wait()
        self._administer("new", "target", "-T", TARGET)
        for lun, disk in enumerate(self.disks, 1):
            self._attach(lun, disk)
        for account in self.accounts:
            self._account(*account)
        self._administer("bind", "target", "-I", "ALL")
        return self

    def stop(self) -> None:
        """Without a goodbye, as a crash: asked nicely, it waits for its initiators."""
        if self.program is not None:
            self._signal(signal.SIGKILL)
            self.program.stop()
            self.program = None
        for left in Path("/var/run/tgtd").glob(f"socket.{self.control}*"):
            left.unlink()

    def pause(self) -> None:
        """It keeps its connections, and says nothing until ``resume``."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self.program is not None
        os.killpg(self.program.process.pid, number)

    def at(self, lun: int) -> Iscsi:
        return Iscsi("127.0.0.1", self.port, TARGET, lun)

    def disk(self, size: int) -> Iscsi:
        """A further disk of ``size`` bytes."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"disk{len(self.disks) + 1}.img"
        path.touch()
        os.truncate(path, size)
        self.disks.append(path)
        lun = len(self.disks)
        if self.program is not None:
            self._attach(lun, path)
        return self.at(lun)

    def tape(self, size: int) -> Iscsi:
        """A further unit of the running target: a drive with a tape of ``size`` bytes in it."""
        path = self.folder / f"tape{len(self.disks) + 1}"
        subprocess.run(
            ["tgtimg", "--op", "new", "--device-type", "tape", "--barcode", "T1", "--size", str(size >> 20),
             "--type", "data", "--file", str(path), "--thin-provisioning"],
            check=True, timeout=20, capture_output=True, stdin=subprocess.DEVNULL)
        self.disks.append(path)
        self._attach(len(self.disks), path, "--device-type=tape")
        return self.at(len(self.disks))

    def account(self, user: str, secret: str, *, outgoing: bool = False) -> None:
        """Whoever logs in has to know ``secret``; ``outgoing``: what the target itself proves to know."""
        self.accounts.append((user, secret, outgoing))
        if self.program is not None:
            self._account(user, secret, outgoing)

    def _attach(self, lun: int, file: Path, *more: str) -> None:
        self._administer("new", "logicalunit", "--lun", str(lun), "-b", str(file), *more)

    def _account(self, user: str, secret: str, outgoing: bool) -> None:
        self._run("--op", "new", "--mode", "account", "--user", user, "--password", secret)
        self._run("--op", "bind", "--mode", "account", "--tid", "1", "--user", user,
                  *(["--outgoing"] if outgoing else []))

    def _administer(self, operation: str, mode: str, *more: str) -> None:
        self._run("--op", operation, "--mode", mode, "--tid", "1", *more)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["tgtadm", "-C", str(self.control), "--lld", "iscsi", *arguments], check=True,
                              timeout=20, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY
        while True:
            try:
                self._run("--op", "show", "--mode", "target")
                break
            except subprocess.SubprocessError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise NotReady(f"tgtd does not answer: {error}") from error
                time.sleep(0.05)
