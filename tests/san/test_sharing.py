"""Several processes at one unit, and processes that die."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

import pytest

from ndmpd.san import San
from ndmpd.san.disk import Disk
from ndmpd.san.errors import UnitBusy
from ndmpd.san.library import Library
from ndmpd.san.nexus import Nexus, alive
from ndmpd.san.tape import TapeDrive
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import SenseKey
from tests.san.conftest import Host, TapeHost

_context = multiprocessing.get_context("fork")
PATIENCE = 30


@contextmanager
def running(*work: Callable[[], None]) -> Iterator[list[BaseProcess]]:
    """Each of ``work`` in a process of its own; none outlives the block."""
    processes: list[BaseProcess] = [_context.Process(target=one) for one in work]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
            process.join(PATIENCE)


def finish(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0


def test_records_of_two_processes_are_all_on_the_tape_and_whole(san: San) -> None:
    def write(letter: bytes) -> Callable[[], None]:
        def work() -> None:
            host = TapeHost(san, "tape0")
            for size in range(1, 101):
                assert host.write(letter * size).good
        return work

    with running(write(b"a"), write(b"b")) as processes:
        finish(processes)
    host = TapeHost(san, "tape0")
    host.rewind()
    found = [host.read(1000, sili=1).data for _ in range(200)]
    assert sorted(found) == sorted(letter * size for letter in (b"a", b"b") for size in range(1, 101))
    assert host.read(1).is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)


def test_what_one_process_did_the_next_one_sees(san: San, tape: TapeHost) -> None:
    tape.write(b"one")

    def work() -> None:
        host = TapeHost(san, "tape0")
        assert host.position() == (1, 0)
        host.rewind()
        assert host.write(b"other").good and host.mark().good
        assert host.set_block_length(77).good

    with running(work) as processes:
        finish(processes)
    assert tape.send(scsi.TEST_UNIT_READY.put()).is_check(
        SenseKey.UNIT_ATTENTION, Asc.MODE_PARAMETERS_CHANGED)
    assert tape.position() == (2, 1)
    tape.rewind()
    assert tape.read(5).data == b"other"


def test_a_child_does_not_share_its_parents_lock(san: San) -> None:
    drive = TapeDrive(san, "tape0")
    ready, go = _context.Event(), _context.Event()

    def work() -> None:
        # The drive was opened by the parent: its lock must exclude the parent all the same.
        with drive.exclusive(PATIENCE):
            ready.set()
            assert go.wait(PATIENCE)

    with drive.exclusive(1):
        pass
    with running(work) as processes:
        assert ready.wait(PATIENCE)
        with pytest.raises(UnitBusy), drive.exclusive(0.02):
            pass
        go.set()
        finish(processes)
    with drive.exclusive(0):
        assert drive.cartridge == "E01001L8"


def test_a_nexus_ends_with_its_process_and_not_with_a_child_of_it(san: San) -> None:
    ready, over = _context.Event(), _context.Event()

    def work() -> None:
        nexus = Nexus(san.path, "parent")
        if os.fork() == 0:
            ready.set()
            over.wait(PATIENCE)
            os._exit(0)
        time.sleep(PATIENCE)
        nexus.close()

    with running(work) as processes:
        assert ready.wait(PATIENCE)
        assert alive(san.path, "parent")
        processes[0].kill()
        deadline = time.monotonic() + 5
        while alive(san.path, "parent") and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not alive(san.path, "parent")
        over.set()


def test_the_reservation_of_a_killed_process_is_broken(san: San, tape: TapeHost) -> None:
    reserved = _context.Event()

    def work() -> None:
        host = TapeHost(san, "tape0")
        assert host.send(scsi.RESERVE_6.put()).good
        host.send(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL.put(prevent=1))
        reserved.set()
        time.sleep(PATIENCE)

    with running(work) as processes:
        assert reserved.wait(PATIENCE)
        assert tape.rewind().status == Status.RESERVATION_CONFLICT
        assert tape.send(scsi.TEST_UNIT_READY.put()).good
        os.kill(processes[0].pid or 0, signal.SIGKILL)
        processes[0].join(PATIENCE)
    assert tape.rewind().good
    assert tape.send(scsi.LOAD_UNLOAD.put(load=0)).good


def test_the_attentions_of_dead_nexuses_are_not_kept(san: San) -> None:
    for _ in range(20):
        Host(san, "disk0").close()
    host = Host(san, "disk0")
    unit = Disk(san, "disk0")
    with unit.exclusive(1):
        assert set(unit.state.attentions) == {host.nexus.id}


@pytest.mark.parametrize("seed", range(8))
def test_a_writer_killed_at_any_moment_leaves_whole_records(san: San, seed: int) -> None:
    started = _context.Event()

    def work() -> None:
        host = TapeHost(san, "tape0")
        host.set_block_length(1000)
        number = 0
        started.set()
        while True:
            host.rewind()
            for _ in range(20):
                number = number % 200 + 1
                host.write_fixed(bytes((number,)) * 3000, 3)
                host.mark()

    with running(work) as processes:
        assert started.wait(PATIENCE)
        time.sleep(random.Random(seed).uniform(0, 0.05))
        os.kill(processes[0].pid or 0, signal.SIGKILL)
        processes[0].join(PATIENCE)
    host = TapeHost(san, "tape0")
    host.rewind()
    previous = None
    while (outcome := host.read(3000, sili=1)).good or (outcome.sense is not None and outcome.sense.filemark):
        if outcome.good:
            (value,) = set(outcome.data)
            assert len(outcome.data) == 1000
            number = (value, (previous[1] + 1) if previous and previous[0] == value else 1)
            assert number[1] <= 3
        else:
            # A filemark is only ever written behind a whole batch of three.
            assert previous is not None and previous[1] == 3
        previous = number
    assert outcome.is_check(SenseKey.BLANK_CHECK, Asc.END_OF_DATA)
    assert host.write(b"goes on").good


def test_robots_of_two_processes_lose_no_cartridge(san: San) -> None:
    def work(seed: int) -> Callable[[], None]:
        def shuffle() -> None:
            host, chance = Host(san, "mc0"), random.Random(seed)
            addresses = [0x10, 0x11, 0x100, 0x101, *range(0x1000, 0x1006)]
            for _ in range(100):
                source, destination = chance.sample(addresses, 2)
                outcome = host.send(scsi.MOVE_MEDIUM.put(source=source, destination=destination))
                assert outcome.good or outcome.sense is not None
                assert outcome.good or outcome.sense.code in (Asc.SOURCE_EMPTY, Asc.DESTINATION_FULL)
        return shuffle

    with running(work(1), work(2)) as processes:
        finish(processes)
    found = sorted(one.cartridge for one in Library(san).elements.values() if one.cartridge)
    assert found == [f"E0100{number}L8" for number in range(1, 5)]
