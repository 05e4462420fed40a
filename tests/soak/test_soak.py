"""Many sessions for a long time: eight back up and restore without pause, the others ask; memory stays flat.

SOAK_SECONDS says for how long (default 10 minutes).
"""

from __future__ import annotations

import os
import shutil
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from ndmpd.admin.comparison import compare_trees
from ndmpd.client.backup import BackupOrder
from ndmpd.client.catalogue import Medium
from ndmpd.client.connection import Stop
from ndmpd.client.jobs import Tapes, run_backup, run_restore
from ndmpd.client.movement import ALL
from ndmpd.client.observer import Observer
from ndmpd.client.restore import RestoreOrder, Wanted
from ndmpd.client.servers import Login, Servers
from ndmpd.client.url import ServerUrl
from tests.fuzz.peer import logged_in
from tests.fuzz.watch import proportional
from tests.peers.server import PASSWORD, USER
from tests.soak.conftest import DRIVES, SESSIONS, ConfiguredServer

SECONDS = float(os.environ.get("SOAK_SECONDS") or 600)
MIB = 1 << 20
RECORD = 256 << 10
MOST = 2 << 30
"""Bytes (PSS) that 64 sessions may take together."""
GROWTH = 48 * MIB
"""By how much the last third's memory may exceed the second third's: jobs come and go between samples."""


def grow(folder: Path) -> Path:
    for number in range(60):
        below = folder / f"folder{number % 7}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"file{number}").write_bytes(os.urandom(number * 7000))
    (folder / "large").write_bytes(os.urandom(24 * MIB))
    (folder / "link").symlink_to("large")
    return folder


class Mover:
    """One DMA of the eight: its own drive, tree and folder to restore to, a job after the other."""

    def __init__(self, server: ConfiguredServer, number: int) -> None:
        self.login = Login(ServerUrl("127.0.0.1", server.port, USER), PASSWORD)
        self.source = grow(server.exports / f"source{number}")
        self.back = server.exports / f"back{number}"
        self.drive = f"tape{number}"
        self.rounds = 0

    def run_until(self, over: threading.Event) -> None:
        with Servers(self.login, None, Stop()) as servers:
            while not over.is_set():
                self.round(servers)
                self.rounds += 1

    def round(self, servers: Servers) -> None:
        tapes = Tapes((self.drive,))
        environment = (("FILESYSTEM", str(self.source)), ("HIST", "f" if self.rounds % 2 else "d"))
        saved = run_backup(servers, tapes, BackupOrder("tar", environment, RECORD), stop=Stop(),
                           observer=Observer())
        assert saved.whole and not saved.lost, saved
        media = (Medium("", self.drive, 0, 0, ALL),)
        wanted = Wanted("/", str(self.back))
        order = RestoreOrder("tar", environment, RECORD, media, (wanted,), str(self.back))
        restored = run_restore(servers, tapes, order, stop=Stop(), observer=Observer())
        assert restored.whole and not restored.lost, restored
        assert compare_trees(self.source, self.back).differences == []
        shutil.rmtree(self.back)


def memory(pid: int) -> int:
    """PSS of all processes of the server."""
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return sum(proportional(one) for one in pids if _session_of(one) == pid)


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_sixty_four_sessions_for_a_long_time(server: ConfiguredServer) -> None:
    movers = [Mover(server, number) for number in range(DRIVES)]
    over = threading.Event()
    samples: list[int] = []
    pings: list[float] = []
    pid = server.program.process.pid
    with ExitStack() as stack, ThreadPoolExecutor(DRIVES) as pool:
        stack.callback(over.set)
        jobs = [pool.submit(mover.run_until, over) for mover in movers]
        others = [stack.enter_context(logged_in(server.port)) for _ in range(SESSIONS - DRIVES)]
        until = time.monotonic() + SECONDS
        while time.monotonic() < until and not any(job.done() for job in jobs):
            pings += [peer.ping() for peer in others]
            samples.append(memory(pid))
            time.sleep(max(0.5, SECONDS / 300))
        over.set()
        for job in jobs:
            job.result(timeout=120)
    third = len(samples) // 3
    early, late = statistics.median(samples[third:2 * third]), statistics.median(samples[2 * third:])
    print(f"rounds {[mover.rounds for mover in movers]}; PSS most {max(samples) / MIB:.0f} MiB, median of "
          f"the second third {early / MIB:.0f}, of the last {late / MIB:.0f}; p99 of "
          f"{len(pings)} states {sorted(pings)[len(pings) * 99 // 100] * 1000:.0f} ms")
    assert all(mover.rounds for mover in movers)
    assert max(samples) < MOST
    assert late < early + GROWTH
    assert "Traceback" not in server.program.log_file.read_text(errors="replace")
