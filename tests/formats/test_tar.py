"""The tar butype end to end: what is backed up comes back, here and through GNU tar."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from ndmpd.errors import JobRefused
from ndmpd.formats.job import Selection
from ndmpd.formats.tar import Tar
from protocol.ndmp.codes import ButypeAttr, DataOperation, RecoveryStatus
from tests.formats.recorder import Folders, MemoryStream, RecordingReporter, make_job, stream_of
from tests.trees.comparison import compare, compare_entry
from tests.trees.odd import make_deep_tree, make_odd_tree

GNU_TAR = ["tar", "--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner"]
SOCKET = frozenset(["socket"])


def back_up(source: Path, *variables: tuple[str, str]) -> tuple[bytes, RecordingReporter]:
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"), *variables)
    butype = Tar()
    butype.check(job)
    return stream_of(butype.backup(job)), report


def restore_all(data: bytes, destination: Path) -> RecordingReporter:
    report = RecordingReporter()
    destination.mkdir(exist_ok=True)
    job = make_job(
        Folders(dest=destination),
        report,
        select=[Selection("/", "/dest/", "/")],
        operation=DataOperation.RECOVER,
    )
    butype = Tar()
    butype.check(job)
    butype.recover(job, MemoryStream(data))
    return report


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """The odd tree, and its stream."""
    base = tmp_path_factory.mktemp("odd")
    make_odd_tree(base / "source")
    data, report = back_up(base / "source")
    assert report.troubles == []
    return base / "source", data


@pytest.mark.root
def test_every_odd_thing_comes_back(odd: tuple[Path, bytes], tmp_path: Path) -> None:
    source, data = odd
    report = restore_all(data, tmp_path / "back")
    assert report.logs == []
    assert report.outcomes == [("/", RecoveryStatus.SUCCESSFUL)]
    assert compare(source, tmp_path / "back", SOCKET).found == []


@pytest.mark.root
def test_a_restore_over_what_is_there_already_gives_the_same(odd: tuple[Path, bytes], tmp_path: Path) -> None:
    source, data = odd
    restore_all(data, tmp_path / "back")
    report = restore_all(data, tmp_path / "back")
    assert report.logs == []
    assert compare(source, tmp_path / "back", SOCKET).found == []


@pytest.mark.root
@pytest.mark.peer
def test_gnu_tar_extracts_the_stream_as_it_was(odd: tuple[Path, bytes], tmp_path: Path) -> None:
    source, data = odd
    subprocess.run([*GNU_TAR, "-xpf", "-", "-C", tmp_path], input=data, check=True, capture_output=True)
    assert compare(source, tmp_path, SOCKET).found == []


@pytest.mark.root
@pytest.mark.peer
def test_gnu_tar_finds_no_difference_between_the_stream_and_the_tree(odd: tuple[Path, bytes]) -> None:
    source, data = odd
    found = subprocess.run(
        [
            *GNU_TAR,
            "--warning=no-timestamp",
            "--warning=no-unknown-keyword",
            "-df",
            "-",
            "--exclude=beyond 8 GiB",
            "-C",
            source,
        ],
        input=data,
        capture_output=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("format_", ["pax", "gnu"])
@pytest.mark.parametrize(
    "sparse", [["--sparse"], ["--sparse", "--sparse-version=0.1"], []], ids=["sparse", "sparse 0.1", "whole"]
)
def test_a_stream_of_gnu_tar_is_restored(tmp_path: Path, format_: str, sparse: list[str]) -> None:
    source = tmp_path / "source"
    make_odd_tree(source)
    # GNU tar has no links to fifos and devices, and fills holes unless told.
    for name in ("links/same fifo", "links/same device"):
        (source / name).unlink()
    if not sparse:
        shutil.rmtree(source / "holes")
    if format_ == "gnu":  # no fractions of a second, no attributes
        for folder, folders, files in os.walk(source, topdown=False):
            for name in (*files, *folders, "."):
                path = os.path.join(folder, name)
                for attribute in os.listxattr(path, follow_symlinks=False):
                    os.removexattr(path, attribute, follow_symlinks=False)
                seconds = os.lstat(path).st_mtime_ns // 10**9 * 10**9
                os.utime(path, ns=(seconds, seconds), follow_symlinks=False)
    attributes = ["--xattrs", "--acls"] if format_ == "pax" else []
    made = subprocess.run(
        [
            "tar",
            "--numeric-owner",
            f"--format={format_}",
            *sparse,
            *attributes,
            "-C",
            source,
            "-cf",
            "-",
            ".",
        ],
        check=True,
        capture_output=True,
    )
    report = restore_all(made.stdout, tmp_path / "back")
    assert report.logs == []
    assert compare(source, tmp_path / "back", SOCKET).found == []


@pytest.mark.peer
def test_a_ustar_stream_of_gnu_tar_is_restored(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / ("d" * 90) / ("e" * 90)).mkdir(parents=True)
    (source / ("d" * 90) / ("e" * 90) / "file").write_bytes(b"content")
    (source / "link").hardlink_to(source / ("d" * 90) / ("e" * 90) / "file")
    for path in [*source.rglob("*"), source]:
        os.utime(path, (1_600_000_000, 1_600_000_000))
    made = subprocess.run(
        ["tar", "--format=ustar", "-C", source, "-cf", "-", "."], check=True, capture_output=True
    )
    assert restore_all(made.stdout, tmp_path / "back").logs == []
    assert compare(source, tmp_path / "back").found == []


@pytest.mark.root
@pytest.mark.parametrize("hist", ["f", "d"])
def test_every_odd_thing_comes_back_by_direct_access_alone(
    odd: tuple[Path, bytes], tmp_path: Path, hist: str
) -> None:
    """Each entry selected for itself, at the position its history told: the path's, or its node's."""
    source, data = odd
    _, made = back_up(source, ("HIST", "f"))
    _, by_node = back_up(source, ("HIST", "d"))
    nodes = {node.node: node.fh_info for node in by_node.nodes()}
    at = {
        file.name[0].name: file.fh_info if hist == "f" else nodes[file.node]
        for file in made.files()
        if file.name[0].name.count("/") == 2
    }
    paths = sorted(at)
    report = RecordingReporter()
    select = [Selection(path, f"/dest/{number}", path, at[path]) for number, path in enumerate(paths)]
    job = make_job(Folders(dest=tmp_path), report, select=select, operation=DataOperation.RECOVER)
    Tar().recover(job, MemoryStream(data))
    assert report.outcomes == [(path, RecoveryStatus.SUCCESSFUL) for path in paths]
    assert report.troubles == []
    for number, path in enumerate(paths):
        found = compare_entry(os.fsencode(source) + os.fsencode(path), tmp_path / str(number)).found
        assert [line for line in found if "the same file" not in line] == []


def test_the_stream_is_a_function_of_the_content_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("b", "a", "c"):
        (source / name).write_bytes(name.encode() * 70_000)
    first, _ = back_up(source)
    for name in ("b", "a", "c"):
        os.utime(source / name, ns=(1, (source / name).stat().st_mtime_ns))  # read since
    second, _ = back_up(source, ("HIST", "d"), ("UNKNOWN", "x"))
    assert first == second


def test_a_tree_deeper_than_any_path_can_be_comes_back(tmp_path: Path) -> None:
    make_deep_tree(tmp_path / "source", 20_000)
    data, report = back_up(tmp_path / "source")
    assert report.troubles == []
    assert restore_all(data, tmp_path / "back").logs == []
    assert compare(tmp_path / "source", tmp_path / "back").found == []


def test_an_empty_folder_is_one_entry_and_an_end(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir(mode=0o751)
    os.utime(tmp_path / "source", (1_600_000_000, 1_600_000_000))
    data, _ = back_up(tmp_path / "source")
    assert len(data) == 3 * 512 and data[512:] == bytes(1024)
    restore_all(data, tmp_path / "back")
    assert compare(tmp_path / "source", tmp_path / "back").found == []


def test_a_folder_inside_an_export_can_be_the_root(tmp_path: Path) -> None:
    (tmp_path / "export/home/anna").mkdir(parents=True)
    (tmp_path / "export/home/anna/file").write_text("x")
    report = RecordingReporter()
    job = make_job(
        Folders(export=tmp_path / "export"), report, ("FILESYSTEM", "/export/home/anna"), ("HIST", "f")
    )
    stream_of(Tar().backup(job))
    assert [file.name[0].name for file in report.files()] == ["/", "/file"]


@pytest.mark.parametrize(
    "filesystem", ["", "/other", "/export/..", "/export/missing", "/export/file", "/export/out"]
)
def test_a_source_that_is_no_folder_of_an_export_is_refused(tmp_path: Path, filesystem: str) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export/file").touch()
    (tmp_path / "export/out").symlink_to("..")
    with pytest.raises(JobRefused):
        Tar().check(
            make_job(Folders(export=tmp_path / "export"), RecordingReporter(), ("FILESYSTEM", filesystem))
        )


def test_a_recover_that_can_go_nowhere_is_refused(tmp_path: Path) -> None:
    volumes = Folders(export=tmp_path)
    for selections in ([], [Selection("/a", "/other/a", "/a")], [Selection("/a", "", "/a")]):
        with pytest.raises(JobRefused):
            Tar().check(
                make_job(volumes, RecordingReporter(), select=selections, operation=DataOperation.RECOVER)
            )


def test_a_listing_needs_neither_source_nor_names(tmp_path: Path) -> None:
    Tar().check(
        make_job(Folders(export=tmp_path), RecordingReporter(), operation=DataOperation.RECOVER_FILEHIST)
    )


def test_no_incrementals_are_claimed_and_a_level_becomes_a_full(tmp_path: Path) -> None:
    assert not Tar().attributes() & (ButypeAttr.BACKUP_INCREMENTAL | ButypeAttr.RECOVER_INCREMENTAL)
    (tmp_path / "source").mkdir()
    _, report = back_up(tmp_path / "source", ("LEVEL", "3"))
    assert report.variables["LEVEL"] == "0"
    assert "LEVEL=3" in report.troubles[0]


def test_the_listing_of_a_stream_is_the_history_of_its_backup(odd: tuple[Path, bytes]) -> None:
    """RECOVER_FILEHIST as ``ndmjob -t`` asks for it: no names, HIST=n."""
    source, data = odd
    _, made = back_up(source, ("HIST", "f"))
    listed = RecordingReporter()
    job = make_job(Folders(source=source), listed, ("HIST", "n"), operation=DataOperation.RECOVER_FILEHIST)
    Tar().list(job, MemoryStream(data))
    assert listed.positions() == made.positions()
    for ours, theirs in zip(listed.files(), made.files(), strict=True):
        if theirs.stat[0].links == 1 and theirs.stat[0].ftype != 0:
            assert (ours.stat[0].size, ours.stat[0].mtime) == (theirs.stat[0].size, theirs.stat[0].mtime)
        assert (ours.stat[0].ftype, ours.stat[0].fattr, ours.stat[0].owner) == (
            theirs.stat[0].ftype,
            theirs.stat[0].fattr,
            theirs.stat[0].owner,
        )


def test_a_listing_can_be_of_some_names(odd: tuple[Path, bytes]) -> None:
    source, data = odd
    report = RecordingReporter()
    job = make_job(
        Folders(source=source),
        report,
        operation=DataOperation.RECOVER_FILEHIST,
        select=[Selection("/links", "", "/links"), Selection("/nowhere", "", "/nowhere")],
    )
    Tar().list(job, MemoryStream(data))
    assert "/links/elsewhere/third" in report.positions() and "/sizes/empty" not in report.positions()
    assert report.outcomes == [
        ("/links", RecoveryStatus.SUCCESSFUL),
        ("/nowhere", RecoveryStatus.FAILED_NOT_FOUND),
    ]
