"""Putting the extents of an image onto a disk, whose blocks may be longer or shorter than the image's.

What counts is the byte: an extent goes to the place on the disk that it had on the disk it came from. Where
it begins or ends inside a block of the target, the rest of that block stays as it is, for the neighbour that
it belongs to, or for good where nothing of the image does.
"""

from __future__ import annotations

from ndmpd.formats.image_disk import BlockDisk, start_flush, write_zeros
from ndmpd.formats.image_map import Extent
from ndmpd.pieces import Inline, LunExtent, Piece, Zeros
from ndmpd.ports import StreamReader, Transport
from protocol.streams.image import padding

_STEP = 64 << 20
"""Bytes put on the disk between two looks at how far a recover has come."""
_PIECES = 256
"""Extents filled at a time, at most."""


def blocks_at(disk: str, offset: int, length: int, block_length: int) -> LunExtent:
    """The bytes [offset, offset + length) of the disk, wherever in its blocks they begin and end."""
    lba, skip = divmod(offset, block_length)
    blocks = -(-(skip + length) // block_length)
    return LunExtent(disk, lba, blocks, block_length, skip, blocks * block_length - skip - length)


class Filling:
    """Takes extents in the order of the stream and has them filled, many at a time. Places are in bytes.

    ``name``: what data paths know ``disk`` by; ``position``: where in the stream the data begin.
    """

    def __init__(self, stream: StreamReader, transport: Transport, disk: BlockDisk, name: str,
                 position: int) -> None:
        self._stream = stream
        self._transport = transport
        self._disk = disk
        self._name = name
        self._block = disk.capacity.block_length
        self._waiting: list[Piece] = []
        self._waiting_bytes = 0
        self.position = position
        """Where in the stream the extents taken so far end."""
        self.filled = 0
        """Bytes of data that are on the disk."""

    def data(self, offset: int, length: int) -> None:
        """The next data of the stream belong at ``offset``."""
        gap = padding(self.position, offset)
        if gap:
            self._waiting.append(Zeros(gap))
        self.position += gap + length
        end = offset + length
        while offset < end:
            # Cut where blocks of any length end.
            step = min(end, (offset // _STEP + 1) * _STEP) - offset
            self._waiting.append(blocks_at(self._name, offset, step, self._block))
            self._waiting_bytes += step
            offset += step
            if self._waiting_bytes >= _STEP or len(self._waiting) >= _PIECES:
                self.flush()

    def zeros(self, offset: int, length: int) -> None:
        """Make the bytes there read as zeros."""
        end = offset + length
        first, last = -(-offset // self._block), end // self._block
        if first > last:
            self._clear(last, offset, end)
            return
        self._clear(first - 1, offset, first * self._block)
        if last > first:
            write_zeros(self._disk, Extent(first, last - first))
        self._clear(last, last * self._block, end)

    def _clear(self, lba: int, offset: int, end: int) -> None:
        """Zeros for a part of one block."""
        if offset >= end:
            return
        block = memoryview(bytearray(self._block))
        self._disk.read(lba, 1, [Inline(block)])
        part = slice(offset - lba * self._block, end - lba * self._block)
        if any(block[part]):
            block[part] = bytes(end - offset)
            self._disk.write(lba, 1, [Inline(block)])

    def flush(self) -> None:
        """Have what was taken on the disk."""
        if self._waiting:
            self._stream.into(self._waiting)
            start_flush(self._transport, self._waiting)
        self.filled += self._waiting_bytes
        self._waiting = []
        self._waiting_bytes = 0
