"""Copies between two sides of one kind: ends that do not fit, that end or vanish, copy managers that die.

After each of them drives and disks are free, and a whole copy is right.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from ndmpd.client.__main__ import main
from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection, await_posts
from ndmpd.client.errors import ClientError, Refused
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverState,
    TapeMtioOp,
    TapeOpenMode,
)
from protocol.ndmp.data import Name
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyMoverHaltedPost
from tests.peers.server import PASSWORD, USER, EmbeddedServer, is_copy_manager
from tests.peers.spanning import fill_disk, first_difference

ALL = (1 << 64) - 1
DATA = 48 << 20
RECORD = 65536
PATIENCE = 20.0
HALTED = "(halted)"


@dataclass
class Sides:
    """Two control connections to one server; the first sends the stream."""

    server: EmbeddedServer

    def __enter__(self) -> Sides:
        self.said: list[list[str]] = [[], []]
        self.connections = [self._open(said) for said in self.said]
        self.data = [DataAgent(one) for one in self.connections]
        self.movers = [MoverAgent(one) for one in self.connections]
        self.tapes = [TapeAgent(one) for one in self.connections]
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            with suppress(ClientError, OSError):
                connection.close()

    def _open(self, said: list[str]) -> Connection:
        connection = Connection.open(ServerUrl("127.0.0.1", self.server.port, USER))
        authenticate(connection, USER, PASSWORD)

        def take(code: int, post: Message) -> None:
            if isinstance(post, LogMessagePost):
                said.append(post.entry)
            if isinstance(post, NotifyDataHaltedPost | NotifyMoverHaltedPost):
                said.append(HALTED)

        connection.on_post = take
        return connection

    def join_disks(self) -> None:
        self.data[0].connect(self.data[1].listen(AddrType.TCP))

    def back_up(self, side: int, mover: str = "AUTO") -> None:
        self.data[side].start_backup("image", [("FILESYSTEM", "/vol/disk0"), ("DATAMOVER", mover)])

    def recover(self, side: int, mover: str = "AUTO") -> None:
        name = Name("/", "/vol/disk1", "", "", ALL, ALL)
        self.data[side].start_recover("image", [("FILESYSTEM", "/vol/disk0"), ("DATAMOVER", mover)], [name])

    def copy_disk(self) -> None:
        self.join_disks()
        self.back_up(0)
        self.recover(1)

    def join_tapes(self, *modes: MoverMode) -> None:
        for side, mode in enumerate(modes):
            opened = TapeOpenMode.RDWR if mode is MoverMode.READ else TapeOpenMode.READ
            self.tapes[side].open(f"tape{side}", opened)
            self.tapes[side].mtio(TapeMtioOp.REW)
            self.movers[side].set_record_size(RECORD)
            self.movers[side].set_window(0, ALL)
        self.movers[0].connect(modes[0], self.movers[1].listen(modes[1], AddrType.TCP))

    def copy_tape(self) -> None:
        self.join_tapes(MoverMode.WRITE, MoverMode.READ)
        self.movers[0].read(0, ALL)

    def halted(self, side: int) -> tuple[str, str]:
        """How a side ended, and what it said of it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            await_posts([self.connections[side]], 0.1)
            if HALTED not in self.said[side] and self.movers[side].get_state().state != MoverState.PAUSED:
                continue
            data, mover = self.data[side].get_state(), self.movers[side].get_state()
            if data.state == DataState.HALTED:
                return DataHaltReason(data.halt_reason).name, " ".join(self.said[side])
            if mover.state == MoverState.HALTED:
                return MoverHaltReason(mover.halt_reason).name, " ".join(self.said[side])
            if mover.state == MoverState.PAUSED:
                self.movers[side].close()
        raise AssertionError(f"side {side} does not halt: {data}, {mover}")


@dataclass(frozen=True, slots=True)
class Ground:
    server: EmbeddedServer

    def copy(self, *arguments: str) -> None:
        url = f"ndmp://{USER}@127.0.0.1:{self.server.port}"
        done = CliRunner().invoke(main, ["copy", *(word.replace("URL", url) for word in arguments), "--json"],
                                  env={"NDMPC_PASSWORD": PASSWORD})
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["bytes"] >= DATA

    def disks_are_copied(self) -> None:
        self.copy("URL/vol/disk0", "/vol/disk1", "--type", "image")
        self.disks_are_equal()

    def disks_are_equal(self) -> None:
        assert first_difference(self.server.disk("disk0"), self.server.disk("disk1")) is None

    def tapes_are_copied(self) -> None:
        self.copy("URL", "=", "--drive", "tape0", "--to-drive", "tape1")
        self.tapes_are_equal()

    def tapes_are_equal(self) -> None:
        files = [self.server.state.with_name(name) for name in ("one.tap", "other.tap")]
        for file, cartridge in zip(files, ("E01001L8", "E01002L8"), strict=True):
            file.unlink(missing_ok=True)
            self.server.tape_command("export", cartridge, str(file))
        assert files[0].read_bytes() == files[1].read_bytes()

    def copy_manager(self) -> int:
        """Its process."""
        assert self.server.program is not None
        waiting = [self.server.program.process.pid]
        while waiting:
            pid = waiting.pop()
            if is_copy_manager(pid):
                return pid
            with suppress(FileNotFoundError):
                waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        raise AssertionError("the copy manager does not run")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    server = EmbeddedServer(tmp_path_factory.mktemp("copies") / "state")
    with ExitStack() as stack:
        server.start()
        stack.callback(server.stop)
        fill_disk(server.disk("disk0"), DATA)
        done = CliRunner().invoke(main, [
            "backup", f"ndmp://{USER}@127.0.0.1:{server.port}", "/vol/disk0", "-B", "image", "--drive",
            "tape0", "-b", str(RECORD), "-q"], env={"NDMPC_PASSWORD": PASSWORD})
        assert done.exit_code == 0, done.output
        yield Ground(server)


@pytest.mark.parametrize("start", [Sides.back_up, Sides.recover], ids=["two backups", "two recovers"])
def test_two_jobs_that_do_the_same_tell_so_on_both_sides(ground: Ground,
                                                         start: Callable[[Sides, int], None]) -> None:
    with Sides(ground.server) as sides:
        sides.join_disks()
        for side in (0, 1):
            start(sides, side)
        for side in (0, 1):
            reason, text = sides.halted(side)
            assert reason == "INTERNAL_ERROR" and "both ends of the data connection" in text
    ground.disks_are_copied()


@pytest.mark.parametrize("mode", [MoverMode.READ, MoverMode.WRITE])
def test_two_movers_in_one_mode_tell_so_on_both_sides(ground: Ground, mode: MoverMode) -> None:
    with Sides(ground.server) as sides:
        sides.join_tapes(mode, mode)
        for side in (0, 1):
            reason, text = sides.halted(side)
            assert reason == "INTERNAL_ERROR" and "both ends of the data connection" in text
    ground.tapes_are_copied()


def test_ends_that_were_told_different_things_tell_so(ground: Ground) -> None:
    with Sides(ground.server) as sides:
        sides.join_disks()
        sides.back_up(0, "NAS")
        sides.recover(1, "SCSI")
        for side in (0, 1):
            reason, text = sides.halted(side)
            assert reason == "INTERNAL_ERROR" and "DATAMOVER=NAS" in text


def test_a_side_that_is_lost_before_the_other_has_begun_is_noticed(ground: Ground) -> None:
    with Sides(ground.server) as sides:
        sides.join_disks()
        sides.back_up(0)
        time.sleep(0.1)
        sides.connections[0].drop()
        reason, _ = sides.halted(1)
        assert reason == "CONNECT_ERROR"


@pytest.mark.parametrize("how", ["abort", "vanish"])
@pytest.mark.parametrize("ending", [0, 1], ids=["source", "destination"])
@pytest.mark.parametrize("kind", ["disk", "tape"])
def test_a_side_that_ends_at_any_moment_ends_the_other_and_frees_all(ground: Ground, kind: str, ending: int,
                                                                    how: str) -> None:
    rng = random.Random(f"{kind} {ending} {how}")
    for _ in range(3):
        with Sides(ground.server) as sides:
            (sides.copy_disk if kind == "disk" else sides.copy_tape)()
            time.sleep(rng.choice((0.0, rng.uniform(0, 0.05), rng.uniform(0, 0.25))))
            if how == "vanish":
                sides.connections[ending].drop()
            else:
                with suppress(Refused):
                    (sides.data[ending].abort if kind == "disk" else sides.movers[ending].abort)()
            sides.halted(1 - ending)
    if kind == "disk":
        ground.disks_are_copied()
    else:
        ground.tapes_are_copied()


@pytest.mark.parametrize("kind", ["disk", "tape"])
def test_the_head_goes_on_where_a_copy_manager_is_killed(ground: Ground, kind: str) -> None:
    for delay in (0.0, 0.02, 0.08):
        with Sides(ground.server) as sides:
            (sides.copy_disk if kind == "disk" else sides.copy_tape)()
            time.sleep(delay)
            os.kill(ground.copy_manager(), signal.SIGKILL)
            reasons = [sides.halted(side)[0] for side in (0, 1)]
            assert reasons == (["SUCCESSFUL"] * 2 if kind == "disk" else ["CONNECT_CLOSED"] * 2)
            if kind == "tape":
                sides.tapes[1].mtio(TapeMtioOp.EOF)
        if kind == "disk":
            ground.disks_are_equal()
        else:
            ground.tapes_are_equal()
        ready(ground.server)


def ready(server: EmbeddedServer) -> None:
    """The copy manager runs again."""
    deadline = time.monotonic() + PATIENCE
    with Sides(server) as sides:
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                assert Ground(server).copy_manager()
                break
            time.sleep(0.1)
        with pytest.raises(Refused) as refusal:
            sides.tapes[0].mtio(TapeMtioOp.REW)
        assert refusal.value.error == Error.DEV_NOT_OPEN
