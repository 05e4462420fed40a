"""Copy managers that can do less, in a server of its own with ndmjob as the DMA: the same tape, and both logs
say who wrote it and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers.conftest import Serving
from tests.peers.ndmjob import Ndmjob
from tests.peers.ndmjob_index import Index
from tests.peers.server import EmbeddedServer
from tests.peers.test_server_free import CARTRIDGES, assert_same, fill, job, settle

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob"), pytest.mark.timeout(120)]

SIZE = 12 << 20
MOVES = "data mover copy0 (SCSI) moves the data"


@dataclass(frozen=True)
class Told:
    """``backup``, ``restore``: what the log says, None where the copy manager does all of it."""

    profile: dict[str, Any]
    used: str = "SCSI copy0"
    backup: str | None = None
    restore: str | None = None


PROFILES = {
    "few types": Told({"types": [0, 2, 4, 7, 0xE4]}, restore="it takes neither segment type 01h nor 09h; "
                                                             "the head (NAS) goes on"),
    "narrow": Told({"max_segments": 1, "max_list_length": 1024, "max_segment_length": 128 << 10,
                    "cat": False, "inline": False, "held": False, "vpd": False}),
    "no tapes": Told({"types": [2, 0xE4]}, "NAS", "it takes neither segment type 00h nor 08h; the head (NAS) "
                     "goes on", "it takes neither segment type 01h nor 09h; the head (NAS) goes on"),
}


@pytest.fixture(scope="module")
def san(serving: Serving, folder: Path) -> Iterator[EmbeddedServer]:
    with serving(folder / "profiles", capacity=1 << 30) as server:
        fill(server.disk("disk0"), SIZE)
        settle(server.disk("disk0"))
        yield server


def narrow(server: EmbeddedServer, profile: dict[str, Any]) -> None:
    (server.state / "san" / "profiles.json").write_text(json.dumps({"copy0": profile}))


@pytest.fixture(scope="module")
def by_head(ndmjob: Ndmjob, san: EmbeddedServer, folder: Path) -> Path:
    """The tape as the head writes it."""
    done = ndmjob.backup(job(san, "NAS", False), "/vol/disk0", folder / "head.index", {"DATAMOVER": "NAS"})
    assert done.succeeded, done.explain()
    san.tape_command("export", CARTRIDGES["tape0"], str(folder / "head.tap"))
    return folder / "head.tap"


@pytest.mark.parametrize("name", PROFILES)
def test_the_tape_is_the_heads_and_the_logs_say_who_wrote_it(
    ndmjob: Ndmjob, san: EmbeddedServer, by_head: Path, tmp_path: Path, name: str
) -> None:
    told = PROFILES[name]
    narrow(san, told.profile)
    index, target = tmp_path / "index", san.disk("disk1")
    san.tape_command("erase", CARTRIDGES["tape1"])
    target.write_bytes(b"")
    with target.open("r+b") as disk:
        disk.truncate(san.disk("disk0").stat().st_size)
    before = len(san.log_file.read_text(errors="replace"))
    written = ndmjob.backup(job(san, "SCSI", False), "/vol/disk0", index, {"DATAMOVER": "AUTO"})
    assert written.succeeded, written.explain()
    assert Index.read(index).variable("DATAMOVER_USED") == told.used
    san.tape_command("export", CARTRIDGES["tape1"], str(tmp_path / "tap"))
    assert_same(by_head, tmp_path / "tap")
    restored = ndmjob.restore(job(san, "SCSI", False), "/vol/disk1", index=index,
                              variables={"DATAMOVER": "AUTO"})
    assert restored.succeeded, restored.explain()
    assert_same(san.disk("disk0"), target)
    server_log = san.log_file.read_text(errors="replace")[before:]
    for log, why in ((written.log, told.backup), (restored.log, told.restore)):
        assert (MOVES in log) == (why is None), log
        assert (why or MOVES) in log and (why or MOVES) in server_log, log


def test_a_copy_manager_that_can_do_nothing_is_a_clear_end_where_the_head_is_forbidden(
    ndmjob: Ndmjob, san: EmbeddedServer, tmp_path: Path
) -> None:
    narrow(san, PROFILES["no tapes"].profile)
    done = ndmjob.backup(job(san, "SCSI", False), "/vol/disk0", tmp_path / "index", {"DATAMOVER": "SCSI"})
    assert not done.succeeded
    assert "it takes neither segment type 00h nor 08h" in done.log, done.log
    assert "the head (NAS) goes on" not in done.log
