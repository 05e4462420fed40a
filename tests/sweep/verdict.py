"""What is true after a case, found out without the code under test: CDBs of our own, /proc, the files.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from ndmpd.san import San
from ndmpd.san.statefile import StateFile
from protocol.scsi import command as scsi
from protocol.scsi.sense import SenseKey
from tests.san.conftest import TapeHost


def objects(san: San, record: int) -> list[bytes | None]:
    """Everything on the cartridge in tape0, by a nexus of its own: records, None for filemarks."""
    host = TapeHost(san, "tape0")
    try:
        assert host.rewind().good
        found: list[bytes | None] = []
        while True:
            outcome = host.read(record + 1)
            sense = outcome.sense
            if sense is not None and sense.key is SenseKey.BLANK_CHECK:
                return found
            if sense is not None and sense.filemark:
                found.append(None)
                continue
            # Each record is shorter than what was asked for, and INFORMATION says by how much.
            assert sense is not None and sense.ili and sense.residue is not None, outcome
            found.append(outcome.data[:record + 1 - sense.residue])
    finally:
        host.close()


def blank(san: San) -> None:
    """Erase the cartridge, and give back whatever mode a case has left the drive in."""
    host = TapeHost(san, "tape0")
    assert host.rewind().good and host.send(scsi.ERASE_6.put()).good
    assert host.set_block_length(0).good
    host.close()


def records_of(found: Sequence[bytes | None]) -> list[bytes]:
    """The records before the first filemark; AssertionError where there are any behind it."""
    marks = [at for at, one in enumerate(found) if one is None]
    first = marks[0] if marks else len(found)
    records = [one for one in found[:first] if one is not None]
    assert all(one is None for one in found[first:]), "there are records behind a filemark"
    return records


def same_prefix(found: Sequence[bytes], expected: Sequence[bytes], *, cut: bool = False) -> None:
    """``found`` is a prefix of ``expected``; AssertionError that says what is wrong with which record.

    ``cut``: the last one found may be filled up with zeros.
    """
    assert len(found) <= len(expected), f"{len(found)} records on tape, the stream has {len(expected)}"
    for number, (one, should) in enumerate(zip(found, expected, strict=False)):
        last = cut and number == len(found) - 1
        if one != should and not (last and should.startswith(one.rstrip(b"\0"))):
            where = expected.index(one) if one in expected else None
            what = "not of the stream" if where is None else f"record {where} of the stream"
            raise AssertionError(f"record {number} of {len(found)} ({len(one)} bytes) is {what}")


class Leftovers:
    """Everything that a session may leave behind, noted before it begins."""

    def __init__(self, sans: Sequence[San], folder: Path) -> None:
        self.sans = sans
        self.folder = folder
        self.before = self._now()

    def _now(self) -> tuple[list[str], list[str], list[str]]:
        fds = []
        for number in os.listdir("/proc/self/fd"):
            try:
                fds.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
            except FileNotFoundError:
                pass
        threads = sorted(thread.name for thread in threading.enumerate() if thread.name == "mover")
        files = sorted(str(path) for san in self.sans for path in (san.path / "nexus").iterdir())
        files += sorted(str(path) for path in self.folder.iterdir())
        return sorted(fds), threads, files

    def check(self) -> None:
        """AssertionError that names what was left."""
        # A mover tells of its end with its last breath, and may draw it still.
        for thread in threading.enumerate():
            if thread.name == "mover":
                thread.join(2.0)
        kinds = "descriptors", "threads", "files"
        for what, then, now in zip(kinds, self.before, self._now(), strict=True):
            left = [one for one in now if one not in then]
            assert not left, f"{what} left: {left}"


def holder(san: San) -> str | None:
    """The live nexus that has reserved tape0."""
    state = StateFile(san.state_path("tape0"))
    payload = state.load()
    state.file.close()
    found = None if payload is None else json.loads(payload)["holder"]
    return found if found is not None and (san.path / "nexus" / found).exists() else None
