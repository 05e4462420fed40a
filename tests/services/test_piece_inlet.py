"""A recover that is fed by a backup: what is taken, passed over, missing, or cannot be put anywhere."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from ndmpd.devices.errors import NoSuchDevice
from ndmpd.errors import StreamError
from ndmpd.pieces import FileExtent, Inline, OpenFile, Piece, Zeros
from ndmpd.ports import SourceFault, Transport
from ndmpd.services import channel
from ndmpd.services.block_transfer import BlockTransfer
from ndmpd.services.inlets import ConnectionBroken
from ndmpd.services.lowering import Lowering
from ndmpd.services.outlets import LocalOutlet
from ndmpd.services.piece_inlet import PieceInlet
from ndmpd.services.sources import LocalSource
from ndmpd.services.transfer import Mover
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.codes import LogType

PATIENCE = 10.0


class Run:
    """Of a job that nobody ends."""

    stopped = False

    def moving(self, size: int) -> None: ...

    def say(self, kind: LogType, text: str) -> None:
        raise AssertionError(text)

    held = staticmethod(nullcontext)


def no_disk(name: str) -> Transport:
    raise NoSuchDevice(name)


class Backup:
    """The other end: sends ``pieces`` and hears what became of them."""

    def __init__(self, pieces: Sequence[Piece], whole: bool = True) -> None:
        self.faults: list[SourceFault] = []
        self.failure: Exception | None = None
        self.finished = False
        self._ours, self.end = channel.pair()
        self._pieces, self._whole = pieces, whole
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        outlet = LocalOutlet(self._ours, self.faults.append, lambda size: None)
        with self._ours:
            try:
                for piece in self._pieces:
                    outlet.send(piece)
                if self._whole:
                    outlet.finish()
                    self.finished = True
            except OSError as failure:
                self.failure = failure


@contextmanager
def fed(pieces: Sequence[Piece], whole: bool = True) -> Iterator[tuple[PieceInlet, Backup]]:
    backup = Backup(pieces, whole)
    backup.thread.start()
    transfer = BlockTransfer(Mover.AUTO, Lowering(no_disk), (), Run())
    with backup.end:
        yield PieceInlet(LocalSource(backup.end), transfer, lambda *_: None, lambda _: None), backup
    backup.thread.join(PATIENCE)
    assert not backup.thread.is_alive(), "the backup was left hanging"


def opened(path: Path, content: bytes = b"") -> OpenFile:
    path.write_bytes(content)
    return OpenFile(os.open(path, os.O_RDWR), path.name)


def test_pieces_of_any_kind_go_where_they_belong_whatever_their_borders(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    source = FileExtent(opened(tmp_path / "from", content), 1000, 2 << 20)
    target = opened(tmp_path / "to")
    with fed([Inline(b"head"), Zeros(10), source, Inline(b"tail" * 5)]) as (inlet, backup):
        inlet.want(0, ALL_ONES)
        assert inlet.read(6) == b"head\0\0"
        inlet.into([Zeros(3), FileExtent(target, 0, 1005), FileExtent(target, 1005, (2 << 20) - 998)])
        assert inlet.read(100) == b"il" + b"tail" * 4
        assert inlet.read(1) == b""
        inlet.finish()
    assert (tmp_path / "to").read_bytes() == bytes(5) + content[1000:1000 + (2 << 20)] + b"ta"
    assert backup.finished and not backup.faults


def test_more_pieces_than_may_be_sent_ahead_are_taken_one_after_the_other() -> None:
    with fed([Inline(bytes([number % 251])) for number in range(2000)]) as (inlet, backup):
        inlet.want(0, ALL_ONES)
        assert inlet.read(2000) == bytes(number % 251 for number in range(2000))
        inlet.finish()
    assert backup.finished


def test_what_lies_between_two_ranges_is_passed_over_and_there_is_no_way_back() -> None:
    with fed([Inline(bytes(range(200)))]) as (inlet, _):
        inlet.want(10, 5)
        assert inlet.read(100) == bytes(range(10, 15))
        inlet.want(100, 2)
        assert (inlet.read(100), inlet.position) == (bytes((100, 101)), 102)
        with pytest.raises(StreamError, match="cannot go back"):
            inlet.want(50, 1)


def test_a_file_that_has_shrunk_is_zeros_and_the_backup_hears_where(tmp_path: Path) -> None:
    source = FileExtent(opened(tmp_path / "from", b"x" * 100), 0, 300)
    target = opened(tmp_path / "to")
    with fed([Inline(b"head"), source]) as (inlet, backup):
        inlet.want(0, ALL_ONES)
        assert inlet.read(14) == b"head" + b"x" * 10
        inlet.into([FileExtent(target, 0, 290)])
        inlet.finish()
    assert (tmp_path / "to").read_bytes() == b"x" * 90 + bytes(200)
    assert [(fault.piece, fault.skipped, fault.length) for fault in backup.faults] == [(source, 100, 200)]


def test_a_destination_that_fails_is_passed_over_and_the_stream_goes_on(tmp_path: Path) -> None:
    (tmp_path / "to").touch()
    target = OpenFile(os.open(tmp_path / "to", os.O_RDONLY), "to")
    with fed([Inline(b"a" * 100), Inline(b"b" * 100), Inline(b"c" * 100)]) as (inlet, backup):
        inlet.want(0, ALL_ONES)
        with pytest.raises(OSError) as failure:
            inlet.into([FileExtent(target, 0, 150), Zeros(50)])
        assert failure.value.errno == errno.EBADF
        assert inlet.read(100) == b"c" * 100
        inlet.finish()
    assert backup.finished


def test_a_backup_that_ends_early_is_a_lost_connection() -> None:
    with fed([Inline(b"half")], whole=False) as (inlet, _):
        inlet.want(0, ALL_ONES)
        with pytest.raises(ConnectionBroken):
            inlet.read(8)


def test_a_recover_that_ends_early_is_a_lost_connection_for_the_backup() -> None:
    with fed([Inline(bytes(1000))] * 500) as (inlet, backup):
        inlet.want(0, ALL_ONES)
        inlet.read(10)
    assert isinstance(backup.failure, ConnectionError)


def test_a_recover_that_wants_no_more_lets_the_backup_end() -> None:
    with fed([Inline(bytes(1000))] * 500) as (inlet, backup):
        inlet.want(0, 10)
        assert inlet.read(10) == bytes(10)
        inlet.finish()
    assert backup.finished
