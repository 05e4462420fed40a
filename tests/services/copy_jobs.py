"""A backup by a copy manager and the recover of its tape, and what was said of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ndmpd.pieces import FileExtent, Inline, LunExtent, Piece
from ndmpd.ports import Command, Result, Transport
from ndmpd.services.inlets import LocalInlet, RemoteInlet
from ndmpd.services.transfer import Mover
from ndmpd.session.events import MoverHalted
from protocol.ndmp.codes import MoverHaltReason
from tests.services.copy_rig import BLOCK, DISK, SEA, CopyRig, Place, content, image

RECORDS = (512, 10240, 65536)
EXTENTS = [(0, 300), (304, 5), (400, 1), (1000, 900), (2000, 1), (2003, 600)]
PIECES = image(EXTENTS)
MOVES = "data mover {} (SCSI) moves the data"
CAT = "no records made of several segments (CAT)"
NO_TAPE = "it takes neither segment type 00h nor 08h"
NO_DISK = "it takes neither segment type 01h nor 09h"
NO_LIMITS = "tells its limits neither by RECEIVE COPY RESULTS nor by VPD page 8Fh"
ALL_TYPES = [*range(0x14), 0xE4]


@dataclass
class Job:
    """What one backup and the recover of its tape came to."""

    tape: list[bytes]
    disk: bytes
    used: list[str] = field(default_factory=list)
    logs: list[list[str]] = field(default_factory=list)
    halts: list[MoverHalted] = field(default_factory=list)


def expected(record: int) -> list[bytes]:
    stream = content(PIECES)
    stream += bytes(-len(stream) % record)
    return [stream[at:at + record] for at in range(0, len(stream), record)]


def restored() -> bytes:
    disk = bytearray(DISK)
    for lba, blocks in EXTENTS:
        disk[lba * BLOCK:(lba + blocks) * BLOCK] = SEA[lba * BLOCK:(lba + blocks) * BLOCK]
    return bytes(disk)


def restore(reader: LocalInlet | RemoteInlet) -> None:
    reader.want(0, sum(piece.length for piece in PIECES))
    group: list[Piece] = []
    for piece in PIECES:
        if isinstance(piece, Inline):
            reader.into(group)
            group = []
            assert reader.read(piece.length) == piece.data
        else:
            group.append(LunExtent("disk1", piece.lba, piece.blocks) if isinstance(piece, LunExtent)
                         else piece)
    reader.into(group)


Wrap = Callable[[str, Transport], Transport]


def straight(name: str, inner: Transport) -> Transport:
    return inner


def carry_out(place: Place, record: int, mover: Mover = Mover.AUTO, wrap: Wrap = straight,
              paths: int = 1, batch: int = 1 << 20) -> Job:
    """A backup onto a blank tape, and a recover from it. Both must succeed."""
    with CopyRig(place, mover, wrap=wrap, paths=paths, batch=batch) as rig:
        (tape,), sent = rig.backup(PIECES, record, windows=[3, 5])
        job = Job(tape, b"", [sent.used], [[one.text for one in rig.said]], [rig.ended])
        assert sent.finished, rig.log()
        rig.said.clear()

        def take(reader: LocalInlet | RemoteInlet) -> None:
            try:
                restore(reader)
            finally:
                assert isinstance(reader, LocalInlet)
                job.used.append(reader.used)

        happened = rig.recover(take, [(rig.used[0], 0, len(tape) * record)], record)
        assert isinstance(happened[-1], MoverHalted)
        job.halts.append(happened[-1])
        job.logs.append([one.text for one in rig.said])
    job.disk = place.san.disk_path("disk1").read_bytes()
    assert [one.reason for one in job.halts] == [MoverHaltReason.CONNECT_CLOSED] * 2, job
    assert job.tape == expected(record)
    assert job.disk == restored()
    return job


def learnt(lines: list[str]) -> set[str]:
    """What the log says that the copy manager cannot do after all, numbers aside."""
    found = [re.search(r"; it goes on with (.*)", line) for line in lines]
    return {re.sub(r"\d{2,}(?!h)|\b\d\b(?! segments)", "N", one[1]) for one in found if one}


class Wrapped:
    """A path to a copy manager whose answers are changed."""

    most = None

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def execute(self, command: Command) -> Result:
        return self.inner.execute(command)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        self.inner.close()
