"""Recover of selected names: to new names, directly or by reading, links and all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ndmpd.errors import StreamError
from ndmpd.formats.job import Selection
from ndmpd.formats.tar import Tar
from protocol.ndmp.codes import DataOperation, RecoveryStatus
from tests.formats.recorder import TO_THE_END, Folders, MemoryStream, RecordingReporter, make_job
from tests.formats.test_tar import back_up
from tests.trees.comparison import compare

OK = RecoveryStatus.SUCCESSFUL


class Backed:
    """A tree, its stream, where its entries are, and a way to restore from it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.source = base / "source"
        self.dest = base / "dest"
        self.dest.mkdir()
        for path in ("a/one", "a/sub/two", "a/sub/three", "a.txt", "b/four", "b/large", "c/five"):
            (self.source / path).parent.mkdir(parents=True, exist_ok=True)
            (self.source / path).write_bytes(path.encode() * 100)
        (self.source / "b/large").write_bytes(os.urandom(3_000_000))
        (self.source / "c/linked").hardlink_to(self.source / "a/one")
        (self.source / "b/linked").hardlink_to(self.source / "a/one")
        self.data, report = back_up(self.source, ("HIST", "f"))
        self.at = report.positions()

    def restore(self, *select: Selection, **variables: str) -> tuple[RecordingReporter, MemoryStream]:
        report, stream = RecordingReporter(), MemoryStream(self.data)
        job = make_job(
            Folders(dest=self.dest),
            report,
            *variables.items(),
            select=select,
            operation=DataOperation.RECOVER,
        )
        Tar().recover(job, stream)
        return report, stream

    def direct(self, path: str, destination: str, given: str = "") -> Selection:
        return Selection(path, destination, given or path, self.at[path])

    def restored(self) -> list[str]:
        return sorted(str(path.relative_to(self.dest)) for path in self.dest.rglob("*") if not path.is_dir())


@pytest.fixture
def backed(tmp_path: Path) -> Backed:
    return Backed(tmp_path)


@pytest.mark.parametrize("direct", [False, True])
def test_one_file_comes_back_under_a_new_name(backed: Backed, direct: bool) -> None:
    position = backed.at["/a/sub/two"] if direct else None
    report, stream = backed.restore(Selection("/a/sub/two", "/dest/x/y/renamed", "/a/sub/two", position))
    assert report.outcomes == [("/a/sub/two", OK)] and report.logs == []
    assert backed.restored() == ["x/y/renamed"]
    assert (backed.dest / "x/y/renamed").read_bytes() == b"a/sub/two" * 100
    assert (backed.dest / "x/y/renamed").stat().st_mtime_ns == (
        backed.source / "a/sub/two"
    ).stat().st_mtime_ns
    assert stream.wants[0] == ((backed.at["/a/sub/two"], 65536) if direct else (0, TO_THE_END))


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("original", ["/a", "a", "a/", "./a"])
def test_a_folder_comes_back_with_all_below(backed: Backed, direct: bool, original: str) -> None:
    report, _ = backed.restore(
        Selection(original, "/dest/new", original, backed.at["/a"] if direct else None)
    )
    assert report.outcomes == [(original, OK)]
    assert compare(backed.source / "a", backed.dest / "new").found == []


@pytest.mark.parametrize("direct", [False, True])
def test_without_recursion_a_folder_comes_alone(backed: Backed, direct: bool) -> None:
    os.chmod(backed.source / "a", 0o750)
    backed.data, _ = back_up(backed.source)
    backed.restore(Selection("/a", "/dest/new", "/a", backed.at["/a"] if direct else None), RECURSIVE="n")
    assert os.listdir(backed.dest / "new") == []
    assert (backed.dest / "new").stat().st_mode & 0o777 == 0o750


def test_direct_access_reads_little(backed: Backed) -> None:
    (backed.source / "b/huge").write_bytes(os.urandom(20_000_000))
    backed.data, report = back_up(backed.source, ("HIST", "f"))
    backed.at = report.positions()
    _, stream = backed.restore(backed.direct("/a.txt", "/dest/1"), backed.direct("/c/five", "/dest/2"))
    assert backed.restored() == ["1", "2"]
    assert stream.reads <= 2 * 65536
    assert [offset for offset, _ in stream.wants] == [backed.at["/a.txt"], backed.at["/c/five"]]


def test_selected_names_are_visited_in_the_order_of_the_stream(backed: Backed) -> None:
    names = ["/c/five", "/b/four", "/a.txt"]
    report, stream = backed.restore(*(backed.direct(name, "/dest" + name) for name in names))
    assert report.outcomes == [(name, OK) for name in names]  # told in the order given
    offsets = [offset for offset, _ in stream.wants]
    assert offsets == sorted(offsets)


def test_neighbours_are_read_with_one_request(backed: Backed) -> None:
    _, stream = backed.restore(
        *(backed.direct(name, "/dest" + name) for name in ("/a/one", "/a/sub/two", "/a/sub/three", "/a"))
    )
    assert backed.restored() == ["a/one", "a/sub/three", "a/sub/two"]
    assert len(stream.wants) <= 2


def test_a_large_file_is_filled_by_the_data_path(backed: Backed) -> None:
    backed.restore(backed.direct("/b/large", "/dest/large"))
    assert (backed.dest / "large").read_bytes() == (backed.source / "b/large").read_bytes()


def test_names_that_overlap_are_all_restored(backed: Backed) -> None:
    for offsets in ({}, backed.at):
        report, _ = backed.restore(
            *(
                Selection(path, destination, path, offsets.get(path))
                for path, destination in (
                    ("/a", "/dest/whole"),
                    ("/a/sub/two", "/dest/single"),
                    ("/a", "/dest/again"),
                    ("/", "/dest/all"),
                )
            )
        )
        assert [status for _, status in report.outcomes] == [OK] * 4
        assert compare(backed.source / "a", backed.dest / "whole").found == []
        assert compare(backed.source / "a", backed.dest / "again").found == []
        assert compare(backed.source, backed.dest / "all").found == []
        assert (backed.dest / "single").read_bytes() == b"a/sub/two" * 100


def test_a_name_that_is_not_there_is_told(backed: Backed) -> None:
    report, _ = backed.restore(
        Selection("/nowhere", "/dest/x", "/nowhere"),
        Selection("/a.txt", "/dest/y", "y"),
        Selection("/../etc", "/dest/z", "/../etc"),
    )
    assert report.outcomes == [
        ("/nowhere", RecoveryStatus.FAILED_NOT_FOUND),
        ("y", OK),
        ("/../etc", RecoveryStatus.FAILED_NOT_FOUND),
    ]
    assert backed.restored() == ["y"]


@pytest.mark.parametrize("position", [512, 1024, 3_000_000 // 512 * 512, 513, 1 << 62, 1 << 63])
def test_a_wrong_position_falls_back_to_searching(backed: Backed, position: int) -> None:
    report, _ = backed.restore(Selection("/c/five", "/dest/five", "/c/five", position))
    assert report.outcomes == [("/c/five", OK)]
    assert (backed.dest / "five").read_bytes() == b"c/five" * 100


def test_direct_access_can_be_forbidden(backed: Backed) -> None:
    _, stream = backed.restore(backed.direct("/a.txt", "/dest/x"), DIRECT="n")
    assert stream.wants == [(0, TO_THE_END)]


def test_no_request_goes_beyond_the_stream_where_its_length_is_known(backed: Backed) -> None:
    _, stream = backed.restore(backed.direct("/c/five", "/dest/x"), STREAM_BYTES=str(len(backed.data)))
    assert all(offset + length <= len(backed.data) for offset, length in stream.wants)


def test_a_search_ends_with_the_last_name_found(backed: Backed) -> None:
    (backed.source / "z").write_bytes(os.urandom(50_000_000))
    (backed.source / "b/z").write_bytes(os.urandom(5_000_000))
    backed.data, _ = back_up(backed.source)
    _, stream = backed.restore(Selection("/a.txt", "/dest/x", "/a.txt"))
    assert stream.reads < 10_000_000


class TestLinks:
    """The first name in the stream has the data: ``a/one``; ``b/linked`` and ``c/linked`` point at it."""

    @pytest.mark.parametrize("direct", [False, True])
    def test_a_link_alone_becomes_a_file_with_the_data(self, backed: Backed, direct: bool) -> None:
        report, _ = backed.restore(
            Selection("/c/linked", "/dest/x", "/c/linked", backed.at["/c/linked"] if direct else None)
        )
        assert report.outcomes == [("/c/linked", OK)] and report.troubles == []
        assert (backed.dest / "x").read_bytes() == b"a/one" * 100
        assert (backed.dest / "x").stat().st_nlink == 1

    @pytest.mark.parametrize("direct", [False, True])
    def test_links_restored_together_are_one_file_again(self, backed: Backed, direct: bool) -> None:
        at = backed.at if direct else {}
        for pair in (("/b/linked", "/c/linked"), ("/a/one", "/c/linked"), ("/c", "/b"), ("/c/linked", "/a")):
            target = f"/dest/{len(os.listdir(backed.dest))}"
            report, _ = backed.restore(*(Selection(path, target + path, path, at.get(path)) for path in pair))
            assert [status for _, status in report.outcomes] == [OK, OK] and report.troubles == []
            found = {
                path.stat().st_ino
                for path in (backed.base / target[1:]).rglob("*")
                if path.name in ("one", "linked")
            }
            assert len(found) == 1

    def test_in_history_by_nodes_every_name_has_the_position_of_the_data(self, backed: Backed) -> None:
        """HIST=d: one node, so a DMA asks for any name at the offset of the first."""
        at = backed.at["/a/one"]
        report, _ = backed.restore(
            Selection("/b/linked", "/dest/b", "/b/linked", at),
            Selection("/c/linked", "/dest/c", "/c/linked", at),
        )
        assert [status for _, status in report.outcomes] == [OK, OK] and report.troubles == []
        assert (backed.dest / "b").read_bytes() == b"a/one" * 100
        assert os.path.samefile(backed.dest / "b", backed.dest / "c")

    def test_a_file_selected_twice_becomes_two_files(self, backed: Backed) -> None:
        backed.restore(backed.direct("/a/one", "/dest/1"), backed.direct("/a/one", "/dest/2"))
        assert not os.path.samefile(backed.dest / "1", backed.dest / "2")

    def test_folder_times_survive_links_that_are_fetched_last(self, backed: Backed) -> None:
        os.utime(backed.source / "c", ns=(5, 5))
        backed.data, _ = back_up(backed.source)
        backed.restore(Selection("/c", "/dest/c", "/c"))
        assert (backed.dest / "c").stat().st_mtime_ns == 5
        assert (backed.dest / "c/linked").exists()


class TestVersion3:
    def test_the_whole_path_is_tried_first(self, backed: Backed) -> None:
        backed.restore(Selection("/a", "/dest/x", "/a", alternative="/a/one"))
        assert compare(backed.source / "a", backed.dest / "x").found == []

    @pytest.mark.parametrize("direct", [False, True])
    def test_then_the_joined_one(self, backed: Backed, direct: bool) -> None:
        backed.restore(
            Selection(
                "/a/su", "/dest/x", "/a/su", backed.at["/a/one"] if direct else None, alternative="/a/one"
            )
        )
        assert (backed.dest / "x").read_bytes() == b"a/one" * 100


class TestDestination:
    def test_without_a_destination_names_go_where_they_came_from(self, backed: Backed) -> None:
        backed.restore(Selection("/a.txt", "", "/a.txt"), FILESYSTEM="/dest/orig")
        backed.restore(Selection("/a.txt", "", "/a.txt"), FILESYSTEM="/gone", PREFIX="/dest/prefix")
        assert backed.restored() == ["orig/a.txt", "prefix/a.txt"]

    def test_one_outside_every_export_is_refused_and_the_others_restored(self, backed: Backed) -> None:
        report, _ = backed.restore(
            Selection("/a.txt", "/etc/a", "1"),
            Selection("/a.txt", "/dest/../a", "2"),
            Selection("/a.txt", "/dest/a", "3"),
        )
        assert report.outcomes == [
            ("1", RecoveryStatus.FAILED_PERMISSION),
            ("2", RecoveryStatus.FAILED_PERMISSION),
            ("3", OK),
        ]

    def test_a_link_on_the_way_does_not_lead_out(self, backed: Backed) -> None:
        (backed.base / "outside").mkdir()
        (backed.dest / "out").symlink_to(backed.base / "outside")
        (backed.dest / "d").mkdir()
        (backed.dest / "d/sub").symlink_to(backed.base / "outside")
        report, _ = backed.restore(Selection("/a.txt", "/dest/out/x", "1"), Selection("/a", "/dest/d", "2"))
        assert report.outcomes == [("1", RecoveryStatus.FAILED_PERMISSION), ("2", OK)]
        assert os.listdir(backed.base / "outside") == []
        assert (backed.dest / "d/sub").is_dir() and not (backed.dest / "d/sub").is_symlink()

    def test_an_existing_file_is_replaced_and_not_written_through(self, backed: Backed) -> None:
        (backed.base / "precious").write_text("precious")
        (backed.dest / "x").symlink_to(backed.base / "precious")
        (backed.dest / "y").hardlink_to(backed.base / "precious")
        backed.restore(Selection("/a.txt", "/dest/x", "x"), Selection("/b/large", "/dest/y", "y"))
        assert (backed.base / "precious").read_text() == "precious"
        assert (backed.dest / "x").read_bytes() == b"a.txt" * 100
        assert sorted(os.listdir(backed.dest)) == ["x", "y"]

    def test_existing_files_can_be_kept(self, backed: Backed) -> None:
        (backed.dest / "a.txt").write_text("mine")
        report, _ = backed.restore(Selection("/", "/dest", "/"), RESTORE_OVERWRITE="n")
        assert (backed.dest / "a.txt").read_text() == "mine"
        assert report.outcomes == [("/", RecoveryStatus.FAILED_FILE_PATH_EXISTS)]
        assert (backed.dest / "a/one").exists()
        assert report.variables["FILES_FAILED"] == "1"

    def test_a_folder_in_the_way_of_a_file_stays_unless_it_is_empty(self, backed: Backed) -> None:
        (backed.dest / "full/x").mkdir(parents=True)
        (backed.dest / "empty").mkdir()
        report, _ = backed.restore(
            Selection("/a.txt", "/dest/full", "1"), Selection("/a.txt", "/dest/empty", "2")
        )
        assert [status == OK for _, status in report.outcomes] == [False, True]
        assert sorted(os.listdir(backed.dest)) == ["empty", "full"]

    def test_a_file_in_the_way_of_a_folder_is_replaced(self, backed: Backed) -> None:
        (backed.dest / "a").write_text("x")
        backed.restore(Selection("/a", "/dest/a", "/a"))
        assert compare(backed.source / "a", backed.dest / "a").found == []

    @pytest.mark.root
    def test_an_inherited_acl_does_not_stick_to_what_is_restored(self, backed: Backed) -> None:
        import subprocess

        subprocess.run(["setfacl", "-d", "-m", "u:1:rwx", backed.dest], check=True)
        backed.restore(Selection("/a", "/dest/a", "/a"), Selection("/a.txt", "/dest/a.txt", "/a.txt"))
        assert compare(backed.source / "a", backed.dest / "a").found == []
        assert os.listxattr(backed.dest / "a.txt") == []

    def test_the_umask_of_the_server_does_not_matter(self, backed: Backed) -> None:
        os.chmod(backed.source / "a.txt", 0o666)
        backed.data, _ = back_up(backed.source)
        before = os.umask(0o077)
        try:
            backed.restore(Selection("/a.txt", "/dest/x", "/a.txt"))
            assert os.umask(0o077) == 0o077
        finally:
            os.umask(before)
        assert (backed.dest / "x").stat().st_mode & 0o777 == 0o666


@pytest.mark.root
def test_what_needs_rights_is_logged_and_counted_and_not_fatal(backed: Backed) -> None:
    """As another user: owners cannot be given back."""
    os.chown(backed.dest, 12345, 12345)
    for folder in (backed.base, *backed.base.parents):
        if folder not in (Path("/"), Path("/tmp")):
            os.chmod(folder, 0o755)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgid(12345)
            os.setuid(12345)
            report, _ = backed.restore(Selection("/a.txt", "/dest/x", "/a.txt"))
            os.write(write, repr((report.outcomes, report.troubles, report.variables)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    result = os.read(read, 65536).decode()
    os.close(read)
    assert "SUCCESSFUL" in result and "/x: owner not restored: Operation not permitted" in result
    assert "'FILES_FAILED': '0'" in result and "'ATTRIBUTES_FAILED': '1'" in result
    assert (backed.dest / "x").read_bytes() == b"a.txt" * 100


def test_zeros_before_the_known_end_are_damage(backed: Backed) -> None:
    """A hole in the stream looks like its end mark; the catalogue knows better."""
    at = backed.at["/b/four"]
    backed.data = backed.data[:at] + bytes(4096) + backed.data[at + 4096 :]
    with pytest.raises(StreamError, match="zeros where an entry belongs"):
        backed.restore(Selection("/", "/dest", "/"), STREAM_BYTES=str(len(backed.data)))


def test_half_an_end_mark_is_enough(backed: Backed) -> None:
    backed.data = backed.data[:-512]
    report, _ = backed.restore(Selection("/", "/dest", "/"))
    assert report.outcomes == [("/", OK)]


@pytest.mark.parametrize("cut", [1024, 2000, 1_000_000])
def test_a_stream_that_ends_early_is_an_error_and_leaves_no_half_file(backed: Backed, cut: int) -> None:
    report, stream = RecordingReporter(), MemoryStream(backed.data[:-cut], padding=1)
    job = make_job(
        Folders(dest=backed.dest),
        report,
        select=[Selection("/", "/dest", "/")],
        operation=DataOperation.RECOVER,
    )
    with pytest.raises(StreamError):
        Tar().recover(job, stream)
    assert report.outcomes == [("/", RecoveryStatus.FAILED_IO_ERROR)]
    for path in backed.dest.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (backed.source / path.relative_to(backed.dest)).read_bytes()
