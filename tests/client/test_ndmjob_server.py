"""Whole jobs by ``ndmpc`` against the server inside ndmjob, which this project did not write.

Its formatter is a script of this test: GNU tar behind ndmjob's line protocol. Known of that server: it
refuses GET_ENV after a recover, sends no LOG_FILE, and pauses with SEEK where a write window ends.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers.ndmjob import find_program
from tests.peers.server import REPOSITORY, Program, free_port

NDMJOB = find_program()
pytestmark = [pytest.mark.peer,
              pytest.mark.skipif(NDMJOB is None, reason="ndmjob (amanda-common) is not installed"),
              pytest.mark.skipif(shutil.which("tar") is None, reason="GNU tar is not installed")]

# Arguments: -c, -x or -t; -E NAME=VALUE ...; for -x: path (unless empty) @offset destination ...
# Descriptor 3 takes HF (a file of the history) and DR (read a range of the stream) lines.
FORMATTER = '''
import os, subprocess, sys
words, env, given = sys.argv[1:], {}, []
operation = [word for word in words if word in ("-c", "-x", "-t")][0]
while words:
    word = words.pop(0)
    if word == "-E":
        name, _, value = words.pop(0).partition("=")
        env.setdefault(name, value)
    elif not word.startswith("-"):
        given.append(word)
channel = os.fdopen(3, "w", 1)
if operation == "-c":
    root = env["FILESYSTEM"]
    for at, (folder, _, names) in enumerate(os.walk(root)):
        for name in ["", *names]:
            place = os.path.join(folder, name).rstrip("/")
            info = os.lstat(place)
            shown = os.path.relpath(place, root)
            kind = "d" if name == "" else "-"
            channel.write("HF /%s @%d f%s m%04o l1 s%d u0 g0 tm%d i%d\\n" % (
                "" if shown == "." else shown, at * 512, kind, info.st_mode & 0o7777, info.st_size,
                info.st_mtime, info.st_ino))
    sys.exit(subprocess.call(["tar", "-C", root, "--format=pax", "--sort=name", "-cf", "-", "."]))
channel.write("DR 0 18446744073709551615\\n")
if operation == "-t":
    listing = subprocess.run(["tar", "-tf", "-"], capture_output=True, text=True).stdout
    for line in listing.splitlines():
        channel.write("HF /%s @0 f- m0644 l1 s0 u0 g0 tm0 i0\\n" % line.strip("./"))
else:
    os.makedirs(given[-1], exist_ok=True)
    sys.exit(subprocess.call(["tar", "-C", given[-1], "-xf", "-"]))
'''


@dataclass(frozen=True, slots=True)
class NdmjobServer:
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"ndmp://ndmp@127.0.0.1:{self.port}"

    def tape(self, number: int = 0) -> str:
        return str(self.folder / f"tape{number}")

    def run(self, *arguments: str, password: str = "ndmp") -> subprocess.CompletedProcess[str]:
        """``ndmpc`` as a program of its own."""
        return subprocess.run(
            [sys.executable, "-m", "ndmpd.client", *arguments], cwd=REPOSITORY, text=True, timeout=100,
            capture_output=True, check=False,
            env={**os.environ, "NDMPC_PASSWORD": password, "COLUMNS": "200"})

    def json(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture(scope="module")
def ndmjob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NdmjobServer]:
    folder = tmp_path_factory.mktemp("ndmjob")
    (folder / "formatter.py").write_text(FORMATTER)
    wrapper = folder / "wrap_tar"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/formatter.py "$@"\n')
    wrapper.chmod(0o755)
    (folder / "conf").write_text(
        "[butype tar]\n\tv3attr 0x1f\n\tv4attr 0xe1e\n\tdefault_env HIST Y\n\n"
        f"[tape Simulated]\n\tdevice {folder}/tape0\n\tv4attr 0x0\n\tcapability SERIAL_NUMBER S0\n\n"
        "[fs /data]\n\tfs_type ext4\n\tfs_physical_device none\n\tfs_status online\n\tfs_env TYPE ext4\n\n")
    for number in range(3):
        (folder / f"tape{number}").touch()
        (folder / "robot").mkdir(exist_ok=True)
        (folder / "robot" / f"slot{number}").touch()
    port = free_port()
    path = f"{folder}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "NDMJOB_CONF": str(folder / "conf")}
    program = Program.start(["timeout", "600", str(NDMJOB), "-o", "daemon", "-p", str(port)],
                            folder / "log", env=environment, cwd=folder)
    try:
        program.wait_for_port(port, 20)
        yield NdmjobServer(folder, port)
    finally:
        program.stop()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of 500 kB."""
    root = tmp_path_factory.mktemp("source")
    for at in range(20):
        (root / f"d{at % 3}").mkdir(exist_ok=True)
        (root / f"d{at % 3}" / f"file{at}").write_bytes(os.urandom(25_000 + at))
    return root


def same(left: Path, right: Path) -> bool:
    return subprocess.run(["diff", "-r", left, right], check=False).returncode == 0


def test_query_shows_what_the_server_has(ndmjob: NdmjobServer) -> None:
    answer = ndmjob.json("query", ndmjob.url)
    assert [each["name"] for each in answer["butypes"]] == ["tar"]
    assert answer["butypes"][0]["environment"] == {"HIST": "Y"}
    assert answer["tapes"] == [{"name": ndmjob.tape(), "model": "Simulated", "attributes": [],
                                "capabilities": {"SERIAL_NUMBER": "S0"}}]
    assert [each["name"] for each in answer["filesystems"]] == ["/data"]
    assert "MD5" in answer["product"]["auth"]
    assert ndmjob.tape() in ndmjob.run("query", ndmjob.url).stdout


@pytest.mark.parametrize("auth", ["md5", "text"])
def test_a_wrong_password_ends_with_6(ndmjob: NdmjobServer, auth: str) -> None:
    done = ndmjob.run("query", ndmjob.url, "--auth", auth, password="wrong")
    assert done.returncode == 6
    assert "does not accept 'ndmp'" in done.stderr
    assert "wrong" not in done.stderr


@pytest.mark.parametrize("connections", ["local", "tcp"])
@pytest.mark.parametrize("version", ["3", "4"])
def test_backup_and_restore_over_three_cartridges(
        ndmjob: NdmjobServer, source: Path, tmp_path: Path, version: str, connections: str) -> None:
    options = ["--ndmp-version", version, "-c", str(tmp_path / "cat")]
    if connections == "tcp":
        options += ["--tape", ndmjob.url]
    drives = [word for number in range(3) for word in ("--drive", ndmjob.tape(number))]
    report = ndmjob.json("backup", ndmjob.url, str(source), *options, *drives, "-b", "10KiB",
                         "--limit", "200KiB")
    assert [each["drive"] for each in report["cartridges"]] == [ndmjob.tape(number) for number in range(3)]
    assert [each["offset"] for each in report["cartridges"]] == [0, 204800, 409600]
    assert report["history_entries"] == 24
    back = ndmjob.json("restore", ndmjob.url, *options, "--to", str(tmp_path / "back"))
    assert back["bytes"] >= report["bytes"]
    assert same(source, tmp_path / "back")


def test_a_robot_of_another_makers_brings_the_cartridges(
        ndmjob: NdmjobServer, source: Path, tmp_path: Path) -> None:
    robot = ["-c", str(tmp_path / "cat"), "--drive", str(ndmjob.folder / "robot" / "drive0"),
             "--changer", str(ndmjob.folder / "robot")]
    slots = [word for number in range(3) for word in ("--cartridge", f"@{1024 + number}")]
    report = ndmjob.json("backup", ndmjob.url, str(source), *robot, *slots, "-b", "10KiB",
                         "--limit", "200KiB")
    assert [each["cartridge"] for each in report["cartridges"]] == ["PTAG00XX", "PTAG01XX", "PTAG02XX"]
    ndmjob.json("restore", ndmjob.url, *robot, "--to", str(tmp_path / "back"))
    assert same(source, tmp_path / "back")


def test_a_second_backup_goes_behind_the_first_and_both_can_be_restored(
        ndmjob: NdmjobServer, source: Path, tmp_path: Path) -> None:
    catalogue = ["-c", str(tmp_path / "cat"), "--drive", ndmjob.tape(1)]
    other = tmp_path / "other"
    other.mkdir()
    (other / "single").write_text("of the second backup")
    ndmjob.json("backup", ndmjob.url, str(source), *catalogue, "-b", "10240")
    second = ndmjob.json("backup", ndmjob.url, str(other), *catalogue, "-b", "10240", "--skip-files", "1")
    assert second["cartridges"][0]["file_number"] == 1
    for number, original in (("1", source), ("2", other)):
        place = tmp_path / f"back{number}"
        ndmjob.json("restore", ndmjob.url, *catalogue, "--backup", number, "--to", str(place))
        assert same(original, place)


def test_the_catalogue_lists_files_and_the_tape_gives_them_again(
        ndmjob: NdmjobServer, source: Path, tmp_path: Path) -> None:
    ndmjob.json("backup", ndmjob.url, str(source), "-c", str(tmp_path / "cat"), "--drive", ndmjob.tape(2),
                "-b", "10240")
    listed = ndmjob.run("toc", "-c", str(tmp_path / "cat"))
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert "/d0/file0" in names and "/" in names and len(names) == 24
    without = ["toc", ndmjob.url, "-B", "tar", "-b", "10240", "--drive", ndmjob.tape(2)]
    again = ndmjob.run(*without)
    assert again.returncode == 0, again.stderr
    assert {line.split()[-1] for line in again.stdout.splitlines()} == names
    one = ndmjob.run("toc", "--json", "-c", str(tmp_path / "cat"), ndmjob.url, "/d0/file0")
    assert [entry["path"] for entry in json.loads(one.stdout)["entries"]] == ["/d0/file0"]


def test_a_drive_that_is_not_there_ends_with_4_and_says_which(ndmjob: NdmjobServer, source: Path) -> None:
    done = ndmjob.run("backup", ndmjob.url, str(source), "--drive", "/nowhere/tape", "--json")
    assert done.returncode == 4
    assert "'/nowhere/tape'" in json.loads(done.stdout)["problem"]

