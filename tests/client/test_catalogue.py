"""The catalogue file: what goes in comes out, whatever the names and numbers, and whoever reads it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ndmpd.client.catalogue import APPLICATION_ID, UNKNOWN, Catalogue, Medium
from ndmpd.client.errors import CatalogueError
from ndmpd.client.history import BATCH, COMMIT_EVERY, History, HistoryWriter

STATS = (4, 1000, 1700000000, 10, 20, 0o644)
FOLDER = (0, 4096, 1700000001, 0, 0, 0o755)


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.open(tmp_path / "jobs.cat", create=True)


def begin(catalogue: Catalogue, filesystem: str = "/vol/a") -> int:
    return catalogue.begin(
        data_server="filer:10000", tape_server="filer:10000", ndmp_version=4, butype="tar",
        filesystem=filesystem, record_size=65536)


def test_a_second_backup_is_appended_to_the_same_file(tmp_path: Path) -> None:
    for name in ("/vol/a", "/vol/b"):
        with Catalogue.open(tmp_path / "jobs.cat", create=True) as catalogue:
            number = begin(catalogue, name)
            catalogue.finish(number, success=True, size=7, data_halt="SUCCESSFUL",
                             mover_halt="CONNECT_CLOSED")
    with Catalogue.open(tmp_path / "jobs.cat") as catalogue:
        assert [each.filesystem for each in catalogue.backups()] == ["/vol/a", "/vol/b"]
        assert catalogue.backup().filesystem == "/vol/b"
        assert catalogue.backup(1).filesystem == "/vol/a"


def test_environment_and_media_come_back_in_order_and_unchanged(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    pairs = [("EXCLUDE", "*.o"), ("EXCLUDE", "b\udcffd"), ("EMPTY", "")]
    media = [Medium("E01001L8", "tape0", 0, 0, 1 << 20), Medium("E01002L8", "tape0", 2, 1 << 20, 65536)]
    catalogue.set_environment(number, [("OLD", "1")])
    catalogue.set_environment(number, pairs)
    for medium in media:
        catalogue.add_medium(number, medium)
    assert catalogue.environment(number) == pairs
    assert catalogue.media(number) == media


def test_a_backup_that_was_cut_off_is_not_taken_for_the_latest(catalogue: Catalogue) -> None:
    first = begin(catalogue)
    catalogue.finish(first, success=True, size=1, data_halt="SUCCESSFUL", mover_halt="CONNECT_CLOSED")
    second = begin(catalogue)
    assert catalogue.backup().id == first
    assert catalogue.backup(second).success is None


def test_asking_for_a_backup_that_is_not_there_names_those_that_are(catalogue: Catalogue) -> None:
    begin(catalogue)
    with pytest.raises(CatalogueError, match=r"no backup 9 .*there are: 1"):
        catalogue.backup(9)


def test_a_failed_backup_must_be_named_to_be_used(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    catalogue.finish(number, success=False, size=0, data_halt="ABORTED", mover_halt="ABORTED")
    with pytest.raises(CatalogueError, match="no successful backup"):
        catalogue.backup()


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "other.db"
    with sqlite3.connect(place) as other:
        other.execute("CREATE TABLE theirs (x)")
    before = place.read_bytes()
    with pytest.raises(CatalogueError, match="another program"):
        Catalogue.open(place, create=True)
    assert place.read_bytes() == before


def test_a_newer_catalogue_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "new.cat"
    Catalogue.open(place, create=True).close()
    with sqlite3.connect(place) as newer:
        newer.execute("PRAGMA user_version = 2")
    with pytest.raises(CatalogueError, match="version 2"):
        Catalogue.open(place)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "text"
    place.write_text("not a database, but long enough to look at" * 50)
    with pytest.raises(CatalogueError, match="cannot be used"):
        Catalogue.open(place, create=True)


def test_a_missing_catalogue_is_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such catalogue"):
        Catalogue.open(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_any_sqlite_tool_recognises_the_format(tmp_path: Path) -> None:
    Catalogue.open(tmp_path / "jobs.cat", create=True).close()
    with sqlite3.connect(tmp_path / "jobs.cat") as plain:
        assert plain.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert plain.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- history


def test_path_history_is_found_by_path_and_listed_below_a_directory(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    writer = HistoryWriter(catalogue, number)
    for at, path in enumerate(["/", "/a", "/a/x", "./a/y", "/a.b", "/b"]):
        writer.file(path, STATS, 100 + at, 512 * at)
    writer.flush()
    history = History(catalogue, number)
    assert [entry.path for entry in history.entries("/a")] == ["/a", "/a/x", "/a/y"]
    assert [entry.path for entry in history.entries()] == ["/", "/a", "/a.b", "/a/x", "/a/y", "/b"]
    found = history.lookup("a/y")
    assert found is not None
    assert (found.fh_info, found.node, found.size, found.mode) == (512 * 3, 103, 1000, 0o644)
    assert history.lookup("/c") is None


def test_names_that_are_not_utf8_are_kept_byte_for_byte(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    writer = HistoryWriter(catalogue, number)
    for path in ("/d", "/d/caf\udce9", "/d/caf\udce9/x", "/d/é"):
        writer.file(path, STATS, 1, 0)
    writer.flush()
    history = History(catalogue, number)
    assert history.lookup("/d/caf\udce9") is not None
    assert [entry.path for entry in history.entries("/d")] == ["/d", "/d/é", "/d/caf\udce9", "/d/caf\udce9/x"]
    assert [entry.path for entry in history.entries("/d/caf\udce9")] == ["/d/caf\udce9", "/d/caf\udce9/x"]
    raw = catalogue.database.execute("SELECT path FROM file WHERE typeof(path) = 'blob' ORDER BY path")
    assert raw.fetchall() == [(b"/d/caf\xe9",), (b"/d/caf\xe9/x",)]


def tree(writer: HistoryWriter, dots: bool = False) -> None:
    """Root 2 with etc (10: passwd 11), and a hard link of passwd in the root."""
    writer.directory_entry(2, ".", 2)
    if dots:
        for own, parent in ((2, 2), (10, 2)):
            writer.directory_entry(own, "..", parent)
        writer.directory_entry(10, ".", 10)
    writer.directory_entry(2, "etc", 10)
    writer.directory_entry(10, "passwd", 11)
    writer.directory_entry(2, "copy", 11)
    writer.node(2, FOLDER, 0)
    writer.node(10, FOLDER, 512)
    writer.node(11, STATS, 1024)


@pytest.mark.parametrize("dots", [False, True])
def test_directory_history_is_resolved_to_paths(catalogue: Catalogue, dots: bool) -> None:
    number = begin(catalogue)
    writer = HistoryWriter(catalogue, number)
    tree(writer, dots)
    writer.flush()
    history = History(catalogue, number)
    assert [entry.path for entry in history.entries()] == ["/", "/copy", "/etc", "/etc/passwd"]
    assert [entry.path for entry in history.entries("/etc/")] == ["/etc", "/etc/passwd"]
    found = history.lookup("/etc/passwd")
    assert found is not None
    assert (found.node, found.fh_info, found.size) == (11, 1024, 1000)
    root = history.lookup("/")
    assert root is not None
    assert root.node == 2
    assert history.lookup("/etc/shadow") is None


def test_a_directory_inside_itself_does_not_hang_the_listing(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    writer = HistoryWriter(catalogue, number)
    tree(writer)
    writer.directory_entry(10, "loop", 10)
    writer.flush()
    listed = [entry.path for entry in History(catalogue, number).entries()]
    assert listed == ["/", "/copy", "/etc", "/etc/passwd"]


def test_unknown_and_huge_numbers_survive(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    writer = HistoryWriter(catalogue, number)
    writer.file("/unknown", STATS, UNKNOWN, UNKNOWN)
    writer.file("/huge", STATS, UNKNOWN - 1, 1 << 63)
    writer.flush()
    history = History(catalogue, number)
    unknown, huge = history.lookup("/unknown"), history.lookup("/huge")
    assert unknown is not None and huge is not None
    assert (unknown.node, unknown.fh_info) == (None, None)
    assert (huge.node, huge.fh_info) == (UNKNOWN - 1, 1 << 63)


def test_history_of_two_backups_does_not_mix(catalogue: Catalogue) -> None:
    first, second = begin(catalogue), begin(catalogue)
    for number, offset in ((first, 1), (second, 2)):
        writer = HistoryWriter(catalogue, number)
        writer.file("/same", STATS, 1, offset)
        tree(writer)
        writer.flush()
    for number, offset in ((first, 1), (second, 2)):
        found = History(catalogue, number).lookup("/same")
        assert found is not None and found.fh_info == offset
        assert catalogue.count(number) == 4


def test_many_entries_are_inserted_in_batches_and_become_durable(tmp_path: Path) -> None:
    with Catalogue.open(tmp_path / "big.cat", create=True) as catalogue:
        number = begin(catalogue)
        writer = HistoryWriter(catalogue, number)
        total = COMMIT_EVERY + BATCH + 5
        for at in range(total):
            writer.file(f"/f{at:07d}", STATS, at, at)
        with sqlite3.connect(tmp_path / "big.cat") as onlooker:
            assert onlooker.execute("SELECT count(*) FROM file").fetchone() == (COMMIT_EVERY,)
        writer.flush()
        assert writer.entries == total
        assert catalogue.count(number) == total


def test_without_a_catalogue_history_is_counted_only() -> None:
    writer = HistoryWriter(None, 0)
    tree(writer)
    writer.file("/x", STATS, 1, 2)
    writer.flush()
    assert writer.entries == 4


def test_a_catalogue_that_cannot_be_written_is_named(catalogue: Catalogue) -> None:
    number = begin(catalogue)
    catalogue.database.execute("PRAGMA query_only = 1")
    writer = HistoryWriter(catalogue, number)
    writer.file("/x", STATS, 1, 0)
    with pytest.raises(CatalogueError, match=r"jobs\.cat: cannot be written"):
        writer.flush()
