"""What a copy manager answers, and what its refusals teach."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ndmpd.offload.abilities import MAX_INLINE, MAX_LIST, Abilities
from ndmpd.offload.backup import backup_steps
from ndmpd.offload.ends import CannotCopy, DiskEnd, TapeEnd
from ndmpd.offload.plan import CopyCommand
from ndmpd.offload.restore import restore_steps
from ndmpd.pieces import Inline, LunExtent, Zeros
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.segments import SegmentType
from protocol.scsi.sense import CopySense, ParameterError, Sense, SenseKey, illegal
from protocol.scsi.spc import Designator, DesignatorType
from protocol.scsi.thirdparty import GeneralLimits, ParameterLimits, ThirdPartyCopy
from tests.offload.rig import FULL, PROFILES, TAPE, Rig, designator, without

PAGE = ThirdPartyCopy.of(FULL, ())


def test_both_answers_agree() -> None:
    assert Abilities.of(FULL, PAGE) == Abilities.of(FULL) == Abilities.of(None, PAGE)


def test_of_two_answers_the_smaller_counts() -> None:
    page = ThirdPartyCopy(
        parameters=ParameterLimits(3, 900, 2048, 100), types=without(5),
        general=GeneralLimits(4, 4, 70_000, 512, 4), max_stream_transfer=65536)
    found = Abilities.of(FULL, page)
    assert found == Abilities(frozenset(without(5)), 3, 512, 2048, 70_000, 100, 65536, 512, 4)


def test_nobody_is_believed_to_take_lists_without_end() -> None:
    found = Abilities.of(replace(FULL, max_list_length=1 << 31, max_inline_length=1 << 31, max_cscds=65535))
    assert (found.max_list_length, found.max_inline_length) == (MAX_LIST, MAX_INLINE)


def test_zero_is_no_limit_where_the_standard_says_so_and_otherwise_not_told() -> None:
    page = replace(PAGE, parameters=ParameterLimits(0, 0, 0, 64 << 10), max_stream_transfer=0)
    found = Abilities.of(FULL, page)
    assert (found.max_cscds, found.max_segments, found.max_list_length) == (64, 512, 32 << 10)
    assert found.longest_segment == (1 << 32) - 1


@pytest.mark.parametrize("answer", [
    replace(FULL, max_cscds=0), replace(FULL, max_segments=0), replace(FULL, max_list_length=0),
    replace(FULL, max_list_length=71), replace(FULL, types=()), replace(FULL, types=(0xE4,)),
    replace(FULL, types=(0x00, 0x02, 0xE0)), replace(FULL, data_granularity=1 << 255), None])
def test_answers_that_leave_room_for_nothing_make_no_copy_manager(answer: OperatingParameters | None) -> None:
    with pytest.raises(CannotCopy):
        Abilities.of(answer)


def test_answers_without_a_type_in_common_make_no_copy_manager() -> None:
    with pytest.raises(CannotCopy):
        Abilities.of(replace(FULL, types=(0x00, 0xE4)), replace(PAGE, types=(0x02, 0xE4)))


@pytest.mark.parametrize("answer", [
    replace(FULL, max_inline_length=0), replace(FULL, types=without(4)),
    replace(FULL, max_inline_length=512, inline_granularity=1024)])
def test_inline_data_needs_its_type_and_room(answer: OperatingParameters) -> None:
    found = Abilities.of(answer)
    assert found.max_inline_length == 0
    assert 4 not in found.types


@pytest.mark.parametrize("plan", [backup_steps, restore_steps])
@pytest.mark.parametrize("limits,size,why", [
    (replace(FULL, types=(0x02, 0xE4)), 512, "does not copy from"),
    (replace(FULL, types=(0x04, 0x05, 0x06, 0xE4)), 512, "does not copy from"),
    (replace(FULL, max_cscds=1), 512, "one unit"),
    (replace(FULL, max_stream_transfer=65535), 65536, "smaller record size"),
    (FULL, 1 << 24, "smaller record size"),
    (replace(FULL, max_segment_length=65535), 65536, "smaller record size"),
])  # fmt: skip
def test_what_cannot_be_copied_is_said_before_the_first_step(plan, limits, size: int, why: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CannotCopy, match=why):
        plan([], size, TAPE, {}, Abilities.of(limits))


def test_a_designator_too_long_for_a_descriptor_is_refused() -> None:
    long = Designator(DesignatorType.T10, b"x" * 21)
    with pytest.raises(CannotCopy, match="designator"):
        TapeEnd("tape0", long)
    with pytest.raises(CannotCopy, match="designator"):
        DiskEnd("disk0", replace(long, identifier=b""), 512, 8)
    with pytest.raises(CannotCopy, match="16777216 bytes"):
        DiskEnd("disk0", designator("a"), 1 << 24, 8)


def example(abilities: Abilities) -> CopyCommand:
    pieces = [Inline(b"header"), LunExtent("a", 0, 9), Zeros(506), LunExtent("b", 0, 2, 4096)]
    [command] = backup_steps(pieces, 1024, TAPE, Rig.make().ends, abilities)
    assert isinstance(command, CopyCommand)
    return command


EVERYTHING = Abilities.of(FULL)


def fails_at(segment: int, code: int) -> Sense:
    return CopySense(code, segment).sense()


def points_at(command: CopyCommand, segment: int, code: int) -> Sense:
    return ParameterError("", command.parameter_list(1).segment_offset(segment), code).sense()


def test_a_type_that_is_refused_is_not_used_again() -> None:
    command = example(EVERYTHING)
    for number, segment in enumerate(command.segments):
        for refusal in (points_at(command, number, Asc.UNSUPPORTED_SEGMENT_TYPE),
                        fails_at(number, Asc.UNSUPPORTED_SEGMENT_TYPE)):
            found = EVERYTHING.learn(refusal, command)
            assert found is not None
            assert found.types == EVERYTHING.types - {segment.type}


@pytest.mark.parametrize("code,field", [
    (Asc.TOO_MANY_TARGETS, "max_cscds"), (Asc.TOO_MANY_SEGMENTS, "max_segments"),
    (Asc.INSUFFICIENT_RESOURCES, "max_segments"), (Asc.UNEXPECTED_INEXACT_SEGMENT, "cat"),
    (Asc.INLINE_DATA_LENGTH, "max_inline_length"), (Asc.PARAMETER_LIST_LENGTH, "max_inline_length")])
def test_a_limit_that_is_refused_becomes_narrower_than_the_command(code: Asc, field: str) -> None:
    command = example(EVERYTHING)
    found = EVERYTHING.learn(illegal(code), command)
    assert found is not None
    used = {"max_cscds": len(command.cscds), "max_segments": len(command.segments), "cat": True,
            "max_inline_length": len(command.inline)}[field]
    assert getattr(found, field) < used


def test_a_segment_whose_length_is_refused_becomes_shorter_and_nothing_else_is_given_up() -> None:
    command = example(EVERYTHING)
    for number, segment in enumerate(command.segments):
        if segment.type not in (SegmentType.BLOCK_TO_STREAM, SegmentType.BLOCK_OFFSET_TO_STREAM):
            continue
        name = "blocks" if segment.type == SegmentType.BLOCK_TO_STREAM else "byte_count"
        at = command.parameter_list(1).segment_offset(number) + segment.layout.fields[name].byte
        less: Abilities | None = EVERYTHING
        lengths = []
        while less is not None and less.cat and less.types == EVERYTHING.types and len(lengths) < 40:
            lengths.append(less.longest_segment)
            less = less.learn(ParameterError("", at, Asc.INVALID_FIELD_IN_PARAMETERS).sense(), command)
        assert len(lengths) > 1 and lengths[1:] == sorted(set(lengths[1:]), reverse=True)
        assert lengths[-1] >= 512
        assert EVERYTHING.narrowed(replace(EVERYTHING, max_segment_length=lengths[1])) == (
            f"at most {lengths[1]} bytes a segment")
        break
    else:
        raise AssertionError("no segment of a length")


def test_a_cat_bit_that_is_pointed_at_is_all_that_is_given_up() -> None:
    command = example(EVERYTHING)
    number = next(at for at, one in enumerate(command.segments) if getattr(one, "cat", False))
    at = command.parameter_list(1).segment_offset(number) + 1
    less = EVERYTHING.learn(ParameterError("", at, Asc.INVALID_FIELD_IN_PARAMETERS).sense(), command)
    assert less == replace(EVERYTHING, cat=False)
    assert EVERYTHING.narrowed(less) == "no records made of several segments (CAT)"


def test_multiples_grow_until_the_copy_manager_is_content_or_given_up() -> None:
    abilities: Abilities | None = EVERYTHING
    seen = []
    command = example(EVERYTHING)
    while abilities is not None and len(seen) < 40:
        seen.append(abilities.data_granularity)
        abilities = abilities.learn(fails_at(1, Asc.COPY_GRANULARITY), command)
    assert seen[:4] == [1, 512, 1024, 2048]
    assert seen[-1] == 1 << 20


@pytest.mark.parametrize("sense", [
    Sense(SenseKey.UNIT_ATTENTION, 0x2900), Sense(SenseKey.NOT_READY, 0x0400),
    Sense(SenseKey.COPY_ABORTED, Asc.THIRD_PARTY_DEVICE_FAILURE),
    Sense(SenseKey.COPY_ABORTED, Asc.UNREACHABLE_COPY_TARGET), illegal(Asc.INVALID_FIELD_IN_CDB),
    illegal(Asc.UNSUPPORTED_TARGET_TYPE)])
def test_a_failure_that_is_no_refusal_teaches_nothing(sense: Sense) -> None:
    assert EVERYTHING.learn(sense, example(EVERYTHING)) is None


@pytest.mark.parametrize("code", [
    Asc.UNSUPPORTED_SEGMENT_TYPE, Asc.TOO_MANY_TARGETS, Asc.TOO_MANY_SEGMENTS, Asc.INSUFFICIENT_RESOURCES,
    Asc.PARAMETER_LIST_LENGTH, Asc.UNEXPECTED_INEXACT_SEGMENT, Asc.INLINE_DATA_LENGTH, Asc.COPY_GRANULARITY,
    Asc.INVALID_FIELD_IN_PARAMETERS, Asc.INVALID_COPY_OPERATION])
@pytest.mark.parametrize("key", [SenseKey.ILLEGAL_REQUEST, SenseKey.COPY_ABORTED])
def test_one_who_refuses_everything_is_given_up_in_the_end(code: Asc, key: SenseKey) -> None:
    """Plan, be refused, learn, plan again: never the same twice, and an end."""
    pieces = [Inline(b"header"), LunExtent("a", 0, 41), Zeros(506), LunExtent("b", 0, 2, 4096)]
    ends = Rig.make().ends
    for profile in PROFILES.values():
        abilities: Abilities | None = profile.abilities
        seen: set[Abilities] = set()
        while abilities is not None:
            assert abilities not in seen and len(seen) < 60
            seen.add(abilities)
            try:
                steps = list(backup_steps(pieces, 1024, TAPE, ends, abilities))
            except CannotCopy:
                break
            command = next((step for step in steps if isinstance(step, CopyCommand)), None)
            if command is None:
                break
            abilities = abilities.learn(Sense(key, code), command)
