"""The fork server: a single-threaded process, everything imported, that forks sessions and data processes.

It runs no reactor and has no threads, so a fork of it is a clean start at the cost of a few milliseconds and
of the memory that the child writes to. The listener asks it for sessions; each session asks it, on a socket
of its own, for data processes and for their end. It reaps what dies, and ends what its asker left behind: a
session's data processes with the session, everything with the listener.
"""

from __future__ import annotations

import array
import ctypes
import errno
import gc
import logging
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

log = logging.getLogger(__name__)

_MESSAGE = struct.Struct("!BIi")
_MAX_FDS = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_LAST_FD = (1 << 31) - 1
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done in forked processes; each ends when that returns."""

    session: Callable[[socket.socket, socket.socket, int], None]
    """On (control connection, its socket to the fork server, the place of its tally), until it is over."""
    job: Callable[[socket.socket, socket.socket, int], None]
    """A data process, on (socket to its session, data connection, descriptor of the counters)."""
    copy_manager: Callable[[], None]
    """That of the embedded SAN, until it is ended."""
    cleaning: Callable[[], None]
    """Devices that dead sessions owned are freed for other heads."""


class Verb(IntEnum):
    SESSION = 1
    """[number, place of its tally] fork a session; descriptor: the control connection."""
    JOB = 2
    """[number] fork a data process; descriptors: session, data connection, counters."""
    KILL = 3
    """[number, seconds until SIGKILL, 0 for ``GRACE``] end what was forked under that number."""
    EXITED = 4
    """[number, status] of a session or a copy manager, told to the listener."""
    LOGGED_IN = 5
    """[number] the peer of a session has logged in; a session's own is 0. Told to the listener."""
    DROP = 6
    """[number] end that session unless its peer has logged in. Told to the session, as 0."""
    COPY_MANAGER = 7
    """[number] fork the copy manager of the embedded SAN."""
    ASK = 8
    """[number] have that session give its account; descriptor: to whom. Told to the session, as 0."""
    CLEAN = 9
    """[number] fork a process that frees the devices of dead sessions; nobody is told of its end."""


_FDS = {Verb.SESSION: 1, Verb.JOB: _MAX_FDS, Verb.ASK: 1}


def send(end: socket.socket, verb: Verb, number: int, status: int = 0, fds: Sequence[int] = (),
         flags: int = 0) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    end.sendmsg([_MESSAGE.pack(verb, number, status)], rights, flags)


def receive(end: socket.socket) -> tuple[Verb, int, int, list[int]] | None:
    """The next message, None where the other end is gone."""
    fds = array.array("i")
    try:
        data, ancillary, _, _ = end.recvmsg(_MESSAGE.size, socket.CMSG_SPACE(_MAX_FDS * fds.itemsize))
    except ConnectionResetError:  # gone with messages that it had not read
        return None
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(rights[: len(rights) - len(rights) % fds.itemsize])
    if len(data) != _MESSAGE.size:
        return None
    verb, number, status = _MESSAGE.unpack(data)
    return Verb(verb), number, status, list(fds)


class ForkServer:
    """The parent's handle, made before any thread or reactor exists. ``control`` speaks in ``Verb``."""

    def __init__(self, work: Work) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self.control.close()
            _become(lambda: _Server(theirs, work).serve())
        theirs.close()

    def close(self) -> None:
        """End it and everything it forked; returns when they are gone."""
        self.control.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class SessionForks:
    """A session's handle: ``services.data.Processes``."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests

    def spawn(self, job: int, session: socket.socket, connection: socket.socket, counters: int) -> None:
        send(self._requests, Verb.JOB, job, fds=(session.fileno(), connection.fileno(), counters))

    def kill(self, job: int) -> None:
        with suppress(OSError):
            send(self._requests, Verb.KILL, job)

    def logged_in(self) -> None:
        """The session's peer is no stranger any more."""
        with suppress(OSError):
            send(self._requests, Verb.LOGGED_IN, 0)

    def told(self) -> tuple[Verb, list[int]] | None:
        """Take what there is to read: DROP or ASK, and its descriptors; None at the fork server's end."""
        message = receive(self._requests)
        return None if message is None else (message[0], message[3])


@dataclass(slots=True)
class _Child:
    number: int
    asker: socket.socket
    requests: socket.socket | None = None
    """A session's socket for its own requests."""
    awaited: bool = False
    """Whether the listener is told of its end."""
    deadline: float = field(default=float("inf"))


class _Server:
    def __init__(self, control: socket.socket, work: Work) -> None:
        self._control = control
        self._work = work
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> None:
        assert "twisted.internet.reactor" not in sys.modules, "a fork of a reactor is not a clean start"
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(woken, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()
        open_for_business = True
        while open_for_business or self._children:
            for key, _ in self._selector.select(self._patience()):
                if key.fileobj is woken:
                    with suppress(BlockingIOError):
                        woken.recv(4096)
                elif key.fileobj is self._control:
                    open_for_business = self._hear(self._control) and open_for_business
                    if not open_for_business:
                        self._selector.unregister(self._control)
                        self._end_all()
                elif isinstance(key.fileobj, socket.socket) and not self._hear(key.fileobj):
                    self._leave(key.fileobj)
            self._reap()
            self._lose_patience()

    def _patience(self) -> float | None:
        first = min((child.deadline for child in self._children.values()), default=float("inf"))
        return None if first == float("inf") else max(0.0, first - time.monotonic())

    def _hear(self, asker: socket.socket) -> bool:
        """Carry out one request; False where the asker is gone."""
        try:
            message = receive(asker)
        except OSError:
            return False
        if message is None:
            return False
        verb, number, status, fds = message
        try:
            if len(fds) < _FDS.get(verb, 0):
                raise OSError(errno.EMFILE, "descriptors did not arrive; raise LimitNOFILE")
            if verb is Verb.SESSION:
                self._fork_session(asker, number, socket.socket(fileno=os.dup(fds[0])), status)
            elif verb is Verb.JOB:
                session, connection = (socket.socket(fileno=os.dup(fd)) for fd in fds[:2])
                self._fork(_Child(number, asker), [session.fileno(), connection.fileno(), fds[2]],
                           lambda: self._work.job(session, connection, fds[2]))
                session.close()
                connection.close()
            elif verb is Verb.COPY_MANAGER:
                self._fork(_Child(number, asker, awaited=True), [], self._work.copy_manager)
            elif verb is Verb.CLEAN:
                self._fork(_Child(number, asker), [], self._work.cleaning)
            elif verb is Verb.KILL:
                self._end(number, asker, status or GRACE)
            elif verb is Verb.LOGGED_IN:
                for child in self._children.values():
                    if child.requests is asker:
                        send(self._control, Verb.LOGGED_IN, child.number)
            elif verb in (Verb.DROP, Verb.ASK):
                for child in self._children.values():
                    if child.number == number and child.asker is asker and child.requests is not None:
                        # A session that hangs must not make us wait for it.
                        send(child.requests, verb, 0, fds=fds, flags=socket.MSG_DONTWAIT)
        except OSError as failure:
            log.error("%s: %s", verb.name, failure)
            if verb in (Verb.SESSION, Verb.COPY_MANAGER):
                with suppress(OSError):
                    send(asker, Verb.EXITED, number, 1)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _fork_session(self, asker: socket.socket, number: int, connection: socket.socket, tally: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._fork(_Child(number, asker, ours, awaited=True), [connection.fileno(), theirs.fileno()],
                   lambda: self._work.session(connection, theirs, tally))
        connection.close()
        theirs.close()
        self._selector.register(ours, selectors.EVENT_READ)

    def _fork(self, child: _Child, keep: list[int], run: Callable[[], None]) -> None:
        pid = os.fork()
        if pid == 0:
            _only(keep)
            _become(run)
        self._children[pid] = child

    def _leave(self, requests: socket.socket) -> None:
        """A session is gone: so are its data processes, soon."""
        self._selector.unregister(requests)
        for pid, child in self._children.items():
            if child.asker is requests:
                self._terminate(pid, child, GRACE)
        requests.close()

    def _end(self, number: int, asker: socket.socket, grace: float) -> None:
        for pid, child in self._children.items():
            if child.number == number and child.asker is asker:
                self._terminate(pid, child, grace)

    def _end_all(self) -> None:
        for pid, child in self._children.items():
            self._terminate(pid, child, GRACE)

    def _terminate(self, pid: int, child: _Child, grace: float) -> None:
        os.kill(pid, signal.SIGTERM)
        child.deadline = min(child.deadline, time.monotonic() + grace)

    def _lose_patience(self) -> None:
        now = time.monotonic()
        for pid, child in self._children.items():
            if child.deadline <= now:
                os.kill(pid, signal.SIGKILL)
                child.deadline = float("inf")

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                child = self._children.pop(pid, None)
                if child is None:
                    continue
                if os.WIFSIGNALED(status):
                    log.warning("process %d ended by signal %d", pid, os.WTERMSIG(status))
                if child.awaited:
                    with suppress(OSError):
                        send(self._control, Verb.EXITED, child.number, os.waitstatus_to_exitcode(status))


def _only(keep: Sequence[int]) -> None:
    """Close every descriptor but the standard ones and ``keep``: others belong to other sessions."""
    start = 3
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = max(start, fd + 1)
    os.closerange(start, _LAST_FD)


def _become(run: Callable[[], Any]) -> None:
    """In a forked child: run, and end the process without what the parent had in mind for its own end."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the parent's to handle
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        try:
            run()
            status = 0
        finally:
            # A handler that ``run`` installed may raise at any moment.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except BaseException:
        log.exception("process %d failed", os.getpid())
    finally:
        try:
            logging.shutdown()
            with suppress(OSError, ValueError):
                sys.stdout.flush()
        finally:
            os._exit(status)  # whatever happens: nothing may lead from here into the parent's code
