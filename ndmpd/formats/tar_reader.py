"""The entries of a tar stream, as a recover pulls them.

Headers and small files come out of reads of ``CHUNK`` bytes. The stream is asked for in ranges: the whole of
it for a scan; for direct access pieces that grow while they are used up, since a catalogue knows where an
entry begins and not where its subtree ends.
"""

from __future__ import annotations

from collections.abc import Callable

from ndmpd.errors import StreamError
from ndmpd.pieces import FileExtent, OpenFile, Piece, Zeros, split
from ndmpd.ports import StreamReader
from protocol.errors import WireError
from protocol.streams import pax, tar, tarentry
from protocol.streams.tar import BLOCK, Type
from protocol.streams.tarentry import Entry

CHUNK = 1 << 20
WriteAt = Callable[[int, bytes, int], None]
"""Writes bytes at an offset of a descriptor, all of them."""
TO_THE_END = (1 << 64) - 1
FIRST_ASK = 64 << 10
LARGEST_ASK = 256 << 20
NEAR = 1 << 20
"""Bytes that are rather read and thrown away than skipped by a new request."""
_EXTENSIONS = (Type.EXTENDED, Type.GLOBAL, Type.GNU_LONG_NAME, Type.GNU_LONG_LINK)
_MAX_EXTENSIONS = 8


class EntryReader:
    """``seek``, then ``next`` until None; between them ``body``, ``body_into`` or nothing, which skips the
    data.

    ``total``: length of the stream where the catalogue tells it; no request goes beyond.
    """

    def __init__(self, stream: StreamReader, total: int | None = None) -> None:
        self._stream = stream
        self._total = total
        self._buffer = b""
        self._at = 0
        self._end = 0
        self._asked = 0
        self._ask = 0
        self._over = False
        self._entry_end = 0
        self._globals: dict[bytes, bytes] = {}
        self._body_left = 0
        self._unread: Entry | None = None
        self._extension, self._extension_size, self._extension_padded = b"", 0, 0

    @property
    def position(self) -> int:
        """Stream offset of the next byte."""
        return self._end - len(self._buffer) + self._at

    def seek(self, offset: int, *, whole: bool) -> None:
        """Go to an entry at ``offset``. ``whole``: the rest of the stream is wanted, not just what begins
        there.
        """
        self._over = False
        if self._unread is not None and self._unread.offset == offset and not whole:
            return
        self._unread = None
        self._entry_end = offset
        ahead = offset - self.position
        if not whole and self._ask and 0 <= ahead <= NEAR and offset < self._asked:
            self._skip(ahead)
            return
        self._buffer, self._at, self._end = b"", 0, offset
        if whole:
            self._ask, self._asked = 0, TO_THE_END
            self._stream.want(offset, TO_THE_END)
        else:
            self._ask, self._asked = FIRST_ASK, offset

    def next(self) -> Entry | None:
        """The next entry; None at the end of the stream. StreamError where there is neither."""
        if self._over:
            return None
        if self._unread is not None:
            entry, self._unread = self._unread, None
            return entry
        offset = self._entry_end
        held = len(self._buffer)
        at = offset - (self._end - held)
        if self._at <= at <= held:
            self._at = at
        else:
            self._skip(offset - self.position)
        records: dict[bytes, bytes] = {}
        long_name = long_link = None
        try:
            for _ in range(_MAX_EXTENSIONS):
                block = self._take(BLOCK)
                if block == self._extension:
                    # Headers of extended headers are all alike where their records have the same length.
                    records = pax.take(self._take(self._extension_padded)[:self._extension_size])
                    continue
                header = tar.take(block)
                if header is None:
                    self._over = True
                    if records or long_name or long_link:
                        raise WireError("an extended header has no entry behind it")
                    if self._total is not None and offset + len(tar.END) < self._total:
                        raise WireError(f"zeros where an entry belongs; the backup has {self._total} bytes")
                    return None
                if header.type in _EXTENSIONS:
                    of_names = header.type in (Type.GNU_LONG_NAME, Type.GNU_LONG_LINK)
                    limit = pax.MAX_NAME + 1 if of_names else pax.MAX_HEADER
                    if header.size > limit:
                        raise WireError(f"an extended header announces {header.size} bytes")
                    body = self._take(tar.padded(header.size))[:header.size]
                    if header.type == Type.EXTENDED:
                        records = pax.take(body)
                        self._extension = block
                        self._extension_size, self._extension_padded = header.size, tar.padded(header.size)
                    elif header.type == Type.GLOBAL:
                        self._globals.update(pax.take(body))
                        if sum(map(len, self._globals.values())) > pax.MAX_HEADER:
                            raise WireError(f"global headers announce more than {pax.MAX_HEADER} bytes")
                    elif header.type == Type.GNU_LONG_NAME:
                        long_name = body.split(b"\0", 1)[0]
                    else:
                        long_link = body.split(b"\0", 1)[0]
                    continue
                if self._globals:
                    records = self._globals | records
                entry = tarentry.take(header, block, offset, records, long_name, long_link)
                if entry.old_map_follows:
                    self._old_map(entry)
                self._body_left = stored = entry.stored
                self._entry_end = self._end - len(self._buffer) + self._at + -(-stored // BLOCK) * BLOCK
                return entry
        except WireError as error:
            raise StreamError(f"byte {offset} of the stream: {error}") from error
        raise StreamError(f"byte {offset} of the stream: too many extended headers before one entry")

    def unread(self, entry: Entry) -> None:
        """``entry``, whose data was not touched, is to be the next one again."""
        self._unread = entry

    def _old_map(self, entry: Entry) -> None:
        more = True
        ranges = entry.sparse or []
        while more:
            found, more = pax.take_old_map(self._take(BLOCK), first=False)
            ranges += found
            if len(ranges) > pax.MAX_MAP:
                raise WireError(f"a sparse file has more than {pax.MAX_MAP} ranges")
        entry.sparse = ranges

    def ranges(self, entry: Entry) -> pax.Ranges | None:
        """The data ranges of a sparse file, in order; None where ``entry`` has no holes. To be asked once."""
        try:
            if entry.map_follows:
                reader = pax.MapReader()
                whole = False
                while not whole:
                    if self._body_left < BLOCK:
                        raise WireError("a sparse map is longer than the data of its entry")
                    self._body_left -= BLOCK
                    whole = reader.feed(self._take(BLOCK))
                entry.sparse = reader.ranges()
            if entry.sparse is None:
                return None
            return pax.check_map(entry.sparse, entry.size, self._body_left)
        except WireError as error:
            raise StreamError(f"byte {entry.offset} of the stream: {error}") from error

    def body(self, entry: Entry) -> bytes:
        """The data of a small entry."""
        data = self._take(entry.stored)
        self._body_left = 0
        return data

    def body_into(self, file: OpenFile, ranges: pax.Ranges, write: WriteAt) -> None:
        """The data of an entry into ``ranges`` of ``file``: what was read already by ``write``, the rest by
        the data path."""
        destinations: list[Piece] = []
        total = 0
        for offset, length in ranges:
            if not destinations:
                taken = min(length, len(self._buffer) - self._at)
                if taken:
                    write(file.fd, self._take(taken), offset)
                    offset, length = offset + taken, length - taken
            if length:
                destinations.append(FileExtent(file, offset, length))
                total += length
                if len(destinations) >= 1024:
                    self._into(destinations, total)
                    destinations, total = [], 0
        if destinations:
            self._into(destinations, total)
        self._body_left = 0

    def _into(self, destinations: list[Piece], total: int) -> None:
        """Only with an empty buffer: the stream stands at the next byte. What was asked for is used up
        first.
        """
        self._buffer, self._at = b"", 0
        while total:
            if self._end >= self._asked:
                self._request(total)
            held = self._asked - self._end
            now, destinations = _cut(destinations, held) if held < total else (destinations, [])
            filled = min(held, total)
            try:
                self._stream.into(now)
            except OSError:  # a destination failed: how far the stream got is not known
                whole = self._asked == TO_THE_END
                self._ask = 0
                self.seek(self._entry_end, whole=whole)
                raise
            self._end += filled
            total -= filled

    def _skip(self, count: int) -> None:
        if count <= 0:
            return
        held = min(count, len(self._buffer) - self._at)
        self._at += held
        count -= held
        if not count:
            return
        self._buffer, self._at = b"", 0
        if self._ask and self._end + count >= self._asked:
            self._end += count  # the next request begins behind it
            self._asked = self._end
        else:
            self._stream.into([Zeros(count)])
            self._end += count

    def _take(self, count: int) -> bytes:
        at = self._at
        stop = at + count
        if stop <= len(self._buffer):
            self._at = stop
            return self._buffer[at:stop]
        parts = [self._buffer[at:]]
        held = len(parts[0])
        while held < count:
            if self._end >= self._asked:
                self._request(count - held)
            size = max(CHUNK, count - held)
            if self._asked != TO_THE_END:
                size = min(size, self._asked - self._end)
            data = self._stream.read_some(size)
            if not data:
                raise StreamError(f"the stream ends at byte {self._end}, in the middle of an entry or before "
                                  "its end mark: a tape is missing, or the backup was cut short")
            parts.append(data)
            held += len(data)
            self._end += len(data)
        self._buffer = b"".join(parts) if len(parts) > 1 else parts[0]
        self._at = count
        return self._buffer[:count]

    def _request(self, count: int) -> None:
        """Ask for at least ``count`` bytes from where the buffer ends."""
        length = max(self._ask, tar.padded(count) + 2 * BLOCK)
        if self._total is not None:
            length = min(length, max(self._total - self._end, 0))
            if length < count:
                raise StreamError(f"byte {self._end} of the stream: an entry goes beyond the stream's end")
        self._ask = min(4 * self._ask, LARGEST_ASK)
        self._stream.want(self._end, length)
        self._asked = self._end + length


def _cut(pieces: list[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    """``pieces`` up to ``at`` bytes, and the rest."""
    for index, piece in enumerate(pieces):
        if at < piece.length:
            if not at:
                return pieces[:index], pieces[index:]
            head, tail = split(piece, at)
            return [*pieces[:index], head], [tail, *pieces[index + 1:]]
        at -= piece.length
    return pieces, []
