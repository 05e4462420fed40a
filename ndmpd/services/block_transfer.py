"""Pieces into destinations without a tape between them: blocks by copy managers, the rest by the head.

For a recover that is fed by a backup of this same server. Data movers are tried in the order of ``transfer``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from ndmpd.datapath import copy_to_file, read_bytes
from ndmpd.errors import NdmpdError
from ndmpd.filecopy import CHUNK
from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, Zeros, part
from ndmpd.ports import SourceFault
from ndmpd.services.block_path import BlockPath, BlocksCopied
from ndmpd.services.copying import PathFailed, Run
from ndmpd.services.lowering import Lowering
from ndmpd.services.transfer import InOrder, Mover

OnFault = Callable[["Pair", SourceFault], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """Bytes of ``source`` belong into ``destination``, as many. ``number`` says which piece of the stream
    they are of, ``at`` how many bytes of it lie before them.
    """

    number: int
    at: int
    source: Piece
    destination: Piece

    @property
    def length(self) -> int:
        return self.source.length

    def part(self, start: int, length: int) -> Pair:
        return replace(self, at=self.at + start, source=part(self.source, start, length),
                       destination=part(self.destination, start, length))


class InterruptibleRun(Run, Protocol):
    """What a transfer sees of its job."""

    def held(self) -> AbstractContextManager[None]:
        """Inside, an abort shows in ``stopped`` and interrupts nothing: a copy manager has to be told."""


class BlockTransfer:
    """The data paths of one recover."""

    def __init__(self, asked: Mover, lowering: Lowering, paths: Sequence[BlockPath],
                 run: InterruptibleRun) -> None:
        self._lowering = lowering
        self._movers = InOrder(asked, paths, run.say)
        self._run = run

    @property
    def offloaded(self) -> int:
        return self._movers.offloaded

    @property
    def used(self) -> str:
        return self._movers.used

    def copy(self, pairs: Sequence[Pair], on_fault: OnFault) -> None:
        """All of ``pairs``. What cannot be read of a source is zeros, and told to ``on_fault``.

        Raises OSError where a destination cannot be written, NoMoverLeft, and CopyGoesOn.
        """
        blocks: list[Pair] = []
        for pair in pairs:
            if isinstance(pair.destination, Zeros):
                continue
            if isinstance(pair.source, LunExtent) and isinstance(pair.destination, LunExtent):
                blocks.append(pair)
                continue
            self._copy_blocks(blocks, on_fault)
            blocks = []
            self._by_head(pair, on_fault)
        self._copy_blocks(blocks, on_fault)

    def _copy_blocks(self, pairs: Sequence[Pair], on_fault: OnFault) -> None:
        rest = list(pairs)
        while rest:
            path = self._movers.first(BlockPath.open_manager)
            copied = (BlocksCopied(0, sum(pair.length for pair in rest)) if path is None else
                      self._offloaded(path, rest))
            rest = _behind(rest, copied.bytes)
            if copied.leave:
                self._movers.check_head()
                for pair in _first(rest, copied.leave):
                    self._by_head(pair, on_fault)
                rest = _behind(rest, copied.leave)

    def _offloaded(self, path: BlockPath, pairs: Sequence[Pair]) -> BlocksCopied:
        sources = [pair.source for pair in pairs if isinstance(pair.source, LunExtent)]
        destinations = [pair.destination for pair in pairs if isinstance(pair.destination, LunExtent)]
        try:
            with self._run.held():
                copied = path.copy(sources, destinations)
        except PathFailed as failure:
            self._movers.drop(path, failure)
            return BlocksCopied(failure.records)
        self._movers.name(path)
        return copied

    # The head.

    def _by_head(self, pair: Pair, on_fault: OnFault) -> None:
        faults: list[SourceFault] = []
        at = 0
        for source in self._readable(pair.source, faults):
            target = part(pair.destination, at, source.length)
            missing: list[SourceFault] = []
            self._put(source, target, missing)
            faults.extend(replace(fault, skipped=at + fault.skipped) for fault in missing)
            at += source.length
        for fault in faults:
            on_fault(pair, fault)

    def _readable(self, piece: Piece, faults: list[SourceFault]) -> Iterator[Piece]:
        """``piece`` without blocks; those that cannot be read are zeros, and among ``faults``."""
        done = 0
        try:
            for source in self._lowering.sources(piece):
                yield source
                done += source.length
        except NdmpdError as failure:
            faults.append(SourceFault(piece, done, piece.length - done, str(failure)))
            yield Zeros(piece.length - done)

    def _put(self, source: Piece, target: Piece, faults: list[SourceFault]) -> None:
        if isinstance(target, Zeros):
            return
        with _writing():
            file = self._lowering.destination(target)
        match file:
            case FileExtent():
                copy_to_file([source], file.file.fd, file.offset, faults)
            case None if isinstance(target, LunExtent):
                for start in range(0, source.length, CHUNK):
                    size = min(CHUNK, source.length - start)
                    missing: list[SourceFault] = []
                    data = read_bytes([part(source, start, size)], missing)
                    faults.extend(replace(fault, skipped=start + fault.skipped) for fault in missing)
                    blocks = part(target, start, size)
                    assert isinstance(blocks, LunExtent)
                    with _writing():
                        self._lowering.write(blocks, data)
            case _:
                raise TypeError("memory of this process is filled by read")

    def read(self, piece: Piece, faults: list[SourceFault]) -> bytes:
        """The bytes of ``piece`` in memory; for headers and small files."""
        found = bytearray()
        for source in self._readable(piece, faults):
            missing: list[SourceFault] = []
            data = source.data if isinstance(source, Inline) else read_bytes([source], missing)
            faults.extend(replace(fault, skipped=len(found) + fault.skipped) for fault in missing)
            found += data
        return bytes(found)

    def close(self) -> None:
        self._movers.close()


@contextmanager
def _writing() -> Iterator[None]:
    """What goes wrong inside is the destination's."""
    try:
        yield
    except NdmpdError as failure:
        raise OSError(errno.EIO, str(failure)) from failure


def _first(pairs: Sequence[Pair], size: int) -> list[Pair]:
    """The first ``size`` bytes."""
    found: list[Pair] = []
    for pair in pairs:
        if size <= 0:
            break
        found.append(pair.part(0, min(size, pair.length)))
        size -= pair.length
    return found


def _behind(pairs: Sequence[Pair], size: int) -> list[Pair]:
    """What is left without the first ``size`` bytes."""
    found: list[Pair] = []
    for pair in pairs:
        if size < pair.length:
            found.append(pair.part(size, pair.length - size))
        size = max(0, size - pair.length)
    return found
