"""Lower blocks of a disk to what the host can move: bytes of the file behind it, or memory read by SCSI.

A data path that lets a copy manager do the work keeps the ``LunExtent``; this is for the ones that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from ndmpd.devices.disk import Disk
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline, LunExtent, Piece
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
            yield backing
            return
        step = max(1, AT_ONCE // piece.block_length)
        for first in range(0, piece.blocks, step):
            blocks = min(step, piece.blocks - first)
            buffer = bytearray(blocks * piece.block_length)
            disk.read(piece.lba + first, blocks, [Inline(buffer)])
            yield Inline(buffer)

    def destination(self, piece: Piece) -> Piece | None:
        """``piece`` where the data path can fill it directly; None where its blocks want ``write``."""
        if not isinstance(piece, LunExtent):
            return piece
        transport, _ = self._disk(piece.disk)
        return transport.backing(piece.lba, piece.blocks)

    def write(self, piece: LunExtent, offset: int, data: bytes | memoryview) -> None:
        """Write ``data``, whole blocks, ``offset`` bytes into the extent."""
        _, disk = self._disk(piece.disk)
        blocks = len(data) // piece.block_length
        disk.write(piece.lba + offset // piece.block_length, blocks, [Inline(data)])

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
