"""Blocks of other targets' disks on their way to what is written: read when they are needed, one chunk ahead.

A source on another target travels through residues and gatherings as ``LunExtent``. Just before a command is
sent what it moves is read, while the command is under way what the next one moves. So a copy keeps two
chunks in memory, whatever it moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ndmpd.datapath import length_of
from ndmpd.pieces import Inline, LunExtent, Piece, behind, first, part
from ndmpd.san.copymanager.blocks import Blocks
from ndmpd.san.copymanager.failure import CopyFailure

CHUNK = 4 << 20
"""Bytes that are read ahead."""
_LOOK = 0.05
"""Seconds between two looks whether the copy was aborted, while a disk is waited for."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an extent comes from: the disk, and the segment that reads it."""

    disk: Blocks
    segment: int


class Supply:
    """Of one copy. ``check`` raises CopyStopped."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._origins: dict[str, _Origin] = {}
        self._ahead: dict[LunExtent, Future[bytearray]] = {}
        self._reader: ThreadPoolExecutor | None = None
        self._failure: CopyFailure | None = None

    def promise(self, disk: Blocks, segment: int, lba: int, offset: int, count: int) -> LunExtent:
        """``count`` bytes, at least one, from ``offset`` in block ``lba`` on, for ``segment``; not read yet.
        """
        label = f"{id(disk)} {segment}"
        self._origins[label] = _Origin(disk, segment)
        blocks = disk.span(offset, count)
        return LunExtent(label, lba, blocks, disk.length, offset, blocks * disk.length - offset - count)

    def ready(self, pieces: Sequence[Piece], unit: int, offset: int = 0, most: int = 0) -> Sequence[Piece]:
        """The first of ``pieces``, read: whole records or blocks of ``unit`` bytes, or all there are.

        ``offset``: bytes of the first block that come before ``pieces``. ``most``: bytes that one command
        may move, 0 for any number. CopyFailure where not even one record can be had.
        """
        limit = min(most or CHUNK, CHUNK) if self._origins else most
        if not limit:
            return pieces
        step = max(unit, limit // unit * unit)
        head = first(pieces, step - offset)
        sound = _read_before(head)
        if sound == length_of(head):
            return head
        if whole := _whole(sound, unit, offset):
            return first(head, whole)
        # What the next call will want, cut in the same places.
        following = first(behind(pieces, length_of(head)), step)
        return self._fill(head, following, unit, offset)

    def all(self, pieces: Iterable[Piece]) -> list[Piece]:
        """All of ``pieces``, read; for what is less than a record, or kept. CopyFailure."""
        return [self._get(piece) if isinstance(piece, LunExtent) else piece for piece in pieces]

    def close(self) -> None:
        """No more is wanted. What is being read ends by itself."""
        self._ahead.clear()
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)

    def _fill(self, head: list[Piece], following: list[Piece], unit: int, offset: int) -> Sequence[Piece]:
        if self._failure is not None:
            raise self._failure
        self._schedule(head, following)
        filled: list[Piece] = []
        try:
            for piece in head:
                if not isinstance(piece, LunExtent):
                    filled.append(piece)
                    continue
                try:
                    filled.append(self._get(piece))
                except CopyFailure as failure:
                    if failure.source is None:
                        raise
                    self._narrow(piece, filled, unit, offset)
        except CopyFailure as failure:
            whole = _whole(length_of(filled), unit, offset)
            if not whole:
                raise
            # It ends the copy once what comes before it is written.
            self._failure = failure
            return first(filled, whole)
        return filled

    def _narrow(self, extent: LunExtent, filled: list[Piece], unit: int, offset: int) -> None:
        """Read an extent with a bad place record by record, as far as it is good."""
        done = 0
        while done < extent.length:
            step = min(unit - (offset + length_of(filled)) % unit, extent.length - done)
            piece = part(extent, done, step)
            assert isinstance(piece, LunExtent)
            filled.append(self._get(piece))
            done += step

    def _schedule(self, head: Iterable[Piece], following: Iterable[Piece]) -> None:
        wanted = [piece for pieces in (head, following) for piece in pieces if isinstance(piece, LunExtent)]
        old, self._ahead = self._ahead, {}
        for extent in wanted:
            self._ahead[extent] = old.pop(extent) if extent in old else self._begin(extent)
        for left in old.values():
            left.cancel()

    def _begin(self, extent: LunExtent) -> Future[bytearray]:
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, "read ahead")
        return self._reader.submit(self._origins[extent.disk].disk.read, extent.lba, extent.blocks)

    def _get(self, extent: LunExtent) -> Inline:
        """The bytes. CopyFailure, with the segment that reads them."""
        reading = self._ahead.pop(extent, None) or self._begin(extent)
        while not wait((reading,), _LOOK).done:
            self._check()
        try:
            data = reading.result()
        except CopyFailure as failure:
            failure.segment = self._origins[extent.disk].segment
            raise
        return Inline(memoryview(data)[extent.skip:extent.skip + extent.length])


def _read_before(pieces: Iterable[Piece]) -> int:
    """Bytes that come before the first piece which is still to be read."""
    size = 0
    for piece in pieces:
        if isinstance(piece, LunExtent):
            break
        size += piece.length
    return size


def _whole(size: int, unit: int, offset: int) -> int:
    """Of ``size`` bytes behind ``offset``, how many make whole units."""
    return max(0, (offset + size) // unit * unit - offset)
