"""Reads and writes SIMH ``.tap`` tape images, apart from the server's own code, so that one checks the other.

Each record is its length (32 bits, little endian), its bytes padded to an even count, and its length again.
A length of 0 is a file mark; FFFFFFFFh is the end of the medium; the top byte of a length holds a class and
must be 0 for good data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

END_OF_MEDIUM = 0xFFFFFFFF
LARGEST_RECORD = 0x00FFFFFF


class BadImage(ValueError):
    """The file is not what the format says."""


def objects(file: BinaryIO) -> Iterator[bytes | None]:
    """The records in order; None is a file mark."""
    while head := file.read(4):
        at = file.tell() - 4
        if len(head) < 4:
            raise BadImage(f"byte {at}: the file ends within a length")
        length = struct.unpack("<I", head)[0]
        if length == END_OF_MEDIUM:
            return
        if length == 0:
            yield None
            continue
        if length > LARGEST_RECORD:
            raise BadImage(f"byte {at}: {length:08x} is no length of a good record")
        record = file.read(length)
        padding = file.read(length % 2)
        tail = file.read(4)
        if len(record) < length or len(padding) < length % 2 or tail != head:
            raise BadImage(f"byte {at}: the record of {length} bytes is not closed by its length")
        yield record


def tape_files(path: Path) -> list[list[bytes]]:
    """The records of each tape file (what lies between file marks), up to the end of the medium."""
    files: list[list[bytes]] = [[]]
    with path.open("rb") as image:
        for record in objects(image):
            if record is None:
                files.append([])
            else:
                files[-1].append(record)
    return files


def join_first_file(path: Path, destination: Path) -> list[int]:
    """Write the bytes of the first tape file to ``destination``; returns the sizes of its records."""
    sizes = []
    with path.open("rb") as image, destination.open("wb") as joined:
        for record in objects(image):
            if record is None:
                break
            joined.write(record)
            sizes.append(len(record))
    return sizes


def write(path: Path, records: Iterable[bytes]) -> None:
    """A tape of ``records`` without a file mark."""
    with path.open("wb") as image:
        for record in records:
            length = struct.pack("<I", len(record))
            image.write(length + record + bytes(len(record) % 2) + length)
