"""What a butype sees of the world, in memory: a stream to read, a reporter that remembers, exported
folders.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ndmpd.errors import JobRefused, StreamError
from ndmpd.formats.environment import Environment
from ndmpd.formats.job import Job, Selection
from ndmpd.pieces import FileExtent, Inline, OpenFile, Piece, Zeros
from ndmpd.ports import SourceFault, Volume
from protocol.ndmp.codes import Code, DataOperation, LogType, RecoveryStatus, Version
from protocol.ndmp.filehist import Dir, FhAddDirPost, FhAddFilePost, FhAddNodePost, File, Node
from protocol.ndmp.message import Message
from protocol.ndmp.registry import decode

TO_THE_END = (1 << 64) - 1


@dataclass
class RecordingReporter:
    """``ports.Reporter`` whose calls are the assertion."""

    logs: list[tuple[LogType, str]] = field(default_factory=list)
    outcomes: list[tuple[str, RecoveryStatus]] = field(default_factory=list)
    posts: list[tuple[int, bytes]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def log(self, kind: LogType, text: str) -> None:
        self.logs.append((kind, text))

    def recovered(self, name: str, status: RecoveryStatus) -> None:
        self.outcomes.append((name, status))

    def history(self, message: int, body: bytes) -> None:
        self.posts.append((message, body))

    def variable(self, name: str, value: str) -> None:
        self.variables[name] = value

    def estimate(self, total: int) -> None:
        self.variables["estimate"] = str(total)

    def texts(self, *kinds: LogType) -> list[str]:
        return [text for kind, text in self.logs if kind in kinds]

    @property
    def troubles(self) -> list[str]:
        """Messages that tell of something lost."""
        return self.texts(LogType.ERROR, LogType.WARNING)

    def files(self) -> list[File]:
        return [file for post in self._bodies(Code.FH_ADD_FILE, FhAddFilePost) for file in post.files]

    def dirs(self) -> list[Dir]:
        return [entry for post in self._bodies(Code.FH_ADD_DIR, FhAddDirPost) for entry in post.dirs]

    def nodes(self) -> list[Node]:
        return [node for post in self._bodies(Code.FH_ADD_NODE, FhAddNodePost) for node in post.nodes]

    def positions(self) -> dict[str, int]:
        """fh_info by path, of HIST=f."""
        return {file.name[0].name: file.fh_info for file in self.files()}

    def _bodies(self, code: Code, kind: type[Message]) -> Iterator[Message]:
        return (decode(kind, body, Version.V4) for message, body in self.posts if message == code)


class MemoryStream:
    """``ports.StreamReader`` over bytes. ``wants`` are the ranges asked for; ``reads`` counts bytes
    delivered.

    Like a tape server it ends a range where it ends, and the stream at its end; zeros after it are a record's
    padding.
    """

    def __init__(self, data: bytes, padding: int = 10240) -> None:
        self._data = memoryview(data + bytes(-len(data) % padding))
        self._at = 0
        self._end = 0
        self.wants: list[tuple[int, int]] = []
        self.reads = 0

    def want(self, offset: int, length: int) -> None:
        self.wants.append((offset, length))
        self._at = offset
        self._end = len(self._data) if length == TO_THE_END else min(offset + length, len(self._data))

    @property
    def position(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        data = bytes(self._data[self._at : min(self._at + size, self._end)])
        self._at += len(data)
        self.reads += len(data)
        return data

    def read_some(self, size: int) -> bytes:
        """In pieces that end anywhere, as where a cartridge ends."""
        return self.read(min(size, 70_001))

    def into(self, destinations: Iterable[Piece]) -> None:
        for piece in destinations:
            data = self.read(piece.length)
            if len(data) < piece.length:
                raise StreamError("the stream ended early")
            if isinstance(piece, FileExtent):
                os.pwrite(piece.file.fd, data, piece.offset)
            elif isinstance(piece, Inline):
                memoryview(piece.data)[:] = data
            else:
                assert isinstance(piece, Zeros)


def stream_of(pieces: Iterable[Piece], faults: list[SourceFault] | None = None) -> bytes:
    """The bytes of a plan, as a data path makes them: what cannot be read is zeros, and noted in
    ``faults``.
    """
    parts: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, Inline):
            parts.append(bytes(piece.data))
        elif isinstance(piece, Zeros):
            parts.append(bytes(piece.length))
        else:
            assert isinstance(piece, FileExtent)
            data = os.pread(piece.file.fd, piece.length, piece.offset)
            if len(data) < piece.length and faults is not None:
                faults.append(SourceFault(piece, len(data), piece.length - len(data), "the file has shrunk"))
            parts.append(data.ljust(piece.length, b"\0"))
    return b"".join(parts)


@dataclass(frozen=True)
class Folder:
    """``ports.Volume``: an exported folder."""

    name: str
    path: str | None
    disk: str | None = None

    def open_root(self) -> OpenFile:
        assert self.path is not None
        return OpenFile(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY), self.name)


class Folders:
    """``ports.Volumes``: folders by export name, such as ``/source``."""

    def __init__(self, **folders: Path) -> None:
        self._exports = {f"/{name}": Folder(f"/{name}", str(path)) for name, path in folders.items()}

    def names(self) -> list[str]:
        return sorted(self._exports)

    def locate(self, path: str) -> tuple[Volume, str]:
        name, _, inside = path.lstrip("/").partition("/")
        export = self._exports.get("/" + name)
        if export is None or ".." in path.split("/"):
            raise JobRefused(f"{path} is in no export")
        return export, inside.strip("/")


def make_job(
    volumes: Folders,
    report: RecordingReporter,
    *variables: tuple[str, str],
    select: Iterable[Selection] = (),
    operation: DataOperation = DataOperation.BACKUP,
) -> Job:
    return Job(Environment(variables), volumes, report, Version.V4, tuple(select), operation=operation)
