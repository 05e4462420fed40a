"""The catalogue file: what was backed up, where it lies on tape, and how to get it back.

A catalogue is one SQLite 3 database (``application_id`` 0x6E646D70, "ndmp"; ``user_version`` 1), so any
tool can read it. Tables:

``backup``       one row per backup; ``success`` is NULL while it runs (or if it was cut off), else 0 or 1.
``environment``  NAME=VALUE as DATA_GET_ENV returned it (as sent, if the job did not get that far), in order.
``medium``       which bytes of the stream lie on which cartridge: ``window_offset``, ``window_length`` (the
                 last one's includes the padding of the last record) in tape file ``file_number``.
``file``         path history (FH_ADD_FILE): ``path`` begins with "/" and is relative to the backup's root.
``dir``          directory history (FH_ADD_DIR): ``name`` in directory ``parent`` is ``node``.
``node``         what FH_ADD_NODE says of each node.
``message``      LOG_MESSAGEs of weight, ``kind`` as NDMP numbers them (2 error, 3 warning).

``type`` is NDMP's number (0 directory, 1 fifo, 2 and 3 devices, 4 file, 5 symbolic link, 6 socket ...). Times
are seconds since 1970; ``started`` and ``finished`` are ISO 8601 in UTC. A name that is not UTF-8 is a BLOB
of its bytes, every other is TEXT. Unsigned 64-bit numbers are in two's complement; unknown is NULL.

Memory is bounded: history is inserted in batches and read back through cursors, whatever its size.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ndmpd.client.errors import CatalogueError

APPLICATION_ID = 0x6E646D70
SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE backup (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, finished TEXT, success INTEGER,
    data_server TEXT NOT NULL, tape_server TEXT NOT NULL, ndmp_version INTEGER NOT NULL,
    butype TEXT NOT NULL, filesystem TEXT NOT NULL, record_size INTEGER NOT NULL,
    bytes INTEGER, data_halt TEXT, mover_halt TEXT, problem TEXT);
CREATE TABLE environment (
    backup INTEGER NOT NULL REFERENCES backup, position INTEGER NOT NULL, name NOT NULL, value NOT NULL,
    PRIMARY KEY (backup, position)) WITHOUT ROWID;
CREATE TABLE medium (
    backup INTEGER NOT NULL REFERENCES backup, sequence INTEGER NOT NULL,
    cartridge TEXT NOT NULL, drive TEXT NOT NULL, file_number INTEGER NOT NULL,
    window_offset INTEGER NOT NULL, window_length INTEGER NOT NULL,
    PRIMARY KEY (backup, sequence)) WITHOUT ROWID;
CREATE TABLE file (
    backup INTEGER NOT NULL REFERENCES backup, path NOT NULL,
    type INTEGER, size INTEGER, mtime INTEGER, owner INTEGER, "group" INTEGER, mode INTEGER,
    node INTEGER, fh_info INTEGER,
    PRIMARY KEY (backup, path)) WITHOUT ROWID;
CREATE TABLE dir (
    backup INTEGER NOT NULL REFERENCES backup, parent INTEGER NOT NULL, name NOT NULL, node INTEGER NOT NULL,
    PRIMARY KEY (backup, parent, name)) WITHOUT ROWID;
CREATE INDEX dir_node ON dir (backup, node);
CREATE TABLE node (
    backup INTEGER NOT NULL REFERENCES backup, node INTEGER NOT NULL,
    type INTEGER, size INTEGER, mtime INTEGER, owner INTEGER, "group" INTEGER, mode INTEGER, fh_info INTEGER,
    PRIMARY KEY (backup, node)) WITHOUT ROWID;
CREATE TABLE message (
    backup INTEGER NOT NULL REFERENCES backup, kind INTEGER NOT NULL, text NOT NULL);
CREATE INDEX message_backup ON message (backup);
"""

UNKNOWN = (1 << 64) - 1
"""All ones: what NDMP sends for an fh_info or node that it does not know."""

Text = str | bytes


def stored(text: str) -> Text:
    """``text`` as SQLite keeps it: its bytes where they are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
    return text


def loaded(value: Text) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def signed(number: int) -> int | None:
    """An unsigned 64-bit number in two's complement, unknown as None."""
    if number == UNKNOWN:
        return None
    return number - (1 << 64) if number >> 63 else number


def unsigned(number: int | None) -> int | None:
    return None if number is None else number & UNKNOWN


def normal(path: str) -> str:
    """A path as the catalogue spells it: "/" first, no "." and no empty component."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Medium:
    """One cartridge's part of a stream: bytes [window_offset, window_offset + window_length).

    ``cartridge`` is its volume tag, "" where none is known; the data begins after ``file_number`` file marks.
    """

    cartridge: str
    drive: str
    file_number: int
    window_offset: int
    window_length: int

    @property
    def end(self) -> int:
        return self.window_offset + self.window_length


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup as the catalogue knows it. ``success``: 0, 1, or None if it never ended."""

    id: int
    started: str
    finished: str | None
    success: int | None
    data_server: str
    tape_server: str
    ndmp_version: int
    butype: str
    filesystem: str
    record_size: int
    bytes: int | None
    data_halt: str | None
    mover_halt: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in a backup. ``fh_info`` is its offset in the stream, None if the server did not say."""

    path: str
    type: int | None
    size: int | None
    mtime: int | None
    owner: int | None
    group: int | None
    mode: int | None
    node: int | None
    fh_info: int | None


class Catalogue:
    """An open catalogue file. Writes become durable at ``commit`` and when a backup begins and ends."""

    def __init__(self, database: sqlite3.Connection, path: str) -> None:
        self.path = path
        self.database = database

    @classmethod
    def open(cls, path: str | os.PathLike[str], create: bool = False) -> Catalogue:
        """Raises CatalogueError where the file is missing (unless ``create``), foreign or newer."""
        place = Path(path)
        if not create and not place.is_file():
            raise CatalogueError(f"{place}: no such catalogue; name the file that the backup wrote")
        try:
            database = sqlite3.connect(place, timeout=60, isolation_level=None)
            database.execute("PRAGMA synchronous = NORMAL")
            catalogue = cls(database, str(place))
            catalogue._prepare(create)
        except sqlite3.Error as problem:
            raise CatalogueError(f"{place}: cannot be used as a catalogue: {problem}") from None
        return catalogue

    def _prepare(self, create: bool) -> None:
        identity = self._number("PRAGMA application_id")
        version = self._number("PRAGMA user_version")
        tables = self._number("SELECT count(*) FROM sqlite_master")
        if identity == 0 and version == 0 and tables == 0 and create:
            self.database.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif identity != APPLICATION_ID:
            raise CatalogueError(f"{self.path}: a database of another program; choose another file")
        elif version != SCHEMA_VERSION:
            raise CatalogueError(f"{self.path}: a catalogue of version {version}, this program knows "
                                 f"{SCHEMA_VERSION}; use the program that wrote it")

    def _number(self, question: str, *values: object) -> int:
        return int(self.database.execute(question, values).fetchone()[0])

    def commit(self) -> None:
        with self._readable_errors():
            if self.database.in_transaction:
                self.database.execute("COMMIT")

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """A full disk or a locked file as a CatalogueError that names the file."""
        try:
            yield
        except sqlite3.Error as problem:
            raise CatalogueError(f"{self.path}: cannot be written: {problem}") from None

    def close(self) -> None:
        self.commit()
        self.database.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing

    def begin(self, *, data_server: str, tape_server: str, ndmp_version: int, butype: str, filesystem: str,
              record_size: int) -> int:
        """A new backup; returns its id."""
        row = self.database.execute(
            "INSERT INTO backup (started, data_server, tape_server, ndmp_version, butype, filesystem,"
            " record_size) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (now(), data_server, tape_server, ndmp_version, butype, filesystem, record_size))
        return int(row.lastrowid or 0)

    def add_medium(self, backup: int, medium: Medium) -> None:
        self.database.execute(
            "INSERT INTO medium SELECT ?1, count(*) + 1, ?2, ?3, ?4, ?5, ?6 FROM medium WHERE backup = ?1",
            (backup, medium.cartridge, medium.drive, medium.file_number, medium.window_offset,
             medium.window_length))

    def set_environment(self, backup: int, pairs: Iterable[tuple[str, str]]) -> None:
        self.commit()
        with self.database:
            self.database.execute("BEGIN")
            self.database.execute("DELETE FROM environment WHERE backup = ?", (backup,))
            self.database.executemany(
                "INSERT INTO environment VALUES (?, ?, ?, ?)",
                ((backup, at, stored(name), stored(value)) for at, (name, value) in enumerate(pairs)))

    def add_message(self, backup: int, kind: int, text: str) -> None:
        self.database.execute("INSERT INTO message VALUES (?, ?, ?)", (backup, kind, stored(text)))

    def finish(self, backup: int, *, success: bool, size: int, data_halt: str, mover_halt: str,
               problem: str = "") -> None:
        self.commit()
        self.database.execute(
            "UPDATE backup SET finished = ?, success = ?, bytes = ?, data_halt = ?, mover_halt = ?,"
            " problem = ? WHERE id = ?",
            (now(), int(success), size, data_halt, mover_halt, problem or None, backup))

    def insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Add a batch of rows to ``file``, ``dir`` or ``node``; a repeated entry replaces the earlier one."""
        places = ", ".join("?" * len(rows[0]))
        with self._readable_errors():
            if not self.database.in_transaction:
                self.database.execute("BEGIN")
            self.database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", rows)

    # -- reading

    def backups(self) -> list[Backup]:
        rows = self.database.execute(
            "SELECT id, started, finished, success, data_server, tape_server, ndmp_version, butype,"
            " filesystem, record_size, bytes, data_halt, mover_halt, problem FROM backup ORDER BY id")
        return [Backup(*row) for row in rows]

    def backup(self, number: int | None = None) -> Backup:
        """Backup ``number``, or the latest whole one. Raises CatalogueError where there is none."""
        known = self.backups()
        for each in reversed(known):
            if each.id == number or (number is None and each.success):
                return each
        if number is not None:
            have = ", ".join(str(each.id) for each in known) or "none"
            raise CatalogueError(f"{self.path}: no backup {number} in here (there are: {have})")
        raise CatalogueError(f"{self.path}: no successful backup in here; name another by --backup")

    def environment(self, backup: int) -> list[tuple[str, str]]:
        rows = self.database.execute(
            "SELECT name, value FROM environment WHERE backup = ? ORDER BY position", (backup,))
        return [(loaded(name), loaded(value)) for name, value in rows]

    def media(self, backup: int) -> list[Medium]:
        rows = self.database.execute(
            "SELECT cartridge, drive, file_number, window_offset, window_length FROM medium"
            " WHERE backup = ? ORDER BY sequence", (backup,))
        return [Medium(*row) for row in rows]

    def messages(self, backup: int) -> list[tuple[int, str]]:
        rows = self.database.execute("SELECT kind, text FROM message WHERE backup = ?", (backup,))
        return [(kind, loaded(text)) for kind, text in rows]

    def count(self, backup: int) -> int:
        """How many entries of file history this backup has."""
        return self._number("SELECT (SELECT count(*) FROM file WHERE backup = ?1)"
                            " + (SELECT count(*) FROM node WHERE backup = ?1)", backup)
