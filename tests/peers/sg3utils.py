"""Runs programs that speak SCSI through SG_IO (sg3-utils, ddpt) against units that a test makes up.

A small library, preloaded into the program, passes its commands to this process: no kernel driver, no root.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHIM_SOURCE = Path(__file__).with_name("sgio_shim.c")
QUESTION = struct.Struct("=4I")
ANSWER = struct.Struct("=3I")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a unit says to a command."""

    data: bytes = b""
    status: int = 0
    sense: bytes = b""


Unit = Callable[[bytes, bytes], Answer]
"""Carries out a CDB, with the data that came with it."""


def build_shim(folder: Path) -> Path:
    """Compile the library into ``folder``."""
    library = folder / "sgio_shim.so"
    subprocess.run(["gcc", "-O1", "-Wall", "-shared", "-fPIC", "-o", str(library), str(SHIM_SOURCE), "-ldl"],
                   check=True, timeout=60)
    return library


@dataclass(frozen=True, slots=True)
class Bench:
    """Units as device files: ``path`` names one, ``run`` runs a program that may use it."""

    folder: Path
    shim: Path

    def path(self, unit: str) -> str:
        return str(self.folder / unit)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LD_PRELOAD": str(self.shim), "SGIO_FOLDER": str(self.folder)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20,
                              check=False, stdin=subprocess.DEVNULL)


@contextmanager
def bench(folder: Path, shim: Path, units: dict[str, Unit]) -> Iterator[Bench]:
    """Serves ``units`` by name in ``folder`` until the end of the block, where an error of one is raised."""
    folder.mkdir()
    for name in units:
        (folder / name).touch()
    errors: list[Exception] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer, peer.makefile("rwb") as stream:
                    try:
                        _answer(stream, units)
                    except Exception as error:
                        errors.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Bench(folder, shim)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
    if errors:
        raise errors[0]


def _answer(stream, units: dict[str, Unit]) -> None:
    path_length, cdb_length, out_length, room = QUESTION.unpack(stream.read(QUESTION.size))
    path = stream.read(path_length).decode()
    cdb, data = stream.read(cdb_length), stream.read(out_length)
    answer = units[Path(path).name](cdb, data)
    sent = answer.data[:room]
    stream.write(ANSWER.pack(answer.status, len(answer.sense), len(sent)) + answer.sense + sent)
    stream.flush()
