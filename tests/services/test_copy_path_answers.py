"""Copy managers whose answers are missing, nonsense or lies: the same tape and disk with each."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ndmpd.datapath import put_bytes, read_bytes
from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result, Transport
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import RECEIVE_OPERATING_PARAMETERS
from protocol.scsi.sense import CopySense, ParameterError, Sense, SenseKey, illegal
from protocol.scsi.xcopy import EXTENDED_COPY, ParameterList
from tests.services.copy_jobs import (
    CAT,
    MOVES,
    NO_LIMITS,
    RECORDS,
    Wrapped,
    carry_out,
    learnt,
)
from tests.services.copy_rig import Places


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    found = Places()
    yield found
    found.close()


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
