"""Reads the files of a folder in runs, on two cores where there are two.

A helper process, forked for the job, takes every other run or so: it is sent the folder's descriptor with
names, and leaves what it packed in shared memory. Runs come back in their order whoever had them, so the
stream is the same. The helper ends when its socket is closed, with the job or with this process; should it
die before, its runs are read here.
"""

from __future__ import annotations

import marshal
import mmap
import os
import select
import signal
import socket
from array import array
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ndmpd.formats.history import History
from ndmpd.formats.small_files import MOST_DATA, RUN, SMALL, Names, Packed, Segment, read_run

_AHEAD = 3
"""Runs that the helper has been given and that were not fetched."""
_WINDOW = 6
"""Runs that are held until an earlier one is there."""
_SLOT = MOST_DATA + SMALL + (RUN << 13)
"""Bytes of shared memory for a run: its data and one file more, and a path of PATH_MAX for each file."""
_MESSAGE = 1 << 20


@dataclass(slots=True)
class _Part:
    """``files`` of a run. ``result`` is what ``read_run`` gives, None while the helper has it."""

    files: Names
    result: tuple[int, list[Segment]] | None


class RunReader:
    """One backup's. ``history`` packs the entries."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._helper: _Helper | None = None
        self._alone = len(os.sched_getaffinity(0)) < 2

    def close(self) -> None:
        """End the helper. Idempotent."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()

    def runs(self, folder: int, prefix: bytes, files: Names) -> Iterator[list[Segment]]:
        """The segments of all ``files``, in order."""
        if len(files) < 2 * RUN or not self._has_helper():
            yield from self._read(folder, prefix, files)
            return
        parts: deque[_Part] = deque()
        asked: deque[_Part] = deque()
        following = 0
        while following < len(files) or parts:
            while following < len(files) and len(asked) < _AHEAD and self._helper is not None:
                part = _Part(files[following:following + RUN], None)
                following += RUN
                parts.append(part)
                asked.append(part)
                if not self._helper.ask(folder, prefix, part.files):
                    self.close()
            if self._helper is None:
                asked.clear()
            if parts and (parts[0].result is not None or not asked):
                part = parts.popleft()
                done, segments = part.result or (0, [])
                yield segments
                yield from self._read(folder, prefix, part.files[done:])
            elif asked and self._helper is not None and (
                    self._helper.ready() or following >= len(files) or len(parts) >= _WINDOW):
                asked.popleft().result = result = self._helper.fetch()
                if result is None:
                    self.close()
            elif following < len(files):
                own = files[following:following + RUN]
                following += RUN
                parts.append(_Part(own, read_run(folder, prefix, own, self._history)))

    def _read(self, folder: int, prefix: bytes, files: Names) -> Iterator[list[Segment]]:
        at = 0
        while at < len(files):
            done, segments = read_run(folder, prefix, files[at:at + RUN], self._history)
            at += done
            yield segments

    def _has_helper(self) -> bool:
        if self._helper is None and not self._alone:
            self._alone = True  # one is made once
            with suppress(OSError):
                self._helper = _Helper(self._history)
        return self._helper is not None


class _Helper:
    """The process. A request is answered in a slot of the shared memory; slots are used in turn."""

    def __init__(self, history: History) -> None:
        self._slots = [mmap.mmap(-1, _SLOT) for _ in range(_AHEAD)]
        self._end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = 0
        with theirs:
            self._pid = os.fork()
            if not self._pid:
                try:
                    _serve(theirs, self._slots, history)
                finally:
                    os._exit(0)
        self._poll = select.poll()
        self._poll.register(self._end, select.POLLIN)

    def ask(self, folder: int, prefix: bytes, files: Names) -> bool:
        """False where the helper is gone."""
        try:
            socket.send_fds(self._end, [marshal.dumps((prefix, list(files)))], [folder])
        except OSError:
            return False
        return True

    def ready(self) -> bool:
        return bool(self._poll.poll(0))

    def fetch(self) -> tuple[int, list[Segment]] | None:
        """The answer to the request that was made longest ago; None where the helper is gone."""
        try:
            message = self._end.recv(_MESSAGE)
        except OSError:
            message = b""
        if not message:
            return None
        slot = self._slots[self._turn]
        self._turn = (self._turn + 1) % _AHEAD
        done, told = marshal.loads(message)
        segments = []
        at = 0
        for files, size, packed, ends, starts, skipped in told:
            data = slot[at:at + size]
            at += size
            entries = bytearray(slot[at:at + packed])
            at += packed
            history = Packed(entries, array("I", ends), array("I", starts))
            segments.append(Segment(files, [data], size, history, skipped))
        return done, segments

    def close(self) -> None:
        self._end.close()
        with suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        for slot in self._slots:
            slot.close()


def _serve(end: socket.socket, slots: list[mmap.mmap], history: History) -> None:
    """In the helper: answer until the socket is closed."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever else is open here is the job's: its data connection above all must not outlive it.
    os.closerange(3, end.fileno())
    os.closerange(end.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    turn = 0
    while True:
        message, descriptors, _, _ = socket.recv_fds(end, _MESSAGE, 1)
        if not message:
            return
        prefix, files = marshal.loads(message)
        slot = slots[turn]
        turn = (turn + 1) % _AHEAD
        slot.seek(0)
        told = []
        try:
            done, segments = read_run(descriptors[0], prefix, files, history)
        finally:
            os.close(descriptors[0])
        for segment in segments:
            packed = segment.history
            slot.write(b"".join(segment.data))
            slot.write(packed.entries)
            told.append((segment.files, segment.size, len(packed.entries), packed.ends.tobytes(),
                         packed.starts.tobytes(), segment.skipped))
        end.sendall(marshal.dumps((done, told)))
