"""The programs and loops that the server is compared with. Each does its work once and returns seconds."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BUFFER = 1 << 20

Work = Callable[[], float]


def dd(source: Path, target: Path, *more: str) -> Work:
    """Copy over an existing file. ``more``: for dd's ``conv=``."""
    conversions = ",".join(("notrunc", *more))
    return command("dd", f"if={source}", f"of={target}", "bs=1M", f"conv={conversions}", "status=none")


def tar_create(tree: Path, archive: Path) -> Work:
    """``tar -cf`` over an existing archive, which is not cut first: tar would pay for fresh pages then.

    Hence the archive as standard output: tar opens one that it is named with O_TRUNC.
    """

    def work() -> float:
        with archive.open("r+b") as file:
            return timed_run(["tar", "--xattrs", "--acls", "-cf", "-", "-C", str(tree), "."], file.fileno())

    return work


def tar_extract(archive: Path, folder: Path) -> Work:
    return command("tar", "--xattrs", "--acls", "-xf", str(archive), "-C", str(folder))


def command(*words: str) -> Work:
    return lambda: timed_run(words, subprocess.DEVNULL)


def timed_run(words: Sequence[str], output: int) -> float:
    started = time.perf_counter()
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=output)
    return time.perf_counter() - started


def socket_loop(source: Path, target: Path) -> Work:
    """sendfile to a loopback connection; its other end reads into a buffer and writes over a file."""

    def work() -> float:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            sending = socket.create_connection(listening.getsockname())
            receiving, _ = listening.accept()
        thread = threading.Thread(target=_send, args=(source, sending))
        with receiving, target.open("r+b", buffering=0) as file:
            started = time.perf_counter()
            thread.start()
            _receive(receiving, file.fileno())
            seconds = time.perf_counter() - started
        thread.join()
        return seconds

    return work


def _send(source: Path, sending: socket.socket) -> None:
    with sending, source.open("rb", buffering=0) as file:
        size, done = os.fstat(file.fileno()).st_size, 0
        while done < size:
            done += os.sendfile(sending.fileno(), file.fileno(), done, size - done)


def _receive(receiving: socket.socket, target: int) -> None:
    buffer = memoryview(bytearray(BUFFER))
    offset = 0
    while got := receiving.recv_into(buffer, BUFFER, socket.MSG_WAITALL):
        offset += os.pwrite(target, buffer[:got], offset)
