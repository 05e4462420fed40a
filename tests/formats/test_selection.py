"""nlist entries as ndmjob, Bareos and the draft's examples write them, in both versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndmpd.formats.job import Selection
from ndmpd.formats.selection import relative, selections
from protocol.ndmp.codes import Version
from protocol.ndmp.data import Name

UNKNOWN = (1 << 64) - 1


def name(original: str, destination: str, new: str = "", fh_info: int = UNKNOWN) -> Name:
    return Name(original, destination, new, "", UNKNOWN, fh_info)


def v4(*arguments: str | int) -> Selection:
    return selections([name(*arguments)], Version.V4)[0]  # type: ignore[arg-type]


def v3(*arguments: str | int) -> Selection:
    return selections([name(*arguments)], Version.V3)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("original", "destination", "new", "whole"),
    [
        ("", "/vol/vol3", "", "/vol/vol3"),
        ("", "/vol", "vol3", "/vol/vol3"),
        ("/users/tyler", "/vol/vol1/users/tyler.from.vol3", "", "/vol/vol1/users/tyler.from.vol3"),
        ("/users/tyler", "/vol/vol1/users", "tyler.from.vol3", "/vol/vol1/users/tyler.from.vol3"),
        ("/sally", "/viewstore", "sally", "/viewstore/sally"),
        ("/sally", "/viewstore/", "sally", "/viewstore/sally"),
    ],
)
def test_v4_examples_of_the_draft_name_their_destination(
    original: str, destination: str, new: str, whole: str
) -> None:
    """Draft 3.5.2.4, ndmp_name examples 1, 2 and 4."""
    assert v4(original, destination, new) == Selection(original, whole, original)


def test_v4_without_a_destination_goes_where_it_came_from() -> None:
    assert v4("/a", "") == Selection("/a", "", "/a")


@pytest.mark.parametrize("fh_info", [0, UNKNOWN])
def test_zero_and_all_ones_mean_that_the_position_is_unknown(fh_info: int) -> None:
    assert v4("/a", "/b", "", fh_info).fh_info is None
    assert v3("/a", "/b", "", fh_info).fh_info is None


def test_a_position_is_kept() -> None:
    assert v4("/a", "/b", "", 51200).fh_info == 51200


def test_v3_without_a_new_name_is_plain_concatenation() -> None:
    """What ndmjob cut apart is put together, "/" included or not."""
    assert v3("/a/b", "/dest").destination == "/dest/a/b"
    assert v3("a/b", "/dest/").destination == "/dest/a/b"
    assert v3("/", "/dest").destination == "/dest"
    assert v3(".", "/dest").destination == "/dest"


def test_v3_with_a_new_name_tries_the_whole_path_first_then_the_joined_one() -> None:
    by_the_book = v3("/a", "/dest", "b")
    assert (by_the_book.original, by_the_book.alternative, by_the_book.destination) == (
        "/a",
        "/a/b",
        "/dest/b",
    )


def test_v3_as_ndmjob_renames_has_the_whole_new_name_in_new_name() -> None:
    renamed = v3("/a/b", "", "/dest/c")
    assert (renamed.original, renamed.destination) == ("/a/b", "/dest/c")


def test_the_name_for_the_log_is_the_one_given() -> None:
    assert v3("/a", "/dest", "b").given == "/a"
    assert v4("a//b/", "/dest").given == "a//b/"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("", b""),
        ("/", b""),
        (".", b""),
        ("./", b""),
        ("//", b""),
        ("/a/b", b"a/b"),
        ("a//b/", b"a/b"),
        ("./a/./b", b"a/b"),
        ("a/.b", b"a/.b"),
        ("...", b"..."),
        ("\udcff", b"\xff"),
        ("é", "é".encode()),
    ],
)
def test_a_path_is_compared_without_needless_parts(path: str, plain: bytes) -> None:
    assert relative(path) == plain


@pytest.mark.parametrize("path", ["..", "/..", "a/..", "a/../b", "../a", b"a\0b", "\0"])
def test_a_path_that_climbs_or_holds_a_nul_names_nothing(path: str | bytes) -> None:
    assert relative(path) is None


@given(st.binary(max_size=60))
def test_a_compared_path_has_only_plain_components(path: bytes) -> None:
    plain = relative(path)
    if plain:
        assert not {b"", b".", b".."} & set(plain.split(b"/"))
        assert relative(plain) == plain
