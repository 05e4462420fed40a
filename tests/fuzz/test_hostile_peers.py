"""Peers that break the rules on purpose: the server says so or hangs up, and others do not notice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ndmpd.net.places import LATE, SHARE
from protocol.ndmp import registry
from protocol.ndmp.address import LOCAL
from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    Code,
    ConnectionStatusReason,
    DataState,
    Error,
    MoverMode,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.connect import AuthData, ConnectClientAuthRequest
from protocol.ndmp.data import (
    DataConnectRequest,
    DataGetStateReply,
    DataGetStateRequest,
    DataStartBackupRequest,
)
from protocol.ndmp.message import Pval
from protocol.ndmp.mover import MoverListenRequest, MoverSetRecordSizeRequest, MoverSetWindowRequest
from protocol.ndmp.notify import NotifyConnectionStatusPost
from protocol.ndmp.record import MAX_EMPTY_FRAGMENTS, frame
from protocol.ndmp.tape import TapeMtioRequest, TapeOpenRequest
from tests.fuzz.peer import Peer, logged_in
from tests.fuzz.watch import Watch, await_true, resident
from tests.peers.server import PASSWORD, USER, EmbeddedServer

MIB = 1 << 20
MAX_SESSIONS = 64
STRANGERS = MAX_SESSIONS // SHARE
WRONG = "a wrong secret"
STARVED = 1.0
"""Seconds. 99 of 100 requests of an innocent session are answered in some milliseconds; what is tested is
that it is served at all meanwhile, not how busy this machine is.
"""


def test_a_wrong_password_costs_time_is_logged_without_it_and_three_of_them_cost_the_connection(
        watch: Watch, bystander: Peer) -> None:
    with Peer(watch.server.port).open() as peer:
        begun = time.monotonic()
        in_the_open = AuthData(AuthType.TEXT, auth_id=USER, auth_password=WRONG)
        assert peer.ask(ConnectClientAuthRequest(in_the_open)).error == Error.NOT_AUTHORIZED
        assert time.monotonic() - begun >= 2
        assert bystander.ping() < 1, "one who waits for his refusal keeps nobody else waiting"
        assert peer.log_in(WRONG).error == Error.NOT_AUTHORIZED
        assert peer.log_in(WRONG).error == Error.NOT_AUTHORIZED
        assert time.monotonic() - begun >= 6
        peer.until_closed()
        peer.check_replies()
    log = watch.log()
    assert log.count(f"user {USER!r} failed to authenticate") == 3
    assert WRONG not in log and PASSWORD not in log


@pytest.mark.parametrize("mark", ["7fffffff", "ffffffff", "80001001", "00001001"])
def test_an_announced_length_beyond_a_login_ends_the_connection_at_once(
        watch: Watch, bystander: Peer, mark: str) -> None:
    with Peer(watch.server.port) as peer:
        peer.send(bytes.fromhex(mark))
        peer.until_closed(5)
        assert len(peer.posts(Code.NOTIFY_CONNECTION_STATUS)) == 2


def test_an_announced_length_takes_no_memory(watch: Watch, bystander: Peer) -> None:
    with logged_in(watch.server.port) as peer:
        session = watch.processes()[-1]
        before = resident(session)
        peer.send((60 * MIB).to_bytes(4) + b"x")
        bystander.ping()
        time.sleep(0.2)
        assert resident(session) < before + MIB
    with logged_in(watch.server.port) as peer:
        peer.send((65 * MIB).to_bytes(4))
        peer.until_closed(5)


def test_empty_fragments_end_the_connection(watch: Watch, bystander: Peer) -> None:
    with logged_in(watch.server.port) as peer:
        peer.send(bytes(4 * MAX_EMPTY_FRAGMENTS))
        peer.ping()
        peer.send(bytes(4 * (MAX_EMPTY_FRAGMENTS + 1)))
        peer.until_closed(5)


def test_a_request_before_a_mark_that_cannot_be_honoured_is_answered_and_then_it_ends(
        watch: Watch, bystander: Peer) -> None:
    with Peer(watch.server.port, Version.V4) as peer:
        good = frame(peer.next_header(Code.CONFIG_GET_SERVER_INFO))
        peer.send(good + bytes.fromhex("ffffffff"))
        peer.until_closed(10)
        peer.check_replies()
        assert len(peer.replies) == 1
        assert len(peer.posts(Code.NOTIFY_CONNECTION_STATUS)) == 2


def test_a_byte_at_a_time_is_slow_and_not_wrong(watch: Watch, bystander: Peer) -> None:
    with Peer(watch.server.port).open() as peer:
        for byte in frame(peer.next_header(Code.CONFIG_GET_SERVER_INFO)):
            peer.send(bytes([byte]))
            time.sleep(0.002)
        peer.settle()
        peer.check_replies()


def test_two_hundred_that_never_log_in_are_dropped_or_refused_and_keep_nobody_out(watch: Watch) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(watch.server.port)) for _ in range(200)]
        for peer in peers:
            deadline = time.monotonic() + 20
            while not peer.received and time.monotonic() < deadline:
                peer.wait(0.5)
        reasons = {registry.decode(NotifyConnectionStatusPost, peer.received[0].body, Version.V4).reason
                   for peer in peers}
        assert reasons <= {ConnectionStatusReason.CONNECTED, ConnectionStatusReason.REFUSED}
        await_true(lambda: watch.sessions() == STRANGERS, "no more strangers than their share")
        with ExitStack() as inside:
            time.sleep(LATE)
            for _ in range(MAX_SESSIONS):
                inside.enter_context(logged_in(watch.server.port)).ping()
            await_true(lambda: watch.sessions() == MAX_SESSIONS, "the strangers have left")
            with Peer(watch.server.port) as late:
                late.until_closed(5)
                refused = registry.decode(NotifyConnectionStatusPost, late.received[0].body, Version.V4)
                assert refused.reason == ConnectionStatusReason.REFUSED
    watch.await_quiet()
    with logged_in(watch.server.port) as peer:
        peer.ping()
    watch.check_sound()


def test_connections_that_come_and_go_leave_nothing(watch: Watch) -> None:
    before = watch.descriptors()
    for number in range(150):
        peer = Peer(watch.server.port)
        if number % 3 == 0:
            peer.wait(0.05)
        peer.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: hang up by RST
        peer.socket.close()
    watch.check_sound()
    with logged_in(watch.server.port):
        await_true(lambda: watch.sessions() == 1, "one session")
    watch.check_sound()
    assert watch.descriptors() == before


@contextmanager
def asking(watch: Watch) -> Iterator[list[float]]:
    """An innocent session that asks without pause; what its answers took."""
    taken: list[float] = []
    over = threading.Event()

    def ask(peer: Peer) -> None:
        while not over.is_set():
            taken.append(peer.ping())
            time.sleep(0.002)

    with logged_in(watch.server.port) as peer:
        thread = threading.Thread(target=ask, args=(peer,))
        thread.start()
        try:
            yield taken
        finally:
            over.set()
            thread.join()


def percentile(taken: list[float], share: float) -> float:
    return sorted(taken)[int(len(taken) * share)]


def test_requests_without_an_end_and_nobody_who_reads_the_replies(watch: Watch, bystander: Peer) -> None:
    with logged_in(watch.server.port) as peer:
        session = watch.processes()[-1]
        before = resident(session)
        request = frame(bytes.fromhex("00000001 00000000 00000000")
                        + Code.CONFIG_GET_TAPE_INFO.to_bytes(4) + bytes(8))
        most, sent, stuck = before, 0, time.monotonic()
        peer.socket.setblocking(False)
        with asking(watch) as taken:
            while time.monotonic() < stuck + 1 and sent < 64 * MIB:
                try:
                    sent += peer.socket.send(request * 1000)
                    stuck = time.monotonic()
                except BlockingIOError:
                    time.sleep(0.01)
                most = max(most, resident(session))
        assert sent < 64 * MIB, "the server takes requests whose replies nobody reads"
        assert most < before + 8 * MIB
        assert len(taken) > 100
        assert percentile(taken, 0.99) < STARVED
        print(f"{sent >> 10} KiB taken, {(most - before) >> 10} KiB grown, "
              f"p99 of another session {percentile(taken, 0.99) * 1000:.1f} ms of {len(taken)}")


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files enough that their history is several times what all buffers on the way can hold."""
    folder = tmp_path_factory.mktemp("many") / "export"
    for outer in range(30):
        below = folder / f"{outer:03}"
        below.mkdir(parents=True)
        for inner in range(400):
            (below / f"a-name-that-is-long-enough-to-fill-history-soon-{'x' * 180}-{inner:05}").touch()
    return folder


@pytest.fixture(scope="module")
def with_many_files(tmp_path_factory: pytest.TempPathFactory, many_files: Path) -> Iterator[Watch]:
    server = EmbeddedServer(tmp_path_factory.mktemp("history") / "state", (many_files,)).start()
    try:
        yield Watch(server)
    finally:
        server.stop()


def test_history_that_nobody_reads_stops_the_backup_and_fills_no_memory(
        with_many_files: Watch, many_files: Path) -> None:
    watch = with_many_files
    with logged_in(watch.server.port) as peer:
        peer.socket.setsockopt(1, 8, 65536)  # SO_RCVBUF
        for request in (TapeOpenRequest("tape0", TapeOpenMode.RDWR), TapeMtioRequest(TapeMtioOp.REW, 1),
                        MoverSetRecordSizeRequest(65536), MoverSetWindowRequest(0, (1 << 64) - 1),
                        MoverListenRequest(MoverMode.READ, AddrType.LOCAL), DataConnectRequest(LOCAL)):
            assert not peer.ask(request).error, request
        session = watch.processes()[-1]
        before = resident(session)
        peer.ask(DataStartBackupRequest("tar", (Pval("FILESYSTEM", str(many_files)), Pval("HIST", "f"))))
        job = watch.processes()[-1]
        assert job != session
        with asking(watch) as taken:
            time.sleep(1.5)
            early = resident(session)
            time.sleep(1)
            grown, held = resident(session) - before, resident(job)
        assert held, "the job waits for its history to be read"
        assert grown < 32 * MIB and held < 64 * MIB
        assert resident(session) < early + MIB, "and nothing grows meanwhile"
        assert percentile(taken, 0.99) < STARVED
        print(f"session grown by {grown >> 10} KiB, job holds {held >> 10} KiB, "
              f"p99 of another session {percentile(taken, 0.99) * 1000:.1f} ms")
        peer.request(DataGetStateRequest())
        deadline = time.monotonic() + 60
        while not peer.posts(Code.NOTIFY_DATA_HALTED) and time.monotonic() < deadline:
            peer.wait(0.5)
        state = peer.ask(DataGetStateRequest())
        assert isinstance(state, DataGetStateReply) and state.state == DataState.HALTED
        files = [one for one in peer.received if one.header.message_code == Code.FH_ADD_FILE]
        assert sum(int.from_bytes(one.body[:4]) for one in files) == 30 * 401 + 1
    watch.check_sound()
