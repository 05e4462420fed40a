"""Whatever dies, and whenever: the server and its drives go on, and nothing is lost unsaid.

Each test takes the drive again afterwards with a whole job, and the server is back to its two processes.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ndmpd.client.agents import DataAgent, MoverAgent, TapeAgent
from ndmpd.client.auth import authenticate
from ndmpd.client.connection import Connection, await_posts
from ndmpd.client.errors import ClientError, Unreachable
from ndmpd.client.url import ServerUrl
from ndmpd.devices.claims import left_owned
from ndmpd.management.server import SOCKET
from protocol.ndmp.codes import (
    AddrType,
    ConnectionStatusReason,
    DataHaltReason,
    DataState,
    LogType,
    MoverHaltReason,
    MoverMode,
    MoverState,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.data import Name
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.message import Message
from protocol.ndmp.notify import (
    NotifyConnectionStatusPost,
    NotifyDataHaltedPost,
    NotifyDataReadPost,
    NotifyMoverPausedPost,
)
from tests.peers.server import PASSWORD, REPOSITORY, USER, EmbeddedServer, Program, free_port, is_copy_manager

ALL = (1 << 64) - 1
RECORD = 65536
PATIENCE = 15.0
"""Seconds that the server may take to be as it was before."""
BIG = 192 << 20


def within(seconds: float, met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Of the server, or of the fork server: sessions and data processes, without the SAN's own process."""
    with suppress(FileNotFoundError):
        found = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [one for one in found if not is_copy_manager(one)]
    return []


@dataclass(slots=True)
class Live:
    server: EmbeddedServer
    source: Path
    big: Path
    place: Path

    @property
    def pid(self) -> int:
        assert self.server.program is not None
        return self.server.program.process.pid

    def forked(self) -> set[int]:
        """Sessions and data processes."""
        (fork_server,) = children(self.pid)
        return set(children(fork_server))

    def at_rest(self) -> None:
        """No process, socket or descriptor is left of any session."""
        run = self.server.state / "run"
        within(PATIENCE, lambda: not self.forked() and not any(left_owned(run)),
               "processes of a session are left, or a drive is kept from other heads")
        (fork_server,) = children(self.pid)
        assert len(os.listdir(f"/proc/{fork_server}/fd")) < 16
        assert [one.name for one in run.iterdir() if one.is_socket()] == [SOCKET]


@pytest.fixture(scope="module")
def module_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("faults")
    source, big, place = folder / "source", folder / "big", folder / "place"
    for one in (source, big, place):
        one.mkdir()
    for number in range(20):
        (source / f"file {number}").write_bytes(os.urandom(5000 * number))
    with (big / "large").open("wb") as file:
        for _ in range(BIG >> 20):
            file.write(b"large file\n" * 95325 + b"!")
    server = EmbeddedServer(folder / "state", (source, big, place)).start()
    try:
        yield Live(server, source, big, place)
    finally:
        server.stop()


@pytest.fixture
def live(module_live: Live) -> Iterator[Live]:
    """The server, which must be at rest after each test, and do a whole job."""
    yield module_live
    module_live.at_rest()
    with Dma(module_live.server) as dma:
        dma.backup(module_live.source)
        assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)
    module_live.at_rest()


@dataclass
class Dma:
    """One control connection, or two where the mover's server is not DATA's."""

    server: EmbeddedServer
    mover_server: EmbeddedServer | None = None
    version: Version = Version.V4
    posts: list[Message] = field(default_factory=list)

    def __enter__(self) -> Dma:
        self.connections = [self._open(self.server)]
        if self.mover_server is not None:
            self.connections.append(self._open(self.mover_server))
        self.data = DataAgent(self.connections[0])
        self.mover = MoverAgent(self.connections[-1])
        self.tape = TapeAgent(self.connections[-1])
        return self

    def _open(self, server: EmbeddedServer) -> Connection:
        connection = Connection.open(ServerUrl("127.0.0.1", server.port, USER), self.version)
        authenticate(connection, USER, PASSWORD)
        connection.on_post = self._take
        return connection

    def _take(self, code: int, post: Message) -> None:
        self.posts.append(post)
        if isinstance(post, NotifyDataReadPost) and self.mover_server is not None:
            self.wanted = post

    def __exit__(self, *_: object) -> None:
        for connection in self.connections:
            with suppress(ClientError, OSError):
                connection.close()

    def vanish(self, how: str) -> None:
        for connection in self.connections:
            if how == "reset":
                connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.drop()

    def await_post(self, kind: type[Message]) -> Message:
        deadline = time.monotonic() + PATIENCE
        while True:
            for post in self.posts:
                if isinstance(post, kind):
                    self.posts.remove(post)
                    return post
            assert time.monotonic() < deadline, f"no {kind.__name__}; there were {self.posts}"
            await_posts(self.connections, 0.1)

    def join(self, mode: MoverMode, window: int = ALL) -> None:
        self.tape.open("tape0", TapeOpenMode.RDWR if mode is MoverMode.READ else TapeOpenMode.READ)
        self.tape.mtio(TapeMtioOp.REW)
        self.mover.set_record_size(RECORD)
        self.mover.set_window(0, window)
        kind = AddrType.LOCAL if self.mover_server is None else AddrType.TCP
        self.data.connect(self.mover.listen(mode, kind))

    def backup(self, source: Path, window: int = ALL) -> None:
        self.join(MoverMode.READ, window)
        self.data.start_backup("tar", [("FILESYSTEM", str(source)), ("HIST", "n")])

    def recover(self, source: Path, target: Path, window: int = ALL) -> None:
        self.join(MoverMode.WRITE, window)
        name = Name(original_path="/", destination_path=str(target), new_name="", other_name="",
                    node=0, fh_info=ALL)
        self.data.start_recover("tar", [("FILESYSTEM", str(source))], [name])

    def ended(self) -> tuple[int, int]:
        """Wait for both sides to halt, passing reads on to a mover elsewhere; then make both IDLE."""
        deadline = time.monotonic() + 4 * PATIENCE
        self.wanted: NotifyDataReadPost | None = getattr(self, "wanted", None)
        closed = False
        while True:
            data, mover = self.data.get_state(), self.mover.get_state()
            if self.wanted is not None and self.mover.read(self.wanted.offset, self.wanted.length):
                self.wanted = None
            if data.state == DataState.HALTED and mover.state == MoverState.HALTED:
                break
            if data.state == DataState.HALTED and mover.state == MoverState.PAUSED and not closed:
                closed = True
                self.mover.close()
            assert time.monotonic() < deadline, f"{data} {mover} {self.posts}"
            await_posts(self.connections, 0.05)
        self.data.stop()
        self.mover.stop()
        return data.halt_reason, mover.halt_reason

    def errors(self) -> str:
        return "\n".join(post.entry for post in self.posts if isinstance(post, LogMessagePost)
                         and post.log_type == LogType.ERROR)


def saved(live: Live, source: Path) -> None:
    """A backup of ``source`` on the tape in tape0."""
    with Dma(live.server) as dma:
        dma.backup(source)
        assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)


MOMENTS = pytest.mark.parametrize("moment", ["moving", "paused"])
PAUSE = 64 * RECORD


@pytest.mark.parametrize("how", ["closed", "reset"])
@MOMENTS
def test_a_dma_that_vanishes_in_a_backup_leaves_everything_free(live: Live, how: str, moment: str) -> None:
    dma = Dma(live.server).__enter__()
    dma.backup(live.big, PAUSE if moment == "paused" else ALL)
    if moment == "paused":
        dma.await_post(NotifyMoverPausedPost)
    dma.vanish(how)
    began = time.monotonic()
    live.at_rest()
    assert time.monotonic() - began < 5


@MOMENTS
def test_a_dma_that_vanishes_in_a_recover_leaves_everything_free(live: Live, moment: str) -> None:
    saved(live, live.big)
    dma = Dma(live.server).__enter__()
    dma.recover(live.big, live.place, PAUSE if moment == "paused" else ALL)
    if moment == "paused":
        dma.await_post(NotifyMoverPausedPost)
    dma.vanish("closed")
    live.at_rest()


@pytest.mark.parametrize("direction", ["backup", "recover"])
@MOMENTS
def test_a_data_process_that_is_killed_halts_both_sides_and_the_session_goes_on(
        live: Live, direction: str, moment: str) -> None:
    if direction == "recover":
        saved(live, live.big)
        live.at_rest()
    with Dma(live.server) as dma:
        (session,) = live.forked()
        window = PAUSE if moment == "paused" else ALL
        if direction == "backup":
            dma.backup(live.big, window)
        else:
            dma.recover(live.big, live.place, window)
        if moment == "paused":
            dma.await_post(NotifyMoverPausedPost)
        for job in live.forked() - {session}:
            os.kill(job, signal.SIGKILL)
        halted = dma.await_post(NotifyDataHaltedPost)
        assert isinstance(halted, NotifyDataHaltedPost) and halted.reason == DataHaltReason.INTERNAL_ERROR
        assert dma.ended()[0] == DataHaltReason.INTERNAL_ERROR
        dma.tape.close()
        dma.backup(live.source)
        assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)


@MOMENTS
def test_a_session_process_that_is_killed_takes_its_job_with_it_and_nothing_else(
        live: Live, moment: str) -> None:
    with Dma(live.server) as bystander:
        (other,) = live.forked()
        dma = Dma(live.server).__enter__()
        (session,) = live.forked() - {other}
        dma.backup(live.big, PAUSE if moment == "paused" else ALL)
        if moment == "paused":
            dma.await_post(NotifyMoverPausedPost)
        os.kill(session, signal.SIGKILL)
        within(PATIENCE, lambda: live.forked() == {other}, "the data process outlives its session")
        with pytest.raises(Unreachable):
            dma.data.get_state()
        dma.vanish("closed")
        bystander.backup(live.source)
        assert bystander.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)


@MOMENTS
def test_an_abort_at_any_moment_has_one_reply_and_frees_the_drive(live: Live, moment: str) -> None:
    with Dma(live.server) as dma:
        for _ in range(5):
            dma.backup(live.big, PAUSE if moment == "paused" else ALL)
            if moment == "paused":
                dma.await_post(NotifyMoverPausedPost)
            began = time.monotonic()
            dma.mover.abort()
            dma.data.abort()
            assert time.monotonic() - began < 1
            data, mover = dma.ended()
            assert mover == MoverHaltReason.ABORTED
            assert data in (DataHaltReason.ABORTED, DataHaltReason.CONNECT_ERROR)
            dma.tape.mtio(TapeMtioOp.REW)
            dma.tape.close()


def test_jobs_that_are_refused_again_and_again_leave_nothing_open(live: Live) -> None:
    with Dma(live.server) as dma:
        (session,) = live.forked()
        dma.join(MoverMode.READ)
        counts = []
        for _ in range(6):
            for _ in range(5):
                with pytest.raises(ClientError):
                    dma.data.start_backup("no such type", [])
            counts.append(len(os.listdir(f"/proc/{session}/fd")))
        assert counts[-1] == counts[0]
        dma.data.start_backup("tar", [("FILESYSTEM", str(live.source)), ("HIST", "n")])
        assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)


def test_a_file_that_shrinks_while_it_is_saved_is_named_and_counted(live: Live, tmp_path: Path) -> None:
    shrinking = live.big / "shrinking"
    shrinking.write_bytes(b"s" * (32 << 20))
    try:
        with Dma(live.server) as dma:
            dma.backup(live.big, PAUSE)
            dma.await_post(NotifyMoverPausedPost)
            os.truncate(shrinking, 1 << 20)
            dma.mover.set_window(PAUSE, ALL - PAUSE)
            dma.mover.resume()
            dma.await_post(NotifyDataHaltedPost)
            environment = dict(dma.data.get_env())
            assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)
            assert int(environment["FILES_FAILED"]) == 1
            assert "shrinking" in dma.errors()
    finally:
        shrinking.unlink()


def test_eight_sessions_at_once_are_all_served(live: Live) -> None:
    problems: list[BaseException] = []
    slowest = [0.0]

    def ask(number: int) -> None:
        try:
            with Dma(live.server) as dma:
                if number < 2:
                    dma.tape.open(f"tape{number}", TapeOpenMode.RDWR)
                for _ in range(40):
                    began = time.monotonic()
                    dma.data.get_state()
                    dma.mover.get_state()
                    slowest[0] = max(slowest[0], time.monotonic() - began)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    with Dma(live.server) as dma:
        dma.backup(live.big, PAUSE)
        dma.await_post(NotifyMoverPausedPost)
        dma.mover.abort()
        dma.ended()
        dma.tape.close()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * PATIENCE)
    assert not problems
    assert slowest[0] < 2


# Servers of their own.

@pytest.fixture
def other(tmp_path: Path) -> Iterator[EmbeddedServer]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(bytes(range(256)) * (64 << 10))
    server = EmbeddedServer(tmp_path / "other", (data,)).start()
    try:
        yield server
    finally:
        server.stop()


def test_a_three_way_backup_and_recover_go_over_real_tcp(live: Live, other: EmbeddedServer) -> None:
    with Dma(live.server, other) as dma:
        dma.backup(live.source)
        assert dma.ended() == (DataHaltReason.SUCCESSFUL, MoverHaltReason.CONNECT_CLOSED)
        dma.tape.close()
    with Dma(live.server, other) as dma:
        dma.recover(live.source, live.place / "three")
        assert dma.ended()[0] == DataHaltReason.SUCCESSFUL, dma.errors()
    for file in live.source.iterdir():
        assert (live.place / "three" / file.name).read_bytes() == file.read_bytes()


def test_a_mover_elsewhere_that_dies_is_a_lost_connection(live: Live, other: EmbeddedServer) -> None:
    with Dma(live.server, other) as dma:
        dma.backup(live.big, PAUSE)
        dma.await_post(NotifyMoverPausedPost)
        assert other.program is not None
        (fork_server,) = children(other.program.process.pid)
        for session in children(fork_server):
            os.kill(session, signal.SIGKILL)
        dma.connections.pop().drop()
        halted = dma.await_post(NotifyDataHaltedPost)
        assert isinstance(halted, NotifyDataHaltedPost) and halted.reason == DataHaltReason.CONNECT_ERROR


def test_a_server_that_is_told_to_stop_says_so_and_starts_again_with_free_drives(
        live: Live, other: EmbeddedServer) -> None:
    dma = Dma(other).__enter__()
    dma.backup(other.exports[0], PAUSE)
    dma.await_post(NotifyMoverPausedPost)
    assert other.program is not None
    process = other.program.process
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    notice = dma.await_post(NotifyConnectionStatusPost)
    assert isinstance(notice, NotifyConnectionStatusPost)
    assert notice.reason == ConnectionStatusReason.SHUTDOWN
    assert process.wait(PATIENCE) == 0
    assert time.monotonic() - began < 8
    dma.vanish("closed")
    other.start()
    with Dma(other) as again:
        again.tape.open("tape0", TapeOpenMode.RDWR)
        again.tape.mtio(TapeMtioOp.REW)


def test_a_second_server_on_the_same_state_folder_is_refused(live: Live, tmp_path: Path) -> None:
    twin = EmbeddedServer(live.server.state, (live.source,))
    with pytest.raises(Exception, match="a server runs on this state_dir"):
        twin.start()


def test_a_server_that_is_killed_leaves_no_process_and_no_drive_behind(other: EmbeddedServer) -> None:
    dma = Dma(other).__enter__()
    dma.tape.open("tape0", TapeOpenMode.RDWR)
    assert other.program is not None
    pid = other.program.process.pid
    (fork_server,) = children(pid)
    sessions = children(fork_server)
    os.kill(pid, signal.SIGKILL)
    other.program.process.wait()
    within(PATIENCE, lambda: not any(os.path.exists(f"/proc/{one}") for one in (*sessions, fork_server)),
           "processes outlive their server")
    dma.vanish("closed")
    other.start()
    with Dma(other) as again:
        again.tape.open("tape0", TapeOpenMode.RDWR)


def test_one_session_too_many_is_told_why(tmp_path: Path) -> None:
    program = ("import sys; from pathlib import Path\n"
               "from ndmpd import app; from ndmpd.config import Settings\n"
               "settings = Settings.embedded(Path(sys.argv[1]), listen=sys.argv[2], user=sys.argv[3], "
               "password_file=Path(sys.argv[4]))\n"
               "server = settings.server.model_copy(update={'max_sessions': 2})\n"
               "app.serve(settings.model_copy(update={'server': server}))\n")
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    port = free_port()
    started = Program.start([sys.executable, "-c", program, str(tmp_path / "state"),
                             f"tcp:{port}:interface=127.0.0.1", USER, str(password)], tmp_path / "log",
                            cwd=REPOSITORY)
    server = EmbeddedServer(tmp_path / "state", port=port)
    try:
        started.wait_for_port(port, 30)
        time.sleep(0.5)  # whoever looked whether the port is open counts until it has gone
        with Dma(server), Dma(server), pytest.raises(Unreachable, match="no room for another session"):
            Dma(server).__enter__()

        def admitted() -> bool:
            with suppress(Unreachable):
                Dma(server).__enter__().__exit__()
                return True
            return False

        within(PATIENCE, admitted, "a session that ended still counts")
    finally:
        started.stop()
