"""Backups of trees that change, refuse, or are to be taken in part: shape kept, loss named and counted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Container, Iterator
from pathlib import Path

import pytest

from ndmpd.formats import tar_backup
from ndmpd.formats.tar import Tar
from ndmpd.pieces import FileExtent, Inline
from ndmpd.ports import SourceFault
from protocol.ndmp.codes import LogType
from tests.formats.recorder import Folders, RecordingReporter, make_job, stream_of
from tests.formats.test_tar import back_up, restore_all

LARGE = tar_backup.SMALL + 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    return root


def names(report: RecordingReporter) -> list[str]:
    return [file.name[0].name for file in report.files()]


def saved(source: Path, *variables: tuple[str, str]) -> list[str]:
    """Paths in the stream."""
    return names(back_up(source, ("HIST", "f"), *variables)[1])


def tamper(monkeypatch: pytest.MonkeyPatch, call: str, at: int | Container[int], action: object) -> None:
    """Do ``action`` just before the ``at``-th use of an os function by the backup."""
    when = (at,) if isinstance(at, int) else at
    real, count = getattr(os, call), iter(range(1 << 30))

    def wrapped(*args: object, **kwargs: object) -> object:
        if next(count) in when:
            action()  # type: ignore[operator]
        return real(*args, **kwargs)

    monkeypatch.setattr(tar_backup.os, call, wrapped)


def test_small_files_are_joined_and_large_ones_pointed_at(source: Path) -> None:
    for number in range(500):
        (source / f"{number:03}").write_bytes(bytes(1000))
    (source / "large").write_bytes(b"x" * LARGE)
    report = RecordingReporter()
    pieces = list(Tar().backup(make_job(Folders(source=source), report, ("FILESYSTEM", "/source"))))
    kinds = [type(piece) for piece in pieces]
    assert kinds == [Inline] * (len(kinds) - 2) + [FileExtent, Inline]
    assert all(piece.length >= tar_backup.JOINED for piece in pieces[:-3])
    assert pieces[-2].length == LARGE
    assert sum(piece.length for piece in pieces) == int(report.variables["STREAM_BYTES"])


def test_entries_are_sorted_and_a_subtree_is_one_range(source: Path) -> None:
    for path in ("b/x/1", "b/2", "a.txt", "a/3", "a/z/4"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()
    assert saved(source) == ["/", "/a.txt", "/a", "/a/3", "/a/z", "/a/z/4", "/b", "/b/2", "/b/x", "/b/x/1"]


def test_every_position_is_a_block_where_an_entry_begins(source: Path) -> None:
    for number in range(50):
        (source / f"{number}").write_bytes(b"x" * number * 997)
    data, report = back_up(source, ("HIST", "f"))
    for path, position in report.positions().items():
        assert position % 512 == 0
        entry = data[position : position + 3 * 512]
        assert (b"./" if path == "/" else path[1:].encode()) in entry


@pytest.mark.parametrize("size", [100, LARGE])
def test_a_file_that_grows_is_cut_at_its_announced_size(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    (source / "file").write_bytes(b"a" * size)
    with (source / "file").open("ab") as file:
        # A small file is looked at twice before it is given up; its size is known by then.
        looks = 2 if size == 100 else 1

        def grow() -> None:
            file.write(b"b" * 5000)
            file.flush()

        tamper(monkeypatch, "listxattr", range(1, 1 + looks), grow)
        data, report = back_up(source)
    monkeypatch.undo()
    assert report.troubles == ["/file: changed while it was read"]
    assert report.variables["FILES_CHANGED"] == "1"
    restore_all(data, tmp_path / "back")
    assert (tmp_path / "back/file").read_bytes() == b"a" * size + b"b" * 5000 * (looks - 1)


def test_a_small_file_that_changes_once_is_read_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").write_bytes(b"before")
    (source / "next").write_bytes(b"n")
    tamper(monkeypatch, "listxattr", 1, lambda: (source / "file").write_bytes(b"after that"))
    data, report = back_up(source)
    monkeypatch.undo()
    assert report.troubles == []
    restore_all(data, tmp_path / "back")
    assert (tmp_path / "back/file").read_bytes() == b"after that"
    assert (tmp_path / "back/next").read_bytes() == b"n"


def test_a_small_file_that_shrinks_is_filled_with_zeros(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "file").write_bytes(b"a" * 200)
    (source / "next").write_bytes(b"n")
    sizes = iter((100, 40))
    # The root, file, next; then file is looked at anew.
    tamper(monkeypatch, "listxattr", (1, 3), lambda: os.truncate(source / "file", next(sizes)))
    data, report = back_up(source)
    monkeypatch.undo()
    assert any("/file: shrank from 100 to 40 bytes" in text for text in report.troubles)
    assert report.variables["FILES_FAILED"] == "1"
    restore_all(data, tmp_path / "back")
    assert (tmp_path / "back/file").read_bytes() == b"a" * 40 + bytes(60)
    assert (tmp_path / "back/next").read_bytes() == b"n"


def test_a_large_file_that_shrinks_is_reported_through_fault(source: Path) -> None:
    (source / "file").write_bytes(b"a" * LARGE)
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"))
    butype = Tar()
    faults: list[SourceFault] = []

    def shrinking() -> Iterator[object]:
        for piece in butype.backup(job):
            if isinstance(piece, FileExtent):
                os.truncate(source / "file", 10)
            yield piece

    data = stream_of(shrinking(), faults)  # type: ignore[arg-type]
    assert len(data) == int(report.variables["STREAM_BYTES"])
    for fault in faults:
        butype.fault(job, fault)
    assert report.variables["FILES_FAILED"] == "1" and report.variables["FILES_CHANGED"] == "1"
    assert any(text.startswith(f"/file: {LARGE - 10} bytes") for text in report.texts(LogType.ERROR))


def test_a_file_with_several_faults_is_counted_once(source: Path) -> None:
    (source / "file").write_bytes(b"a" * LARGE)
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"))
    butype = Tar()
    extent = next(piece for piece in butype.backup(job) if isinstance(piece, FileExtent))
    for at in (0, 4096):
        butype.fault(job, SourceFault(extent, at, 4096, "Input/output error"))
    assert report.variables["FILES_FAILED"] == "1"
    assert len(report.texts(LogType.ERROR)) == 2


def test_a_fault_names_the_place_of_the_gap_in_the_file(source: Path) -> None:
    (source / "file").write_bytes(b"a" * LARGE)
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"))
    butype = Tar()
    extent = next(piece for piece in butype.backup(job) if isinstance(piece, FileExtent))
    rest = FileExtent(extent.file, 8192, LARGE - 8192)
    butype.fault(job, SourceFault(rest, 4096, 512, "Input/output error"))
    assert report.texts(LogType.ERROR) == [
        "/file: 512 bytes from byte 12288 on could not be read (Input/output error); they are zeros in the "
        "backup"]


def test_a_file_that_vanished_is_named_and_the_rest_is_saved(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    tamper(monkeypatch, "listxattr", 0, (source / "b").unlink)
    data, report = back_up(source)
    monkeypatch.undo()
    assert report.troubles == ["/b: vanished before it could be read"]
    assert report.variables["FILES_FAILED"] == "1"
    restore_all(data, tmp_path / "back")
    assert sorted(os.listdir(tmp_path / "back")) == ["a", "c"]


def test_a_name_cannot_forge_a_line_of_the_log(source: Path) -> None:
    os.mkfifo(source / "a")
    _, report = back_up(source, ("FILES", "x\n/etc/passwd: all is well"))
    assert report.troubles == ["/x\\x0a: named in FILES, but not there"]


def test_a_file_replaced_by_a_link_is_not_followed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("secret content")
    (source / "a").write_text("a")

    def swap() -> None:
        (source / "a").unlink()
        (source / "a").symlink_to(tmp_path / "secret")

    tamper(monkeypatch, "listxattr", 0, swap)
    data, report = back_up(source)
    assert b"secret content" not in data
    assert report.variables["FILES_FAILED"] == "1"


def test_a_folder_replaced_by_a_link_is_not_followed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret content")
    (source / "d").mkdir()

    def swap() -> None:
        (source / "d").rmdir()
        (source / "d").symlink_to(tmp_path / "outside")

    tamper(monkeypatch, "listxattr", 0, swap)
    data, report = back_up(source)
    assert b"secret" not in data
    assert report.variables["FILES_FAILED"] == "1"


@pytest.mark.root
def test_what_may_not_be_read_is_named_and_the_rest_is_saved(source: Path, tmp_path: Path) -> None:
    """As another user, without root's rights."""
    for name in ("open", "closed"):
        (source / name).write_text(name)
        (source / f"{name}.dir").mkdir()
        (source / f"{name}.dir/file").touch()
    os.chmod(source / "closed", 0)
    os.chmod(source / "closed.dir", 0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder not in (Path("/"), Path("/tmp")):
            os.chmod(folder, 0o755)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgid(12345)
            os.setuid(12345)
            _, report = back_up(source, ("HIST", "f"))
            os.write(write, repr((names(report), report.troubles, report.variables["FILES_FAILED"])).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    result = os.read(read, 65536).decode()
    os.close(read)
    assert result == repr(
        (
            ["/", "/open", "/open.dir", "/open.dir/file"],
            [
                "/closed: could not be read: Permission denied",
                "/closed.dir: the folder could not be opened: Permission denied",
            ],
            "2",
        )
    )


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ("*.o", ["/", "/a.c", "/sub", "/sub/core", "/sub/deep", "/sub/deep/x"]),
        ("sub", ["/", "/a.c", "/a.o"]),
        ("core,*.c", ["/", "/a.o", "/sub", "/sub/b.o", "/sub/deep", "/sub/deep/x"]),
        ("/sub/b.o", ["/", "/a.c", "/a.o", "/sub", "/sub/core", "/sub/deep", "/sub/deep/x"]),
        ("./sub/deep/", ["/", "/a.c", "/a.o", "/sub", "/sub/b.o", "/sub/core"]),
        ("sub/*", ["/", "/a.c", "/a.o", "/sub"]),
        ("", ["/", "/a.c", "/a.o", "/sub", "/sub/b.o", "/sub/core", "/sub/deep", "/sub/deep/x"]),
    ],
)
def test_excluded_names_are_left_out_with_all_below(source: Path, patterns: str, left: list[str]) -> None:
    (source / "sub/deep").mkdir(parents=True)
    for path in ("a.o", "a.c", "sub/b.o", "sub/core", "sub/deep/x"):
        (source / path).touch()
    assert saved(source, ("EXCLUDE", patterns)) == left


def test_files_select_what_is_saved_with_the_folders_above(source: Path) -> None:
    for path in ("a/b/c", "a/b/d", "a/e", "f"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).touch()
    assert saved(source, ("FILES", "/a/b"), ("FILES", "f")) == ["/", "/f", "/a", "/a/b", "/a/b/c", "/a/b/d"]
    assert saved(source, ("FILES", "./a/b/c")) == ["/", "/a", "/a/b", "/a/b/c"]
    assert len(saved(source, ("FILES", "/"))) == 7


def test_a_name_in_files_that_is_not_there_is_reported(source: Path) -> None:
    _, report = back_up(source, ("FILES", "missing"))
    assert report.troubles == ["/missing: named in FILES, but not there"]
    assert report.variables["FILES_FAILED"] == "1"


def test_a_socket_is_left_out_and_named(source: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "s"))
        _, report = back_up(source, ("HIST", "f"))
    assert names(report) == ["/"]
    assert report.logs == [(LogType.NORMAL, "/s: a socket, which no backup can hold; left out")]


def mounted(folder: Path) -> Iterator[None]:
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here: " + done.stderr.decode())
    yield
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def other_file_system(source: Path) -> Iterator[Path]:
    (source / "mounted").mkdir()
    for _ in mounted(source / "mounted"):
        (source / "mounted/inside").touch()
        yield source / "mounted"


@pytest.mark.root
def test_another_file_system_is_left_out_unless_told(source: Path, other_file_system: Path) -> None:
    _, report = back_up(source, ("HIST", "f"))
    assert names(report) == ["/", "/mounted"]
    assert "another file system is mounted here" in report.texts(LogType.NORMAL)[0]
    assert saved(source, ("ONE_FILE_SYSTEM", "n")) == ["/", "/mounted", "/mounted/inside"]


@pytest.mark.root
def test_nodes_stay_unique_across_file_systems(source: Path, other_file_system: Path) -> None:
    for number in range(100):
        (source / f"{number}").touch()
        (other_file_system / f"{number}").touch()
    _, report = back_up(source, ("HIST", "d"), ("ONE_FILE_SYSTEM", "n"))
    nodes = [node.node for node in report.nodes()]
    assert len(nodes) == len(set(nodes)) == 203
    assert {entry.node for entry in report.dirs()} == set(nodes)


@pytest.mark.root
def test_acls_can_be_left_out(source: Path) -> None:
    (source / "file").touch()
    subprocess.run(["setfacl", "-m", "u:1:r", source / "file"], check=True)
    assert b"SCHILY.acl.access" in back_up(source)[0]
    assert b"SCHILY.acl" not in back_up(source, ("NO_ACLS", "y"))[0]


def test_a_closed_generator_leaves_no_descriptor_behind(source: Path) -> None:
    for number in range(100):
        (source / f"{number}").write_bytes(b"x" * LARGE)
    before = os.listdir("/proc/self/fd")
    pieces = Tar().backup(make_job(Folders(source=source), RecordingReporter(), ("FILESYSTEM", "/source")))
    most = 0
    for _ in range(150):
        next(pieces)
        most = max(most, len(os.listdir("/proc/self/fd")))
    pieces.close()
    assert most - len(before) <= tar_backup.WATCHED + 8
    assert os.listdir("/proc/self/fd") == before


def test_a_very_fragmented_file_has_a_bounded_map(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_backup, "MAX_RANGES", 3)
    with (source / "holes").open("wb") as file:
        for number in range(10):
            file.seek(number * 131072)
            file.write(bytes([number + 1]) * 4096)
    content = (source / "holes").read_bytes()
    data, _ = back_up(source)
    restore_all(data, tmp_path / "back")
    assert (tmp_path / "back/holes").read_bytes() == content
