"""ndmjob's index file: what ``-I`` writes of a backup and ``-J`` reads for a restore.

The file is sorted, and searched by bisection, so its order matters. Lines begin with two or three letters:
``CM`` media, ``DE`` an environment variable that the server returned, ``DHf`` a file's history; ``DHd``,
``DHn``, ``DHr`` directory entries, nodes and the root node, where the server sends history in that form.
Names carry ``%xx`` for everything but printable ASCII. ndmjob finds a name only if there is an entry for
``/`` itself, and it keeps 1,023 bytes of an escaped name: longer ones are in the file as rubbish.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

NAME_LIMIT = 1023
HEAD = ["##ndmjob -I", "##ndmjob -J"]

_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_FH_INFO = re.compile(rb" @(-?\d+)(?= |$)")


def escaped(name: bytes) -> bytes:
    """``name`` as the index spells it."""
    plain = set(range(0x21, 0x7F)) - {ord("%")}
    return b"".join(bytes([c]) if c in plain else b"%%%02x" % c for c in name)


def unescaped(name: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), name)


@dataclass(slots=True)
class Index:
    """``offsets``: path to fh_info, the byte offset in the stream, or None where the server gave none.

    ``stats``: path to the rest of the entry (``f- m0644 u0 g0 s12 tm1700000000``). ``environment``: in the
    order sent, repeats included.
    """

    offsets: dict[bytes, int | None] = field(default_factory=dict)
    stats: dict[bytes, bytes] = field(default_factory=dict)
    environment: list[tuple[str, str]] = field(default_factory=list)
    media: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Index:
        lines = path.read_bytes().split(b"\n")
        index = cls()
        entries: dict[int, list[tuple[bytes, int]]] = {}
        nodes: dict[int, bytes] = {}
        root: int | None = None
        for line in lines:
            kind, _, rest = line.partition(b" ")
            name, unix, stat = rest.partition(b" UNIX ")
            if kind == b"DHf" and unix:
                index._add(unescaped(name), stat)
            elif kind == b"DHd" and unix:
                parent, _, leaf = name.partition(b" ")
                entries.setdefault(int(parent), []).append((unescaped(leaf), int(stat)))
            elif kind == b"DHn" and unix:
                nodes[int(name)] = stat
            elif kind == b"DHr":
                root = int(rest)
            elif kind == b"DE":
                variable, _, value = rest.decode(errors="surrogateescape").partition("=")
                index.environment.append((variable, value))
            elif kind == b"CM":
                index.media.append(rest.decode(errors="replace"))
        if root is not None:
            index._add_tree(root, entries, nodes)
        return index

    def variable(self, name: str) -> str | None:
        return next((value for key, value in self.environment if key == name), None)

    def paths(self, kind: str = "") -> list[bytes]:
        """The paths of all entries, or of those of one ``kind`` (``-`` file, ``d``, ``l`` ...), sorted."""
        wanted = b"f" + kind.encode()
        return sorted(path for path, stat in self.stats.items() if stat.startswith(wanted))

    def _add(self, path: bytes, stat: bytes) -> None:
        offset = _FH_INFO.search(stat)
        self.offsets[path] = int(offset[1]) if offset else None
        self.stats[path] = _FH_INFO.sub(b"", stat)

    def _add_tree(
        self, root: int, entries: dict[int, list[tuple[bytes, int]]], nodes: dict[int, bytes]
    ) -> None:
        self._add(b"/", nodes.get(root, b""))
        waiting = [(root, b"")]
        visited = {root}
        while waiting:
            directory, prefix = waiting.pop()
            for leaf, node in entries.get(directory, []):
                if leaf in (b".", b"..", b"/"):
                    continue
                self._add(prefix + b"/" + leaf, nodes.get(node, b""))
                if node not in visited:
                    visited.add(node)
                    waiting.append((node, prefix + b"/" + leaf))
