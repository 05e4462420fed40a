"""``ndmpd status``, ``sessions`` and ``kill`` on a server that runs, while sessions idle, move data, hang."""

from __future__ import annotations

import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.client.errors import ClientError
from ndmpd.management.client import ask
from protocol.ndmp.codes import ConnectionStatusReason, DataHaltReason, MoverHaltReason
from protocol.ndmp.notify import NotifyConnectionStatusPost, NotifyMoverPausedPost
from tests.admin.running import (
    DISK,
    PATIENCE,
    PAUSE,
    ImageDma,
    at_rest,
    document,
    embedded,
    mover,
    ndmpd,
    session_of,
    stopped,
    within,
)
from tests.peers.server import USER, EmbeddedServer
from tests.test_server_faults import ALL, RECORD

GOOD = DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED
WHOLE = 1 << 30
"""Bytes of a disk, which an image has a little more than."""


@pytest.fixture(scope="module")
def module_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    folder = tmp_path_factory.mktemp("running")
    source = folder / "source"
    source.mkdir()
    (source / "file").write_bytes(os.urandom(3 << 20))
    with embedded(folder / "state", source) as server:
        yield server


@pytest.fixture
def server(module_server: EmbeddedServer) -> Iterator[EmbeddedServer]:
    """At rest before each test and after it, whatever was ended; and a whole job is done then."""
    at_rest(module_server.state)
    yield module_server
    at_rest(module_server.state)
    with ImageDma(module_server) as dma:
        dma.backup(module_server.exports[0])
        assert dma.ended() == GOOD


def test_a_server_that_does_not_run_is_told_from_one_that_does(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for command, arguments in ("status", ()), ("sessions", ()), ("kill", ("1",)):
        done = ndmpd(nowhere, command, *arguments)
        assert done.exit_code == 1
        assert "no server runs there; start it with `ndmpd serve`" in done.stderr
    assert json.loads(ndmpd(nowhere, "status", "--json").stdout)["running"] is False
    assert not nowhere.exists()


def test_the_status_of_a_server_at_rest(server: EmbeddedServer) -> None:
    found = document(server.state, "status")
    assert server.program is not None
    assert found["running"] and found["pid"] == server.program.process.pid
    assert abs(found["since"] - time.time()) < 600
    assert found["listening"] == f"127.0.0.1 port {server.port}"
    assert found["state_dir"] == str(server.state)
    assert found["sessions"]["now"] == 0 and found["sessions"]["limit"] == 64
    assert [(one["name"], one["type"]) for one in found["datamovers"]] == [("copy0", "SCSI"), ("NAS", "NAS")]
    assert found["drives"] == [
        {"name": name, "device": f"virtual:{name}", "state": "free", "session": None}
        for name in ("tape0", "tape1")]
    assert found["copy_manager"] is True and found["metrics"] is None
    shown = ndmpd(server.state, "status").stdout
    assert "sessions: 0 now (at most 64)" in shown and "copy manager of the embedded SAN: running" in shown
    assert ndmpd(server.state, "sessions").stdout == "no session\n"


def test_sessions_that_idle_and_that_move_data_by_either_mover(server: EmbeddedServer) -> None:
    with ImageDma(server) as idle, ImageDma(server) as scsi, ImageDma(server, drive="tape1") as nas:
        scsi.save("SCSI", PAUSE)
        scsi.await_post(NotifyMoverPausedPost)
        nas.save("NAS", PAUSE)
        nas.await_post(NotifyMoverPausedPost)
        found = document(server.state, "sessions")
        assert [one["id"] for one in found] == sorted(one["id"] for one in found)
        first, second, third = found
        assert first["user"] == USER and first["peer"] == "127.0.0.1" and first["drive"] is None
        assert first["data"]["state"] == first["mover"]["state"] == "IDLE" and first["moved"] == {}
        for one, drive in (second, "tape0"), (third, "tape1"):
            assert one["drive"] == drive and one["tape"] == {"file": 0, "record": 64}
            assert one["data"]["state"] == "ACTIVE" and one["data"]["operation"] == "BACKUP"
            assert one["data"]["butype"] == "image" and one["data"]["filesystem"] == "/vol/disk0"
            assert one["mover"]["state"] == "PAUSED" and one["mover"]["pause_reason"] == "EOW"
            assert one["mover"]["bytes"] == PAUSE and sum(one["moved"].values()) == PAUSE
        assert second["moved"]["copy0"] > PAUSE // 2
        assert third["moved"] == {"NAS": PAUSE}
        table = ndmpd(server.state, "sessions").stdout.splitlines()
        assert len(table) == 4
        assert "SCSI copy0" in table[2] and "BACKUP image" in table[2] and "PAUSED EOW" in table[2]
        assert table[3].split()[-1] == "NAS" and "4.2 MB" in table[3]
        detail = ndmpd(server.state, "sessions", str(second["id"])).stdout
        assert "tape0, tape file 0, record 64" in detail and "bytes offloaded to copy0" in detail
        assert "DATAMOVER" in detail
        drives = {one["name"]: one for one in document(server.state, "status")["drives"]}
        assert drives["tape0"]["state"] == "held" and drives["tape0"]["session"] == second["id"]
        assert f"held by session {third['id']}" in ndmpd(server.state, "status").stdout
        idle.data.get_state()


def test_answers_come_while_data_moves_and_rates_with_them(server: EmbeddedServer) -> None:
    over = threading.Event()

    def work() -> None:
        with ImageDma(server) as dma:
            while not over.is_set():
                dma.save("NAS")
                assert dma.ended() == GOOD
                dma.tape.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        took, rates = [], []
        for _ in range(40):
            began = time.monotonic()
            found = ask(server.state, {"ask": "sessions"})["sessions"]
            took.append(time.monotonic() - began)
            rates += [one["rate"] for one in found if one["answers"] and one["mover"]["state"] == "ACTIVE"]
            time.sleep(0.05)
    finally:
        over.set()
        worker.join(60)
    assert statistics.median(took) < 0.05, sorted(took)
    assert max(rates) > 20 << 20, rates


@pytest.mark.parametrize("by", ["SCSI", "NAS"])
@pytest.mark.parametrize("moment", ["moving", "paused"])
def test_a_session_that_is_killed_in_a_backup_leaves_drive_and_tape_in_order(
        server: EmbeddedServer, by: str, moment: str) -> None:
    before = document(server.state, "status")["jobs"]["backup"]["aborted"]
    with ImageDma(server) as bystander, ImageDma(server) as dma:
        dma.save(by, PAUSE if moment == "paused" else ALL)
        if moment == "paused":
            dma.await_post(NotifyMoverPausedPost)
        number = session_of(server.state, "tape0")["id"]
        done = document(server.state, "kill", str(number))
        assert done["how"] == "ended" and done["seconds"] < 5
        assert done["session"]["drive"] == "tape0"
        told = dma.await_post(NotifyConnectionStatusPost)
        assert isinstance(told, NotifyConnectionStatusPost) and told.reason == ConnectionStatusReason.SHUTDOWN
        with pytest.raises(ClientError):
            dma.data.get_state()
        found = document(server.state, "status")
        assert found["drives"][0]["state"] == "free"
        if done["session"]["data"]["state"] == "ACTIVE":
            assert found["jobs"]["backup"]["aborted"] == before + 1
        # What was counted is on the tape, and the drive is there for whoever was connected all the time.
        bystander.save(by)
        assert bystander.ended() == GOOD


@pytest.mark.parametrize("moment", ["moving", "paused"])
def test_a_session_that_is_killed_in_a_recover_leaves_everything_free(
        server: EmbeddedServer, moment: str) -> None:
    with ImageDma(server) as dma:
        dma.save("SCSI")
        assert dma.ended() == GOOD
    with ImageDma(server) as dma:
        dma.bring_back("SCSI", PAUSE if moment == "paused" else ALL)
        if moment == "paused":
            dma.await_post(NotifyMoverPausedPost)
        shown = ndmpd(server.state, "kill", str(session_of(server.state, "tape0")["id"]))
        assert shown.exit_code == 0
        assert "tape0 is free" in shown.stdout and "the DMA was told" in shown.stdout
        if moment == "paused":
            assert "its job (RECOVER image /vol/disk0) was aborted" in shown.stdout
    with ImageDma(server) as dma:
        dma.bring_back("SCSI")
        assert dma.ended()[0] == DataHaltReason.SUCCESSFUL


def test_a_session_that_hangs_is_seen_and_killed_and_what_it_moved_is_counted_once(
        server: EmbeddedServer) -> None:
    before = mover(server.state, "NAS")["backed_up"]
    with ImageDma(server) as dma:
        dma.save("NAS", PAUSE)
        dma.await_post(NotifyMoverPausedPost)
        session = session_of(server.state, "tape0")
        with stopped(session["pid"]):
            began = time.monotonic()
            (found,) = document(server.state, "sessions")
            assert time.monotonic() - began < 3
            assert not found["answers"] and found["peer"] == "127.0.0.1"
            assert "does not answer" in ndmpd(server.state, "sessions").stdout
            assert "end it: ndmpd kill" in ndmpd(server.state, "sessions", str(found["id"])).stdout
            states = {one["state"] for one in document(server.state, "status")["drives"]}
            assert states == {"unknown"}
            assert mover(server.state, "NAS")["backed_up"] == before + PAUSE
            done = ndmpd(server.state, "kill", "--within", "1", str(found["id"]))
            assert done.exit_code == 0
            assert "did not end within 1 s; its process was killed (SIGKILL)" in done.stdout
        found = document(server.state, "status")
        assert mover(server.state, "NAS")["backed_up"] == before + PAUSE
        assert {one["state"] for one in found["drives"]} == {"free"}


def test_an_unknown_session_is_said_to_be_unknown(server: EmbeddedServer) -> None:
    for command in "kill", "sessions":
        for number in "0", "4711", str(1 << 70):
            done = ndmpd(server.state, command, number)
            assert done.exit_code == 3
            assert f"there is no session {number}; see `ndmpd sessions`" in done.stderr


def test_a_job_is_counted_once_whoever_had_a_part_in_it(server: EmbeddedServer) -> None:
    def figures() -> dict[str, dict[str, int]]:
        return {one["name"]: one for one in document(server.state, "status")["datamovers"]}

    before = figures()
    with ImageDma(server) as dma:  # by one control connection
        dma.save("SCSI")
        assert dma.ended() == GOOD
    with ImageDma(server, mover_server=server) as dma:  # by two
        dma.save("NAS")
        assert dma.ended() == GOOD
        dma.tape.close()
        dma.bring_back("SCSI")
        assert dma.ended()[0] == DataHaltReason.SUCCESSFUL
    at_rest(server.state)
    after = figures()
    scsi, nas = ({name: after[mover][name] - before[mover][name] for name in after[mover]
                  if isinstance(after[mover][name], int)} for mover in ("copy0", "NAS"))
    assert scsi["jobs_done"] == 2 and nas["jobs_done"] == 1
    assert scsi["jobs_failed"] == nas["jobs_failed"] == 0
    for direction, jobs in ("backed_up", 2), ("recovered", 1):
        moved = scsi[direction] + nas[direction]
        assert jobs * DISK < moved < jobs * (WHOLE + (1 << 20))
    # But for a record or two at the ends, which are not made of blocks alone.
    assert all(share > DISK * 0.99 for share in (scsi["backed_up"], scsi["recovered"], nas["backed_up"]))


def test_between_two_servers_each_counts_its_own_part(server: EmbeddedServer, tmp_path: Path) -> None:
    source = server.exports[0]
    size = sum(file.stat().st_size for file in source.iterdir())
    other = EmbeddedServer(tmp_path / "other").start()
    try:
        before = mover(server.state, "NAS")
        with ImageDma(server, mover_server=other) as dma:
            dma.backup(source)
            assert dma.ended() == GOOD
        with ImageDma(server, mover_server=other) as dma:
            dma.save("NAS", PAUSE)  # more than the sockets between the two take
            dma.await_post(NotifyMoverPausedPost)
            (waiting,) = document(other.state, "sessions")
            assert waiting["data"]["state"] == "IDLE" and waiting["mover"]["connection"].startswith("127.")
            done = document(other.state, "kill", str(waiting["id"]))
            assert done["how"] == "ended"
        at_rest(server.state)
        at_rest(other.state)
        here, there = mover(server.state, "NAS"), mover(other.state, "NAS")
        assert here["jobs_done"] == before["jobs_done"] + 1
        assert here["jobs_failed"] == before["jobs_failed"] + 1
        assert here["backed_up"] - before["backed_up"] > size
        assert there["jobs_done"] == there["jobs_failed"] == 1
        assert size + PAUSE < there["backed_up"] < size + PAUSE + RECORD
        assert document(other.state, "status")["jobs"]["backup"] == {
            "successful": 1, "failed": 0, "aborted": 1}
    finally:
        other.stop()


def test_a_session_that_is_killed_the_hard_way_is_counted_as_far_as_is_known(server: EmbeddedServer) -> None:
    before, failed = mover(server.state, "NAS"), document(server.state, "status")["sessions"]["failed"]
    with ImageDma(server) as dma:
        dma.save("NAS", PAUSE)
        dma.await_post(NotifyMoverPausedPost)
        os.kill(session_of(server.state, "tape0")["pid"], signal.SIGKILL)
        at_rest(server.state)
    assert mover(server.state, "NAS")["backed_up"] == before["backed_up"] + PAUSE
    assert document(server.state, "status")["sessions"]["failed"] == failed + 1


def test_a_copy_manager_that_died_is_missed_until_it_is_back(server: EmbeddedServer) -> None:
    assert server.program is not None
    pids = [int(one) for one in os.listdir("/proc") if one.isdigit()]
    (pid,) = [one for one in pids if is_copy_manager(one, server.program.process.pid)]
    os.kill(pid, signal.SIGKILL)
    within(PATIENCE, lambda: document(server.state, "status")["copy_manager"] is False, "it is not missed")
    within(PATIENCE, lambda: document(server.state, "status")["copy_manager"] is True, "it is not back")


def is_copy_manager(pid: int, server: int) -> bool:
    """Of that very server: its processes are in the server's process group."""
    try:
        return os.getpgid(pid) == server and Path(f"/proc/{pid}/comm").read_text().strip() == "ndmpd-copy"
    except OSError:
        return False
