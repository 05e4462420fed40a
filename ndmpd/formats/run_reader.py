"""Reads the files of folders in runs, on two cores where there are two.

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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from ndmpd.formats.history import History
from ndmpd.formats.small_files import MOST_DATA, RUN, SMALL, Names, Packed, Segment, read_run
from ndmpd.formats.walk import Folder
from ndmpd.pieces import OpenFile

_AHEAD = 3
"""Runs that the helper has been given and that were not fetched."""
_WINDOW = 8
"""Runs that are held until an earlier one is there."""
_WORTH = RUN // 2
"""Files of a run that is worth giving away."""
_SLOT = MOST_DATA + SMALL + (RUN << 13)
"""Bytes of shared memory for a run: its data and one file more, and a path of PATH_MAX for each file."""
_MESSAGE = 1 << 20


@dataclass(slots=True)
class Run:
    """``files`` of ``folder`` that follow one another, and what came of them. The ``first`` run of a folder
    has none. ``held``: the folder's descriptor, which is closed with the last run that has it.
    """

    folder: Folder
    held: OpenFile
    files: Names
    first: bool
    segments: list[Segment]


@dataclass(slots=True)
class _Part:
    """A run that is being made: ``result`` is what ``read_run`` gives, once it is there. ``away``: the helper
    has it.
    """

    run: Run
    away: bool = False
    result: tuple[int, list[Segment]] | None = None


class RunReader:
    """One backup's. ``history`` packs the entries."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._helper: _Helper | None = None
        self._alone = len(os.sched_getaffinity(0)) < 2
        self._window: deque[_Part] = deque()
        """What is under way, in order."""
        self._asked: deque[_Part] = deque()
        """What the helper has of it."""

    def close(self) -> None:
        """End the helper. Idempotent."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.close()

    def read(self, folders: Iterable[Folder]) -> Iterator[Run]:
        """The runs of all ``folders``, in order. Folders are listed before those ahead of them are done, so
        that nobody waits at the end of one.
        """
        window = self._window
        following = _parts(folders)
        try:
            while True:
                while self._helper is not None and len(self._asked) < _AHEAD and len(window) < _WINDOW \
                        and self._next(following) is not None:
                    pass
                if not window and self._next(following) is None:
                    return
                head = window[0]
                if head.result is not None or not head.away:
                    yield from self._finished(window.popleft())
                elif self._has_answer() or not self._read_ahead(following):
                    self._fetch()
        finally:
            window.clear()

    def _next(self, following: Iterator[_Part]) -> _Part | None:
        """The next run, now under way: with the helper where that is worth it."""
        part = next(following, None)
        if part is None:
            return None
        self._window.append(part)
        run = part.run
        if len(run.files) >= _WORTH and len(self._asked) < _AHEAD and self._has_helper(run):
            assert self._helper is not None
            if self._helper.ask(run.folder.fd, run.folder.prefix, run.files):
                part.away = True
                self._asked.append(part)
            else:
                self._lose_helper()
        return part

    def _read_ahead(self, following: Iterator[_Part]) -> bool:
        """Read a run while the helper is at an earlier one. False where there is none."""
        part = next((part for part in self._window if not part.away and part.result is None), None)
        if part is None and len(self._window) < _WINDOW:
            part = self._next(following)
        if part is None:
            return False
        if not part.away:
            part.result = self._result(part.run, 0)
        return True

    def _result(self, run: Run, at: int) -> tuple[int, list[Segment]]:
        files = run.files[at:] if at else run.files
        return read_run(run.folder.fd, run.folder.prefix, files, self._history)

    def _finished(self, part: _Part) -> Iterator[Run]:
        """A run, in as many as its files are large."""
        run = part.run
        if run.first:
            yield Run(run.folder, run.held, [], True, [])
        start = 0
        while start < len(run.files):
            done, segments = part.result or self._result(run, start)
            part.result = None
            yield Run(run.folder, run.held, run.files[start:start + done], False, segments)
            start += done

    def _has_answer(self) -> bool:
        return self._helper is not None and self._helper.ready()

    def _fetch(self) -> None:
        result = self._helper.fetch() if self._helper is not None else None
        if result is None:
            self._lose_helper()
        else:
            part = self._asked.popleft()
            part.away, part.result = False, result

    def _lose_helper(self) -> None:
        """What it had is read here."""
        self.close()
        for part in self._asked:
            part.away = False
        self._asked.clear()

    def _has_helper(self, run: Run) -> bool:
        if self._helper is None and not self._alone and len(run.folder.files) >= 2 * RUN:
            self._alone = True  # one is made once
            with suppress(OSError):
                self._helper = _Helper(self._history)
        return self._helper is not None


def _parts(folders: Iterable[Folder]) -> Iterator[_Part]:
    """Each folder gets a descriptor of its own: the walk closes the one it goes on with."""
    for folder in folders:
        held = OpenFile(os.dup(folder.fd), "")
        kept = replace(folder, fd=held.fd)
        files = kept.files
        for at in range(0, len(files) or 1, RUN):
            yield _Part(Run(kept, held, files[at:at + RUN], not at, []))


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
