"""State on disk after a death at every system call, and with files cut at every byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ndmpd.pieces import Inline
from ndmpd.san import Flush, San
from ndmpd.san.library import Library
from ndmpd.san.medium import CartridgeFacts, Medium, create_cartridge
from ndmpd.san.statefile import SLOT, StateFile
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.sense import SenseKey
from protocol.streams.cartridge import ENTRY_SIZE, HEADER_SIZE
from tests.san.conftest import Host, TapeHost

FACTS = CartridgeFacts("TEST01L8", 1 << 20, 1 << 10)


def contents(medium: Medium) -> list[bytes | None]:
    """Every object of the tape: a record's bytes, None for a filemark."""
    found: list[bytes | None] = []
    while run := medium.map.at(len(found)):
        buffer = bytearray(run.size)
        if run.size:
            assert medium.read(run.offset, [Inline(buffer)]) == run.size
        found.append(bytes(buffer) if run.size else None)
    return found


def write(medium: Medium, *objects: bytes | None) -> None:
    for one in objects:
        if one is None:
            medium.mark(1)
        else:
            medium.append([Inline(one)], len(one), 1, [])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_cartridge(tmp_path / "TEST01L8", FACTS)
    return tmp_path / "TEST01L8"


def test_a_journal_cut_at_any_byte_keeps_every_whole_object(folder: Path) -> None:
    objects: list[bytes | None] = [b"one", b"two", None, b"three", None, None]
    write(Medium(folder, Flush.NOTHING), *objects)
    journal, data = (folder / "journal").read_bytes(), (folder / "data").read_bytes()
    assert len(journal) == HEADER_SIZE + len(objects) * ENTRY_SIZE
    for end in range(HEADER_SIZE, len(journal) + 1):
        (folder / "journal").write_bytes(journal[:end])
        (folder / "data").write_bytes(data)
        whole = (end - HEADER_SIZE) // ENTRY_SIZE
        medium = Medium(folder, Flush.NOTHING)
        assert contents(medium) == objects[:whole]
        assert (folder / "journal").stat().st_size == HEADER_SIZE + whole * ENTRY_SIZE
        write(medium, b"appended")
        assert contents(Medium(folder, Flush.NOTHING)) == [*objects[:whole], b"appended"]


def test_a_journal_damaged_at_any_byte_keeps_what_is_before_it(folder: Path) -> None:
    objects: list[bytes | None] = [b"one", b"two", None, b"three"]
    write(Medium(folder, Flush.NOTHING), *objects)
    journal = (folder / "journal").read_bytes()
    for at in range(HEADER_SIZE, len(journal)):
        damaged = bytearray(journal)
        damaged[at] ^= 0xFF
        (folder / "journal").write_bytes(damaged)
        assert contents(Medium(folder, Flush.NOTHING)) == objects[:(at - HEADER_SIZE) // ENTRY_SIZE]


def test_records_that_a_power_loss_took_from_the_data_file_are_cut_off(folder: Path) -> None:
    objects: list[bytes | None] = [b"a" * 100, b"b" * 100, None, b"c" * 100]
    write(Medium(folder, Flush.NOTHING), *objects)
    for size, whole in ((5000, 4), (4196, 4), (4195, 3), (4096, 3), (200, 3), (199, 1), (99, 0)):
        copy = folder.with_name(f"copy{size}")
        shutil.copytree(folder, copy)
        os.truncate(copy / "data", size)
        medium = Medium(copy, Flush.NOTHING)
        assert contents(medium) == objects[:whole]
        write(medium, b"on")
        assert contents(Medium(copy, Flush.NOTHING)) == [*objects[:whole], b"on"]


def test_a_compacted_journal_is_the_same_tape_to_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndmpd.san.medium._WORTH_COMPACTING", 5)
    medium, other = Medium(folder, Flush.JOURNAL), Medium(folder, Flush.NOTHING)
    write(medium, *[b"same"] * 10, None)
    medium.compact()
    assert (folder / "journal").stat().st_size == HEADER_SIZE + 2 * ENTRY_SIZE
    other.refresh()
    write(other, b"more")
    medium.refresh()
    assert contents(medium) == contents(Medium(folder, Flush.NOTHING)) == [*[b"same"] * 10, None, b"more"]


class Died(BaseException):
    """Stands for SIGKILL: nothing catches it but the test."""


class Reaper:
    """Lets the ``fatal``-th of the calls that change files happen by half, or not at all, and then dies."""

    CALLS = ("pwrite", "ftruncate", "replace")

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int, *, half: bool) -> None:
        self.count = 0
        self.dead = False
        for name in self.CALLS:
            patch.setattr(os, name, self._wrap(name, getattr(os, name), fatal, half))

    def _wrap(self, name: str, call: Callable[..., object], fatal: int, half: bool) -> Callable[..., object]:
        def wrapped(*arguments: object) -> object:
            if self.dead:
                raise Died
            if self.count == fatal:
                self.dead = True
                if half and name == "pwrite":
                    fd, data, offset = arguments
                    call(fd, data[:len(data) // 2], offset)  # type: ignore[index, arg-type]
                raise Died
            self.count += 1
            return call(*arguments)
        return wrapped


def died(work: Callable[[], None], fatal: int, half: bool) -> bool:
    """Run ``work``, dying at the ``fatal``-th change of a file; returns whether it came so far."""
    with pytest.MonkeyPatch.context() as patch:
        Reaper(patch, fatal, half=half)
        try:
            work()
        except Died:
            return True
    return False


@pytest.mark.parametrize("half", [False, True])
def test_a_drive_is_usable_whenever_its_process_died(san: San, half: bool) -> None:
    """A job is killed at each change it makes to a file; the records of commands that ended are all there."""
    tape = TapeHost(san, "tape0")
    fatal = 0
    while True:
        tape.rewind()
        tape.write(b"kept")
        done: list[bytes | None] = [b"kept"]

        def work(done: list[bytes | None] = done) -> None:
            host = TapeHost(san, "tape0")
            host.locate(1)
            for record in (b"first", b"second"):
                host.write(record)
                done.append(record)
            host.mark()
            done.append(None)
            host.rewind()
            host.write(b"over")
            done[:] = [b"over"]

        ended = not died(work, fatal, half)
        # The lock of the dead is free once its objects are gone, as it is when a process is.
        fresh = TapeHost(san, "tape0")
        found = contents(Library(san).open_medium("E01001L8"))
        assert found[:len(done)] == done or found in ([], [b"over"])
        assert len(found) <= len(done) + 1
        assert fresh.space(3).good and fresh.write(b"goes on").good
        if ended:
            assert found == [b"over"]
            break
        fatal += 1
    assert fatal > 10


@pytest.mark.parametrize("half", [False, True])
def test_a_cartridge_is_in_one_place_whenever_the_robot_died(san: San, half: bool) -> None:
    fatal = 0
    while True:
        Host(san, "mc0").send(scsi.MOVE_MEDIUM.put(source=0x1000, destination=0x100))

        def work() -> None:
            assert Host(san, "mc0").send(scsi.MOVE_MEDIUM.put(source=0x100, destination=0x1000)).good

        ended = not died(work, fatal, half)
        where = [one.address for one in Library(san).elements.values() if one.cartridge == "E01001L8"]
        assert where in ([0x100], [0x1000])
        host = TapeHost(san, "tape0")
        outcome = host.send(scsi.TEST_UNIT_READY.put())
        assert outcome.good if where == [0x100] else outcome.is_check(
            SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
        if ended:
            assert where == [0x1000]
            break
        fatal += 1
    assert fatal >= 1


def test_a_state_cut_at_any_byte_is_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "state"
    state = StateFile(path)
    assert state.load() is None
    state.store(b"the first state")
    state.store(b"the second one")
    data = path.read_bytes()
    written = SLOT if data[SLOT:SLOT + 4] == b"nSan" and b"second" in data[SLOT:] else 0
    for at in range(written, written + 20 + len(b"the second one")):
        damaged = bytearray(data)
        damaged[at] ^= 0x80
        path.write_bytes(damaged)
        again = StateFile(path)
        assert again.load() == b"the first state"
        again.store(b"the third")
        assert StateFile(path).load() == b"the third"
        path.write_bytes(data)


def test_a_state_of_several_pages_is_loaded_whole(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "state")
    for size in (10, 5000, 100_000, 1):
        state.store(b"s" * size)
        assert StateFile(tmp_path / "state").load() == b"s" * size
    with pytest.raises(Exception, match="does not fit"):
        state.store(bytes(SLOT))
