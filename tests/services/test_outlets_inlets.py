"""Both ends of a backup's and a recover's bytes: what they owe each other when one is slow or gone."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from ndmpd.devices.errors import NoSuchDevice
from ndmpd.errors import StreamError
from ndmpd.pieces import FileExtent, Inline, OpenFile, Zeros
from ndmpd.ports import SourceFault, Transport
from ndmpd.services import channel
from ndmpd.services.channel import Frame, Kind
from ndmpd.services.inlets import ConnectionBroken, LocalInlet, RemoteInlet
from ndmpd.services.lowering import Lowering
from ndmpd.services.outlets import AHEAD, LocalOutlet, RemoteOutlet
from ndmpd.services.sources import LocalSource
from ndmpd.session.spans import ALL_ONES


def no_disk(name: str) -> Transport:
    raise NoSuchDevice(name)


def in_background(act: object) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_an_outlet_sends_no_further_than_the_mover_takes() -> None:
    ours, theirs = channel.pair()
    sent: list[int] = []
    outlet = LocalOutlet(ours, lambda _: None, sent.append)
    thread = in_background(lambda: [outlet.send(Inline(b"x")) for _ in range(2 * AHEAD)])
    thread.join(0.3)
    assert thread.is_alive() and len(sent) == AHEAD
    channel.send(theirs, Frame(Kind.MORE, AHEAD))
    thread.join(0.3)
    assert thread.is_alive() and len(sent) == 2 * AHEAD
    channel.send(theirs, Frame(Kind.WRITTEN, 2 * AHEAD))
    thread.join(5)
    assert not thread.is_alive()


def test_a_confirmed_piece_closes_its_file(tmp_path: Path) -> None:
    ours, theirs = channel.pair()
    outlet = LocalOutlet(ours, lambda _: None, lambda _: None)
    (tmp_path / "file").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    outlet.send(FileExtent(OpenFile(os.open(tmp_path / "file", os.O_RDONLY), "file"), 0, 1))
    assert channel.receive(theirs) is not None
    assert len(os.listdir("/proc/self/fd")) == before + 1
    channel.send(theirs, Frame(Kind.WRITTEN, 1))
    outlet.send(Inline(b""))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fault_names_the_piece_by_its_number_even_behind_confirmed_ones() -> None:
    ours, theirs = channel.pair()
    faults: list[SourceFault] = []
    outlet = LocalOutlet(ours, faults.append, lambda _: None)
    for number in range(5):
        outlet.send(Zeros(number))
    channel.send(theirs, Frame(Kind.WRITTEN, 3))
    channel.send(theirs, Frame(Kind.FAULT, 4, 1, 2, b"gone"))
    channel.send(theirs, Frame(Kind.WRITTEN, 5))
    channel.send(theirs, Frame(Kind.DONE))
    outlet.finish()
    assert faults == [SourceFault(Zeros(4), 1, 2, "gone")]


def test_a_mover_that_goes_before_all_is_on_tape_is_a_lost_connection() -> None:
    ours, theirs = channel.pair()
    outlet = LocalOutlet(ours, lambda _: None, lambda _: None)
    outlet.send(Zeros(1))
    assert channel.receive(theirs) is not None
    theirs.close()
    with pytest.raises(ConnectionError):
        outlet.finish()


def test_a_source_says_once_what_is_written_however_long_the_piece_is() -> None:
    """DATA may be sending, and so not listening, for as long as one piece takes."""
    ours, theirs = channel.pair()
    source = LocalSource(theirs)
    for _ in range(100_000):
        source.written(1)
    ours.setblocking(False)
    frame = channel.receive(ours)
    assert frame == Frame(Kind.WRITTEN, 1)
    with pytest.raises(BlockingIOError):
        channel.receive(ours)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        return ours, listening.accept()[0]


def test_a_remote_outlet_fills_up_what_a_file_has_lost(tmp_path: Path) -> None:
    ours, theirs = tcp_pair()
    faults: list[SourceFault] = []
    (tmp_path / "file").write_bytes(b"abc")
    file = OpenFile(os.open(tmp_path / "file", os.O_RDONLY), "file")
    outlet = RemoteOutlet(ours, Lowering(no_disk), faults.append, lambda _: None)
    outlet.send(FileExtent(file, 1, 10))
    outlet.finish()
    assert theirs.recv(100, socket.MSG_WAITALL) == b"bc" + bytes(8)
    assert [(fault.skipped, fault.length) for fault in faults] == [(2, 8)]


def test_an_inlet_passes_over_what_is_left_of_a_range_before_it_asks_for_the_next() -> None:
    ours, theirs = tcp_pair()
    asked: list[tuple[int, int]] = []
    inlet = RemoteInlet(ours, Lowering(no_disk), lambda *wanted: asked.append(wanted), lambda _: None)
    inlet.want(100, 10)
    theirs.sendall(b"0123456789" + b"abc")
    assert inlet.read(4) == b"0123"
    inlet.want(500, 3)
    assert inlet.read(100) == b"abc"
    assert inlet.position == 503
    assert asked == [(100, 10), (500, 3)]


def test_a_stream_that_ends_inside_a_destination_is_an_error() -> None:
    ours, theirs = tcp_pair()
    inlet = RemoteInlet(ours, Lowering(no_disk), lambda *_: None, lambda _: None)
    inlet.want(0, ALL_ONES)
    theirs.sendall(b"short")
    theirs.close()
    with pytest.raises(StreamError, match="missing"):
        inlet.into([Zeros(10)])


def test_a_reset_is_a_lost_connection_and_not_the_fault_of_a_file(tmp_path: Path) -> None:
    """What fills files takes an OSError for a file's own."""
    ours, theirs = tcp_pair()
    inlet = RemoteInlet(ours, Lowering(no_disk), lambda *_: None, lambda _: None)
    inlet.want(0, ALL_ONES)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    file = OpenFile(os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT), "file")
    with pytest.raises(ConnectionBroken):
        inlet.into([FileExtent(file, 0, 10)])


def test_a_mover_that_is_gone_ends_the_stream_of_a_local_inlet() -> None:
    ours, theirs = channel.pair()
    inlet = LocalInlet(ours, lambda *_: None, lambda _: None)
    inlet.want(0, 100)
    theirs.close()
    assert inlet.read(10) == b""
    with pytest.raises(StreamError):
        inlet.into([Zeros(10)])


def test_no_more_is_put_into_destinations_than_was_asked_for() -> None:
    ours, _ = channel.pair()
    inlet = LocalInlet(ours, lambda *_: None, lambda _: None)
    inlet.want(0, 100)
    with pytest.raises(StreamError):
        inlet.into([Zeros(101)])
