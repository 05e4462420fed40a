"""File history: the draft's rules of order, figures, and batches that DMAs can take."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ndmpd.formats import history
from ndmpd.formats.environment import Environment
from ndmpd.formats.history import BATCH_BYTES, History, NodeHistory, PathHistory
from ndmpd.formats.tar import Tar
from protocol.ndmp.codes import Code, FileType, Version
from protocol.ndmp.filehist import FhAddFilePost
from protocol.ndmp.registry import decode
from tests.formats.recorder import Folders, RecordingReporter, make_job, stream_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "b/inner").mkdir(parents=True)
    (root / "a").mkdir()
    (root / "zz").write_bytes(b"12345")
    (root / "b/first").write_bytes(b"x")
    (root / "a/second").hardlink_to(root / "b/first")
    (root / "b/link").symlink_to("first")
    os.mkfifo(root / "b/fifo")
    return root


def backed_up(source: Path, hist: str) -> RecordingReporter:
    report = RecordingReporter()
    stream_of(
        Tar().backup(make_job(Folders(source=source), report, ("FILESYSTEM", "/source"), ("HIST", hist)))
    )
    return report


@pytest.mark.parametrize(
    ("hist", "kind"),
    [
        ("f", PathHistory),
        ("F", PathHistory),
        ("y", PathHistory),
        ("d", NodeHistory),
        ("D", NodeHistory),
        ("n", History),
        ("", History),
        ("x", History),
    ],
)
def test_hist_chooses_the_kind(hist: str, kind: type[History]) -> None:
    assert type(history.chosen(Environment([("HIST", hist)]), RecordingReporter())) is kind


def test_without_hist_there_is_no_history(source: Path) -> None:
    assert backed_up(source, "n").posts == []


def test_paths_begin_with_a_separator_and_the_root_is_the_first(source: Path) -> None:
    """Draft 4.3.1; ndmjob finds nothing in a catalogue without an entry for "/"."""
    paths = [file.name[0].name for file in backed_up(source, "f").files()]
    assert paths[0] == "/"
    assert sorted(paths) == [
        "/",
        "/a",
        "/a/second",
        "/b",
        "/b/fifo",
        "/b/first",
        "/b/inner",
        "/b/link",
        "/zz",
    ]
    for path in paths[1:]:
        parent = path.rpartition("/")[0] or "/"
        assert paths.index(parent) < paths.index(path)


def test_figures_are_those_of_the_file(source: Path) -> None:
    os.chmod(source / "zz", 0o4751)
    os.utime(source / "zz", ns=(5, 1_700_000_000_999_999_999))
    figures = {file.name[0].name: file for file in backed_up(source, "f").files()}
    status = (source / "zz").stat()
    (stat,) = figures["/zz"].stat
    assert (stat.ftype, stat.fattr, stat.size, stat.links) == (FileType.REG, 0o4751, 5, 1)
    assert (stat.mtime, stat.owner, stat.group) == (1_700_000_000, status.st_uid, status.st_gid)
    assert (stat.ctime, stat.unsupported) == (int(status.st_ctime), 0)
    assert figures["/zz"].node == status.st_ino
    assert [figures[path].stat[0].ftype for path in ("/b", "/b/fifo", "/b/link")] == [
        FileType.DIR,
        FileType.FIFO,
        FileType.SLINK,
    ]
    assert figures["/a/second"].node == figures["/b/first"].node
    assert figures["/a/second"].fh_info != figures["/b/first"].fh_info


def test_names_of_a_folder_stand_together_behind_dot_and_dot_dot(source: Path) -> None:
    """Draft 4.3.2, rules 1, 3 and 4."""
    dirs = [(entry.name[0].name, entry.node, entry.parent) for entry in backed_up(source, "d").dirs()]
    node = {path: (source / path).stat().st_ino for path in (".", "a", "b", "b/inner", "b/first", "zz")}
    assert dirs[0] == (".", node["."], node["."])
    assert dirs[1] == ("..", node["."], node["."])
    listed: list[int] = []
    for name, number, parent in dirs:
        if name == ".":
            assert number == parent and number not in listed
            listed.append(number)
        else:
            assert parent == listed[-1]
    assert listed == [node["."], node["a"], node["b"], node["b/inner"]]
    assert ("..", node["b"], node["b/inner"]) in dirs
    assert ("second", node["b/first"], node["a"]) in dirs and ("first", node["b/first"], node["b"]) in dirs
    assert ("zz", node["zz"], node["."]) in dirs


def test_every_node_is_named_before_it_is_posted_and_posted_once(source: Path) -> None:
    """Rule 5, over the order of the posts as well."""
    for number in range(2000):
        (source / f"b/inner/{number:04}").touch()
    report = backed_up(source, "d")
    assert {code for code, _ in report.posts} == {Code.FH_ADD_DIR, Code.FH_ADD_NODE}
    named: set[int] = set()
    posted: list[int] = []
    for code, body in report.posts:
        one = RecordingReporter(posts=[(code, body)])
        named |= {entry.node for entry in one.dirs()}
        nodes = [entry.node for entry in one.nodes()]
        assert named.issuperset(nodes)
        posted += nodes
    assert len(posted) == len(set(posted)) == len(named) == 2008


def test_posts_are_batches_of_bounded_size_sent_while_the_data_moves(source: Path) -> None:
    for number in range(3000):
        (source / f"b/inner/{number:04}").write_bytes(bytes(600))
    report = RecordingReporter()
    job = make_job(Folders(source=source), report, ("FILESYSTEM", "/source"), ("HIST", "f"))
    seen = []
    for _ in Tar().backup(job):
        seen.append(len(report.posts))
    assert len(set(seen[:-1])) > 5 and seen == sorted(seen)
    assert all(len(body) < BATCH_BYTES + 1024 for _, body in report.posts)
    assert report.troubles == []
    listed = [f"/b/inner/{number:04}" for number in range(3000)]
    assert [path for path in report.positions() if path.startswith("/b/inner/")] == listed


def test_the_post_is_the_same_in_both_versions(source: Path) -> None:
    code, body = backed_up(source, "f").posts[0]
    assert code == Code.FH_ADD_FILE
    v3, v4 = (decode(FhAddFilePost, body, version) for version in (Version.V3, Version.V4))
    assert v3 == v4


def test_times_that_history_cannot_say_become_the_nearest(source: Path) -> None:
    os.utime(source / "zz", (-86400, -86400))
    (stat,) = next(file.stat for file in backed_up(source, "f").files() if file.name[0].name == "/zz")
    assert stat.mtime == 0
