"""Interfaces between the layers. ``typing.Protocol`` rather than zope: mypy proves that each is met.

``Transport`` is the seam between drive logic and SCSI units; ``StreamReader`` and ``Reporter`` are what a
butype sees of the world; ``Butype`` is what the data service sees of a butype.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ndmpd.pieces import FileExtent, OpenFile, Piece

if TYPE_CHECKING:
    from ndmpd.formats.job import Job
    from protocol.ndmp.codes import ButypeAttr, LogType, RecoveryStatus


@dataclass(frozen=True, slots=True)
class SourceFault:
    """Bytes of a piece that could not be read and were carried as zeros.

    ``skipped`` is where the zeros begin: bytes from the start of ``piece`` where a fault is for a butype to
    judge, from the start of the first piece where a list of them was moved. ``length`` is how many,
    ``reason`` a text such as "Input/output error" or "the file has shrunk".
    """

    piece: Piece
    skipped: int
    length: int
    reason: str


@dataclass(slots=True)
class Command:
    """One SCSI command.

    ``data_out``: pieces whose bytes are the data-out buffer. ``data_in``: destinations for the data-in bytes,
    in order. ``timeout`` in seconds. A transport adds what it could not read from ``data_out`` to ``faults``.
    """

    cdb: bytes
    data_out: Sequence[Piece] = ()
    data_in: Sequence[Piece] = ()
    timeout: float = 900.0
    faults: list[SourceFault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended: SAM status byte, sense data (empty if none), and bytes moved.

    ``transferred`` counts data-in bytes delivered, or data-out bytes taken. ``asked``: data-out bytes that
    the CDB speaks of, where a unit of this process could tell.
    """

    status: int
    sense: bytes = b""
    transferred: int = 0
    asked: int = 0


class Transport(Protocol):
    """A path to one logical unit. ``execute`` blocks; one command at a time per transport object.

    Raises ``TransportError`` (``ndmpd.devices.errors``) where no status came back at all.
    """

    def execute(self, command: Command) -> Result: ...

    @property
    def most(self) -> int | None:
        """Bytes that one command may move; None for any number. Drive logic cuts what is longer."""

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        """Blocks of a disk as bytes of a local file, where the unit has one; None elsewhere.

        It lets the host copy in the kernel what it would otherwise READ and WRITE; same bytes either way.
        """

    def close(self) -> None: ...


class StreamReader(Protocol):
    """The backup stream on recover, which the butype pulls. Blocking; raises StreamError on an early end."""

    def want(self, offset: int, length: int) -> None:
        """Ask for the byte range [offset, offset + length) of the stream; all ones as length: to its end.

        Must come before the first read; a new range replaces what is left of the one before. Offsets may be
        anything: the mover finds the record.
        """

    @property
    def position(self) -> int:
        """Stream offset of the next byte."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes. Fewer only where the range or the stream ends."""

    def read_some(self, size: int) -> bytes:
        """At least one and at most ``size`` bytes, without waiting for another cartridge while there are any.

        Nothing only where the range or the stream ends.
        """

    def into(self, destinations: Sequence[Piece]) -> None:
        """Put the next bytes into ``destinations`` (extents are filled by the data path, without copies)."""


class Reporter(Protocol):
    """What a butype tells the DMA while it works. Every call may block: that is the back-pressure."""

    def log(self, kind: LogType, text: str) -> None:
        """LOG_MESSAGE."""

    def recovered(self, name: str, status: RecoveryStatus) -> None:
        """LOG_FILE: the outcome of one selected name, as the DMA gave it."""

    def history(self, message: int, body: bytes) -> None:
        """One file-history post, its XDR body already packed for the session's version."""

    def variable(self, name: str, value: str) -> None:
        """Add or replace a variable of the environment that GET_ENV returns."""

    def estimate(self, total: int) -> None:
        """Bytes that the whole stream is expected to have."""


class Butype(Protocol):
    """A backup type: makes a stream of a source and takes it apart again. Runs in a process of its own."""

    name: str
    blocks: bool
    """Whether the stream is made of a disk's blocks, which copy managers can carry."""

    def attributes(self) -> ButypeAttr: ...

    def default_env(self) -> list[tuple[str, str]]: ...

    def check(self, job: Job) -> None:
        """Raise JobRefused where ``job`` cannot start. Quick: the DMA waits for the reply."""

    def backup(self, job: Job) -> Iterator[Piece]:
        """The pieces of the stream, lazily. A generator: closing it releases what it holds."""

    def fault(self, job: Job, fault: SourceFault) -> None:
        """Bytes already planned turned out unreadable: name the file, count it. Comes before the job ends."""

    def recover(self, job: Job, stream: StreamReader) -> None: ...

    def list(self, job: Job, stream: StreamReader) -> None:
        """RECOVER_FILEHIST: read the stream and post file history; write nothing."""


class Volumes(Protocol):
    """The exported volumes, by the names that a DMA uses. Nothing outside them can be reached."""

    def names(self) -> list[str]: ...

    def locate(self, path: str) -> tuple[Volume, str]:
        """The export with the longest matching name, and the path inside it ("" for its root).

        Raises JobRefused when no export holds it or the path climbs out.
        """


class Volume(Protocol):
    """One export: a folder, a disk, or both."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def disk(self) -> str | None: ...

    def open_root(self) -> OpenFile:
        """The exported folder, open as a directory."""
