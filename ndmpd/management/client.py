"""The client's side of the management socket: one request to a running server, and what becomes of it."""

from __future__ import annotations

import json
import os
import socket
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

from ndmpd.errors import NdmpdError
from ndmpd.management.server import SOCKET
from ndmpd.net.dataconn import short

Document = dict[str, Any]

PATIENCE = 10.0
"""Seconds that an answer may take, besides the time that what is asked for takes."""
_LONGEST = 64 << 20
_KNOCK = 0.02


class Exit(IntEnum):
    """Exit statuses of the commands that ask; 2 is for a command line that makes no sense."""

    OK = 0
    NOT_RUNNING = 1
    NO_SESSION = 3
    NO_ANSWER = 4


class Unanswered(NdmpdError):
    """There is no answer, and why; the text says what to do next."""

    def __init__(self, text: str, exit_status: Exit) -> None:
        super().__init__(text)
        self.exit_status = exit_status


def ask(state: Path, request: Document, patience: float = PATIENCE) -> Document:
    """The answer of the server whose state is in ``state``. Raises Unanswered."""
    run = state / "run"
    deadline = time.monotonic() + patience
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(patience)
            _connect(end, run / SOCKET, deadline)
            end.sendall(json.dumps(request).encode() + b"\n")
            answer = _read(end, deadline)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        if _runs(run):
            raise Unanswered(f"{state}: a server runs there, but takes no questions now; it is starting, "
                             "stopping, or of another version. Try again", Exit.NO_ANSWER) from None
        raise Unanswered(f"{state}: no server runs there; start it with `ndmpd serve`, or name another with "
                         "--config or --embedded", Exit.NOT_RUNNING) from None
    except PermissionError:
        raise Unanswered(f"{run}: only root and the user that the server runs as may ask; use sudo",
                         Exit.NO_ANSWER) from None
    except (OSError, ValueError) as failure:
        raise Unanswered(f"{state}: the server does not answer ({failure}); look at its log",
                         Exit.NO_ANSWER) from failure
    if "error" in answer:
        raise Unanswered(str(answer["error"]), Exit.NO_SESSION if answer.get("unknown") else Exit.NO_ANSWER)
    return answer


def _connect(end: socket.socket, place: Path, deadline: float) -> None:
    while True:
        try:
            with short(place) as path:
                end.connect(path)
            return
        except BlockingIOError:  # others wait to be let in
            if time.monotonic() > deadline:
                raise
            time.sleep(_KNOCK)


def _read(end: socket.socket, deadline: float) -> Document:
    """The one document that comes before the end. ValueError where it is none."""
    answer = bytearray()
    while len(answer) <= _LONGEST:
        end.settimeout(max(0.001, deadline - time.monotonic()))
        data = end.recv(1 << 20)
        if not data:
            break
        answer += data
    document = json.loads(answer) if answer else None
    if not isinstance(document, dict):
        raise ValueError("it closed the connection")
    return document


def _runs(run: Path) -> bool:
    """Whether a server holds its lock. Taking the lock to find out could keep one from starting."""
    try:
        lock = os.stat(run / "server.lock")
        locks = Path("/proc/locks").read_text()
    except OSError:
        return False
    place = f"{os.major(lock.st_dev):02x}:{os.minor(lock.st_dev):02x}:{lock.st_ino}"
    return any("FLOCK" in line and place in line.split() for line in locks.splitlines())
