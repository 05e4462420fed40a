"""What command lines mean: sizes, variables, names to restore."""

from __future__ import annotations

import click
import pytest

from ndmpd.client.catalogue import UNKNOWN
from ndmpd.client.options import merged, pair, size
from ndmpd.client.restore import Wanted, select
from protocol.ndmp.codes import Version


@pytest.mark.parametrize(("text", "expected"), [
    ("65536", 65536), ("64k", 65536), ("64KiB", 65536), ("64 KB", 64000), ("1.5M", 3 << 19),
    ("8GiB", 8 << 30),
    ("80MB", 80_000_000), ("2t", 2 << 40), ("512b", 512),
])
def test_sizes_are_read_as_people_write_them(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "k", "-1", "1x", "1KBps", "0x10"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no size"):
        size(text)


def test_a_variable_is_split_at_its_first_equals_sign() -> None:
    assert pair("EXCLUDE=a=b") == ("EXCLUDE", "a=b")
    assert pair("EMPTY=") == ("EMPTY", "")
    for text in ("NAME", "=value"):
        with pytest.raises(click.BadParameter):
            pair(text)


def test_the_users_variables_come_first_and_keep_the_others_out() -> None:
    assert merged([("HIST", "f"), ("EXCLUDE", "a")], [("HIST", "y"), ("LEVEL", "0"), ("EXCLUDE", "b")]) == (
        ("HIST", "f"), ("EXCLUDE", "a"), ("LEVEL", "0"))


def test_names_to_restore() -> None:
    assert select([], "", "/vol") == [Wanted("", "")]
    assert select([], "/to", "/vol") == [Wanted("", "/to")]
    assert select(["a/b", "/c"], "", "/vol") == [Wanted("/a/b", ""), Wanted("/c", "")]
    assert select(["a/b"], "/to/", "/vol") == [Wanted("/a/b", "/to/a/b")]
    assert select(["/new=a"], "", "/vol") == [Wanted("/a", "/new")]
    assert select(["new=a"], "", "/vol") == [Wanted("/a", "/vol/new")]
    assert select(["new=a"], "/to", "/vol") == [Wanted("/a", "/to/new")]


def test_version_4_names_the_whole_destination() -> None:
    name = Wanted("/a/b", "/to/x", 512, 7).name(Version.V4, "/to")
    assert (name.original_path, name.destination_path, name.new_name) == ("/a/b", "/to/x", "")
    assert (name.fh_info, name.node) == (512, 7)
    unknown = Wanted("", "/to").name(Version.V4, "/to")
    assert (unknown.original_path, unknown.fh_info, unknown.node) == ("", UNKNOWN, UNKNOWN)


def test_version_3_puts_its_folder_in_front_of_the_original_path() -> None:
    kept = Wanted("/a/b", "/to/a/b").name(Version.V3, "/to")
    assert (kept.original_path, kept.destination_path, kept.new_name) == ("/a/b", "/to", "")
    whole = Wanted("", "/to").name(Version.V3, "/to")
    assert (whole.original_path, whole.destination_path, whole.new_name) == ("", "/to", "")
    renamed = Wanted("/a/b", "/to/x").name(Version.V3, "/to")
    assert (renamed.original_path, renamed.destination_path, renamed.new_name) == ("/a/b", "/to", "x")
