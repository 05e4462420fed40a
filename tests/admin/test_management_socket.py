"""The socket that a server is asked at: whoever says whatever there, it answers the next one as before."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ndmpd.__main__ import main
from ndmpd.management import server as management
from ndmpd.management.client import Exit, Unanswered, _connect, ask
from ndmpd.net.dataconn import short
from tests.admin.running import ConfiguredServer, ImageDma, at_rest, ndmpd, within
from tests.peers.server import EmbeddedServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    # The path is too long for the address of a UNIX socket.
    folder = tmp_path_factory.mktemp("management") / ("long" * 30)
    folder.mkdir()
    server = EmbeddedServer(folder / "state").start()
    try:
        yield server
    finally:
        server.stop()


def connected(server: EmbeddedServer) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end.settimeout(10)
    _connect(end, server.state / "run" / management.SOCKET, time.monotonic() + 10)
    return end


def said(end: socket.socket) -> bytes:
    """All that comes until the end."""
    answer = bytearray()
    try:
        while data := end.recv(65536):
            answer += data
    except ConnectionResetError:
        pass
    return bytes(answer)


def descriptors(server: EmbeddedServer) -> int:
    assert server.program is not None
    return len(os.listdir(f"/proc/{server.program.process.pid}/fd"))


def healthy(server: EmbeddedServer) -> None:
    began = time.monotonic()
    assert ask(server.state, {"ask": "status"})["sessions"]["limit"] == 64
    assert time.monotonic() - began < 1


def test_only_the_servers_user_gets_at_the_socket(server: EmbeddedServer) -> None:
    run = server.state / "run"
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert stat.S_IMODE((run / management.SOCKET).stat().st_mode) == 0o600


@pytest.mark.root
def test_others_are_sent_away_even_where_they_get_at_it(server: EmbeddedServer) -> None:
    end = connected(server)
    credentials = management._CREDENTIALS.unpack(
        end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, management._CREDENTIALS.size))
    assert credentials[1] == 0
    end.close()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with short(server.state / "run" / management.SOCKET) as path:
                stranger = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                os.setegid(65534)
                held = os.open(path, os.O_PATH)
                os.chmod(path, 0o666)
                os.seteuid(65534)
                stranger.connect(f"/proc/self/fd/{held}")
            os.write(writer, said(stranger))
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    (server.state / "run" / management.SOCKET).chmod(0o600)
    assert b"only root and the user" in os.read(reader, 1000)
    os.close(reader)
    healthy(server)


@pytest.mark.parametrize("words", [
    b"\n", b"\0\xff" * 100 + b"\n", b"[]\n", b"7\n", b'"status"\n', b"{}\n", b'{"ask": ["status"]}\n',
    b'{"ask": "session"}\n', b'{"ask": "session", "id": "1"}\n', b'{"ask": "session", "id": null}\n',
    b'{"ask": "kill", "id": 1}\n', b'{"ask": "kill", "id": true, "within": -1}\n',
    b'{"ask": "kill", "id": 1e999, "within": 5}\n', b"[" * 4000 + b"\n", b'{"a":' * 800 + b"\n",
    b'{"ask": "session", "id": ' + b"9" * 4000 + b"}\n", b"x" * (1 << 20),
    b'{"ask": "kill", "id": 4711, "within": ' + b"9" * 30 + b"}\n",
], ids=range(18))
def test_whatever_is_said_there_is_one_answer_with_an_error(server: EmbeddedServer, words: bytes) -> None:
    end = connected(server)
    try:
        end.sendall(words)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it had heard enough
    answer = said(end)
    end.close()
    assert not answer or set(json.loads(answer)) <= {"error", "unknown"}
    assert answer or len(words) > management.LONGEST_REQUEST
    healthy(server)


def test_whoever_is_slow_to_ask_or_says_nothing_is_let_go(server: EmbeddedServer) -> None:
    silent, slow = connected(server), connected(server)
    began = time.monotonic()
    slow.sendall(b'{"ask"')
    assert said(silent) == said(slow) == b""
    assert management.ASKING - 0.5 < time.monotonic() - began < management.ASKING + 3
    silent.close()
    slow.close()


def test_a_request_may_come_in_pieces_and_what_follows_it_is_nobodys(server: EmbeddedServer) -> None:
    end = connected(server)
    for piece in b'{"ask": ', b'"sessions"', b'}\n{"ask": "kill"}' + b"\n" * 1000:
        end.sendall(piece)
        time.sleep(0.05)
    assert json.loads(said(end)) == {"sessions": []}


def test_many_who_wait_keep_nobody_out_and_leave_nothing_open(server: EmbeddedServer) -> None:
    at_rest(server.state)
    before = descriptors(server)
    waiting = [connected(server) for _ in range(4 * management.MOST)]
    for _ in range(5):
        healthy(server)
    assert descriptors(server) <= before + management.MOST
    for end in waiting:
        end.close()
    within(5, lambda: descriptors(server) <= before, "descriptors are left")


def test_many_who_hang_up_before_their_answer_leave_nothing_open(server: EmbeddedServer) -> None:
    with ImageDma(server) as dma:
        healthy(server)
        before = descriptors(server)
        for _ in range(200):
            end = connected(server)
            end.sendall(b'{"ask": "sessions"}\n')
            end.close()
        within(5, lambda: descriptors(server) <= before, "descriptors are left")
        healthy(server)
        dma.data.get_state()


def test_a_second_server_answers_for_itself_alone(server: EmbeddedServer, tmp_path: Path) -> None:
    with ImageDma(server), ConfiguredServer(tmp_path) as other:
        assert ask(other.state, {"ask": "status"})["listening"] == f"127.0.0.1 port {other.port}"
        assert ask(server.state, {"ask": "status"})["listening"] == f"127.0.0.1 port {server.port}"
        assert len(ask(server.state, {"ask": "sessions"})["sessions"]) == 1
        within(5, lambda: not ask(other.state, {"ask": "sessions"})["sessions"], "a session of another's")


def test_a_server_that_was_killed_and_one_that_is_starting_are_told_apart(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "state").start()
    assert server.program is not None
    socket_file = server.state / "run" / management.SOCKET
    try:
        socket_file.rename(server.state / "elsewhere")
        done = ndmpd(server.state, "status")
        assert done.exit_code == Exit.NO_ANSWER
        assert "a server runs there, but takes no questions" in done.stderr
        (server.state / "elsewhere").rename(socket_file)
        assert ndmpd(server.state, "status").exit_code == 0
    finally:
        server.program.process.kill()
        server.stop()
    assert socket_file.exists()
    # The processes that it left have its lock for a moment.
    within(10, lambda: ndmpd(server.state, "status").exit_code == Exit.NOT_RUNNING, "it seems to run")


def test_an_answer_that_is_none_is_not_believed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as liar:
        liar.bind(str(run / management.SOCKET))
        liar.listen(1)
        pid = os.fork()
        if pid == 0:
            try:
                for words in b"", b"[]", b"{", b"null":
                    end, _ = liar.accept()
                    end.recv(1000)
                    end.sendall(words)
                    end.close()
            finally:
                os._exit(0)
        for _ in range(4):
            with pytest.raises(Unanswered) as refused:
                ask(tmp_path, {"ask": "status"})
            assert refused.value.exit_status is Exit.NO_ANSWER
        os.waitpid(pid, 0)


def test_a_configuration_need_not_be_in_order_for_its_server_to_be_asked(tmp_path: Path) -> None:
    with ConfiguredServer(tmp_path) as server:
        server.file.write_text(server.file.read_text() + '[filesystem."/gone"]\npath = "/is/not/there"\n')
        done = ndmpd_of(server.file)
        assert done.exit_code == 0 and f"state in {server.state}" in done.stdout


@pytest.mark.parametrize(("text", "why"), [
    (None, "cannot be read (No such file or directory); name the server's configuration with --config"),
    ("[server\n", "does not say where the server's state is"),
    ("server = 7\n", "does not say where the server's state is"),
    ('[server]\nstate_dir = "here"\n', "is not an absolute path"),
])
def test_a_configuration_that_does_not_say_where_is_an_error(tmp_path: Path, text: str | None,
                                                             why: str) -> None:
    path = tmp_path / "ndmpd.toml"
    if text is not None:
        path.write_text(text)
    done = ndmpd_of(path)
    assert done.exit_code == Exit.NO_ANSWER and why in done.stderr


def ndmpd_of(config: Path) -> Result:
    return CliRunner().invoke(main, ["status", "--config", str(config)], catch_exceptions=False)
