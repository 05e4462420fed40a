"""What is known of a tape's position after each kind of step."""

import pytest

from ndmpd.devices.tape_position import BEGINNING, UNKNOWN, TapePosition


def test_records_count_blocks_and_objects():
    assert BEGINNING.records(3) == TapePosition(0, 3, 3)
    assert TapePosition(1, 5, 9).records(-2) == TapePosition(1, 3, 7)


def test_a_filemark_begins_a_file():
    assert TapePosition(0, 3, 3).marks(1) == TapePosition(1, 0, 4)
    assert BEGINNING.marks(2) == TapePosition(2, 0, 2)


def test_a_file_entered_from_its_end_has_an_unknown_block_number():
    assert TapePosition(1, 0, 4).marks(-1) == TapePosition(0, None, 3)


def test_crossing_marks_with_records_between_them_loses_the_object_number():
    assert TapePosition(0, 3, 3).over_marks(2) == TapePosition(2, 0, None)
    assert TapePosition(2, 1, 9).over_marks(-1) == TapePosition(1, None, None)


@pytest.mark.parametrize("step", ["marks", "over_marks", "records"])
def test_a_step_of_nothing_changes_nothing(step):
    assert getattr(TapePosition(2, None, 9), step)(0) == TapePosition(2, None, 9)


def test_what_is_unknown_stays_unknown():
    assert UNKNOWN.records(5) == UNKNOWN
    assert UNKNOWN.marks(1) == TapePosition(None, 0, None)


def test_a_count_that_would_be_negative_was_wrong():
    assert TapePosition(0, 1, 1).records(-2) == TapePosition(0, None, None)


def test_the_drives_word_replaces_a_count_that_contradicts_it():
    assert TapePosition(1, 5, 9).known_as(1, 11) == TapePosition(1, None, 11)
    assert TapePosition(1, 5, 9).known_as(2, 9) == TapePosition(2, None, 9)


def test_the_drives_word_confirms_a_count():
    assert TapePosition(1, 5, 9).known_as(1, 9) == TapePosition(1, 5, 9)
    assert TapePosition(1, 0, None).known_as(1, 9) == TapePosition(1, 0, 9)


def test_in_the_first_file_the_object_number_is_the_block_number():
    assert UNKNOWN.known_as(0, 7) == TapePosition(0, 7, 7)


def test_a_drive_that_tells_objects_only_leaves_the_file_as_counted():
    assert TapePosition(1, 5, 9).known_as(None, 9) == TapePosition(1, 5, 9)
    assert TapePosition(1, 0, None).known_as(None, 9) == TapePosition(1, 0, 9)
    assert TapePosition(1, 5, 9).known_as(None, 8) == TapePosition(None, None, 8)
    assert UNKNOWN.known_as(None, 0) == BEGINNING


def test_a_drive_that_tells_nothing_leaves_the_count():
    assert TapePosition(1, 5, 9).known_as(None, None) == TapePosition(1, 5, 9)
