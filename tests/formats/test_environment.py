"""Variables of a job: which of repeated ones counts, and how values are read."""

from __future__ import annotations

import pytest

from ndmpd.formats.environment import Environment


def test_of_a_variable_sent_twice_the_first_counts() -> None:
    environment = Environment([("HIST", "f"), ("LEVEL", "0"), ("HIST", "n")])
    assert environment.get("HIST") == "f"
    assert environment.pairs == (("HIST", "f"), ("LEVEL", "0"), ("HIST", "n"))
    assert list(environment) == ["HIST", "LEVEL"]


def test_a_missing_variable_has_its_default() -> None:
    environment = Environment()
    assert environment.get("TYPE", "tar") == "tar"
    assert "TYPE" not in environment
    assert environment.flag("RECURSIVE", True) is True
    assert environment.flag("RECURSIVE", False) is False
    assert environment.number("STREAM_BYTES", 7) == 7


@pytest.mark.parametrize("value", ["y", "Y", "yes", "YES", "t", "True", " y", "1"])
def test_a_flag_is_true_by_its_first_letter_in_either_case(value: str) -> None:
    assert Environment([("DIRECT", value)]).flag("DIRECT", False) is True


@pytest.mark.parametrize("value", ["n", "N", "no", "f", "FALSE", "0"])
def test_a_flag_is_false_by_its_first_letter_in_either_case(value: str) -> None:
    assert Environment([("DIRECT", value)]).flag("DIRECT", True) is False


@pytest.mark.parametrize("value", ["", "maybe", " ", "?"])
def test_a_flag_that_says_neither_keeps_its_default(value: str) -> None:
    assert Environment([("DIRECT", value)]).flag("DIRECT", True) is True
    assert Environment([("DIRECT", value)]).flag("DIRECT", False) is False


def test_exclude_accumulates_over_repetition_and_commas() -> None:
    environment = Environment(
        [("EXCLUDE", "*.o,*.tmp"), ("TYPE", "tar"), ("EXCLUDE", "core"), ("EXCLUDE", "*.o")]
    )
    assert environment.excludes == ("*.o", "*.tmp", "core")


def test_a_comma_in_a_pattern_is_escaped() -> None:
    assert Environment([("EXCLUDE", r"a\,b,c")]).excludes == ("a,b", "c")


def test_empty_patterns_exclude_nothing() -> None:
    assert Environment([("EXCLUDE", ",,"), ("EXCLUDE", "")]).excludes == ()


def test_files_accumulate_and_keep_their_commas() -> None:
    assert Environment([("FILES", "/a,b"), ("FILES", "/c"), ("FILES", "/c")]).files == ("/a,b", "/c")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("12", 12),
        (" 12 ", 12),
        ("", 5),
        ("-1", 5),
        ("twelve", 5),
        ("1e3", 5),
        ("9" * 40, 5),
        ("١٢", 5),
        ("²", 5),
    ],
)
def test_a_number_that_cannot_be_read_keeps_its_default(value: str, read: int) -> None:
    assert Environment([("STREAM_BYTES", value)]).number("STREAM_BYTES", 5) == read


def test_a_number_out_of_bounds_keeps_its_default() -> None:
    assert Environment([("LEVEL", "10")]).number("LEVEL", 0, high=9) == 0
