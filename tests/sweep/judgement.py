"""What must hold after a case: what was said, what was counted, what is on the tape; and it works again."""

from __future__ import annotations

import random

from protocol.ndmp.codes import DataHaltReason, Error, MoverHaltReason, Version
from protocol.scsi.ssc import LongPosition
from tests.sweep import verdict
from tests.sweep.case import Case
from tests.sweep.faults import Fault, Outcome, Plan
from tests.sweep.jobs import Planned, Work, draw, padded

UNKNOWN = 0xFFFFFFFF


def judge(case: Case, *, doubt: bool = False, cut: bool = False) -> None:
    """What holds after any backup, however it ended.

    ``doubt``: the drive cannot say what it has written. ``cut``: the stream may have ended early, and the
    record that it ended in was filled up with zeros.
    """
    work = case.work
    tapes = [verdict.records_of(verdict.objects(san, work.record)) for san in case.used]
    records = [record for tape in tapes for record in tape]
    state = case.mover_state
    assert state is not None
    stream = work.stream
    if cut and state.bytes_moved < len(stream):
        # To the byte: what was counted is what is there.
        stream = stream[:state.bytes_moved]
    expected = padded(stream, work.record)
    verdict.same_prefix(records, expected)
    assert len(case.mover_halts) == len(set(case.mover_halts)) <= 1, case.mover_halts
    assert len(case.data_halts) <= 1, case.data_halts
    there = min(len(records) * work.record, len(stream))
    if doubt:
        assert state.bytes_moved <= there <= state.bytes_moved + max(work.batch, work.record)
    else:
        assert state.bytes_moved == there, f"counted {state.bytes_moved} bytes, on tape {there}"
    assert state.record_num == -(-state.bytes_moved // work.record)
    if case.mover_halts == [MoverHaltReason.CONNECT_CLOSED]:
        assert not case.unflushed, "the mover closed before everything was on the medium"
    if case.succeeded and case.data_halts:
        assert len(records) == len(work.records), "success, and the stream is not whole"
        assert state.bytes_moved == len(work.stream)
    if case.work.local and case.data_halts == [DataHaltReason.SUCCESSFUL]:
        assert case.mover_halts == [MoverHaltReason.CONNECT_CLOSED]
    true_position(case)


def true_position(case: Case) -> None:
    """TAPE_GET_STATE tells what the drive itself says, or, where there was a fault, that it does not know."""
    told, truth = case.tape_state, case.truth
    if told is None or truth is None:
        return
    assert isinstance(truth, LongPosition)
    if told.blockno != UNKNOWN or not case.plan.struck:
        assert (told.file_num, told.blockno) == (truth.file, truth.object), "the tape stands elsewhere"


def again(case: Case, rng: random.Random) -> None:
    """The drive does a whole job: in the same session, or in another where that one is gone."""
    work = Work(case.work.version, rng.random() < 0.5, 1024, draw(rng, most_records=2).shapes[:2], (),
                case.work.capacity, case.work.early_warning, False, 1 << 20)
    if len(work.records) * 1024 > case.work.capacity - case.work.early_warning:
        return
    case.plan.armed = False
    repeat = Case(case.field, work, Planned(work, case.field.source), Plan(None, 0, rng))
    if not case.stand.released:
        repeat.stand.close()
        repeat.stand, repeat.nexuses = case.stand, case.nexuses
        case.stand.butype = repeat.butype
        case.stand.told.clear()
        case.stand.posts.clear()
        case.stand.tape._open_device = repeat._drive
    repeat.blanks = iter([case.used[-1]])
    repeat.backup()
    repeat.settle()
    assert repeat.succeeded, (repeat.mover_halts, repeat.data_halts, repeat.refused)
    if repeat.stand is not case.stand:
        repeat.close()
    found = verdict.objects(case.used[-1], 1024)
    assert found == [*work.records, None], "the repeated job is not what is on the tape"


def outcome(case: Case, fault: Fault) -> None:
    """What was said is what the fault allows."""
    struck = bool(case.plan.struck)
    if not struck or fault.outcome is Outcome.GOES_ON:
        assert case.succeeded, (case.mover_halts, case.data_halts, case.refused)
        return
    if fault.outcome is Outcome.FAILS:
        assert not case.succeeded, "success after a fault that may have cost data"
    if case.succeeded:
        return
    aborted = case.refused is not None and case.refused != Error.NO_ERR
    # Version 3 has no word for it.
    media = (MoverHaltReason.MEDIA_ERROR if case.work.version == Version.V4
             else MoverHaltReason.INTERNAL_ERROR)
    assert case.mover_halts in ([media], [MoverHaltReason.ABORTED] if aborted else []), case.mover_halts
    allowed = {DataHaltReason.CONNECT_ERROR}
    if aborted:
        allowed.add(DataHaltReason.ABORTED)
    if not case.work.local or aborted:
        # All was in the hands of TCP, or on tape, before the fault.
        allowed.add(DataHaltReason.SUCCESSFUL)
    assert set(case.data_halts) <= allowed, case.data_halts
