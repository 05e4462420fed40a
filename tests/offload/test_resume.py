"""Resume points: position against claims, exhaustively over small commands."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from ndmpd.offload.plan import CopyCommand, Direction
from ndmpd.offload.resume import Outcome, PositionInDoubt, Progress, progress
from ndmpd.pieces import Zeros
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import FailedSegment
from protocol.scsi.segments import InlineToStream
from protocol.scsi.sense import CopySense, Reported, Sense, SenseKey, illegal

SIZE = 512
BEFORE = 40
GOOD, CHECK = 0, 2

# Segments by the bytes they carry, of records of 512: some end inside a record, one completes two.
SHAPES = [(512,), (1024,), (200, 312), (200, 824, 512), (100, 100, 312, 1024), (2048, 512)]


def command(shape: tuple[int, ...], direction: Direction = Direction.BACKUP) -> CopyCommand:
    records = sum(shape) // SIZE
    starts = tuple(sum(shape[:number]) // SIZE for number in range(len(shape)))
    segments = tuple(InlineToStream(0, SIZE, 0, length) for length in shape)
    return CopyCommand(direction, (), segments, b"", records, starts, SIZE, (Zeros(sum(shape)),))


def failed(segment: int | None, residue: int | None = None, destination: Sense | None = None, *,
           source: Sense | None = None, wide: bool = False) -> Outcome:
    def reported(sense: Sense | None) -> Reported | None:
        return None if sense is None else Reported(CHECK, sense.put())

    sense = CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, segment, residue, reported(source),
                      reported(destination))
    return Outcome(CHECK, Sense.take(sense.put(wide=wide)))


NEAR_END = Sense(SenseKey.NO_SENSE, 0x0002, eom=True)
OVERFLOW = Sense(SenseKey.VOLUME_OVERFLOW, 0x0002, eom=True)
BROKEN = Sense(SenseKey.MEDIUM_ERROR, 0x0C00)


def failing(one: CopyCommand, written: int) -> int:
    """The segment during which a copy can end that has written so many records."""
    return next(number for number in range(len(one.segments))
                if one.span(number)[0] <= written < max(one.span(number)[1], one.span(number)[0] + 1)
                and written - one.span(number)[0] <= one.span(number)[1] - one.span(number)[0])


def honest(one: CopyCommand, segment: int, written: int) -> int | None:
    """The residue that the standard asks for: of what this segment writes, or none."""
    low, high = one.span(segment)
    return None if written == low else (high - written) * SIZE


def points() -> Iterator[tuple[CopyCommand, int, int]]:
    """Every command, segment it may fail in, and number of records on tape then."""
    for shape in SHAPES:
        one = command(shape)
        for segment in range(len(shape)):
            low, high = one.span(segment)
            yield from ((one, segment, written) for written in range(low, high + 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_success_is_believed_where_the_position_shows_it(shape: tuple[int, ...]) -> None:
    one = command(shape)
    assert progress(one, BEFORE, BEFORE + one.records, Outcome(GOOD)) == Progress(one.records, True, "done")
    for moved in range(-2, one.records + 3):
        if moved != one.records:
            with pytest.raises(PositionInDoubt, match="rewind"):
                progress(one, BEFORE, BEFORE + moved, Outcome(GOOD))


@pytest.mark.parametrize("wide", [False, True])
def test_an_honest_claim_is_certain(wide: bool) -> None:
    for one, segment, written in points():
        outcome = failed(segment, honest(one, segment, written), BROKEN, wide=wide)
        found = progress(one, BEFORE, BEFORE + written, outcome)
        assert (found.records, found.certain) == (written, True)


def test_whatever_is_claimed_no_number_comes_out_but_what_the_position_shows() -> None:
    """Segment, residue and forwarded sense in every combination, sensible or not, against every position."""
    seen = {"agreed": 0, "resolved": 0, "in doubt": 0}
    for shape in SHAPES:
        one = command(shape)
        residues = [None, *range(6), 100, *(SIZE * count for count in range(1, 7)), 1 << 31]
        forwarded = [None, NEAR_END, OVERFLOW, BROKEN]
        for segment, residue, sense, wide, moved in product(
                [None, *range(len(shape) + 2)], residues, forwarded, (False, True),
                range(-2, one.records + 3)):
            try:
                found = progress(one, BEFORE, BEFORE + moved, failed(segment, residue, sense, wide=wide))
            except PositionInDoubt:
                seen["in doubt"] += 1
                continue
            assert found.records == moved
            assert 0 <= moved <= one.records
            seen["agreed" if found.certain else "resolved"] += 1
    assert min(seen.values()) > 100


def test_a_claim_of_more_or_less_than_the_tape_shows_is_doubt() -> None:
    one = command((2048, 512))
    for claimed, moved in product(range(5), range(6)):
        outcome = failed(0, (4 - claimed) * SIZE)
        if claimed == moved:
            assert progress(one, BEFORE, BEFORE + moved, outcome).certain
        else:
            with pytest.raises(PositionInDoubt, match="claims segment 0"):
                progress(one, BEFORE, BEFORE + moved, outcome)


def test_a_segment_that_does_not_exist_is_doubt() -> None:
    with pytest.raises(PositionInDoubt, match="segment 3 of 2"):
        progress(command((512, 512)), BEFORE, BEFORE + 1, failed(3))


def test_without_residue_the_position_decides_inside_the_segment_only() -> None:
    one = command((1024, 1024))
    for moved in range(5):
        outcome = failed(1)
        if moved < 2:
            with pytest.raises(PositionInDoubt):
                progress(one, BEFORE, BEFORE + moved, outcome)
        else:
            found = progress(one, BEFORE, BEFORE + moved, outcome)
            assert (found.records, found.certain) == (moved, moved == 2)


def test_a_residue_counted_in_records_is_understood() -> None:
    found = progress(command((2048,)), BEFORE, BEFORE + 1, failed(0, 3))
    assert (found.records, found.certain) == (1, False)


def test_the_record_that_met_the_end_of_the_medium_counts_as_written() -> None:
    one = command((2048, 512))
    for written in range(1, 5):
        counted = progress(one, BEFORE, BEFORE + written, failed(0, (4 - written) * SIZE, NEAR_END))
        assert (counted.records, counted.certain) == (written, True)
        # One that does not count it, as if the write had failed.
        residue = (4 - written + 1) * SIZE if written > 1 else None
        forgotten = progress(one, BEFORE, BEFORE + written, failed(0, residue, NEAR_END))
        assert (forgotten.records, forgotten.certain) == (written, False)


def test_a_record_that_overflowed_the_medium_is_not_on_it() -> None:
    one = command((2048,))
    found = progress(one, BEFORE, BEFORE + 2, failed(0, SIZE, OVERFLOW))
    assert (found.records, found.certain) == (2, False)
    with pytest.raises(PositionInDoubt):
        progress(one, BEFORE, BEFORE + 3, failed(0, 2 * SIZE, OVERFLOW))


@pytest.mark.parametrize("before,after", [(None, 41), (40, None), (None, None)])
@pytest.mark.parametrize("outcome", [Outcome(GOOD), failed(0, 512), Outcome(CHECK, illegal()), Outcome(None)])
def test_a_position_unknown_is_doubt_whatever_is_claimed(
        before: int | None, after: int | None, outcome: Outcome) -> None:
    with pytest.raises(PositionInDoubt, match="does not tell its position"):
        progress(command((1024,)), before, after, outcome)


@pytest.mark.parametrize("outcome", [
    Outcome(None), Outcome(CHECK), Outcome(0x18), Outcome(CHECK, Sense(SenseKey.UNIT_ATTENTION, 0x2900)),
    Outcome(CHECK, None, FailedSegment(CHECK, b"\x01\x02"))])
def test_without_claims_the_position_alone_decides(outcome: Outcome) -> None:
    one = command((1024, 512))
    for moved in range(4):
        found = progress(one, BEFORE, BEFORE + moved, outcome)
        assert (found.records, found.certain) == (moved, False)
    for moved in (-1, 4):
        with pytest.raises(PositionInDoubt):
            progress(one, BEFORE, BEFORE + moved, outcome)


def test_what_receive_copy_results_kept_serves_where_no_sense_came() -> None:
    details = FailedSegment(CHECK, CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, 1).put())
    assert progress(command((1024, 512)), BEFORE, BEFORE + 2, Outcome(None, None, details)).certain
    with pytest.raises(PositionInDoubt):
        progress(command((1024, 512)), BEFORE, BEFORE + 1, Outcome(None, None, details))


def test_a_refused_command_has_written_nothing() -> None:
    outcome = Outcome(CHECK, illegal(Asc.TOO_MANY_SEGMENTS))
    assert progress(command((1024,)), BEFORE, BEFORE, outcome) == Progress(0, True, "refused before it began")
    with pytest.raises(PositionInDoubt, match="refused"):
        progress(command((1024,)), BEFORE, BEFORE + 1, outcome)


def test_a_restore_takes_only_segments_before_the_failed_one() -> None:
    for shape in SHAPES:
        one = command(shape, Direction.RESTORE)
        for segment, moved, residue in product(range(len(shape) + 1), range(-1, one.records + 2),
                                               (None, 512)):
            found = progress(one, BEFORE, BEFORE + moved, failed(segment, residue, BROKEN))
            assert 0 <= found.records <= max(moved, 0)
            if segment < len(shape):
                assert found.records in (0, one.span(segment)[0])
            else:
                assert found.records == 0
            # Real progress is taken: all that was needed for the segments before has been read.
            if segment < len(shape) and one.span(segment)[0] <= moved <= one.span(segment)[1]:
                reason = f"the segments before {segment} are done"
                assert found == Progress(one.span(segment)[0], True, reason)


def test_a_restore_with_nothing_known_begins_again() -> None:
    one = command((1024, 512), Direction.RESTORE)
    for outcome in (Outcome(None), Outcome(CHECK, illegal()), failed(1)):
        assert progress(one, BEFORE, None, outcome).records == 0
    with pytest.raises(PositionInDoubt, match="read again"):
        progress(one, None, BEFORE, failed(1))


def test_a_restore_that_succeeded_has_read_every_record() -> None:
    one = command((1024, 512), Direction.RESTORE)
    assert progress(one, BEFORE, BEFORE + 3, Outcome(GOOD)) == Progress(3, True, "done")
    assert progress(one, BEFORE, None, Outcome(GOOD)) == Progress(3, False, "done")
    with pytest.raises(PositionInDoubt, match="success"):
        progress(one, BEFORE, BEFORE + 2, Outcome(GOOD))


def test_between_disks_the_segments_before_the_failed_one_are_done() -> None:
    one = CopyCommand(Direction.BLOCKS, (), command((1, 1, 1)).segments, b"", 9000, (0, 4096, 8192), 1)
    assert progress(one, None, None, Outcome(GOOD)).records == 9000
    assert [progress(one, None, None, failed(number)).records for number in range(4)] == [0, 4096, 8192, 0]
    assert progress(one, None, None, Outcome(CHECK, illegal())).records == 0


def test_what_is_left_begins_with_the_first_record_not_done() -> None:
    one = command((1024, 512))
    assert [sum(piece.length for piece in one.rest(count)) for count in range(4)] == [1536, 1024, 512, 0]
