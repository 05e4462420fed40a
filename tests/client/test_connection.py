"""The control connection from the DMA's side: greeting, version, replies, posts, and servers that
misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from ndmpd.client import connection as module
from ndmpd.client.agents import DataAgent
from ndmpd.client.auth import authenticate, find_password, md5_digest
from ndmpd.client.connection import Connection, Stop
from ndmpd.client.errors import ExitStatus, Interrupted, NotAuthorized, Refused, Unreachable
from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from protocol.ndmp import registry
from protocol.ndmp.codes import (
    AuthType,
    Code,
    ConnectionStatusReason,
    Error,
    LogType,
    MessageType,
    Version,
)
from protocol.ndmp.config import ConfigGetAuthAttrReply, ConfigGetServerInfoReply
from protocol.ndmp.connect import AuthAttr, ConnectClientAuthRequest, ConnectOpenRequest
from protocol.ndmp.data import DataGetStateReply, DataGetStateRequest
from protocol.ndmp.header import Header
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyConnectionStatusPost
from protocol.ndmp.record import frame
from tests.client.fake_server import FakeServer, Filer

HELLO = NotifyConnectionStatusPost(ConnectionStatusReason.CONNECTED, 4, "")


def record(code: Code, body: Message, reply_to: int = 0, error: Error = Error.NO_ERR) -> bytes:
    kind = MessageType.REPLY if reply_to else MessageType.REQUEST
    data = b"" if error else registry.encode(body, Version.V4)
    return Header(1, 0, kind, code, reply_to, error).encode() + data


def raw_server(talk: Callable[[socket.socket], None]) -> ServerUrl:
    """Serves one connection by ``talk``, then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        with listener, sock:
            talk(sock)

    threading.Thread(target=serve, daemon=True).start()
    return ServerUrl("127.0.0.1", int(listener.getsockname()[1]), "me")


def open_to(filer: Filer, version: Version | None = None) -> tuple[FakeServer, Connection]:
    server = FakeServer(filer)
    return server, Connection.open(server.login().url, version)


def test_the_highest_common_version_is_taken_unless_one_is_named() -> None:
    for wanted, expected in ((None, 4), (Version.V3, 3)):
        filer = Filer()
        server, connection = open_to(filer, wanted)
        with server:
            assert filer.sent(ConnectOpenRequest) == [ConnectOpenRequest(expected)]
            assert connection.version == expected
            connection.close()


def test_a_server_that_turns_us_away_is_quoted() -> None:
    filer = Filer()
    filer.greeting = ConnectionStatusReason.REFUSED
    with pytest.raises(Unreachable, match=r"REFUSED\): as scripted") as caught:
        open_to(filer)
    assert caught.value.exit_status == ExitStatus.UNREACHABLE


def test_nobody_listening_is_said_with_the_place() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        Connection.open(ServerUrl("127.0.0.1", port))


def test_a_server_of_another_protocol_is_recognised() -> None:
    url = raw_server(lambda sock: sock.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"))
    with pytest.raises(Unreachable, match=r"does not speak NDMP|closed the connection"):
        Connection.open(url)


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT", 0.5)
    done = threading.Event()
    url = raw_server(lambda sock: done.wait(10) and None)
    with pytest.raises(Unreachable, match="does not greet"):
        Connection.open(url)
    done.set()


def test_a_reply_that_never_comes_is_given_up_with_the_requests_name() -> None:
    def talk(sock: socket.socket) -> None:
        sock.sendall(frame(record(Code.NOTIFY_CONNECTION_STATUS, HELLO)))
        sock.recv(4096)
        sock.sendall(frame(record(Code.CONNECT_OPEN, DataGetStateReply(), 1)[:24] + bytes(4)))
        while sock.recv(4096):
            pass

    connection = Connection.open(raw_server(talk))
    with pytest.raises(Unreachable, match="DATA_GET_STATE for 0 seconds"):
        connection.call(Code.DATA_GET_STATE, DataGetStateRequest(), DataGetStateReply, timeout=0.3)
    connection.drop()


def test_a_post_between_request_and_reply_and_a_foreign_reply_do_not_confuse() -> None:
    wanted = DataGetStateReply(bytes_processed=77)

    def talk(sock: socket.socket) -> None:
        sock.sendall(frame(record(Code.NOTIFY_CONNECTION_STATUS, HELLO)))
        sock.recv(4096)
        sock.sendall(frame(record(Code.CONNECT_OPEN, DataGetStateReply(), 1)[:24] + bytes(4)))
        sock.recv(4096)
        reply = frame(record(Code.DATA_GET_STATE, DataGetStateReply(bytes_processed=1), 99))
        reply += frame(record(Code.LOG_MESSAGE, LogMessagePost(LogType.NORMAL, 1, "meanwhile")))
        reply += frame(record(Code.DATA_GET_STATE, wanted, 2))
        for at in range(0, len(reply), 7):
            sock.sendall(reply[at:at + 7])
        sock.recv(4096)

    posts: list[Message] = []
    connection = Connection.open(raw_server(talk))
    connection.on_post = lambda code, post: posts.append(post)
    assert DataAgent(connection).get_state() == wanted
    assert [post.entry for post in posts if isinstance(post, LogMessagePost)] == ["meanwhile"]
    connection.close()


def test_an_error_in_the_header_has_no_body_and_is_a_refusal() -> None:
    def talk(sock: socket.socket) -> None:
        sock.sendall(frame(record(Code.NOTIFY_CONNECTION_STATUS, HELLO)))
        sock.recv(4096)
        sock.sendall(frame(record(Code.CONNECT_OPEN, DataGetStateReply(), 1)[:24] + bytes(4)))
        sock.recv(4096)
        sock.sendall(frame(record(Code.DATA_GET_STATE, DataGetStateReply(), 2, Error.NOT_SUPPORTED)))
        sock.recv(4096)

    connection = Connection.open(raw_server(talk))
    with pytest.raises(Refused, match="DATA_GET_STATE: NOT_SUPPORTED") as caught:
        DataAgent(connection).get_state()
    assert caught.value.error == Error.NOT_SUPPORTED
    connection.close()


def test_a_record_of_absurd_length_is_not_waited_for() -> None:
    def talk(sock: socket.socket) -> None:
        sock.sendall(b"\xff\xff\xff\xff")
        sock.recv(1)

    url = raw_server(talk)
    with pytest.raises(Unreachable, match="does not speak NDMP"):
        Connection.open(url)


def test_a_reply_cut_short_is_an_error_of_the_server() -> None:
    def talk(sock: socket.socket) -> None:
        sock.sendall(frame(record(Code.NOTIFY_CONNECTION_STATUS, HELLO)))
        sock.recv(4096)
        sock.sendall(frame(record(Code.CONNECT_OPEN, DataGetStateReply(), 1)[:26]))
        sock.recv(4096)

    with pytest.raises(Unreachable, match="ConnectOpenReply that is not one"):
        Connection.open(raw_server(talk))


def test_a_wish_to_stop_ends_waiting() -> None:
    filer, stop = Filer(), Stop()
    with FakeServer(filer) as server:
        connection = Connection.open(server.login().url, stop=stop)
        stop.requested = True
        with pytest.raises(Interrupted):
            connection.pump(10)
        stop.heeded = False
        connection.pump(0)
        connection.close()


# -- authentication


def test_the_digest_has_the_password_at_both_ends_and_the_challenge_between() -> None:
    """Worked out by hand from draft 3.1.2: 128 bytes, challenge ending one password length before the end."""
    import hashlib
    challenge = bytes(range(64))
    expected = hashlib.md5(b"ndmp" + bytes(56) + challenge + b"ndmp").digest()
    assert md5_digest("ndmp", challenge) == expected


@pytest.mark.parametrize("password", ["", "x" * 33])
def test_a_password_md5_has_no_room_for_is_refused_here(password: str) -> None:
    with pytest.raises(NotAuthorized, match="1 to 32 bytes"):
        md5_digest(password, bytes(64))


def test_md5_sends_no_password() -> None:
    filer = Filer()
    filer.answers[Code.CONFIG_GET_AUTH_ATTR] = ConfigGetAuthAttrReply(
        server_attr=AuthAttr(AuthType.MD5, bytes(64)))
    server, connection = open_to(filer)
    with server:
        authenticate(connection, "me", "secret")
        (request,) = filer.sent(ConnectClientAuthRequest)
        assert isinstance(request, ConnectClientAuthRequest)
        assert request.auth_data.auth_digest == md5_digest("secret", bytes(64))
        assert b"secret" not in registry.encode(request, Version.V4)
        connection.close()


def test_a_wrong_password_is_told_apart_from_a_wrong_method() -> None:
    for error, offered, complaint in ((Error.NOT_AUTHORIZED, (), "does not accept 'me'"),
                                      (Error.ILLEGAL_ARGS, (AuthType.MD5,), "it offers md5: choose one")):
        filer = Filer()
        filer.refuse[Code.CONNECT_CLIENT_AUTH] = [error]
        filer.answers[Code.CONFIG_GET_SERVER_INFO] = ConfigGetServerInfoReply(auth_type=offered)
        server, connection = open_to(filer)
        with server:
            with pytest.raises(NotAuthorized, match=complaint) as caught:
                authenticate(connection, "me", "secret", AuthType.TEXT)
            assert "secret" not in str(caught.value)
            connection.close()


def test_a_password_comes_from_the_file_then_the_variable(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    url = ServerUrl("filer", 10000, "me")
    file = tmp_path / "password"
    file.write_text("from the file\nnot this line\n")
    monkeypatch.setenv("SOME_PASSWORD", "from the variable")
    assert find_password(url, str(file), "SOME_PASSWORD") == "from the file"
    assert find_password(url, None, "SOME_PASSWORD") == "from the variable"
    with pytest.raises(NotAuthorized, match="cannot read the password"):
        find_password(url, str(tmp_path / "missing"), "SOME_PASSWORD")


def test_a_login_does_not_show_its_password() -> None:
    assert "secret" not in repr(Login(ServerUrl("filer", 10000, "me"), "secret"))
