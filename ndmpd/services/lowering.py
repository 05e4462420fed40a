"""Lower blocks of a disk to what the host can move: bytes of the file behind it, or memory read by SCSI.

A data path that lets a copy manager do the work keeps the ``LunExtent``; this is for the ones that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from ndmpd.devices.disk import Disk
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline, LunExtent, Piece, part
from ndmpd.ports import Transport

AT_ONCE = 4 << 20
"""Bytes read by one READ where the disk has no local file."""


class Lowering:
    """Opens each disk once, on first use; ``close`` ends them. For one thread."""

    def __init__(self, open_disk: Callable[[str], Transport]) -> None:
        self._open_disk = open_disk
        self._disks: dict[str, tuple[Transport, Disk]] = {}

    def sources(self, piece: Piece) -> Iterator[Piece]:
        """``piece`` as pieces without blocks. Raises DeviceError where a block cannot be read."""
        if not isinstance(piece, LunExtent):
            yield piece
            return
        transport, disk = self._disk(piece.disk)
        backing = transport.backing(piece.lba, piece.blocks)
        if backing is not None:
            yield part(backing, piece.skip, piece.length)
            return
        step = max(1, AT_ONCE // piece.block_length)
        for first in range(0, piece.blocks, step):
            blocks = min(step, piece.blocks - first)
            buffer = bytearray(blocks * piece.block_length)
            disk.read(piece.lba + first, blocks, [Inline(buffer)])
            begin = piece.skip if first == 0 else 0
            end = len(buffer) - (piece.short if first + blocks == piece.blocks else 0)
            yield Inline(memoryview(buffer)[begin:end])

    def destination(self, piece: Piece) -> Piece | None:
        """``piece`` where the data path can fill it directly; None where its blocks want ``write``."""
        if not isinstance(piece, LunExtent):
            return piece
        transport, _ = self._disk(piece.disk)
        backing = transport.backing(piece.lba, piece.blocks)
        return None if backing is None else part(backing, piece.skip, piece.length)

    def write(self, extent: LunExtent, data: bytes | memoryview) -> None:
        """Write ``data``, as long as the extent. Of a block that lies in it with a part only, the rest is
        read and written back.
        """
        _, disk = self._disk(extent.disk)
        pieces: list[Piece] = [Inline(data)]
        block = extent.block_length
        if extent.skip:
            pieces.insert(0, self._block(disk, extent.lba, block, slice(extent.skip)))
        if extent.short:
            last = extent.lba + extent.blocks - 1
            pieces.append(self._block(disk, last, block, slice(block - extent.short, block)))
        disk.write(extent.lba, extent.blocks, pieces)

    @staticmethod
    def _block(disk: Disk, lba: int, block_length: int, kept: slice) -> Inline:
        buffer = bytearray(block_length)
        disk.read(lba, 1, [Inline(buffer)])
        return Inline(memoryview(buffer)[kept])

    def close(self) -> None:
        for transport, _ in self._disks.values():
            with suppress(NdmpdError, OSError):
                transport.close()
        self._disks.clear()

    def _disk(self, name: str) -> tuple[Transport, Disk]:
        if name not in self._disks:
            transport = self._open_disk(name)
            disk = Disk(transport, name)
            disk.ready(wait=5.0)
            self._disks[name] = transport, disk
        return self._disks[name]
