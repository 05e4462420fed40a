"""Copy managers of other abilities: the same tape and disk with each, and a log that says what was done.

The log is what the DMA is told (LOG_MESSAGE); the server's has the same lines.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ndmpd.datapath import put_bytes, read_bytes
from ndmpd.devices.errors import TransportError, UnitDown
from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece
from ndmpd.ports import Command, Result, Transport
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import LogType, MoverHaltReason
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import RECEIVE_OPERATING_PARAMETERS
from protocol.scsi.sense import CopySense, ParameterError, Sense, SenseKey, illegal
from protocol.scsi.xcopy import EXTENDED_COPY, ParameterList
from tests.services.copy_rig import BLOCK, DISK, SEA, CopyRig, Place, Places, content, image

RECORDS = (512, 10240, 65536)
EXTENTS = [(0, 300), (304, 5), (400, 1), (1000, 900), (2000, 1), (2003, 600)]
PIECES = image(EXTENTS)
MOVES = "data mover {} (SCSI) moves the data"
CAT = "no records made of several segments (CAT)"
NO_TAPE = "it takes neither segment type 00h nor 08h"
NO_DISK = "it takes neither segment type 01h nor 09h"
NO_LIMITS = "tells its limits neither by RECEIVE COPY RESULTS nor by VPD page 8Fh"
ALL_TYPES = [*range(0x14), 0xE4]


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


@dataclass
class Job:
    """What one backup and the recover of its tape came to."""

    tape: list[bytes]
    disk: bytes
    used: list[str] = field(default_factory=list)
    logs: list[list[str]] = field(default_factory=list)
    halts: list[MoverHalted] = field(default_factory=list)


def expected(record: int) -> list[bytes]:
    stream = content(PIECES)
    stream += bytes(-len(stream) % record)
    return [stream[at:at + record] for at in range(0, len(stream), record)]


def restored() -> bytes:
    disk = bytearray(DISK)
    for lba, blocks in EXTENTS:
        disk[lba * BLOCK:(lba + blocks) * BLOCK] = SEA[lba * BLOCK:(lba + blocks) * BLOCK]
    return bytes(disk)


def restore(reader: LocalInlet | RemoteInlet) -> None:
    reader.want(0, sum(piece.length for piece in PIECES))
    group: list[Piece] = []
    for piece in PIECES:
        if isinstance(piece, Inline):
            reader.into(group)
            group = []
            assert reader.read(piece.length) == piece.data
        else:
            group.append(LunExtent("disk1", piece.lba, piece.blocks) if isinstance(piece, LunExtent)
                         else piece)
    reader.into(group)


Wrap = Callable[[str, Transport], Transport]


def straight(name: str, inner: Transport) -> Transport:
    return inner


def carry_out(place: Place, record: int, mover: Mover = Mover.AUTO, wrap: Wrap = straight,
              paths: int = 1, batch: int = 1 << 20) -> Job:
    """A backup onto a blank tape, and a recover from it. Both must succeed."""
    with CopyRig(place, mover, wrap=wrap, paths=paths, batch=batch) as rig:
        (tape,), sent = rig.backup(PIECES, record, windows=[3, 5])
        job = Job(tape, b"", [sent.used], [[one.text for one in rig.said]], [rig.ended])
        assert sent.finished, rig.log()
        rig.said.clear()

        def take(reader: LocalInlet | RemoteInlet) -> None:
            try:
                restore(reader)
            finally:
                assert isinstance(reader, LocalInlet)
                job.used.append(reader.used)

        happened = rig.recover(take, [(rig.used[0], 0, len(tape) * record)], record)
        assert isinstance(happened[-1], MoverHalted)
        job.halts.append(happened[-1])
        job.logs.append([one.text for one in rig.said])
    job.disk = place.san.disk_path("disk1").read_bytes()
    assert [one.reason for one in job.halts] == [MoverHaltReason.CONNECT_CLOSED] * 2, job
    assert job.tape == expected(record)
    assert job.disk == restored()
    return job


def learnt(lines: list[str]) -> set[str]:
    """What the log says that the copy manager cannot do after all, numbers aside."""
    found = [re.search(r"; it goes on with (.*)", line) for line in lines]
    return {re.sub(r"\d{2,}(?!h)|\b\d\b(?! segments)", "N", one[1]) for one in found if one}


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


# What they answer when they are asked.

class Wrapped:
    """A path to a copy manager whose answers are changed."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def execute(self, command: Command) -> Result:
        return self.inner.execute(command)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        self.inner.close()


Change = Callable[[bytes], bytes]
REFUSED = Result(Status.CHECK_CONDITION, illegal(Asc.INVALID_FIELD_IN_CDB).put())


def same(data: bytes) -> bytes:
    return data


def refuse(data: bytes) -> bytes:
    raise LookupError


def put(at: int, what: bytes) -> Change:
    return lambda data: data[:at] + what + data[at + len(what):]


class Answering(Wrapped):
    """``parameters``, ``page``: what becomes of the operating parameters and of VPD page 8Fh."""

    def __init__(self, inner: Transport, parameters: Change, page: Change) -> None:
        super().__init__(inner)
        self.parameters, self.page = parameters, page
        self.segments: list[int] = []

    def execute(self, command: Command) -> Result:
        if EXTENDED_COPY.matches(command.cdb):
            found = ParameterList.take(read_bytes(command.data_out, []))
            self.segments.append(len(found.segments))
        asked = bytes(command.cdb)
        change = same
        if RECEIVE_OPERATING_PARAMETERS.matches(asked):
            change = self.parameters
        elif asked[0] == scsi.INQUIRY.opcode and asked[1] & 1 and asked[2] == 0x8F:
            change = self.page
        if change is same:
            return self.inner.execute(command)
        room = bytearray(4096)
        honest = self.inner.execute(Command(asked, (), (Inline(room),), command.timeout))
        if honest.status != Status.GOOD:
            return honest
        try:
            answer = change(bytes(room[:honest.transferred]))
        except LookupError:
            return REFUSED
        size = min(len(answer), sum(piece.length for piece in command.data_in))
        put_bytes(memoryview(answer)[:size], command.data_in)
        return Result(Status.GOOD, b"", size)


# Where operating parameters have them: SPC-4 6.22.
CSCDS, SEGMENTS, LIST, LENGTH, TRANSFER, GRANULE, COUNT = 8, 10, 12, 16, 28, 37, 43
NOTHING = bytes(12)
ANSWERS: dict[str, tuple[Change, Change, str]] = {
    "neither is there": (refuse, refuse, NO_LIMITS),
    "no parameters": (refuse, same, ""),
    "no page": (same, refuse, ""),
    "parameters cut off": (lambda data: data[:20], same, ""),
    "both cut off": (lambda data: data[:20], lambda data: data[:9], NO_LIMITS),
    "empty answers": (lambda data: b"", lambda data: b"", NO_LIMITS),
    "parameters cut in the list of types": (lambda data: data[:50], same, "CSCD type E4h"),
    "another page": (same, lambda data: data[:1] + b"\x83" + data[2:], ""),
    "a page cut off": (same, lambda data: data[:40], ""),
    "no limit is known": (put(CSCDS, NOTHING), refuse, "max cscds = 0 leaves room for no copy"),
    "no limit is known in one place": (put(CSCDS, NOTHING), same, ""),
    "no segments": (put(SEGMENTS, bytes(2)), refuse, "max segments = 0 leaves room for no copy"),
    "a list for nothing": (put(LIST, b"\0\0\0\x20"), refuse, "max list length = 32 leaves room for no copy"),
    "no types": (lambda data: put(COUNT, b"\0")(data), refuse, "CSCD type E4h"),
    "units by name are missing": (lambda data: data.replace(b"\xe4", b"\xe5"), same, "CSCD type E4h"),
    "no segment types": (lambda data: put(COUNT, b"\1\xe4")(data), same, "lists no segment type at all"),
    "one segment in one place": (put(SEGMENTS, b"\0\1"), same, ""),
    "a transfer shorter than a record": (put(TRANSFER, b"\0\0\1\0"), same, "records of 10240 bytes"),
    "a segment shorter than a record": (put(LENGTH, b"\0\0\4\0"), same, "segments carry at most 1024"),
    "a granularity beyond reason": (put(GRANULE, b"\xff"), same, "wants multiples of"),
    "ones": (lambda data: b"\xff" * 4096, same, "CSCD type E4h"),
    "a length that lies": (put(0, b"\xff\xff\xff\xff"), put(2, b"\xff\xff"), ""),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_that_make_no_sense_never_make_another_tape(places: Places, name: str) -> None:
    parameters, page, falls = ANSWERS[name]
    paths: list[Answering] = []

    def wrap(unit: str, inner: Transport) -> Transport:
        if unit != "copy0":
            return inner
        paths.append(Answering(inner, parameters, page))
        return paths[-1]

    job = carry_out(places.get(), 10240, wrap=wrap)
    for used, lines in zip(job.used, job.logs, strict=True):
        if falls:
            assert used == "NAS" and len(lines) == 1, (used, lines)
            assert falls in lines[0] and lines[0].endswith("the head (NAS) goes on")
        else:
            assert used == "SCSI copy0" and lines == [MOVES.format("copy0")], (used, lines)
    sent = [number for path in paths for number in path.segments]
    if name == "one segment in one place":
        assert set(sent) == {1}


@pytest.mark.parametrize("seed", range(12))
def test_answers_of_noise_never_make_another_tape(places: Places, seed: int) -> None:
    rng = random.Random(seed)

    def noise(data: bytes) -> bytes:
        changed = bytearray(data[:rng.choice((len(data), rng.randint(0, len(data))))])
        for _ in range(rng.randint(1, 6)):
            if changed:
                changed[rng.randrange(len(changed))] = rng.choice((0, 0xFF, rng.randrange(256)))
        return bytes(changed)

    job = carry_out(places.get(), rng.choice(RECORDS), batch=1 << 18, wrap=lambda name, inner: (
        Answering(inner, noise, noise) if name == "copy0" else inner))
    for used, lines in zip(job.used, job.logs, strict=True):
        assert used != "NAS" or lines[-1].endswith("the head (NAS) goes on"), (used, lines)


# CAT that is claimed and refused.

def cat_bit(order: ParameterList, number: int) -> Sense:
    return ParameterError("", order.segment_offset(number) + 1, Asc.INVALID_FIELD_IN_PARAMETERS).sense()


CatRefusal = Callable[[ParameterList, int], Sense]
REFUSALS: dict[str, CatRefusal] = {
    "invalid field": lambda order, number: illegal(Asc.INVALID_FIELD_IN_PARAMETERS),
    "invalid field, pointed at": cat_bit,
    "parameter not supported": lambda order, number: illegal(Asc.PARAMETER_NOT_SUPPORTED),
    "parameter value invalid": lambda order, number: illegal(Asc.PARAMETER_VALUE_INVALID),
    "inexact segment": lambda order, number: illegal(Asc.UNEXPECTED_INEXACT_SEGMENT),
    "inexact segment, by segment": lambda order, number: CopySense(
        Asc.UNEXPECTED_INEXACT_SEGMENT, number).sense(),
    "invalid field, by segment": lambda order, number: CopySense(
        Asc.INVALID_FIELD_IN_PARAMETERS, number).sense(),
}


class RefusingCat(Wrapped):
    """Takes no segment with CAT; where it names the segment, the ones before were carried out."""

    def __init__(self, inner: Transport, refusal: CatRefusal) -> None:
        super().__init__(inner)
        self.refusal = refusal

    def execute(self, command: Command) -> Result:
        if not EXTENDED_COPY.matches(command.cdb):
            return self.inner.execute(command)
        order = ParameterList.take(read_bytes(command.data_out, []))
        number = next((at for at, one in enumerate(order.segments) if getattr(one, "cat", False)), None)
        if number is None:
            return self.inner.execute(command)
        sense = self.refusal(order, number)
        if sense.key is SenseKey.COPY_ABORTED and number:
            data = replace(order, segments=order.segments[:number]).put()
            first = self.inner.execute(Command(EXTENDED_COPY.put(length=len(data)), [Inline(data)]))
            assert first.status == Status.GOOD
        return Result(Status.CHECK_CONDITION, sense.put())


@pytest.mark.parametrize("name", REFUSALS)
def test_cat_that_is_claimed_and_refused_is_done_without(places: Places, name: str) -> None:
    for record in (10240, 65536):
        job = carry_out(places.get(), record, wrap=lambda unit, inner: (
            RefusingCat(inner, REFUSALS[name]) if unit == "copy0" else inner))
        for used, lines in zip(job.used, job.logs, strict=True):
            assert used == "SCSI copy0", (used, lines)
            # Nothing needs CAT any more where there is neither inline nor embedded data.
            assert CAT in learnt(lines) or {f"no segments of type {one}h" for one in ("04", "05")} == learnt(
                lines), lines
            assert CAT in learnt(lines) or "pointed" not in name
            assert lines.count(MOVES.format("copy0")) == 1


# Several, in their order.

class Dying(Wrapped):
    """Takes ``left`` EXTENDED COPYs, and then no more, for the reason ``how``."""

    def __init__(self, inner: Transport, left: list[int], how: str) -> None:
        super().__init__(inner)
        self.left, self.how = left, how

    def execute(self, command: Command) -> Result:
        copies = EXTENDED_COPY.matches(command.cdb)
        self.left[0] -= copies
        if self.left[0] >= 0:
            return self.inner.execute(command)
        if self.how == "down":
            raise UnitDown("the copy manager does not run (injected)")
        if not copies:
            return self.inner.execute(command)
        if self.how == "path":
            raise TransportError("the path broke (injected)")
        if self.how == "sense":
            return Result(Status.CHECK_CONDITION, Sense(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE).put())
        return Result(Status.RESERVATION_CONFLICT)


START, MIDDLE, NEVER = -1, 3, 1 << 30
HOWS = {"down": "does not run", "path": "the path broke", "sense": "Hardware Error", "status": "RESERVATION CONFLICT"}
ORDERS = [(START, NEVER), (MIDDLE, NEVER), (START, START), (START, MIDDLE), (MIDDLE, START),
          (MIDDLE, MIDDLE), (NEVER, START)]


def who(lasts: tuple[int, ...]) -> tuple[list[str], str]:
    """What the log must say, in that order, and DATAMOVER_USED."""
    lines, used = [], []
    following = [*[f"data mover copy{at} (SCSI)" for at in range(1, len(lasts))], "the head (NAS)"]
    for at, last in enumerate(lasts):
        if last != START:
            lines.append(rf"data mover copy{at} \(SCSI\) moves the data")
            used.append(f"SCSI copy{at}")
        if last == NEVER:
            return lines, ", ".join(used)
        lines.append(rf"data mover copy{at} \(SCSI\): .*; {re.escape(following[at])} goes on")
    return lines, ", ".join([*used, "NAS"])


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("lasts", ORDERS, ids=str)
def test_copy_managers_follow_each_other_and_then_the_head(
        places: Places, lasts: tuple[int, ...], how: str) -> None:
    left: dict[str, list[int]] = {}

    def wrap(name: str, inner: Transport) -> Transport:
        if not name.startswith("copy"):
            return inner
        last = lasts[int(name[4:])]
        # What does not run is found to when it is opened; the rest shows with the first copy.
        count = left.setdefault(name, [last + (how != "down" and last == START)])
        return Dying(inner, count, how)

    for record in (512, 10240):
        left.clear()
        place = places.get()
        with CopyRig(place, Mover.AUTO, wrap=wrap, paths=2, batch=30720) as rig:
            (tape,), sent = rig.backup(PIECES, record)
            lines, used = who(lasts)
            assert tape == expected(record) and rig.ended.reason == MoverHaltReason.CONNECT_CLOSED
            assert len(rig.said) == len(lines), rig.log()
            assert all(re.fullmatch(line, one.text) for line, one in zip(lines, rig.said, strict=True)), (
                lines, rig.log())
            assert all(HOWS[how] in one.text for one in rig.said if one.kind == LogType.WARNING), rig.log()
            assert sent.used == used
            left.clear()
            rig.said.clear()
            movers: list[str] = []

            def take(reader: LocalInlet | RemoteInlet, movers: list[str] = movers) -> None:
                restore(reader)
                assert isinstance(reader, LocalInlet)
                movers.append(reader.used)

            rig.recover(take, [(rig.used[0], 0, len(tape) * record)], record)
            assert place.san.disk_path("disk1").read_bytes() == restored()
            assert movers == [used], (movers, rig.log())
            assert all(re.fullmatch(line, one.text) for line, one in zip(lines, rig.said, strict=True)), (
                lines, rig.log())


@pytest.mark.parametrize("lasts", [(START, START), (MIDDLE, START), (MIDDLE, MIDDLE)], ids=str)
def test_where_the_head_is_forbidden_the_last_copy_managers_failure_is_the_end(
        places: Places, lasts: tuple[int, ...]) -> None:
    left: dict[str, list[int]] = {}

    def wrap(name: str, inner: Transport) -> Transport:
        if not name.startswith("copy"):
            return inner
        return Dying(inner, left.setdefault(name, [lasts[int(name[4:])]]), "down")

    with CopyRig(places.get(), Mover.SCSI, wrap=wrap, paths=2, batch=30720) as rig:
        (tape,), sent = rig.backup(PIECES, 512)
        assert tape == expected(512)[:len(tape)] and bool(tape) == (lasts[0] != START)
        assert isinstance(rig.ended, MoverHalted) and rig.ended.reason == MoverHaltReason.INTERNAL_ERROR
        assert "send AUTO" in rig.ended.text and not sent.finished
        assert rig.mover.figures().bytes_moved == len(tape) * 512
        last = rig.said[-1]
        assert last.kind == LogType.ERROR and last.text.startswith("data mover copy1 (SCSI): ")
        warned = [one.text for one in rig.said if one.kind == LogType.WARNING]
        assert len(warned) == 1 and warned[0].endswith("data mover copy1 (SCSI) goes on")
