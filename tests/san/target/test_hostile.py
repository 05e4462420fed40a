"""Peers that stall, flood, lie or vanish: bounded in memory and time, and no concern of others."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest

from ndmpd.san.target import channel, portal
from ndmpd.san.target.pings import DEAF, QUIET, Pings
from protocol.iscsi.pdu import R2T, NopOut, ScsiCommand
from protocol.scsi import command as scsi
from tests.san.target.conftest import Connect, Node
from tests.san.target.initiator import Initiator


def test_strangers_have_a_limited_number_of_places(node: Node, ready: Connect,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "MAX_STRANGERS", 4)
    one = ready()
    strangers = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(8)]
    for stranger in strangers[4:]:
        stranger.settimeout(5)
        assert stranger.recv(1) == b""
    assert one.execute(bytes(6)).status == 0
    for stranger in strangers:
        stranger.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with Initiator(node.port, one.target, isid=9) as late:
            try:
                assert late.log_in().status == 0
                return
            except ConnectionError:
                time.sleep(0.05)
    pytest.fail("the places were not given back")


def test_a_stranger_that_says_nothing_or_little_is_sent_away(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "LOGIN_TIME", 0.5)
    monkeypatch.setattr(channel, "TICK", 0.2)
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as dumb, \
            socket.create_connection(("127.0.0.1", node.port), timeout=5) as slow:
        for _ in range(20):
            try:
                slow.sendall(b"\x43")
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("a byte at a time kept the connection")
        assert dumb.recv(1) == b""


def test_a_stranger_that_talks_of_something_else_is_sent_away(node: Node) -> None:
    for text in (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n" + bytes(48), bytes(48), b"\xff" * 48,
                 bytes((0x43, 0x87, 0, 0, 0, 0xFF, 0xFF, 0xFF)) + bytes(40)):
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as stranger:
            stranger.sendall(text)
            try:
                assert stranger.recv(1) == b""
            except ConnectionResetError:
                pass  # it left without reading all


def test_writes_beyond_the_memory_of_a_session_wait_for_their_turn(ready: Connect) -> None:
    """Sixty writes of 4 MiB each are announced; what the target asks for at a time stays bounded."""
    one = ready("disk0", ("InitialR2T", "Yes"), ("ImmediateData", "No"), ("MaxBurstLength", "1048576"))
    size = 4 << 20
    for _ in range(60):
        one.command(scsi.WRITE_10.put(blocks=size // 512), length=size, out=b"")
    asked: list[R2T] = []
    one.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            pdu, _ = one.receive()
            assert isinstance(pdu, R2T)
            asked.append(pdu)
    assert 0 < sum(pdu.length for pdu in asked) <= 17 << 20
    # Each that is served makes room for others, until all are done.
    one.socket.settimeout(10)
    left = 60
    while left:
        for pdu in asked:
            for at in range(0, pdu.length, 262144):
                one.data_out(pdu.task_tag, bytes(262144), pdu.offset + at, transfer_tag=pdu.transfer_tag,
                             data_sn=at // 262144, final=int(at + 262144 == pdu.length))
        asked = []
        while not asked and left:
            pdu, _ = one.receive()
            if isinstance(pdu, R2T):
                asked.append(pdu)
            else:
                assert pdu.status == 0
                left -= 1


def test_an_initiator_that_does_not_read_is_dropped(node: Node, ready: Connect,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "STALLED", 1.0)
    deaf = ready()
    for _ in range(40):
        deaf.command(scsi.READ_10.put(lba=0, blocks=8192), length=4 << 20)
    other = ready(isid=2)
    began = time.monotonic()
    assert other.execute(bytes(6)).status == 0
    assert time.monotonic() - began < 1
    deadline = time.monotonic() + 10
    while len(node.portal._sessions) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(node.portal._sessions) == 1


def test_a_silent_initiator_is_asked_and_then_given_up() -> None:
    now = [0.0]
    asked: list[float] = []
    pings = Pings(lambda: asked.append(now[0]), lambda: now[0])
    pings.heard()
    now[0] = QUIET - 1
    pings.idle()
    assert not asked
    now[0] = QUIET
    pings.idle()
    pings.idle()
    assert asked == [QUIET]
    pings.heard()
    now[0] = 2 * QUIET
    pings.idle()
    assert asked == [QUIET, 2 * QUIET]
    now[0] += DEAF
    with pytest.raises(channel.Gone):
        pings.idle()


def test_garbage_in_a_session_ends_no_more_than_that_session(node: Node, ready: Connect) -> None:
    """Headers with bits turned: each is answered, dropped or ends its connection; the target goes on."""
    chance = random.Random(7143)
    threads = threading.active_count()
    witness = ready()
    for number in range(150):
        with Initiator(node.port, witness.target, isid=100 + number) as one:
            assert one.log_in().status == 0
            good = chance.choice([
                ScsiCommand(task_tag=1, cmd_sn=1, read=1, length=512,
                            head=int.from_bytes(scsi.READ_10.put(blocks=1).ljust(16, b"\0"), "big")),
                NopOut(task_tag=1, cmd_sn=1)])
            header = bytearray(good.put())
            for _ in range(chance.randint(1, 6)):
                header[chance.randrange(48)] ^= 1 << chance.randrange(8)
            one.socket.sendall(bytes(header))
            one.socket.shutdown(socket.SHUT_WR)
            one.socket.settimeout(5)
            while one.socket.recv(65536):
                pass
    assert witness.execute(bytes(6)).status == 0
    deadline = time.monotonic() + 5
    while threading.active_count() > threads + 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= threads + 2
