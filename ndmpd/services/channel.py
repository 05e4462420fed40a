"""The local channel: two sides of this server joined by an AF_UNIX stream instead of TCP.

Both ends first say who they are (``hello``). A backup sends pieces, extents as descriptors (SCM_RIGHTS)
rather than as bytes; the mover, or the recover at the other end, answers with how many pieces are where they
belong, and with what could not be read of them. A recover sends pulls: destinations for the bytes at a stream
offset; the mover fills them and says so. Frames are private to the two ends, which run the same program;
nothing of a peer's is interpreted here.
"""

from __future__ import annotations

import array
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from ndmpd.errors import StreamError
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros

_FRAME = struct.Struct("!B3xIQQQ")
_FD = struct.calcsize("i")
_EDGES = struct.Struct("!II")
_SO_SNDBUFFORCE = 32
BUFFER = 4 << 20
MOST_INLINE = 64 << 20
"""Bytes of a frame's payload at most. Formatters and readers stay far below with what they carry inline."""


class Kind(IntEnum):
    """``a``, ``b``, ``c`` of each frame in brackets; then its payload."""

    INLINE = 1
    """Bytes by value (payload)."""
    ZEROS = 2
    """[length]"""
    FILE = 3
    """[offset, length, strict], a descriptor, payload: its name."""
    LUN = 4
    """[lba, blocks, block length], payload: bytes left out at both ends (``_EDGES``), the disk's name."""
    END = 5
    """The stream is complete; what follows is the close."""
    WRITTEN = 6
    """[pieces]: so many, counted from the first, are on tape."""
    FAULT = 7
    """[piece number, bytes skipped in it, length], payload: reason."""
    DONE = 8
    """[bytes offloaded]: every record is on tape. Payload: the data movers that did it."""
    PULL = 9
    """[stream offset, bytes, destinations]: fill the destinations that follow, all of them. With none, send
    bytes: at least one, and no more than can be had without a pause. A mover has no offset: it takes what the
    DMA told the other one to read.
    """
    FILLED = 10
    """[bytes offloaded so far]: the pull is done. Payload: the bytes, where it named no destinations; else
    the data movers that did it so far.
    """
    MORE = 11
    """[pieces]: so many, counted from the first, have been taken, and further ones are wanted."""
    FAILED = 12
    """[errno]: a destination could not be written; the pull's bytes were passed over. Payload: reason."""
    TAPE = 14
    """[record size, records], the one destination of a pull: a drive, payload: its name and designator. Its
    records are to be written there by a copy manager.
    """
    COPIED = 15
    """[records, flags, records to be left to the head]: what came of that, as far as is known (``Copied``).
    Payload: the data mover that did it.
    """
    KEPT = 16
    """[records]: so many are on the tape, by its own position."""
    HELLO = 13
    """[role]: the first frame in either direction (``hello``). Payload: the type of data mover that the DMA
    asked for.
    """


_KINDS = frozenset(Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    kind: Kind
    a: int = 0
    b: int = 0
    c: int = 0
    payload: bytes | bytearray | memoryview = b""
    file: OpenFile | None = None
    """Received, the descriptor is ours, and is closed when the last piece that has it is dropped."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel inside this server."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in ends:
        widen(end)
    return ends


def widen(end: socket.socket) -> None:
    """Let a few batches be under way, so that both ends work at once."""
    try:
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
    except PermissionError:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)


def send(end: socket.socket, frame: Frame) -> None:
    """Send one frame, whole. OSError where the other end is gone, ValueError for too large a payload."""
    if len(frame.payload) > MOST_INLINE:
        raise ValueError(f"{len(frame.payload)} bytes do not fit a frame")
    header = _FRAME.pack(frame.kind, len(frame.payload), frame.a, frame.b, frame.c)
    rights = ([] if frame.file is None else
              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [frame.file.fd]))])
    buffers = [header, frame.payload] if frame.payload else [header]
    sent = end.sendmsg(buffers, rights)
    total = len(header) + len(frame.payload)
    if sent < len(header):
        end.sendall(header[sent:])
        sent = len(header)
    if sent < total:
        end.sendall(memoryview(frame.payload)[sent - len(header):])


def receive(end: socket.socket) -> Frame | None:
    """The next frame, None where the other end closed between frames. ConnectionResetError inside one."""
    header, ancillary, _, _ = end.recvmsg(_FRAME.size, socket.CMSG_SPACE(_FD))
    if not header:
        return None
    file = None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            # Room for one is, as the kernel rounds it, room for two: none may stay open that no piece has.
            whole = len(data) // _FD * _FD
            found = [OpenFile(fd, "") for (fd,) in struct.iter_unpack("i", data[:whole])]
            file = found[0] if found else None
            del found
    if len(header) < _FRAME.size:
        header += _exactly(end, _FRAME.size - len(header))
    kind, size, a, b, c = _FRAME.unpack(header)
    if kind not in _KINDS:
        raise StreamError(f"the local channel has a frame of kind {kind}; it is out of step")
    if size > MOST_INLINE:
        raise StreamError(f"the local channel announces {size} bytes in one frame; it is out of step")
    return Frame(Kind(kind), a, b, c, _exactly(end, size) if size else b"", file)


def _exactly(end: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while view:
        got = end.recv_into(view, 0, socket.MSG_WAITALL)
        if not got:
            raise ConnectionResetError("the local channel closed inside a frame")
        view = view[got:]
    return data


def send_piece(end: socket.socket, piece: Piece) -> None:
    match piece:
        case Inline(data):
            send(end, Frame(Kind.INLINE, payload=data))
        case Zeros(length):
            send(end, Frame(Kind.ZEROS, length))
        case FileExtent(file, offset, length, strict):
            send(end, Frame(Kind.FILE, offset, length, strict, _encoded(file.name), file))
        case LunExtent(disk, lba, blocks, block_length, skip, short):
            send(end, Frame(Kind.LUN, lba, blocks, block_length, _EDGES.pack(skip, short) + _encoded(disk)))


def piece_of(frame: Frame) -> Piece:
    """The piece that a frame carries. Raises StreamError for a frame of another kind."""
    match frame.kind:
        case Kind.INLINE:
            return Inline(frame.payload)
        case Kind.ZEROS:
            return Zeros(frame.a)
        case Kind.FILE if frame.file is not None:
            frame.file.name = _decoded(frame.payload)
            return FileExtent(frame.file, frame.a, frame.b, bool(frame.c))
        case Kind.FILE:
            raise StreamError("a file's descriptor did not fit this process; raise LimitNOFILE")
        case Kind.LUN:
            edges = _EDGES.unpack_from(frame.payload)
            return LunExtent(_decoded(frame.payload[_EDGES.size:]), frame.a, frame.b, frame.c, *edges)
        case _:
            raise StreamError(f"{frame.kind.name} on the local channel where a piece was due")


def _encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _decoded(name: bytes | bytearray | memoryview) -> str:
    return bytes(name).decode("utf-8", "surrogateescape")
