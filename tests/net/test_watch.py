"""What a watch tells, and when it is silent."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from twisted.internet.epollreactor import EPollReactor

from ndmpd.net.watch import Watch

SOON = 0.1
"""Seconds in which a reactor looks at everything it watches more than once."""


@pytest.fixture
def reactor() -> EPollReactor:
    return EPollReactor()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def watched(reactor: EPollReactor, subject: socket.socket) -> list[bytes]:
    """What was read while ``subject`` was watched for a moment and the reactor stopped; b"" is its end."""
    found: list[bytes] = []
    subject.setblocking(False)

    def read() -> None:
        try:
            found.append(subject.recv(10))
        except ConnectionResetError:
            found.append(b"")
        if not found[-1]:
            watch.stop()

    watch = Watch(reactor, subject, read)
    reactor.callLater(SOON, reactor.stop)
    reactor.run(installSignalHandlers=False)
    return found


def test_a_reactor_that_stops_has_nothing_read(
        reactor: EPollReactor, pair: tuple[socket.socket, socket.socket]) -> None:
    assert watched(reactor, pair[0]) == []


def test_what_a_peer_said_before_it_hung_up_is_read_and_then_its_end_once(
        reactor: EPollReactor, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"bye")
    pair[1].close()
    assert watched(reactor, pair[0]) == [b"bye", b""]


def test_a_peer_that_died_with_unread_data_is_told_as_well(
        reactor: EPollReactor, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(b"unread")
    pair[1].close()
    assert watched(reactor, pair[0]) == [b""]
