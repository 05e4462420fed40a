"""Two heads that share one drive, whose sessions are killed at any moment: never two writers, never a drive
that nobody gets any more.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from ndmpd.config import Settings
from ndmpd.devices.errors import DeviceBusy, DeviceError
from ndmpd.devices.opener import Opener
from ndmpd.devices.tape import TapeDrive
from ndmpd.errors import NdmpdError
from ndmpd.san import San
from ndmpd.san.library import Library
from ndmpd.san.tape import TapeDrive as SanDrive

_context = multiprocessing.get_context("fork")
RECORD = struct.Struct(">4sII")
CYCLES = 200
SESSIONS = 4
PATIENCE = 60.0
HEADS = ("a", "b")


@pytest.fixture
def heads(san: San, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Settings]:
    """Each takes the drive from the other where that has left it reserved."""
    found = {}
    for name in HEADS:
        folder = tmp_path_factory.mktemp(name)
        (folder / "run").mkdir()
        (folder / "san").symlink_to(san.path)
        others = [one for one in HEADS if one != name]
        found[name] = Settings.model_validate({
            "server": {"name": name, "state_dir": str(folder)}, "user": [{"name": "x", "auth": "none"}],
            "drive": {"tape0": {"device": "virtual:tape0", "preempt": others}}})
    return found


def session(settings: Settings, number: int, seed: float, wrote: int) -> None:
    """One life: open the drive, write records that say whose they are, close. Reports over ``wrote``."""
    dice = random.Random(seed)
    opener = Opener(settings)
    while True:
        try:
            drive = TapeDrive(opener.device("tape0"), "tape0")
            drive.open()
            break
        except (DeviceBusy, DeviceError):
            # Another head's, or taken by it in the middle.
            time.sleep(dice.uniform(0, 0.005))
    os.write(wrote, b"o")
    with suppress(NdmpdError):
        drive.space_to_end()
        for count in range(dice.randrange(1, 40)):
            drive.write(RECORD.pack(b"mine", number, count))
            os.write(wrote, b"w")
    with suppress(NdmpdError):
        drive.close()
    opener.close()


class Lives:
    """Sessions one after the other, several at a time, each killed or left to end."""

    def __init__(self, heads: dict[str, Settings], seed: int) -> None:
        self.dice = random.Random(seed)
        self.heads = heads
        self.running: list[tuple[BaseProcess, float]] = []
        self.read, self.write = os.pipe2(os.O_NONBLOCK)
        self.began = self.killed = 0

    def begin(self) -> None:
        settings = self.heads[self.dice.choice(HEADS)]
        process = _context.Process(target=session,
                                   args=(settings, self.began, self.dice.random(), self.write))
        process.start()
        fate = self.dice.choice((0.02, 0.1, 0.2, 0.3, 10.0))
        self.running.append((process, time.monotonic() + self.dice.uniform(0, fate)))
        self.began += 1

    def look(self) -> None:
        """Kill those whose time has come; forget those that have ended."""
        left = []
        for process, end in self.running:
            if process.is_alive() and time.monotonic() >= end:
                os.kill(process.pid or 0, signal.SIGKILL)
                self.killed += 1
                process.join(PATIENCE)
            if process.is_alive():
                left.append((process, end))
            else:
                process.join(PATIENCE)
        self.running = left

    def said(self) -> bytes:
        with suppress(BlockingIOError):
            return os.read(self.read, 1 << 16)
        return b""

    def close(self) -> None:
        for process, _ in self.running:
            process.kill()
            process.join(PATIENCE)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def lives(heads: dict[str, Settings]) -> Iterator[Lives]:
    one = Lives(heads, 7)
    yield one
    one.close()


def test_two_heads_never_write_at_once_and_never_lose_the_drive(
        lives: Lives, heads: dict[str, Settings], san: San) -> None:
    said = b""
    deadline = time.monotonic() + PATIENCE
    while lives.began < CYCLES or lives.running:
        assert time.monotonic() < deadline, "nobody gets the drive any more"
        while len(lives.running) < SESSIONS and lives.began < CYCLES:
            lives.begin()
        time.sleep(0.002)
        lives.look()
        said += lives.said()
    assert lives.killed > CYCLES // 8 and said.count(b"o") > CYCLES // 5
    owners = records(san)
    assert len(owners) >= said.count(b"w") > 0, "every record that was said to be written is on tape"
    # Who writes has the drive alone: the records of one session lie together and in order.
    seen: set[int] = set()
    previous = -1
    for at, (number, count) in enumerate(owners):
        if number != previous:
            assert number not in seen, f"record {at}: session {number} writes again after another"
            assert count == 0, f"record {at}: session {number} begins with its record {count}"
            seen.add(number)
        else:
            assert count == owners[at - 1][1] + 1
        previous = number
    for settings in heads.values():
        opener = Opener(settings)
        drive = TapeDrive(opener.device("tape0"), "tape0")
        drive.open()
        drive.write(b"the drive is there")
        drive.close()
        opener.close()


def records(san: San) -> list[tuple[int, int]]:
    """Session and count of every record on the tape."""
    medium = Library(san).open_medium("E01001L8")
    data = medium.open_data()
    found, place = [], 0
    while run := medium.map.at(place):
        for number in range(run.count if run.size else 0):
            content = os.pread(data.fd, RECORD.size, run.offset + number * run.size)
            word, owner, count = RECORD.unpack(content)
            assert word == b"mine" and run.size == RECORD.size
            found.append((owner, count))
        place += run.count
    data.close()
    medium.close()
    return found


def test_a_session_killed_while_it_opens_leaves_a_drive_that_opens(
        heads: dict[str, Settings], san: San, tmp_path: Path) -> None:
    """Killed after each command of an open, by its count."""
    fatal = 1
    while True:
        process = _context.Process(target=die_after, args=(heads["a"], fatal))
        process.start()
        process.join(PATIENCE)
        for name in ("b", "a"):
            opener = Opener(heads[name])
            drive = TapeDrive(opener.device("tape0"), "tape0")
            drive.open()
            drive.close()
            opener.close()
        if process.exitcode == 0:
            break
        fatal += 1
    assert fatal > 10


def die_after(settings: Settings, commands: int) -> None:
    execute, sent = SanDrive.execute, 0

    def counted(self: SanDrive, *arguments: object) -> object:
        nonlocal sent
        sent += 1
        result = execute(self, *arguments)  # type: ignore[arg-type]
        if sent == commands:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    SanDrive.execute = counted  # type: ignore[method-assign, assignment]
    opener = Opener(settings)
    drive = TapeDrive(opener.device("tape0"), "tape0")
    with suppress(DeviceError):
        drive.open()
        drive.close()
    os._exit(0)
