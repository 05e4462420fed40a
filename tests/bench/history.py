"""File history into a DMA that reads, and a bare loop that packs and reads the same entries."""

from __future__ import annotations

import multiprocessing
import os
import socket
import struct
import time

from protocol.ndmp.codes import Code, DataOperation, FileType, MessageType
from protocol.ndmp.filehist import pack_file, post_body
from protocol.ndmp.header import SIZE, Header
from protocol.ndmp.record import Unframer, frame
from tests.bench.dma import Job, JobFailed, timed
from tests.bench.place import PER_FOLDER, Place
from tests.bench.rows import Subject

BATCH = 32 << 10
"""Bytes of entries in one post, as the server has it."""
_COUNT = struct.Struct(">I")


def file_history(place: Place) -> list[Subject]:
    """RECOVER_FILEHIST, whose only work is history; beside it the backup of the same empty files."""
    path, entries, agent = str(place.empty.path), place.empty.files, place.ours.agent
    timed(agent, Job("tar", path, "tape0"))
    listing = Job("tar", path, "tape0", DataOperation.RECOVER_FILEHIST, entries=entries)
    backup = Job("tar", path, "tape1", history="y", entries=entries)
    return [
        Subject("packing loop", lambda: packing_loop(entries), entries),
        Subject("ndmpd", lambda: timed(agent, listing).seconds, entries),
        Subject("ndmpd, backup", lambda: timed(agent, backup).seconds, entries),
    ]


def packing_loop(entries: int) -> float:
    """One process packs and sends, this one receives and counts; seconds until the last has come."""
    ours, theirs = socket.socketpair()
    packer = multiprocessing.get_context("fork").Process(target=_pack, args=(theirs, ours, entries))
    packer.start()
    theirs.close()
    unframer, received = Unframer(1 << 20), 0
    with ours:
        started = time.perf_counter()
        ours.sendall(b"g")
        while data := ours.recv(256 << 10):
            for record in unframer.feed(data):
                received += _COUNT.unpack_from(record, SIZE)[0]
        seconds = time.perf_counter() - started
    packer.join()
    if received != entries:
        raise JobFailed(f"{received} of {entries} packed entries came")
    return seconds


def _pack(end: socket.socket, other: socket.socket, entries: int) -> None:
    other.close()
    status = os.stat("/")
    end.recv(1)
    packed, count, sequence = bytearray(), 0, 0
    for number in range(entries):
        path = b"/%03d/file%06d" % (number // PER_FOLDER, number)
        pack_file(packed, path, FileType.REG, int(status.st_mtime), int(status.st_atime),
                  int(status.st_ctime), status.st_uid, status.st_gid, 0o644, 0, 1, number, number * 512)
        count += 1
        if len(packed) >= BATCH or number == entries - 1:
            sequence += 1
            header = Header(sequence, 0, MessageType.REQUEST, Code.FH_ADD_FILE)
            end.sendall(frame(header.encode() + post_body(count, packed)))
            packed, count = bytearray(), 0
    end.close()
