"""Movers whose peer on the data connection goes, in one way or another, or talks nonsense: at any byte."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest

from ndmpd.pieces import FileExtent
from ndmpd.services import channel, mover_backup
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.hello import Role
from protocol.ndmp.codes import MoverHaltReason
from tests.services.rig import joined
from tests.sweep import verdict
from tests.sweep.case import Case, Field, reported, rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import Plan
from tests.sweep.jobs import Planned, Source, Work, draw
from tests.sweep.judgement import again, judge
from tests.sweep.stand import PATIENCE, tcp_pair

CLOSED, LOST = MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.CONNECT_ERROR
BROKEN = MoverHaltReason.INTERNAL_ERROR
HEADER = struct.Struct("!B3xIQQQ")
"""A frame of the local channel, as ``channel`` has it: kind, bytes of payload, and three numbers."""


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def half_close(end: socket.socket) -> None:
    """And wait for the other side to close, as a peer does that has sent all it has."""
    end.shutdown(socket.SHUT_WR)
    until_closed(end)


def until_closed(end: socket.socket) -> None:
    end.settimeout(PATIENCE)
    with suppress(ConnectionResetError):
        while end.recv(1 << 16):
            pass


TCP: dict[str, tuple[Callable[[socket.socket], None], tuple[MoverHaltReason, ...]]] = {
    "closes": (socket.socket.close, (CLOSED,)),
    "half closes": (half_close, (CLOSED,)),
    "resets": (reset, (LOST, CLOSED)),
}
"""A reset behind the last byte may come when the mover has taken that for the end."""


def raw(end: socket.socket, kind: int, size: int = 0, payload: bytes = b"") -> None:
    end.sendall(HEADER.pack(kind, size, 1, 1, 1) + payload)


def descriptors(end: socket.socket, source: Source, count: int, kind: int) -> None:
    fds = struct.pack(f"{count}i", *[source.file.fd] * count)
    end.sendmsg([HEADER.pack(kind, 0, 10, 10, 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])




GARBAGE: dict[str, tuple[Callable[[socket.socket, Source, random.Random], None],
                         tuple[MoverHaltReason, ...]]] = {
    "a header cut off": (lambda end, source, rng: end.sendall(bytes([1]) * rng.randint(1, 31)), (LOST,)),
    "a payload cut off": (lambda end, source, rng: raw(end, 1, 1000, bytes(rng.randint(0, 999))), (LOST,)),
    "an unknown kind": (lambda end, source, rng: raw(end, rng.randint(13, 255)), (BROKEN,)),
    "kind 0": (lambda end, source, rng: raw(end, 0), (BROKEN,)),
    "too large a payload": (lambda end, source, rng: raw(end, 1, rng.randint((64 << 20) + 1, (1 << 32) - 1)),
                            (BROKEN,)),
    "a frame of the other side": (lambda end, source, rng: raw(end, rng.choice((6, 7, 8, 9, 10, 11, 12))),
                                  (BROKEN,)),
    "a file without its descriptor": (lambda end, source, rng: raw(end, 3), (BROKEN,)),
    "a descriptor that nobody asked for": (
        lambda end, source, rng: descriptors(end, source, 1, Kind.WRITTEN), (BROKEN,)),
    "a disk that is not there": (
        lambda end, source, rng: raw(end, 4, 7, b"no disk"), (CLOSED, LOST, BROKEN)),
    "blocks of length 0": (lambda end, source, rng: end.sendall(HEADER.pack(4, 5, 0, 1, 0) + b"disk0"),
                           (CLOSED, LOST, BROKEN)),
    "noise": (lambda end, source, rng: end.sendall(bytes([rng.randint(13, 255)]) + rng.randbytes(200)),
              (BROKEN,)),
}


class Peer:
    """What sends the stream instead of this session's DATA."""

    def __init__(self, case: Case, *, local: bool, send: Callable[[socket.socket], None]) -> None:
        self.case, self.local, self.send = case, local, send
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        ours, theirs = joined(Role.DATA_BACKUP) if self.local else tcp_pair()

        def run() -> None:
            with ours, suppress(BrokenPipeError, ConnectionResetError):
                self.send(ours)

        self.case.stand.accept(theirs, local=self.local)
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def ended(self) -> None:
        assert self.thread is not None
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), "the peer was left hanging"


def run(field: Field, name: str, seed: int, monkeypatch: pytest.MonkeyPatch,
        allowed: tuple[MoverHaltReason, ...], local: bool,
        send: Callable[[Work, random.Random], Callable[[socket.socket], None]], whole: bool = False) -> None:
    rng = rng_of(seed, name)
    work = draw(rng)
    monkeypatch.setattr(mover_backup, "BATCH", work.batch)
    left = verdict.Leftovers(field.sans(), field.places)
    case = Case(field, work, Planned(work, field.source), Plan(None, 0, rng))
    peer = Peer(case, local=local, send=send(work, rng))
    with reported(seed, case):
        try:
            case.backup(peer.start)
            peer.ended()
            case.settle()
            judge(case, cut=True)
            assert len(case.mover_halts) == 1 and case.mover_halts[0] in allowed, case.mover_halts
            assert not case.data_halts
            if whole:
                assert case.mover_state is not None and case.mover_state.bytes_moved == len(work.stream)
            again(case, rng)
        finally:
            case.close()
        left.check()


@pytest.mark.parametrize("way", TCP)
def test_a_peer_on_tcp_that_goes_at_any_byte(field: Field, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act, allowed = TCP[way]

    def send(work: Work, rng: random.Random) -> Callable[[socket.socket], None]:
        size = rng.choice((0, len(work.stream), rng.randint(0, len(work.stream))))

        def go(end: socket.socket) -> None:
            end.sendall(work.stream[:size])
            act(end)

        return go

    for seed in seeds(60):
        run(field, f"tcp {way}", seed, monkeypatch, allowed, False, send)


@pytest.mark.parametrize("what", GARBAGE)
def test_a_local_peer_that_goes_or_raves_at_any_piece(field: Field, what: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    act, allowed = GARBAGE[what]

    def send(work: Work, rng: random.Random) -> Callable[[socket.socket], None]:
        number = rng.randint(0, len(work.shapes))

        def go(end: socket.socket) -> None:
            for shape in work.shapes[:number]:
                channel.send_piece(end, shape.piece(field.source, work.strict))
            act(end, field.source, rng)
            if allowed == (BROKEN,):
                # It is the other side that must give up.
                until_closed(end)

        return go

    for seed in seeds(30):
        run(field, f"local {what}", seed, monkeypatch, allowed, True, send)


def test_a_local_peer_that_sends_two_descriptors_for_one_leaves_none_open(
        field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(work: Work, rng: random.Random) -> Callable[[socket.socket], None]:
        def go(end: socket.socket) -> None:
            for shape in work.shapes:
                piece = shape.piece(field.source, work.strict)
                if isinstance(piece, FileExtent):
                    name = os.fsencode(piece.file.name)
                    fds = struct.pack("2i", piece.file.fd, piece.file.fd)
                    header = HEADER.pack(Kind.FILE, len(name), piece.offset, piece.length, piece.strict)
                    end.sendmsg([header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
                    end.sendall(name)
                else:
                    channel.send_piece(end, piece)
            channel.send(end, Frame(Kind.END))
            half_close(end)

        return go

    for seed in seeds(30):
        run(field, "descriptors", seed, monkeypatch, (CLOSED,), True, send, whole=True)
