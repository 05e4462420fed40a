"""A head's drive over iSCSI: a backup through the head, against loops that do nothing but write it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ndmpd.devices import libiscsi
from ndmpd.devices.iscsi_login import Login, isids
from ndmpd.devices.iscsi_session import Session
from ndmpd.devices.tape import TapeDrive
from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result
from protocol.scsi import command
from tests.bench.dma import Job, timed
from tests.bench.place import Place
from tests.bench.rows import Subject

RECORD = 65536
TRANSFERS = (1 << 20, 4 << 20, 8 << 20)
TRIED = 128 << 20
"""Bytes that each transfer size is tried with."""


def image_to_an_iscsi_drive(place: Place) -> list[Subject]:
    """The same disk to the same drive, by a backup and by libiscsi with one command in flight; and one buffer
    over and over, without a disk.
    """
    size = place.scale.size
    disk = place.fill_disk(place.head, "disk0")
    login = Login("127.0.0.1", place.node.port, place.node.target("tape0"), "iqn.2026-11.io.ndmpd:bench")
    loop, hollow = Loop(login, disk), Loop(login)
    for one in (loop, hollow):
        one.prepare(min(size, TRIED))
    job = Job("image", "/vol/disk0", "san0", at_least=size, mover="NAS")
    return [
        Subject("one buffer", lambda: hollow.run(size), size),
        Subject("libiscsi", lambda: loop.run(size), size),
        Subject("ndmpd", lambda: timed(place.head.agent, job).seconds, size),
    ]


@dataclass
class Loop:
    """Writes records out of one buffer, ``transfer`` bytes a command, filled from ``source`` if any."""

    login: Login
    source: Path | None = None
    transfer: int = TRANSFERS[0]

    def prepare(self, size: int) -> None:
        """Find the transfer size that is fastest here."""
        rates = {}
        for self.transfer in TRANSFERS * 2:
            rates[self.run(size)] = self.transfer
        self.transfer = rates[min(rates)]

    def run(self, size: int) -> float:
        """Seconds to write ``size`` bytes and have them on the medium, from the beginning of the tape."""
        drive = TapeDrive(Plain(self.login), "bench")
        drive.open()
        file = None if self.source is None else self.source.open("rb", buffering=0)
        try:
            drive.rewind()
            drive.set_block_length(RECORD)
            buffer = memoryview(bytearray(os.urandom(self.transfer)))
            cdb = command.WRITE_6_TAPE.put(fixed=1, length=self.transfer // RECORD)
            began = time.perf_counter()
            for number in range(size // self.transfer):
                if file is not None:
                    assert file.readinto(buffer) == self.transfer, number
                reply = drive.transport.session.execute(0, cdb, libiscsi.WRITE, [buffer], 60)
                assert reply.status == 0, reply
            drive.write_filemarks(1)
            return time.perf_counter() - began
        finally:
            drive.close()
            if file is not None:
                file.close()


class Plain:
    """A session of libiscsi, with as little around it as drive logic can be asked to use."""

    most = None

    def __init__(self, login: Login) -> None:
        self._wake = os.eventfd(0)
        self.session = Session(login, isids.take(), self._wake)

    def execute(self, command: Command) -> Result:
        outward = bool(command.data_out)
        pieces = command.data_out if outward else command.data_in
        buffers = [memoryview(piece.data) for piece in pieces if isinstance(piece, Inline)]
        reply = self.session.execute(
            0, command.cdb, libiscsi.WRITE if outward else libiscsi.READ, buffers, command.timeout
        )
        return Result(reply.status, reply.sense, sum(map(len, buffers)) - reply.residual)

    def backing(self, lba: int, blocks: int) -> None:
        return None

    def close(self) -> None:
        self.session.close()
        os.close(self._wake)
