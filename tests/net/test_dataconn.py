"""Data connections: TCP for strangers, a local channel for the other side of this server."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ndmpd.net import dataconn
from ndmpd.net.dataconn import Link, Listener, Where, connect, rendezvous
from ndmpd.net.watch import Watch
from protocol.ndmp.address import TcpAddress

LOOPBACK = int(ipaddress.IPv4Address("127.0.0.1"))


class Reactor:
    """Just enough of one: whom it watches."""

    def __init__(self) -> None:
        self.readers: list[Watch] = []

    def addReader(self, reader: Watch) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: Watch) -> None:
        self.readers.remove(reader)

    def look(self) -> None:
        """One turn: everybody is told that there may be something."""
        for reader in list(self.readers):
            reader.doRead()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def links() -> list[Link]:
    return []


@pytest.fixture
def listen(run_dir: Path, links: list[Link]) -> Callable[..., tuple[Reactor, Listener]]:
    def listen(where: Where | None = None) -> tuple[Reactor, Listener]:
        reactor = Reactor()
        return reactor, Listener(reactor, where or Where(run_dir, "127.0.0.1", "127.0.0.1"), links.append)
    return listen


def test_a_side_of_this_server_gets_a_local_channel_unseen(
        run_dir: Path, links: list[Link], listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    reactor, listener = listen()
    link = connect(run_dir, [listener.address])
    reactor.look()
    assert link.local and links[0].local
    assert link.peer == links[0].peer == listener.address
    assert link.connection.family == socket.AF_UNIX
    assert link.connection.gettimeout() is None


def test_anybody_else_gets_tcp(links: list[Link], listen: Callable[..., tuple[Reactor, Listener]],
                               tmp_path: Path) -> None:
    reactor, listener = listen()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = connect(elsewhere, [listener.address])
    reactor.look()
    assert not link.local and not links[0].local
    assert links[0].peer.port == link.connection.getsockname()[1]
    assert links[0].connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    link.connection.sendall(b"x")
    assert links[0].connection.recv(1) == b"x"


def test_the_first_that_comes_is_the_only_one(run_dir: Path, links: list[Link],
                                              listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    reactor, listener = listen()
    connect(run_dir, [listener.address])
    reactor.look()
    reactor.look()
    assert len(links) == 1 and not reactor.readers
    with pytest.raises(ConnectionRefusedError):
        connect(run_dir, [listener.address])
    assert list(run_dir.iterdir()) == []


def test_a_listener_that_is_closed_leaves_nothing(run_dir: Path,
                                                  listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    reactor, listener = listen()
    listener.close()
    listener.close()
    assert list(run_dir.iterdir()) == [] and not reactor.readers
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_a_killed_session_left_in_the_folder_harms_nobody(
        run_dir: Path, links: list[Link], listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    _, listener = listen()
    port = listener.address.port
    listener.close()
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(os.fspath(rendezvous(run_dir, TcpAddress(LOOPBACK, port))))
    stale.close()
    with pytest.raises(ConnectionRefusedError):
        connect(run_dir, [TcpAddress(LOOPBACK, port)])
    _, again = listen(Where(run_dir, "127.0.0.1", "127.0.0.1", [port]))
    assert connect(run_dir, [again.address]).local


def test_a_state_folder_with_a_long_name_will_do(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    links: list[Link] = []
    reactor = Reactor()
    listener = Listener(reactor, Where(deep, "127.0.0.1", "127.0.0.1"), links.append)
    assert connect(deep, [listener.address]).local
    listener.close()
    assert list(deep.iterdir()) == []


def test_the_address_told_may_be_another_than_the_one_listened_on(
        run_dir: Path, listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    _, listener = listen(Where(run_dir, "127.0.0.1", "192.0.2.7"))
    assert listener.address.ip == int(ipaddress.IPv4Address("192.0.2.7"))
    # The DMA passes on what it was told; the other side of this server finds us by it.
    assert connect(run_dir, [listener.address]).local


def test_ports_are_tried_until_one_is_free(run_dir: Path,
                                           listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        ports = [taken.getsockname()[1], free.getsockname()[1]]
        free.close()
        _, listener = listen(Where(run_dir, "127.0.0.1", "127.0.0.1", ports))
        assert listener.address.port == ports[1]
        with pytest.raises(OSError, match="in use"):
            listen(Where(run_dir, "127.0.0.1", "127.0.0.1", ports))


def test_addresses_are_tried_in_order(run_dir: Path, listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    _, listener = listen()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    link = connect(run_dir, [TcpAddress(LOOPBACK, port), listener.address])
    assert link.peer == listener.address
    with pytest.raises(ConnectionRefusedError, match="no address"):
        connect(run_dir, [])


def test_addresses_that_do_not_answer_cost_one_time_limit_together(
        run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataconn, "CONNECT_TIMEOUT", 0.3)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = TcpAddress(LOOPBACK, full.getsockname()[1])
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        began = time.monotonic()
        with pytest.raises(OSError):
            connect(run_dir, [address] * 20)
        assert time.monotonic() - began < 2


def test_a_local_listener_that_does_not_answer_does_not_hold_us_for_ever(
        run_dir: Path, monkeypatch: pytest.MonkeyPatch,
        listen: Callable[..., tuple[Reactor, Listener]]) -> None:
    monkeypatch.setattr(dataconn, "_LOCAL_TIMEOUT", 0.2)
    _, listener = listen()
    found: list[Link] = []
    threads = [threading.Thread(target=lambda: found.append(connect(run_dir, [listener.address])),
                                daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert any(link.local for link in found)
