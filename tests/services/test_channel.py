"""Frames of the local channel: pieces and descriptors arrive whole, and a broken channel leaks nothing."""

from __future__ import annotations

import array
import os
import socket
import threading
from pathlib import Path

import pytest

from ndmpd.errors import StreamError
from ndmpd.pieces import FileExtent, Inline, LunExtent, OpenFile, Piece, Zeros
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def file(tmp_path: Path) -> OpenFile:
    path = tmp_path / "file"
    path.write_bytes(b"content of the file")
    return OpenFile(os.open(path, os.O_RDONLY), os.fsdecode(b"odd \xff name"))


@pytest.mark.parametrize("piece", [Inline(b"x" * 5), Inline(b""), Inline(b"y" * 3_000_000), Zeros(1 << 60),
                                   LunExtent("disk0", 1 << 40, 7, 4096)])
def test_a_piece_arrives_as_it_was_sent(piece: Piece) -> None:
    ours, theirs = channel.pair()
    sender = threading.Thread(target=channel.send_piece, args=(ours, piece))
    sender.start()
    frame = channel.receive(theirs)
    sender.join()
    assert frame is not None
    assert channel.piece_of(frame) == piece


def test_a_file_travels_as_a_descriptor_and_keeps_its_name(file: OpenFile) -> None:
    ours, theirs = channel.pair()
    channel.send_piece(ours, FileExtent(file, 3, 9, True))
    frame = channel.receive(theirs)
    assert frame is not None
    piece = channel.piece_of(frame)
    assert isinstance(piece, FileExtent)
    assert (piece.offset, piece.length, piece.strict, piece.file.name) == (3, 9, True, file.name)
    assert piece.file.fd != file.fd
    assert os.pread(piece.file.fd, 9, 3) == b"tent of t"


def test_many_files_in_a_row_each_keep_their_own_descriptor(tmp_path: Path) -> None:
    ours, theirs = channel.pair()
    for number in range(50):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
        one = OpenFile(os.open(tmp_path / str(number), os.O_RDONLY), str(number))
        channel.send_piece(ours, Inline(b"header" * number))
        channel.send_piece(ours, FileExtent(one, 0, 2))
    for number in range(50):
        head, body = channel.receive(theirs), channel.receive(theirs)
        assert head is not None and body is not None
        assert head.payload == b"header" * number
        piece = channel.piece_of(body)
        assert isinstance(piece, FileExtent)
        assert os.pread(piece.file.fd, 9, 0) == b"%d" % number


def test_a_close_between_frames_is_an_end_and_inside_one_a_loss() -> None:
    ours, theirs = channel.pair()
    channel.send(ours, Frame(Kind.END))
    ours.close()
    end = channel.receive(theirs)
    assert end is not None and end.kind is Kind.END
    assert channel.receive(theirs) is None
    for cut in (1, 31, 33):
        ours, theirs = channel.pair()
        ours.sendall(bytes([Kind.INLINE, 0, 0, 0, 0, 0, 0, 5, *bytes(24), 1, 2])[:cut])
        ours.close()
        with pytest.raises(ConnectionResetError):
            channel.receive(theirs)


def test_a_descriptor_that_came_with_a_broken_frame_is_closed(file: OpenFile) -> None:
    ours, theirs = channel.pair()
    before = open_fds()
    channel.send(ours, Frame(Kind.END, file=file))
    frame = channel.receive(theirs)
    assert frame is not None
    with pytest.raises(StreamError):
        channel.piece_of(frame)
    del frame
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fd]))]
    ours.sendmsg([bytes([Kind.FILE, 0, 0, 0, 0, 0, 0, 9, *bytes(24)])], rights)
    ours.close()
    with pytest.raises(ConnectionResetError):
        channel.receive(theirs)
    assert open_fds() == before - 1


def test_a_size_beyond_all_frames_is_refused_before_memory_is_taken() -> None:
    ours, theirs = channel.pair()
    ours.sendall(bytes([Kind.INLINE, 0, 0, 0, 255, 255, 255, 255, *bytes(24)]))
    with pytest.raises(StreamError, match="out of step"):
        channel.receive(theirs)
    with pytest.raises(ValueError, match="do not fit"):
        channel.send(ours, Frame(Kind.INLINE, payload=bytes(channel.MOST_INLINE + 1)))


def test_a_file_frame_without_its_descriptor_says_what_to_do() -> None:
    with pytest.raises(StreamError, match="LimitNOFILE"):
        channel.piece_of(Frame(Kind.FILE, payload=b"name"))
