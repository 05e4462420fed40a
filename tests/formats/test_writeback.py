"""Dirty pages on their way to the disk before anybody waits for them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ndmpd.formats.writeback import start_writing

SIZE = 16 << 20


def test_a_file_gets_its_blocks_without_a_sync(tmp_path: Path) -> None:
    # A file system that allocates late gives a page its block when it writes it, by itself after seconds.
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(SIZE))
        file.flush()
        start_writing(file.fileno(), 0, SIZE)
        deadline = time.monotonic() + 2
        while os.fstat(file.fileno()).st_blocks * 512 < SIZE:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_cannot_be_written_is_for_the_sync_to_tell() -> None:
    reading, writing = os.pipe()
    try:
        start_writing(writing, 0, SIZE)
    finally:
        os.close(reading)
        os.close(writing)
