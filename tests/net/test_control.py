"""A control connection: one request at a time, bounded whatever the peer sends or does not read."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure

from ndmpd.net.control import LOGIN_WITHIN, STRANGER_RECORD, WAITING, Control
from ndmpd.net.silence import LOOK_EVERY
from ndmpd.session.events import Shutdown
from protocol.ndmp.record import frame


class Session:
    busy = False
    closed = False
    authorized = False


class Shell:
    """A shell that takes records, and stays busy with each until told otherwise."""

    def __init__(self, wire: Control) -> None:
        self.wire = wire
        self.session = Session()
        self.records: list[bytes] = []
        self.calls: list[object] = []
        self.slow = False

    def start(self) -> None:
        self.calls.append("start")

    def receive(self, record: bytes) -> None:
        assert not self.session.busy
        self.records.append(record)
        self.session.busy = self.slow

    def handle(self, event: object) -> None:
        self.calls.append(event)
        if isinstance(event, Shutdown):
            self.session.closed = True
            self.wire.disconnect()

    def done(self) -> None:
        self.session.busy = False
        self.wire.turn()

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def lose(self, gone: object) -> None:
        self.calls.append("lose")

    def close(self) -> Deferred[None]:
        self.calls.append("close")
        return succeed(None)


class Transport(StringTransportWithDisconnection):
    silent = False

    def getHandle(self) -> Transport:
        return self

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Line:
    def __init__(self) -> None:
        self.clock = Clock()
        self.ended: list[None] = []
        shells: list[Shell] = []

        def make_shell(control: Control) -> Any:
            shells.append(Shell(control))
            return shells[0]

        self.logins: list[None] = []
        self.control = Control(self.clock, make_shell, lambda: self.logins.append(None),
                               lambda: self.ended.append(None))
        self.transport = Transport()
        self.transport.protocol = self.control
        self.control.makeConnection(self.transport)
        self.shell = shells[0]

    @property
    def reading(self) -> bool:
        return bool(self.transport.producerState == "producing")


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    monkeypatch.setattr("ndmpd.net.control.silent", lambda handle: handle.silent)
    return Line()


def test_records_come_one_by_one_and_in_order(line: Line) -> None:
    line.shell.slow = True
    line.control.dataReceived(frame(b"one") + frame(b"two"))
    assert line.shell.records == [b"one"]
    line.shell.done()
    assert line.shell.records == [b"one", b"two"]


def test_a_record_in_crumbs_is_one_record(line: Line) -> None:
    for byte in frame(b"crumbs"):
        line.control.dataReceived(bytes([byte]))
    assert line.shell.records == [b"crumbs"]


def test_a_flood_of_requests_is_not_read_before_those_ahead_are_answered(line: Line) -> None:
    line.shell.slow = True
    line.control.dataReceived(b"".join(frame(b"%d" % number) for number in range(WAITING + 1)))
    assert not line.reading
    line.shell.done()
    assert line.reading
    for _ in range(WAITING):
        line.shell.done()
    assert line.shell.records == [b"%d" % number for number in range(WAITING + 1)]


def test_nothing_is_taken_from_a_peer_that_does_not_read_its_replies(line: Line) -> None:
    line.control.pauseProducing()
    assert not line.reading
    line.control.dataReceived(frame(b"on its way"))
    assert line.shell.records == []
    line.control.resumeProducing()
    assert line.shell.records == [b"on its way"]
    assert line.reading
    assert line.shell.calls == ["start", "pause", "resume"]


def test_a_record_too_large_for_a_stranger_ends_the_connection_behind_the_one_before(line: Line) -> None:
    line.shell.slow = True
    line.control.dataReceived(frame(b"login") + frame(bytes(STRANGER_RECORD + 1)))
    assert line.transport.connected
    line.shell.done()
    assert isinstance(line.shell.calls[1], Shutdown)
    assert line.shell.records == [b"login"]


def test_who_has_logged_in_may_send_large_records(line: Line) -> None:
    line.shell.session.authorized = True
    line.control.dataReceived(frame(b"login"))
    line.control.dataReceived(frame(bytes(1 << 20)))
    assert line.shell.records[1] == bytes(1 << 20)


def test_nobody_stays_without_logging_in(line: Line) -> None:
    line.clock.advance(LOGIN_WITHIN - 1)
    assert line.transport.connected
    line.clock.advance(2)
    assert any(isinstance(call, Shutdown) for call in line.shell.calls)
    assert not line.transport.connected


def test_a_login_is_told_once(line: Line) -> None:
    line.control.dataReceived(frame(b"open"))
    assert line.logins == []
    line.shell.session.authorized = True
    for _ in range(3):
        line.control.dataReceived(frame(b"login"))
    assert line.logins == [None]


@pytest.mark.parametrize("known", [False, True])
def test_only_a_stranger_is_dropped(line: Line, known: bool) -> None:
    line.shell.session.authorized = known
    line.control.drop_stranger("there is no room")
    assert line.transport.connected == known


def test_who_has_logged_in_may_be_silent(line: Line) -> None:
    line.shell.session.authorized = True
    line.clock.advance(100 * LOGIN_WITHIN)
    assert line.transport.connected


def test_a_peer_that_fell_silent_is_let_go_and_its_data_connections_are_looked_after(line: Line) -> None:
    line.shell.session.authorized = True
    line.clock.pump([LOOK_EVERY] * 3)
    assert line.shell.calls == ["start", "lose", "lose", "lose"]
    line.transport.silent = True
    line.clock.advance(LOOK_EVERY)
    assert not line.transport.connected
    assert line.shell.calls[-1] == "close"
    assert line.clock.getDelayedCalls() == []


def test_a_reply_held_back_holds_back_what_follows(line: Line) -> None:
    line.control.hold(3.0, b"no")
    line.control.dataReceived(frame(b"again"))
    assert not line.reading
    assert line.shell.records == [] and line.transport.value() == b""
    line.clock.advance(3.0)
    assert line.transport.value() == frame(b"no")
    assert line.shell.records == [b"again"] and line.reading


def test_a_bug_in_one_request_does_not_silence_the_connection(line: Line,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(record: bytes) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(line.shell, "receive", broken)
        with pytest.raises(RuntimeError):
            line.control.dataReceived(frame(b"one"))
    line.control.dataReceived(frame(b"two"))
    assert line.shell.records == [b"two"]


def test_the_end_is_reported_once_everything_is_free(line: Line) -> None:
    free: Deferred[None] = Deferred()
    line.shell.close = lambda: free  # type: ignore[method-assign]
    line.control.connectionLost(Failure(ConnectionDone()))
    assert line.ended == []
    free.callback(None)
    assert line.ended == [None]


def test_a_peer_that_does_not_read_cannot_keep_a_connection_that_we_end(line: Line) -> None:
    aborted: list[None] = []
    line.transport.abortConnection = lambda: aborted.append(None)
    line.transport.loseConnection = lambda: None
    line.control.disconnect()
    line.clock.advance(6)
    assert aborted == [None]
