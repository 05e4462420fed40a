"""Runs of files by two processes: the same stream and history as by one, whatever becomes of the helper."""

from __future__ import annotations

import errno
import os
import random
import signal
from pathlib import Path

import pytest

from ndmpd.formats import run_reader, small_files
from ndmpd.formats.history import BATCH_BYTES
from ndmpd.formats.small_files import RUN
from ndmpd.formats.tar import Tar
from protocol.ndmp.codes import LogType
from tests.formats.recorder import Folders, RecordingReporter, make_job, stream_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of many runs, with everything in it that is not read in runs."""
    root = tmp_path / "source"
    (root / "few").mkdir(parents=True)
    (root / "few/file").write_bytes(b"few")
    for number in range(12 * RUN):
        (root / f"{number:04}").write_bytes(b"%d" % number * (number % 300))
    (root / "0100large").write_bytes(b"L" * 200_001)
    (root / "0200link").symlink_to("0100")
    (root / "0300shared").hardlink_to(root / "0299")
    with (root / "0400sparse").open("wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.write(b"end")
    os.mkfifo(root / "0500fifo")
    (root / ("0600" + "n" * 200)).write_bytes(b"long name")
    for path in (root, root / "few", root / "0200link"):  # access times that reading them does not move
        os.utime(path, (4_000_000_000, 1_700_000_000), follow_symlinks=False)
    return root


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two cores; the helpers that were forked."""
    pids: list[int] = []
    fork = os.fork

    def counted() -> int:
        pid = fork()
        if pid:
            pids.append(pid)
        return pid

    monkeypatch.setattr(run_reader.os, "fork", counted)
    monkeypatch.setattr(run_reader.os, "sched_getaffinity", lambda _: {0, 1})
    return pids


def back_up(source: Path, hist: str) -> tuple[bytes, RecordingReporter]:
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"), ("HIST", hist))
    return stream_of(Tar().backup(job)), report


def alone(monkeypatch: pytest.MonkeyPatch, source: Path, hist: str) -> tuple[bytes, RecordingReporter]:
    with monkeypatch.context() as patch:
        patch.setattr(run_reader.os, "sched_getaffinity", lambda _: {0})
        return back_up(source, hist)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("hist", ["f", "d", "n"])
def test_stream_and_history_do_not_depend_on_who_read(
    source: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch, hist: str
) -> None:
    data, report = back_up(source, hist)
    assert len(helpers) == 1
    data_alone, report_alone = alone(monkeypatch, source, hist)
    assert len(helpers) == 1
    assert data == data_alone
    assert report.files() == report_alone.files()
    assert report.dirs() == report_alone.dirs()
    assert report.nodes() == report_alone.nodes()
    assert report.troubles == report_alone.troubles == []
    assert report.variables == report_alone.variables
    assert len(report.files()) + len(report.nodes()) == {"f": 12 * RUN + 9, "d": 12 * RUN + 8, "n": 0}[hist]


def test_every_position_is_where_its_entry_begins(source: Path, helpers: list[int]) -> None:
    data, report = back_up(source, "f")
    for path, position in report.positions().items():
        assert (b"./" if path == "/" else path[1:100].encode()) in data[position:position + 1536], path


def test_the_helper_is_gone_when_the_backup_is_over_or_given_up(source: Path, helpers: list[int]) -> None:
    back_up(source, "f")
    pieces = Tar().backup(make_job(Folders(source=source), RecordingReporter(), ("FILESYSTEM", "/source")))
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
    assert len(helpers) == 2 and all(map(gone, helpers))


@pytest.mark.parametrize("moment", [0, 1, 4])
def test_what_a_helper_that_died_had_is_read_all_the_same(
    source: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    real, asked = run_reader._Helper.ask, []

    def ask(*args: object) -> bool:
        if len(asked) == moment:
            os.kill(helpers[0], signal.SIGKILL)
        asked.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(run_reader._Helper, "ask", ask)
    data, report = back_up(source, "f")
    assert moment < len(asked) and len(helpers) == 1
    monkeypatch.undo()
    data_alone, report_alone = alone(monkeypatch, source, "f")
    assert data == data_alone and report.files() == report_alone.files()


def test_runs_of_larger_files_end_early_and_nothing_is_left_out(
    tmp_path: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(3 * RUN):
        (root / f"{number:04}").write_bytes(b"%04d" % number * 15_000)
    data, report = back_up(root, "f")
    data_alone, report_alone = alone(monkeypatch, root, "f")
    assert helpers and data == data_alone and report.files() == report_alone.files()


def test_posts_of_long_paths_stay_bounded(tmp_path: Path, helpers: list[int]) -> None:
    folder = root = tmp_path / "source"
    for _ in range(12):
        folder = folder / ("d" * 250)
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for number in range(3 * RUN):
        os.close(os.open(f"{number:04}" + "f" * 240, os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    os.close(descriptor)
    _, report = back_up(root, "f")
    assert all(len(body) < BATCH_BYTES + 8192 for _, body in report.posts)
    assert len(report.files()) == 3 * RUN + 13


def test_one_core_and_small_folders_need_no_helper(
    source: Path, helpers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(monkeypatch, source, "f")
    back_up(source / "few", "f")
    assert helpers == []


@pytest.mark.parametrize(
    ("call", "code"),
    [("open", errno.EMFILE), ("fstat", errno.EIO), ("listxattr", errno.ENOMEM), ("read", errno.EIO)],
)
def test_every_file_is_in_the_history_or_named_as_lost(
    source: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    """Whatever the system refuses under load, for a moment or longer, no file is missing unsaid."""
    monkeypatch.setattr(run_reader.os, "sched_getaffinity", lambda _: {0})
    complete = {file.name[0].name for file in back_up(source, "f")[1].files()}
    real, turn = getattr(os, call), random.Random(code)

    def refused(*args: object, **options: object) -> object:
        if turn.random() < 0.3 and _is_for_a_file(args[0]):
            raise OSError(code, os.strerror(code))
        return real(*args, **options)

    def _is_for_a_file(what: object) -> bool:
        return (isinstance(what, bytes) and what != b"few") or (
            isinstance(what, int) and "/source/0" in os.readlink(f"/proc/self/fd/{what}"))

    with monkeypatch.context() as patch:
        patch.setattr(small_files.os, call, refused)
        report = back_up(source, "f")[1]
    posted = {file.name[0].name for file in report.files()}
    named = {text.partition(":")[0] for text in report.troubles}
    assert len(report.files()) == len(posted) and posted <= complete
    assert complete - posted <= named
    assert named and len(report.texts(LogType.ERROR)) == int(report.variables["FILES_FAILED"])
