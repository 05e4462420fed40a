"""Move the bytes of pieces: into a file, onto a socket, into memory; and from a file into destinations.

Between files ``filecopy`` does the work; what it could not copy is copied here once more, chunk by chunk, to
find out why.

Rule for sources (``pieces``): an extent yields exactly its length. What cannot be read is zeros, and is
added to ``faults``. Rule for targets: an OSError passes through to the caller.

``LunExtent`` is not moved here: whoever owns the disk's transport lowers it to another piece first.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence

from ndmpd.filecopy import CHUNK, copy_range, own_buffer
from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece, Zeros
from ndmpd.ports import SourceFault

# An iovec list longer than this is EINVAL (Linux UIO_MAXIOV is 1024).
_MANY = 512
_NOTHING = bytes(CHUNK)
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""A file system that cannot feed a socket by itself can be read all the same."""


def length_of(pieces: Sequence[Piece]) -> int:
    """Bytes of all ``pieces`` together."""
    return sum(piece.length for piece in pieces)


def copy_to_file(pieces: Sequence[Piece], fd: int, offset: int, faults: list[SourceFault]) -> int:
    """Write the bytes of ``pieces`` to ``fd`` from ``offset``, many small ones a call; returns how many."""
    start = offset
    gathered: list[bytes | bytearray | memoryview] = []
    size = 0
    for piece in pieces:
        match piece:
            case Inline(data):
                gathered.append(data)
                size += len(data)
                if len(gathered) < _MANY:
                    continue
                offset += _write_all(fd, gathered, offset, size)
            case Zeros(length) if length <= CHUNK:
                gathered.append(memoryview(_NOTHING)[:length])
                size += length
                if len(gathered) < _MANY:
                    continue
                offset += _write_all(fd, gathered, offset, size)
            case FileExtent():
                offset += _write_all(fd, gathered, offset, size)
                offset += _copy_extent(piece, offset - start, fd, offset, faults)
            case _:
                offset += _write_all(fd, gathered, offset, size)
                for chunk in _chunks(piece, offset - start, faults):
                    offset += _write_all(fd, [chunk], offset, len(chunk))
        gathered, size = [], 0
    offset += _write_all(fd, gathered, offset, size)
    return offset - start


def copy_to_socket(pieces: Sequence[Piece], connection: socket.socket, faults: list[SourceFault]) -> int:
    """Send the bytes of ``pieces`` on a blocking socket; extents by sendfile. Returns how many."""
    sent = 0
    for piece in pieces:
        if isinstance(piece, FileExtent):
            sent += _sendfile(piece, sent, connection, faults)
        else:
            for chunk in _chunks(piece, sent, faults):
                connection.sendall(chunk)
                sent += len(chunk)
    return sent


def read_bytes(pieces: Sequence[Piece], faults: list[SourceFault]) -> bytes:
    """The bytes of ``pieces`` in memory; for control data and single records, not for bulk."""
    found = bytearray()
    for piece in pieces:
        for chunk in _chunks(piece, len(found), faults):
            found += chunk
    return bytes(found)


def copy_to_memory(pieces: Sequence[Piece], room: memoryview, faults: list[SourceFault],
                   before: int = 0) -> None:
    """The bytes of ``pieces`` into ``room``, which is as long; ``before``: where faults are counted from."""
    at = 0
    for piece in pieces:
        target = room[at : at + piece.length]
        if isinstance(piece, FileExtent):
            done, reason = _read_extent(piece, target)
            if reason:
                faults.append(SourceFault(piece, before + at + done, piece.length - done, reason))
                copy_to_memory((Zeros(piece.length - done),), target[done:], faults)
        else:
            filled = 0
            for chunk in _chunks(piece, before + at, faults):
                target[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
        at += piece.length


def _read_extent(piece: FileExtent, target: memoryview) -> tuple[int, str]:
    """Bytes read into ``target``, and why there are no more; "" where it is full."""
    done = 0
    while done < piece.length:
        try:
            got = os.preadv(piece.file.fd, [target[done:]], piece.offset + done)
        except OSError as error:
            return done, error.strerror or str(error)
        if got == 0:
            return done, "the file has shrunk"
        done += got
    return done, ""


def copy_from_file(fd: int, offset: int, destinations: Sequence[Piece]) -> int:
    """Fill ``destinations`` from ``fd`` at ``offset``; returns the bytes there were: less only at its end."""
    start = offset
    for target in destinations:
        match target:
            case Inline(data):
                view = memoryview(data)
                got = _read_all(fd, view, offset)
            case Zeros(length):
                got = min(length, max(0, os.fstat(fd).st_size - offset))
            case FileExtent():
                got = _fill_file(fd, offset, target)
            case LunExtent(disk=disk):
                raise TypeError(f"blocks of {disk} are filled through its transport")
        offset += got
        if got < target.length:
            break
    return offset - start


def put_bytes(data: bytes | memoryview, destinations: Sequence[Piece]) -> None:
    """Scatter ``data``, as long as ``destinations`` together, into them."""
    view = memoryview(data)
    for target in destinations:
        part, view = view[: target.length], view[target.length :]
        match target:
            case Inline(buffer):
                memoryview(buffer)[: len(part)] = part
            case FileExtent(file, offset):
                _write_all(file.fd, [part], offset, len(part))
            case Zeros():
                pass
            case LunExtent(disk=disk):
                raise TypeError(f"blocks of {disk} are filled through its transport")


def _chunks(piece: Piece, before: int, faults: list[SourceFault],
            done: int = 0) -> Iterator[bytes | bytearray | memoryview]:
    """The bytes of one piece as buffers, each valid until the next is asked for.

    ``before``: the bytes of the pieces ahead of it, from where faults are counted. ``done``: bytes at the
    front of a file's extent to leave out.
    """
    match piece:
        case Inline(data):
            yield data
        case Zeros(length):
            while length:
                step = min(length, CHUNK)
                yield memoryview(_NOTHING)[:step]
                length -= step
        case FileExtent(file, offset, length):
            buffer = own_buffer()
            while done < length:
                want = min(length - done, CHUNK)
                try:
                    got = os.preadv(file.fd, [buffer[:want]], offset + done)
                    reason = "the file has shrunk"
                except OSError as error:
                    got, reason = 0, error.strerror or str(error)
                if got == 0:
                    faults.append(SourceFault(piece, before + done, length - done, reason))
                    yield from _chunks(Zeros(length - done), before, faults)
                    return
                yield buffer[:got]
                done += got
        case LunExtent(disk=disk):
            raise TypeError(f"blocks of {disk} are read through its transport")


def _copy_extent(piece: FileExtent, before: int, fd: int, offset: int, faults: list[SourceFault]) -> int:
    done = copy_range(piece.file.fd, piece.offset, fd, offset, piece.length)
    for chunk in _chunks(piece, before, faults, done):
        done += _write_all(fd, [chunk], offset + done, len(chunk))
    return done


def _write_all(fd: int, buffers: list[bytes | bytearray | memoryview], offset: int, size: int) -> int:
    """Write ``size`` bytes of ``buffers`` at ``offset``, whole; raises OSError (ENOSPC where no progress)."""
    if not size:
        return 0
    done = os.pwritev(fd, buffers, offset)
    if done < size:
        rest = memoryview(b"".join(buffers))
        while done < size:
            wrote = os.pwrite(fd, rest[done:], offset + done)
            if not wrote:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += wrote
    return size


def _read_all(fd: int, view: memoryview, offset: int) -> int:
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], offset + done)
        if not got:
            break
        done += got
    return done


def _fill_file(fd: int, offset: int, target: FileExtent) -> int:
    buffer = own_buffer()
    done = copy_range(fd, offset, target.file.fd, target.offset, target.length)
    while done < target.length:
        got = os.preadv(fd, [buffer[: min(CHUNK, target.length - done)]], offset + done)
        if not got:
            break
        _write_all(target.file.fd, [buffer[:got]], target.offset + done, got)
        done += got
    return done


def _sendfile(piece: FileExtent, before: int, connection: socket.socket, faults: list[SourceFault]) -> int:
    done = 0
    while done < piece.length:
        try:
            got = os.sendfile(connection.fileno(), piece.file.fd, piece.offset + done, piece.length - done)
            reason = "the file has shrunk"
        except ConnectionError:
            raise
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ETIMEDOUT):
                raise
            if error.errno in _NO_SENDFILE:
                rest = FileExtent(piece.file, piece.offset + done, piece.length - done, piece.strict)
                for chunk in _chunks(rest, before + done, faults):
                    connection.sendall(chunk)
                break
            got, reason = 0, error.strerror or str(error)
        if got == 0:
            faults.append(SourceFault(piece, before + done, piece.length - done, reason))
            for chunk in _chunks(Zeros(piece.length - done), before, faults):
                connection.sendall(chunk)
            break
        done += got
    return piece.length
