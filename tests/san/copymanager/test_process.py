"""The copy manager as a process: started, alone, killed, spoken to by strangers."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess

import pytest

from ndmpd.devices.errors import CommandTimeout, TransportError, UnitDown
from ndmpd.ports import Command
from ndmpd.san import San
from ndmpd.san.copymanager import server as server_module
from ndmpd.san.copymanager.server import CopyManagerServer, serve
from ndmpd.san.copymanager.wire import Request, address
from ndmpd.san.errors import SanError
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.command import Status
from protocol.scsi.segments import BlockToStream, Verify
from tests.san.conftest import Outcome, TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, fill_disk, records, running
from tests.san.copymanager.test_operations import Gate, copying, gate

__all__ = ["gate"]
TIMEOUT = 20.0
FORK = multiprocessing.get_context("fork")


@contextmanager
def process(san: San) -> Iterator[BaseProcess]:
    """A copy manager of its own process."""
    ready = FORK.Event()
    one = FORK.Process(target=serve, args=(san.path, ready.set), daemon=True)
    one.start()
    try:
        assert ready.wait(TIMEOUT)
        yield one
    finally:
        one.kill()
        one.join(TIMEOUT)


def verify(host: CopyHost, san: San) -> Outcome:
    return host.copy([cscd(san, "disk0")], [Verify(0)])


def test_without_the_process_there_is_no_copy_but_everything_else(san: San) -> None:
    host = CopyHost(san, "disk0")
    with pytest.raises(UnitDown, match="copy manager of the embedded SAN is not running"):
        verify(host, san)
    host.clear_attentions()
    host.close()


def test_the_process_serves_until_killed_and_another_takes_over(san: San) -> None:
    host = CopyHost(san, "copy0")
    for _ in range(2):
        with process(san):
            assert verify(host, san).good
    with pytest.raises(UnitDown, match="not running"):
        verify(host, san)
    host.close()


def test_there_is_one_copy_manager_of_a_san(san: San, manager: CopyManagerServer) -> None:
    with pytest.raises(SanError, match="another process is the copy manager"):
        CopyManagerServer(san.path)


def test_a_process_killed_in_the_middle_leaves_whole_records(san: San) -> None:
    """What is on tape is a beginning of what was asked for, and the drive is usable."""
    content = fill_disk(san, "disk0")
    for delay in (0.0, 0.002, 0.01):
        with process(san) as one:
            nexus = Nexus(san.path)
            host, tape = CopyHost(san, "copy0", nexus), TapeHost(san, "tape0", nexus)
            tape.rewind()
            assert tape.send(scsi.ERASE_6.put()).good
            threading.Timer(delay, one.kill).start()
            with suppress(TransportError):
                while True:
                    host.copy([cscd(san, "disk0"), cscd(san, "tape0")],
                              [BlockToStream(0, 1, 512, 1, number) for number in range(2048)])
                    tape.rewind()
            place = tape.position()[0]
            found = records(tape)
            assert found == [content[at:at + 512] for at in range(0, len(found) * 512, 512)]
            assert place <= len(found)
            tape.locate(place)
            assert tape.write(b"still here").good
            host.transport.close()
            tape.close()


def test_a_copy_of_a_dead_initiator_stops(san: San, manager: CopyManagerServer) -> None:
    fill_disk(san, "disk0")

    def initiate() -> None:
        host = CopyHost(san, "copy0")
        tape = TapeHost(san, "tape0", host.nexus)
        while True:
            host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 2048, 0)])
            tape.rewind()

    child = FORK.Process(target=initiate, daemon=True)
    child.start()
    deadline = time.monotonic() + TIMEOUT
    while not manager.operations._running and time.monotonic() < deadline:
        time.sleep(0.001)
    child.kill()
    child.join(TIMEOUT)
    while (manager.operations._running or manager._connections) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not manager.operations._running
    assert not manager._connections


def test_a_command_that_takes_too_long_is_given_up_and_aborted(
        san: San, manager: CopyManagerServer, host: CopyHost, gate: Gate) -> None:
    with pytest.raises(CommandTimeout):
        host.copy([cscd(san, "disk0"), cscd(san, "tape0")], [BlockToStream(0, 1, RECORD, 80, 0)], timeout=0.2)
    gate.open.set()
    deadline = time.monotonic() + TIMEOUT
    while manager.operations._running and time.monotonic() < deadline:
        time.sleep(0.01)
    tape = TapeHost(san, "tape0", host.nexus)
    assert tape.position()[0] <= 1
    assert verify(host, san).good
    tape.transport.close()


def test_stopping_the_copy_manager_aborts_what_runs(san: San, gate: Gate) -> None:
    host = CopyHost(san, "copy0")
    with running(san) as server, copying(host, san) as copy:
        assert gate.waiting.acquire(timeout=TIMEOUT)
        # Leaving waits for the copy, which ends because the server is stopped from here.
        threading.Timer(0.1, gate.open.set).start()
        server.stop()
    assert isinstance(copy.error, TransportError)
    host.close()


@pytest.mark.parametrize("noise", [
    b"", b"GET / HTTP/1.0\r\n\r\n", b"nCM1" + b"\xff" * 60, b"nCM1" + bytes(22), b"nCM1" + b"\0\1" * 40,
    os.urandom(4096)])
def test_strangers_are_hung_up_on(
        san: San, manager: CopyManagerServer, noise: bytes, host: CopyHost) -> None:
    with address(san.path) as name, socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(TIMEOUT)
        stranger.connect(name)
        stranger.sendall(noise)
        stranger.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    assert verify(host, san).good


@pytest.mark.parametrize("nexus", ["../../etc", "", "a" * 255, "."])
def test_a_nexus_cannot_be_a_path(san: San, manager: CopyManagerServer, nexus: str) -> None:
    with address(san.path) as name, socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(TIMEOUT)
        stranger.connect(name)
        Request(nexus, "copy0", bytes(6), b"", 0, 1.0).send(stranger)
        assert stranger.recv(1) == b""


def test_a_unit_that_is_not_there_is_no_reason_to_hang_up(
        san: San, manager: CopyManagerServer, host: CopyHost) -> None:
    link = host.transport._link
    assert link is not None
    result = link.execute("../units/disk0", Command(bytes((0x84, 3)) + bytes(14)))
    assert result.status == Status.CHECK_CONDITION
    assert verify(host, san).good


def test_more_connections_than_there_may_be_are_hung_up_on(
        san: San, manager: CopyManagerServer, host: CopyHost, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify(host, san).good
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 1)
    second = CopyHost(san, "disk0", host.nexus)
    with pytest.raises(TransportError, match="ended in the middle"):
        second.parameters()
    assert verify(host, san).good
    host.transport.close()
    deadline = time.monotonic() + TIMEOUT
    while manager._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert second.parameters().good
    second.transport.close()


def test_a_forked_child_does_not_keep_the_nexus_in_touch(
        san: San, manager: CopyManagerServer, host: CopyHost) -> None:
    assert verify(host, san).good
    done = FORK.Event()
    child = FORK.Process(target=done.wait, args=(TIMEOUT,), daemon=True)
    child.start()
    host.transport.close()
    deadline = time.monotonic() + TIMEOUT
    while manager._connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not manager._connections
    done.set()
    child.join(TIMEOUT)
