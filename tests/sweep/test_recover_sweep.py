"""Recovers with a fault of the drive, of a destination, of the data process or of the DMA, at any point."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import replace

import pytest

from ndmpd.pieces import OpenFile
from ndmpd.san import San
from ndmpd.services import mover_recover
from protocol.ndmp.codes import DataHaltReason, Error, MoverHaltReason, Version
from tests.san.conftest import TapeHost
from tests.sweep import verdict
from tests.sweep.case import Case, Field, meanwhile, reported, rng_of
from tests.sweep.conftest import seeds
from tests.sweep.faults import FAULTS, WRITES, Fault, Outcome, Plan
from tests.sweep.jobs import BLOCK, LARGE, SEA, Planned, Range, Work, draw
from tests.sweep.judgement import again, true_position
from tests.sweep.test_backup_sweep import DEEDS

Halts = DataHaltReason
READING = [fault for fault in FAULTS if fault.strikes - WRITES]
ALL = (1 << 64) - 1


def recorded(field: Field, work: Work, rng: random.Random) -> list[tuple[San, int, int]]:
    """The stream of ``work`` on tapes, written by CDBs of our own: (cartridge, offset, length)."""
    blanks = field.cartridges(work)
    records = work.records
    cuts = sorted(rng.sample(range(1, len(records)), min(rng.choice((0, 0, 1, 2)), len(records) - 1)))
    spans, begin = [], 0
    for end in [*cuts, len(records)]:
        san = next(blanks)
        host = TapeHost(san, "tape0")
        assert host.set_block_length(work.record).good
        assert host.write_fixed(b"".join(records[begin:end]), end - begin).good
        assert host.mark().good and host.set_block_length(0).good
        host.close()
        spans.append((san, begin * work.record, (end - begin) * work.record))
        begin = end
    # Where the last part ends is not known to the DMA: the stream carries its own end.
    san, offset, _ = spans[-1]
    return [*spans[:-1], (san, offset, ALL - offset)]


class Targets:
    """Where ranges go to: files of their own, a full file system, a file that cannot be written, a disk."""

    def __init__(self, field: Field, work: Work, rng: random.Random, *, bad: bool) -> None:
        self.field, self.work = field, work
        self.ranges: list[Range] = []
        self.disk = bytearray(len(SEA))
        field.disks.disk_path("disk1").write_bytes(self.disk)
        for number in range(rng.randint(1, 4)):
            offset = rng.randint(0, len(work.stream) - 1)
            length = rng.randint(1, len(work.stream) - offset)
            how = rng.choice(("read", "file", "file", "zeros", "disk"))
            if how == "disk":
                length = min(length // BLOCK * BLOCK, len(SEA) // 4 - BLOCK)
                if not length:
                    how, length = "file", 1
            self.ranges.append(Range(offset, length, how, start=rng.randint(0, 3000)))
            if how == "disk":
                # Each has a quarter of the disk.
                self.ranges[-1].start = number * len(SEA) // 4
        if bad:
            one = rng.choice(self.ranges)
            one.how = rng.choice(("full", "readonly"))
        for number, wanted in enumerate(self.ranges):
            path = field.places / str(number)
            if wanted.how == "full":
                wanted.target = OpenFile(os.open("/dev/full", os.O_RDWR), "/dev/full")
            elif wanted.how in ("file", "readonly"):
                path.touch()
                flags = os.O_RDONLY if wanted.how == "readonly" else os.O_RDWR
                wanted.target = OpenFile(os.open(path, flags), str(path))

    def check(self) -> None:
        """Each range that is done has its bytes, no other has wrong ones; and nothing else was touched."""
        disk = bytearray(self.field.disks.disk_path("disk1").read_bytes())
        for number, wanted in enumerate(self.ranges):
            should = self.work.stream[wanted.offset:wanted.offset + wanted.length]
            match wanted.how:
                case "read":
                    got = wanted.got
                case "file":
                    content = (self.field.places / str(number)).read_bytes()
                    assert not content[:wanted.start].strip(b"\0"), "bytes before the place of the range"
                    got = content[wanted.start:]
                    assert len(got) <= wanted.length, "bytes behind the end of the range"
                case "disk":
                    got = bytes(disk[wanted.start:wanted.start + wanted.length])
                    disk[wanted.start:wanted.start + wanted.length] = bytes(wanted.length)
                case "readonly":
                    assert (self.field.places / str(number)).stat().st_size == 0
                    assert not wanted.done
                    continue
                case _:
                    continue
            if wanted.done:
                assert got == should, f"range {number} ({wanted.how}) is done, and is not what the stream has"
            else:
                assert should.startswith(got.rstrip(b"\0")), f"range {number} ({wanted.how}) has wrong bytes"
        assert not disk.strip(b"\0"), "blocks were written that no range has"

    def clear(self) -> None:
        for wanted in self.ranges:
            if wanted.target is not None:
                wanted.target.close()
        for path in self.field.places.iterdir():
            path.unlink()


def prepare(field: Field, rng: random.Random, monkeypatch: pytest.MonkeyPatch) -> tuple[
        Work, list[tuple[San, int, int]]]:
    work = draw(rng)
    capacity, early_warning = LARGE
    work = replace(work, capacity=capacity, early_warning=early_warning)
    monkeypatch.setattr(mover_recover, "BATCH", work.batch)
    monkeypatch.setattr(mover_recover, "_CACHE", rng.choice((1, 4096, 1 << 20)))
    return work, recorded(field, work, rng)


def judge_recover(case: Case, targets: Targets, before: list[list[bytes | None]]) -> None:
    """What holds after any recover, however it ended."""
    work = case.work
    assert [verdict.objects(san, work.record) for san in case.used] == before, "the tape was changed"
    targets.check()
    assert len(case.mover_halts) <= 1 and len(case.data_halts) <= 1
    if case.data_halts == [Halts.SUCCESSFUL]:
        for wanted in targets.ranges:
            assert wanted.done or wanted.error is not None, "success, and a range is missing"
    state = case.mover_state
    assert state is not None
    # More than the ranges it can only be where a peer on TCP went before it had taken what was sent.
    assert state.bytes_moved <= sum(wanted.length for wanted in targets.ranges)
    if case.data_halts == [Halts.SUCCESSFUL]:
        assert state.bytes_moved == sum(wanted.length for wanted in targets.ranges)
        assert state.bytes_left_to_read == 0
    true_position(case)


@pytest.mark.parametrize("fault", READING, ids=lambda fault: fault.name)
def test_a_drive_that_fails_at_any_command(field: Field, fault: Fault,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(20):
        rng = rng_of(seed, f"recover {fault.name}")
        work, spans = prepare(field, rng, monkeypatch)
        before = [verdict.objects(san, work.record) for san, _, _ in spans]
        plan = Plan(fault, int(rng.expovariate(1 / 6)), rng)
        left = verdict.Leftovers(field.sans(), field.places)
        targets = Targets(field, work, rng, bad=False)
        case = Case(field, work, Planned(work, field.source, targets.ranges), plan, backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.recover(spans)
                case.settle()
                judge_recover(case, targets, before)
                struck = bool(plan.struck)
                if not struck or fault.outcome is Outcome.GOES_ON:
                    assert case.data_halts == [Halts.SUCCESSFUL], (case.mover_halts, case.data_halts)
                    assert case.mover_halts == [MoverHaltReason.CONNECT_CLOSED], case.mover_halts
                elif case.data_halts != [Halts.SUCCESSFUL]:
                    failed(case)
                again(case, rng)
            finally:
                case.close()
                targets.clear()
            left.check()


def failed(case: Case) -> None:
    """The mover says that it was the medium; DATA that its stream ended."""
    media = (MoverHaltReason.MEDIA_ERROR if case.work.version == Version.V4
             else MoverHaltReason.INTERNAL_ERROR)
    if case.refused not in (None, Error.NO_ERR):
        assert case.mover_halts == [MoverHaltReason.ABORTED] or case.mover_halts == [media], case.mover_halts
        assert case.data_halts[0] in (Halts.ABORTED, Halts.CONNECT_ERROR, Halts.INTERNAL_ERROR)
    else:
        assert case.mover_halts == [media], case.mover_halts
        assert case.data_halts[0] in (Halts.CONNECT_ERROR, Halts.INTERNAL_ERROR), case.data_halts


def test_a_destination_that_cannot_be_written_fails_its_range_alone_or_the_job(
        field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(120):
        rng = rng_of(seed, "destination")
        work, spans = prepare(field, rng, monkeypatch)
        before = [verdict.objects(san, work.record) for san, _, _ in spans]
        left = verdict.Leftovers(field.sans(), field.places)
        targets = Targets(field, work, rng, bad=True)
        case = Case(field, work, Planned(work, field.source, targets.ranges), Plan(None, 0, rng),
                    backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.recover(spans)
                case.settle()
                (bad,) = [one for one in targets.ranges if one.how in ("full", "readonly")]
                assert bad.error is not None
                assert bad.error.errno == (errno.ENOSPC if bad.how == "full" else errno.EBADF)
                if work.strict:
                    assert case.data_halts == [Halts.INTERNAL_ERROR], case.data_halts
                else:
                    judge_recover(case, targets, before)
                    assert case.data_halts == [Halts.SUCCESSFUL], case.data_halts
                targets.check()
                assert case.mover_halts[0] in (MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.CONNECT_ERROR)
                again(case, rng)
            finally:
                case.close()
                targets.clear()
            left.check()


def test_a_data_process_that_dies_before_any_range(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in seeds(80):
        rng = rng_of(seed, "recover killed")
        work, spans = prepare(field, rng, monkeypatch)
        before = [verdict.objects(san, work.record) for san, _, _ in spans]
        left = verdict.Leftovers(field.sans(), field.places)
        targets = Targets(field, work, rng, bad=False)
        butype = Planned(work, field.source, targets.ranges, dies_at=rng.randrange(len(targets.ranges)))
        case = Case(field, work, butype, Plan(None, 0, rng), backed=rng.random() < 0.7)
        with reported(seed, case):
            try:
                case.recover(spans)
                case.settle()
                judge_recover(case, targets, before)
                assert case.data_halts == [Halts.INTERNAL_ERROR], case.data_halts
                assert case.mover_halts[0] in (MoverHaltReason.CONNECT_CLOSED, MoverHaltReason.CONNECT_ERROR)
                again(case, rng)
            finally:
                case.close()
                targets.clear()
            left.check()


@pytest.mark.parametrize("deed", DEEDS)
def test_a_dma_that_ends_it_at_any_command(field: Field, deed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act, mover_halts, _ = DEEDS[deed]
    for seed in seeds(40):
        rng = rng_of(seed, f"recover {deed}")
        work, spans = prepare(field, rng, monkeypatch)
        before = [verdict.objects(san, work.record) for san, _, _ in spans]
        plan = Plan(None, int(rng.expovariate(1 / 4)), rng)
        left = verdict.Leftovers(field.sans(), field.places)
        targets = Targets(field, work, rng, bad=False)
        case = Case(field, work, Planned(work, field.source, targets.ranges), plan, backed=rng.random() < 0.7)
        plan.trigger = lambda case=case: meanwhile(case.stand, lambda: act(case))
        with reported(seed, case):
            try:
                case.recover(spans)
                case.settle()
                judge_recover(case, targets, before)
                if plan.trigger is not None:
                    assert case.data_halts == [Halts.SUCCESSFUL]
                else:
                    assert case.mover_halts in mover_halts, case.mover_halts
                again(case, rng)
            finally:
                case.close()
                targets.clear()
            left.check()
