"""Peers that do not answer, told from those that only do not read."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from ndmpd.net.silence import silent
from tests.services.rig import tcp_pair

PATIENCE = 1.0
LONG_ENOUGH = 4.0
_SO_ATTACH_FILTER = 26
_RETURN_NOTHING = struct.pack("HBBI", 6, 0, 0, 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = tcp_pair()
    yield ends
    for end in ends:
        end.close()


def lose_power(end: socket.socket) -> None:
    """Whatever arrives from now on is dropped before TCP sees it."""
    program = ctypes.create_string_buffer(_RETURN_NOTHING)
    end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def fill(end: socket.socket) -> None:
    """Send until nothing more goes, and the peer's window is closed."""
    end.setblocking(False)
    for _ in range(2):
        try:
            while True:
                end.send(bytes(1 << 16))
        except BlockingIOError:
            time.sleep(0.2)


def falls_silent(end: socket.socket) -> bool:
    deadline = time.monotonic() + LONG_ENOUGH
    while time.monotonic() < deadline:
        if silent(end, PATIENCE):
            return True
        time.sleep(0.02)
    return False


def test_a_peer_that_lost_power_with_something_under_way_is_found(
        pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    lose_power(theirs)
    ours.sendall(b"hello")
    assert falls_silent(ours)


def test_a_peer_that_lost_power_while_it_did_not_read_is_found(
        pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    fill(ours)
    lose_power(theirs)
    assert falls_silent(ours)


def test_a_peer_that_does_not_read_is_well(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    fill(ours)
    assert not falls_silent(ours)


def test_a_peer_that_has_nothing_to_answer_is_well(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(b"hello")
    time.sleep(0.2)
    lose_power(theirs)
    assert not falls_silent(ours), "keepalive sees to that"


def test_channels_and_closed_sockets_are_never_silent() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not silent(ours, 0.0)
    assert not silent(ours, 0.0)
