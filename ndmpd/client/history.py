"""File history in a catalogue: batched writing, and paths resolved on demand from either form of it.

Path history names each file whole. Directory and node history is a graph: entries (parent, name, node), and
what is known of each node. The root is an entry named "." or "/" (or without a name) that is its own parent;
"." and ".." of deeper directories, which some servers send, are no entries of their own. A directory that
contains itself is not followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from ndmpd.client.catalogue import Catalogue, Entry, Text, loaded, normal, signed, stored, unsigned

BATCH = 4096
"""Rows held in memory before they are inserted."""

COMMIT_EVERY = 65536
"""Rows of one transaction: what is lost at most if this machine stops."""

Row = tuple[object, ...]

_STATS = 'type, size, mtime, owner, "group", mode'


class HistoryWriter:
    """Takes the history of one backup as it comes. ``entries`` counts files and nodes."""

    def __init__(self, catalogue: Catalogue | None, backup: int) -> None:
        self._catalogue = catalogue
        self._backup = backup
        self._waiting: dict[str, list[Row]] = {"file": [], "dir": [], "node": []}
        self._uncommitted = 0
        self.entries = 0

    def file(self, path: str, stats: Row, node: int, fh_info: int) -> None:
        """``stats``: type, size, mtime, owner, group, mode (None where unknown)."""
        self.entries += 1
        self._add("file", (self._backup, stored(normal(path)), *stats, signed(node), signed(fh_info)))

    def directory_entry(self, parent: int, name: str, node: int) -> None:
        self._add("dir", (self._backup, signed(parent), stored(name), signed(node)))

    def node(self, node: int, stats: Row, fh_info: int) -> None:
        self.entries += 1
        self._add("node", (self._backup, signed(node), *stats, signed(fh_info)))

    def _add(self, table: str, row: Row) -> None:
        if self._catalogue is None:
            return
        rows = self._waiting[table]
        rows.append(row)
        if len(rows) >= BATCH:
            self._insert(table)

    def _insert(self, table: str) -> None:
        rows = self._waiting[table]
        if self._catalogue is None or not rows:
            return
        self._catalogue.insert(table, rows)
        self._uncommitted += len(rows)
        rows.clear()
        if self._uncommitted >= COMMIT_EVERY:
            self._catalogue.commit()
            self._uncommitted = 0

    def flush(self) -> None:
        """Everything taken so far is durable when this returns."""
        for table in self._waiting:
            self._insert(table)
        if self._catalogue is not None:
            self._catalogue.commit()


class History:
    """The history of one backup, by path."""

    def __init__(self, catalogue: Catalogue, backup: int) -> None:
        self._database = catalogue.database
        self._backup = backup

    def lookup(self, path: str) -> Entry | None:
        """The entry at ``path`` (leading "/" or not), from whichever form of history has it."""
        path = normal(path)
        row = self._database.execute(
            f"SELECT {_STATS}, node, fh_info FROM file WHERE backup = ? AND path = ?",
            (self._backup, stored(path))).fetchone()
        if row is not None:
            return _entry(path, row)
        node = self._root()
        for name in path.split("/")[1:] if path != "/" else ():
            if node is None:
                return None
            node = self._child(node, name)
        return None if node is None else self._node_entry(path, node)

    def entries(self, under: str = "/") -> Iterator[Entry]:
        """``under`` and all below it: path history in byte order, then directory history depth first."""
        under = normal(under)
        yield from self._paths(under)
        top = self._root()
        for name in under.split("/")[1:] if under != "/" else ():
            top = None if top is None else self._child(top, name)
        if top is not None:
            yield from self._walk(under, top)

    def _paths(self, under: str) -> Iterator[Entry]:
        if under != "/":
            yield from self._range("path = ?", stored(under))
        below = under.rstrip("/")
        # SQLite sorts every BLOB behind every TEXT, so names that are not UTF-8 are a range of their own.
        raw = below.encode("utf-8", "surrogateescape")
        if isinstance(stored(below), str):
            yield from self._range("path >= ? AND path < ?", below + "/", below + "0")
        yield from self._range("path >= ? AND path < ?", raw + b"/", raw + b"0")

    def _range(self, condition: str, *values: Text) -> Iterator[Entry]:
        rows = self._database.execute(
            f"SELECT path, {_STATS}, node, fh_info FROM file WHERE backup = ? AND {condition} ORDER BY path",
            (self._backup, *values))
        for path, *rest in rows:
            yield _entry(loaded(path), rest)

    def _root(self) -> int | None:
        row = self._database.execute(
            "SELECT node FROM dir AS top WHERE backup = ?1 AND name IN ('.', '/', '') AND node = parent"
            " AND NOT EXISTS (SELECT 1 FROM dir WHERE backup = ?1 AND node = top.node"
            " AND name NOT IN ('.', '..', '/', '')) ORDER BY node LIMIT 1", (self._backup,)).fetchone()
        return None if row is None else int(row[0])

    def _child(self, parent: int, name: str) -> int | None:
        row = self._database.execute(
            "SELECT node FROM dir WHERE backup = ? AND parent = ? AND name = ?",
            (self._backup, parent, stored(name))).fetchone()
        return None if row is None else int(row[0])

    def _node_entry(self, path: str, node: int) -> Entry:
        row = self._database.execute(
            f"SELECT {_STATS}, node, fh_info FROM node WHERE backup = ? AND node = ?",
            (self._backup, node)).fetchone()
        return _entry(path, row if row is not None else (None,) * 6 + (node, None))

    def _children(self, parent: int) -> Iterator[tuple[str, int]]:
        rows = self._database.execute(
            "SELECT name, node FROM dir WHERE backup = ? AND parent = ? AND name NOT IN ('.', '..', '/', '')"
            " ORDER BY name", (self._backup, parent))
        for name, node in rows:
            yield loaded(name), int(node)

    def _walk(self, path: str, top: int) -> Iterator[Entry]:
        yield self._node_entry(path, top)
        levels = [(path.rstrip("/"), top, self._children(top))]
        above = {top}
        while levels:
            base, parent, rest = levels[-1]
            found = next(rest, None)
            if found is None:
                levels.pop()
                above.discard(parent)
                continue
            name, node = found
            if node in above:
                continue
            entry = self._node_entry(f"{base}/{name}", node)
            yield entry
            levels.append((entry.path, node, self._children(node)))
            above.add(node)


def _entry(path: str, row: Row | list[object]) -> Entry:
    *stats, node, fh_info = row
    kind, size, mtime, owner, group, mode = (value if isinstance(value, int) else None for value in stats)
    return Entry(path, kind, unsigned(size), mtime, owner, group, mode,
                 unsigned(node if isinstance(node, int) else None),
                 unsigned(fh_info if isinstance(fh_info, int) else None))
