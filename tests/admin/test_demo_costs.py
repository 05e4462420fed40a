"""What the system's account says of a server's processes, and the table made of it."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from ndmpd.admin import demo_costs
from ndmpd.admin.demo_costs import Costs, NotAccounted, head_costs
from ndmpd.admin.demo_movers import Meter, Share, metered, side_by_side
from ndmpd.client.jobs import Report

SERVER = """
import os, sys
fork = os.fork()
if fork == 0:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            exec(line)
            os._exit(0)
        os.waitpid(child, 0)
        print("done", flush=True)
else:
    os.waitpid(fork, 0)
"""
"""A server with a fork server, whose children do what they are told."""


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", SERVER], text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        tell(process, "pass")
        yield process
        assert process.stdin is not None
        process.stdin.close()


def tell(process: subprocess.Popen[str], work: str, wait: bool = True) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(work + "\n")
    process.stdin.flush()
    if wait:
        assert process.stdout.readline() == "done\n"


def test_what_ended_sessions_moved_and_computed_is_counted(
        server: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5 << 20))
    before = head_costs(server.pid)
    tell(server, f"open({str(tmp_path / 'file')!r}, 'rb').read()")
    read = head_costs(server.pid) - before
    assert 5 << 20 <= read.moved < 6 << 20
    tell(server, "sum(range(20_000_000))")
    assert (head_costs(server.pid) - before - read).seconds > 0.05


def test_sessions_that_do_not_end_are_named(
        server: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_costs, "_SETTLING", 0.2)
    tell(server, "import time; time.sleep(2)", wait=False)
    time.sleep(0.2)
    with pytest.raises(NotAccounted, match="sessions still run"):
        head_costs(server.pid)


def test_a_job_is_measured_from_its_beginning(server: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    tell(server, f"open({str(tmp_path / 'file')!r}, 'rb').read()")
    with metered(server.pid) as meter:
        tell(server, "pass")
    assert meter.costs is not None and meter.costs.moved < 1 << 20


def test_a_server_that_is_gone_is_no_failure_of_the_job() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with metered(process.pid) as meter:
        pass
    assert meter.costs is None and "/proc" in meter.problem


def test_the_table_has_a_line_for_each_job_and_says_what_is_not_known() -> None:
    report = Report("backup", size=3_000_000, seconds=1.0, environment=[
        ("DATAMOVER_USED", "SCSI copy0"), ("DATAMOVER_BY_HEAD", "8256"), ("DATAMOVER_OFFLOADED", "2991744")])
    shares = [Share("SCSI", report, Meter(Costs(0.071, 5))), Share("NAS", Report("restore"), Meter())]
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(side_by_side(shares))
    shown = captured.get()
    for text in ("SCSI copy0", "8.3 kB", "3.0 MB", "0.07 s", "3 MB/s"):
        assert text in shown, shown
    known, unknown = (share.document() for share in shares)
    assert (known["bytes_by_head"], known["head_cpu_seconds"]) == (8256, 0.07)
    assert (unknown["bytes_by_head"], unknown["head_cpu_seconds"]) == (None, None)
