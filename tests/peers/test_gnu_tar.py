"""The records of a ``tar`` backup, taken off the cartridge, are what GNU tar reads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.peers.ndmjob import RECORD_BLOCKS, Job, Ndmjob
from tests.peers.server import EmbeddedServer
from tests.peers.simh import join_first_file
from tests.trees.comparison import compare

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob", "tar"), pytest.mark.timeout(300)]

CARTRIDGE_OF_TAPE1 = "E01002L8"


def gnu_tar(*arguments: str) -> str:
    """Run GNU tar; a warning fails the test, except about times that are far off.

    Of records it does not know (our own for hard links, POSIX's hdrcharset) it says so and goes on.
    """
    done = subprocess.run(
        ["tar", "--warning=no-unknown-keyword", *arguments], capture_output=True, text=True,
        errors="surrogateescape", timeout=120, check=False,
        env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    complaints = [
        line for line in done.stderr.splitlines()
        if "in the future" not in line and "implausibly old" not in line
    ]  # fmt: skip
    assert (done.returncode, complaints) == (0, []), done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archive(ndmjob: Ndmjob, server: EmbeddedServer, odd_tree: Path, folder: Path) -> Path:
    backup = ndmjob.backup(Job(server.agent(4), "tape1"), str(odd_tree))
    assert backup.succeeded, backup.explain()
    image, joined = folder / "odd.tap", folder / "odd.tar"
    server.tape_command("export", CARTRIDGE_OF_TAPE1, str(image))
    sizes = join_first_file(image, joined)
    assert set(sizes) == {RECORD_BLOCKS * 512}
    return joined


def test_gnu_tar_lists_every_entry(archive: Path, odd_tree: Path) -> None:
    names = gnu_tar("--list", "--quoting-style=escape", "-f", str(archive)).splitlines()
    expected = sum(len(directories) + len(files) for _, directories, files in os.walk(odd_tree))
    assert len(names) == expected  # the top is listed, the socket is not


def test_gnu_tar_extracts_the_same_tree(archive: Path, odd_tree: Path, tmp_path: Path) -> None:
    extracted = tmp_path / "extracted"
    extracted.mkdir()
    gnu_tar(
        "--extract", "-p", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls",
        "-C", str(extracted), "-f", str(archive),
    )  # fmt: skip
    comparison = compare(odd_tree, extracted, without=frozenset({"socket"}))
    assert comparison.found == []
    assert comparison.missing == [b"special/socket"]
