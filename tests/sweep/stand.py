"""One session with its services in this process: the core, TAPE, MOVER and DATA as the server wires them.

Only the reactor and the fork are played: events are taken in turn by ``until``, and a data process is a
thread that runs ``data_process.run``. So a test is the DMA, and what it sees is what a DMA would be sent.
"""

from __future__ import annotations

import os
import pickle
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ndmpd.ports import Butype, Transport
from ndmpd.services import channel, data_process
from ndmpd.services.block_transfer import BlockTransfer
from ndmpd.services.copying import Run
from ndmpd.services.data import DataService
from ndmpd.services.head_path import HeadPath
from ndmpd.services.jobs import Counters
from ndmpd.services.mover import MoverService
from ndmpd.services.mover_run import Happening, MoverRun
from ndmpd.services.tape import TapeService
from ndmpd.services.transfer import Mover, Transfer
from ndmpd.session import effects, events
from ndmpd.session.effects import Effect
from protocol.ndmp.codes import DataState, MoverState, Version
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.tape import TapeGetStateRequest
from tests.session.driver import HERE, PEER, Dma, Kind, Seen

PATIENCE = 10.0
"""Seconds that anything may take; what takes longer hangs."""


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


class Watched:
    def __init__(self, subject: socket.socket, ready: Callable[[], None]) -> None:
        self.subject, self.ready, self.on = subject, ready, True

    def pause(self) -> None:
        self.on = False

    def resume(self) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False
        self.subject = None  # type: ignore[assignment]


class JobThread(threading.Thread):
    """A data process. ``kill`` does to it what the end of a process does to those at its other ends."""

    def __init__(self, session: socket.socket, connection: socket.socket, counters: int, butype: Butype,
                 open_disk: Callable[[str], Transport]) -> None:
        super().__init__(daemon=True)
        self.session, self.connection = session, connection
        self.counters = Counters(counters)
        self.butype, self.open_disk = butype, open_disk
        self.crash: BaseException | None = None
        self._closing = threading.Lock()

    def run(self) -> None:
        try:
            data = b""
            while more := self.session.recv(1 << 16):
                data += more
            data_process.run(pickle.loads(data), self.session, self.connection, self.counters,
                             {self.butype.name: self.butype}, None, self.open_disk,  # type: ignore[arg-type]
                             lambda asked, lowering, run: BlockTransfer(asked, lowering, (), run))
        except Killed:
            pass
        except BaseException as crash:
            self.crash = crash
        finally:
            with self._closing:
                self.session.close()
                self.connection.close()
            self.counters.close()

    def kill(self) -> None:
        # Under a lock, so that no other socket has the descriptor's number by then.
        with self._closing:
            for end in (self.session, self.connection):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class Killed(BaseException):
    """Raised inside a data process: it is gone without another word."""


class Stand(Dma):
    """``open_drive`` opens the drive, whatever is mounted in it.

    ``told``: everything that the DMA was sent unasked; ``posts``: what of it it has not looked at yet.
    """

    def __init__(self, butype: Butype, open_drive: Callable[[str], Transport],
                 open_disk: Callable[[str], Transport], version: Version = Version.V4) -> None:
        self.butype = butype
        self.open_disk = open_disk
        self.lock = threading.Lock()
        self.jobs: dict[int, JobThread] = {}
        self.watches: list[Watched] = []
        self.inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.wake, self.waker = socket.socketpair()
        self.posts: deque[Message] = deque()
        self.told: list[Message] = []
        self.released = False
        self._run: MoverRun | None = None
        self._todo: deque[Effect] = deque()
        self._carrying = False
        self.tape = TapeService(open_drive, version)
        self.mover = MoverService(self.tape, self.lock, self._transfer, self._from_mover)
        self.data = DataService(self, self._watch, self.tell)
        super().__init__(version)
        self.figures.data, self.figures.mover = self.data.figures, self.mover.figures  # type: ignore[method-assign]

    # The shell.

    def _take(self, done: list[Effect]) -> list[Seen]:
        seen = super()._take(done)
        for one in seen:
            if one.kind is Kind.POST and one.body is not None:
                self.posts.append(one.body)
                self.told.append(one.body)
        self._todo.extend(done)
        if self._carrying:
            return seen
        self._carrying = True
        try:
            while self._todo:
                self._carry_out(self._todo.popleft())
        finally:
            self._carrying = False
        return seen

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Perform(request):
                self.tell(events.Performed(self._perform(request)))
            case effects.JoinLocal():
                ours, theirs = channel.pair()
                self.data.attach(ours, True)
                self.mover.attach(theirs, True)
            case effects.MoverListen():
                self.tell(events.MoverListening((HERE,)))
            case effects.DataConnect():
                ours, theirs = tcp_pair()
                self.data.attach(ours, False)
                self.tell(events.DataConnected(PEER))
                self.accept(theirs, local=False)
            case effects.DataStart():
                self.data.start(effect, self.session.version)
            case effects.DataAbort():
                self.data.end()
            case effects.DataRelease():
                self.data.release()
            case effects.MoverStart():
                self.mover.start(effect)
            case effects.MoverContinue():
                self.mover.proceed(effect)
            case effects.MoverRead():
                self.mover.read(effect)
            case effects.MoverClose() | effects.MoverAbort():
                self._run = self.mover.end()
            case effects.MoverRelease():
                self.mover.release()
            case effects.ReleaseAll():
                self.data.end()
                self._run = self.mover.end()
                self.released = True
            case effects.Send() | effects.Note() | effects.Disconnect():
                pass
            case _:
                raise NotImplementedError(effect)

    def _perform(self, request: Message) -> Message:
        if isinstance(request, TapeGetStateRequest) and self.session.mover_state == MoverState.ACTIVE:
            return self.tape.perform(request)
        assert self.lock.acquire(timeout=PATIENCE), "the mover keeps the tape"
        try:
            return self.tape.perform(request)
        finally:
            self.lock.release()

    def accept(self, end: socket.socket, *, local: bool) -> None:
        """A peer connects to the listening mover."""
        self.mover.attach(end, local)
        self.tell(events.MoverAccepted(PEER))

    def _transfer(self, asked: Mover, run: Run) -> Transfer:
        return Transfer(asked, HeadPath(self.open_disk), (), run.say)

    def _from_mover(self, event: Happening, run: MoverRun) -> None:
        def deliver() -> None:
            self.data.look()
            if self.mover.hears(run):
                self.tell(event)

        self.call(deliver)

    def call(self, act: Callable[[], None]) -> None:
        """From any thread: have ``until`` do it."""
        self.inbox.put(act)
        self.waker.send(b"!")

    def _watch(self, subject: socket.socket, ready: Callable[[], None]) -> Watched:
        self.watches.append(Watched(subject, ready))
        return self.watches[-1]

    # ``services.data.Processes``.

    def spawn(self, job: int, session: socket.socket, connection: socket.socket, counters: int) -> None:
        self.jobs[job] = JobThread(session.dup(), connection.dup(), os.dup(counters), self.butype,
                                   self.open_disk)
        self.jobs[job].start()

    def kill(self, job: int) -> None:
        self.jobs[job].kill()

    # The DMA.

    def until(self, met: Callable[[], bool], what: str) -> None:
        """Take events until ``met``. AssertionError where that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not met():
            assert time.monotonic() < deadline, f"{what}: nothing happens any more; told {self.told[-4:]}"
            poll = select.poll()
            poll.register(self.wake, select.POLLIN)
            self.watches = [one for one in self.watches if one.subject is not None]
            looked = {one.subject.fileno(): one for one in self.watches if one.on}
            for number in looked:
                assert number >= 0, "a closed socket is watched"
                poll.register(number, select.POLLIN)
            for number, _ in poll.poll(100):
                if number == self.wake.fileno():
                    self.wake.recv(1)
                    self.inbox.get()()
                elif looked[number].on:
                    looked[number].ready()

    def request(self, request: Message) -> Message:
        """The reply."""
        before = len(self.seen)
        self.turn(request)

        def reply() -> Seen | None:
            return next((one for one in self.seen[before:] if one.kind is Kind.REPLY), None)

        self.until(lambda: reply() is not None, type(request).__name__)
        found = reply()
        assert found is not None and found.error is not None
        return Reply(found.error) if found.body is None else found.body

    def over(self) -> bool:
        """Neither side does anything any more."""
        return (self.session.data_state in (DataState.IDLE, DataState.HALTED)
                and self.session.mover_state in (MoverState.IDLE, MoverState.HALTED))

    def still(self) -> None:
        """The mover's thread and the jobs have ended; AssertionError where they do not."""
        if self._run is not None:
            assert self._run.join(PATIENCE), "the mover's thread does not end"
        for job in self.jobs.values():
            job.join(PATIENCE)
            assert not job.is_alive(), "DATA was left hanging"
            assert job.crash is None, repr(job.crash)

    def close(self) -> None:
        """The end of the session, as ``Shell`` has it."""
        if not self.session.closed:
            self.tell(events.ConnectionLost())
        self.still()
        assert self.lock.acquire(timeout=PATIENCE), "the mover keeps the tape"
        self.tape.close()
        self.lock.release()
        self.data.release()
        self.wake.close()
        self.waker.close()
        assert not self.complaints, self.complaints
