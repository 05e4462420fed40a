"""Copy managers of other abilities: the same tape and disk with each, and a log that says what was done.

The log is what the DMA is told (LOG_MESSAGE); the server's has the same lines.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import LogType, MoverHaltReason
from tests.services.copy_jobs import (
    ALL_TYPES,
    CAT,
    MOVES,
    NO_DISK,
    NO_TAPE,
    PIECES,
    RECORDS,
    carry_out,
    expected,
    learnt,
)
from tests.services.copy_rig import CopyRig, Places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


def test_the_tape_to_compare_with_is_the_one_the_head_writes(places: Places) -> None:
    for record in RECORDS:
        job = carry_out(places.get(), record, Mover.NAS)
        assert job.used == ["NAS", "NAS"] and job.logs == [[], []]


# What they can do, and say so, or do not.

@dataclass(frozen=True)
class Told:
    """``learns``: by backup and recover, what refusals teach, at records of 10240 bytes; no other record
    size teaches anything else. ``falls``: why the head does it, by backup and recover.
    """

    profile: dict[str, Any]
    learns: tuple[set[str], set[str]] = (set(), set())
    falls: tuple[str, str] = ("", "")


SHORT = "at most N bytes a segment"
PROFILES = {
    "few types": Told({"types": [0x00, 0x02, 0x04, 0x07, 0xE4]}, falls=("", NO_DISK)),
    "few types by offset": Told({"types": [0x00, 0x01, 0x02, 0x04, 0x07, 0x08, 0x09, 0xE4]}),
    "one segment a command": Told({"max_segments": 1}),
    "a short list": Told({"max_list_length": 1024}),
    "no CAT": Told({"cat": False}, ({CAT}, {CAT})),
    "no inline data": Told({"inline": False}),
    "no CAT and no inline data": Told({"cat": False, "inline": False}, ({CAT}, {CAT})),
    "short segments": Told({"max_segment_length": 64 << 10}),
    "short segments that are not told": Told(
        {"max_segment_length": 64 << 10, "claims": {"max_segment_length": 0}}, ({SHORT}, {SHORT})),
    "a segment length that lies": Told(
        {"max_segment_length": 64 << 10, "claims": {"max_segment_length": 1 << 20}}, ({SHORT}, {SHORT})),
    "blocks to blocks alone": Told({"types": [0x02, 0xE4]}, falls=(NO_TAPE, NO_DISK)),
    "nothing held": Told({"held": False}),
    "one target": Told({"max_cscds": 1}, falls=("takes one unit a command", "takes one unit a command")),
    "granularity": Told({"data_granularity": 4096}),
    "limits that lie": Told(
        {"max_segments": 2, "inline": False, "cat": False, "max_list_length": 512,
         "claims": {"max_segments": 4000, "max_inline_length": 1 << 18, "max_list_length": 1 << 18,
                    "types": ALL_TYPES}}),
    "types that lie": Told(
        {"types": [0x02, 0xE4], "claims": {"types": ALL_TYPES}},
        ({f"no segments of type {one}h" for one in ("04", "05", "08", "00")},
         {f"no segments of type {one}h" for one in ("09", "01")}), (NO_TAPE, NO_DISK)),
    "no page": Told({"vpd": False}),
}


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("name", PROFILES)
def test_the_tape_is_the_same_and_the_log_says_who_wrote_it(
        places: Places, name: str, record: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ndmpd")
    told = PROFILES[name]
    place = places.get()
    place.profile(told.profile)
    job = carry_out(place, record)
    assert [one.getMessage() for one in caplog.records if one.getMessage().startswith("data mover")] == [
        *job.logs[0], *job.logs[1]], "the server's log has other lines than the DMA"
    for used, lines, learns, falls in zip(job.used, job.logs, told.learns, told.falls, strict=True):
        assert ("moves the data" in "\n".join(lines)) == used.startswith("SCSI copy0"), (used, lines)
        assert lines.count(MOVES.format("copy0")) <= 1
        if falls:
            assert lines[-1].startswith("data mover copy0 (SCSI): ") and falls in lines[-1]
            assert lines[-1].endswith("; the head (NAS) goes on")
            assert used in ("NAS", "SCSI copy0, NAS")
        else:
            assert used == "SCSI copy0", (used, lines)
            assert not any("goes on" in line and "it goes on with" not in line for line in lines)
        if name != "limits that lie":
            assert learnt(lines) == learns if record == 10240 else learnt(lines) <= learns
        else:
            # Which limit it meets first depends on what the records are made of.
            assert learnt(lines)


@pytest.mark.parametrize("name", [name for name, told in PROFILES.items() if told.falls[0]])
def test_what_no_copy_manager_can_do_halts_where_the_head_is_forbidden(places: Places, name: str) -> None:
    place = places.get()
    place.profile(PROFILES[name].profile)
    with CopyRig(place, Mover.SCSI) as rig:
        (tape,), sent = rig.backup(PIECES, 512)
        assert tape == expected(512)[:len(tape)]
        assert isinstance(rig.ended, MoverHalted) and rig.ended.reason == MoverHaltReason.INTERNAL_ERROR
        assert "send AUTO" in rig.ended.text
        assert not sent.finished
        assert rig.said[-1].kind == LogType.ERROR
        assert rig.said[-1].text.startswith("data mover copy0 (SCSI): ")
        assert PROFILES[name].falls[0] in rig.said[-1].text and "goes on" not in rig.said[-1].text
