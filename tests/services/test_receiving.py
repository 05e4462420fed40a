"""Bytes of another server's DATA: what is received ahead, what is kept, and how it ends."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ndmpd.pieces import Inline
from ndmpd.services.receiving import BUFFER, RING, RemoteSource
from ndmpd.services.sources import STALL
from tests.services.rig import PATIENCE

STEP = 64 << 10

Ends = tuple[RemoteSource, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A source, and the other end of its TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname(), timeout=PATIENCE)
        ours, _ = listening.accept()
    with ours, theirs:
        source = RemoteSource(ours)
        yield source, theirs
        source.close()


class Sender:
    """Sends ``content`` in a thread; ``sent`` bytes of it are out of its hands."""

    def __init__(self, connection: socket.socket, content: bytes) -> None:
        self.sent = 0
        self._connection = connection
        self._content = memoryview(content)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            while self.sent < len(self._content):
                self.sent += self._connection.send(self._content[self.sent:self.sent + STEP])

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def settled(self) -> int:
        """What was sent once no more is taken."""
        seen = -1
        while seen != self.sent:
            seen = self.sent
            time.sleep(0.2)
        return seen


def take(source: RemoteSource) -> tuple[int, Inline]:
    found = source.next()
    assert found is not None
    number, piece = found
    assert isinstance(piece, Inline)
    return number, piece


def test_received_bytes_stay_until_they_are_on_tape_and_their_memory_serves_again(ends: Ends) -> None:
    source, theirs = ends
    content = random.Random(5).randbytes(3 * RING * BUFFER + 1)
    sender = Sender(theirs, content)
    memory: set[int] = set()
    kept: list[Inline] = []
    done = 0
    while done < len(content):
        number, piece = take(source)
        assert isinstance(piece.data, memoryview)
        memory.add(id(piece.data.obj))
        kept.append(piece)
        size = sum(each.length for each in kept)
        if size > 3 * BUFFER or done + size == len(content):
            assert b"".join(each.data for each in kept) == content[done:done + size]
            done += size
            kept.clear()
            source.written(number + 1)
    sender.join()
    assert len(memory) == RING


def test_while_nothing_is_written_no_more_is_received_than_the_ring_holds() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = RemoteSource(ours)
        sender = Sender(theirs, bytes(4 * RING * BUFFER))
        take(source)
        assert RING * BUFFER <= sender.settled() < (RING + 2) * BUFFER
        source.close()
    sender.join()


def test_a_record_longer_than_the_ring_is_taken_whole(ends: Ends) -> None:
    source, theirs = ends
    content = random.Random(6).randbytes((RING + 3) * BUFFER)
    sender = Sender(theirs, content)
    received: list[bytes | bytearray | memoryview] = []
    while sum(map(len, received)) < len(content):
        received.append(take(source)[1].data)
    assert b"".join(received) == content
    sender.join()


def test_bytes_short_of_a_buffer_are_there_soon_and_then_nothing_comes(ends: Ends) -> None:
    source, theirs = ends
    theirs.sendall(b"first")
    assert bytes(take(source)[1].data) == b"first"
    assert source.idle()
    theirs.sendall(b"second")
    deadline = time.monotonic() + PATIENCE
    while source.idle():
        assert time.monotonic() < deadline
    assert bytes(take(source)[1].data) == b"second"


def test_a_slow_stream_is_not_taken_for_one_that_has_stalled(ends: Ends) -> None:
    source, theirs = ends
    going = threading.Event()

    def trickle() -> None:
        while not going.wait(STALL / 1000 / 20):
            theirs.sendall(bytes(100))

    thread = threading.Thread(target=trickle)
    thread.start()
    idle = 0
    for _ in range(20):
        take(source)
        idle += source.idle()
    going.set()
    thread.join(PATIENCE)
    assert idle < 10


def test_with_half_of_the_ring_waiting_for_the_tape_it_is_time_to_write(ends: Ends) -> None:
    source, theirs = ends
    sender = Sender(theirs, bytes(RING * BUFFER))
    taken = number = 0
    while taken < RING // 2 * BUFFER:
        number, piece = take(source)
        taken += piece.length
    assert source.idle()
    source.written(number + 1)
    assert not source.idle()
    sender.join()


def test_the_end_of_the_stream_is_told_again_and_again(ends: Ends) -> None:
    source, theirs = ends
    theirs.sendall(b"all")
    theirs.shutdown(socket.SHUT_WR)
    assert bytes(take(source)[1].data) == b"all"
    assert source.next() is None
    assert not source.idle()
    assert source.next() is None


def test_a_reset_is_an_error_behind_what_came_before_it(ends: Ends) -> None:
    source, theirs = ends
    theirs.sendall(b"some")
    assert bytes(take(source)[1].data) == b"some"
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            source.next()


def test_a_close_ends_a_wait_for_bytes_and_a_wait_for_room(ends: Ends) -> None:
    source, theirs = ends
    theirs.sendall(b"x")
    take(source)
    begun = time.monotonic()
    source.close()
    assert time.monotonic() - begun < 1
    ours, theirs = socket.socketpair()
    with ours, theirs:
        full = RemoteSource(ours)
        sender = Sender(theirs, bytes(4 * RING * BUFFER))
        take(full)
        sender.settled()
        begun = time.monotonic()
        full.close()
        assert time.monotonic() - begun < 1
    sender.join()
