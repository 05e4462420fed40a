"""One run of the mover: from ACTIVE to HALTED, in a thread of its own. What both directions share.

The reactor thread steers a run (``proceed``, ``read``, ``stop``); the run says what happened by ``tell``. The
drive is used only between a start or a continue and the next pause or halt, and under ``tape_lock``.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from ndmpd.devices.errors import DeviceError, PositionLost, TransportError
from ndmpd.devices.tape import TapeDrive
from ndmpd.errors import Cancelled, NdmpdError
from ndmpd.services.tally import HEAD
from ndmpd.services.tape import TapeService
from ndmpd.services.transfer import Transfer
from ndmpd.session.events import Log, MoverHalted, MoverPaused
from ndmpd.session.figures import MoverFigures
from ndmpd.session.window import Window
from protocol.ndmp.codes import LogType, MoverHaltReason, MoverPauseReason

log = logging.getLogger(__name__)

Happening = MoverPaused | MoverHalted | Log
Tell = Callable[[Happening, "MoverRun"], None]

BATCH = 32 << 20
"""Bytes of records that one tape command carries: its cost vanishes, and an abort does not wait long."""
_LOOK = 0.1
"""Seconds after which a waiting run looks whether its peer is still there."""

_LEVELS = {LogType.WARNING: logging.WARNING, LogType.ERROR: logging.ERROR}


class PeerClosed(Exception):
    """The other end of the data connection is gone, or has said all it had to say."""


class MoverRun(ABC):
    """``connection`` is the data connection's socket; ``tape`` has an open drive."""

    def __init__(self, connection: socket.socket, tape: TapeService, tape_lock: threading.Lock,
                 window: Window, tell: Tell) -> None:
        assert tape.drive is not None
        self.connection = connection
        self.tape = tape
        self.drive: TapeDrive = tape.drive
        self.window = window
        self.bytes_moved = 0
        self.records = 0
        """Records of the window that lie behind the tape's position."""
        self._tape_lock = tape_lock
        self._tell = tell
        self._turn = threading.Condition()
        self._stopped = False
        self._paused = False
        self._transfer: Transfer | None = None
        self._under_way = 0
        """Bytes that a command which has not ended has moved, as far as is known."""
        self._thread = threading.Thread(target=self._main, name="mover", daemon=True)

    # From the reactor thread.

    def start(self) -> None:
        self._thread.start()

    def proceed(self, window: Window) -> None:
        """Leave the pause with ``window``; the tape may have been moved, or changed."""
        with self._turn:
            assert self.tape.drive is not None
            self.drive = self.tape.drive
            self.window = window
            self.records = 0
            self._paused = False
            self._turn.notify_all()

    def stop(self) -> None:
        """End the run without a further word. Returns at once; the drive is free once the lock is."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def lose(self, gone: Callable[[socket.socket], bool]) -> None:
        """Break the connection where its peer is ``gone``."""
        with self._turn, suppress(OSError):
            if gone(self.connection):
                log.warning("data connection: the peer does not answer any more")
                self.connection.shutdown(socket.SHUT_RDWR)

    def join(self, timeout: float) -> bool:
        """Wait for the thread; whether it has ended."""
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def figures(self) -> MoverFigures:
        moved = self._under_way
        return MoverFigures(self.window.first_record + self.records + moved // self.window.record_size,
                            self.bytes_moved + moved, self.left_to_read())

    def left_to_read(self) -> int:
        return 0

    def shares(self) -> dict[str, int]:
        """Bytes of the stream that each data mover has moved so far, the head's among them."""
        carried = self.carried()
        return {**carried, HEAD: max(0, self.bytes_moved - sum(carried.values()))}

    def carried(self) -> dict[str, int]:
        """Those of each copy manager."""
        return self._transfer.carried if self._transfer is not None else {}

    # In the run's own thread.

    @abstractmethod
    def move(self) -> None:
        """Move until the peer closes; returns or raises PeerClosed."""

    def settle(self) -> None:
        """The peer has closed and the run ends: whatever is left to do on tape."""

    def leave(self) -> None:
        """The run is over, well or not: leave the drive in order. What it raises is logged."""

    def _main(self) -> None:
        with self._tape_lock:
            halt = self._run()
            try:
                self.leave()
            except (NdmpdError, OSError) as failure:
                log.warning("the end of the mover's run: %s", failure)
        with self._turn:
            # Under the lock, so that ``stop`` cannot shut down whatever has the descriptor's number next.
            self.connection.close()
            if self._stopped:
                return
        self._tell(halt, self)

    def _run(self) -> MoverHalted:
        try:
            self.check_stopped()
            with suppress(PeerClosed):
                self.move()
            self.settle()
        except Cancelled:
            return MoverHalted(MoverHaltReason.ABORTED)
        except (DeviceError, TransportError, PositionLost) as failure:
            log.error("%s", failure)
            return MoverHalted(MoverHaltReason.MEDIA_ERROR, str(failure))
        except ConnectionError as failure:
            return MoverHalted(MoverHaltReason.CONNECT_ERROR, f"the data connection was lost: {failure}")
        except (NdmpdError, OSError) as failure:
            return MoverHalted(MoverHaltReason.INTERNAL_ERROR, str(failure))
        except Exception as failure:
            log.exception("the mover failed")
            return MoverHalted(MoverHaltReason.INTERNAL_ERROR, f"internal error: {failure!r}")
        return MoverHalted(MoverHaltReason.CONNECT_CLOSED)

    def pause(self, reason: MoverPauseReason, seek_position: int = 0) -> None:
        """Tell the DMA, hand it the drive, and wait until it lets the mover go on.

        Raises Cancelled where it ends the run instead.
        """
        if reason is MoverPauseReason.EOM:
            self.tape.end_told()
        with self._turn:
            self._paused = True
        self._tape_lock.release()
        try:
            self.check_stopped()
            self._tell(MoverPaused(reason, seek_position), self)
            self.wait(lambda: not self._paused, watch_peer=False)
        finally:
            self._tape_lock.acquire()

    def wait(self, ready: Callable[[], bool], *, watch_peer: bool) -> None:
        """Until ``ready``. Cancelled where the run is stopped, PeerClosed where the peer goes first."""
        while True:
            with self._turn:
                if self._stopped:
                    raise Cancelled("the mover was stopped")
                if ready():
                    return
                self._turn.wait(_LOOK)
            if watch_peer and self._peer_gone():
                raise PeerClosed

    @property
    def stopped(self) -> bool:
        return self._stopped

    def moving(self, size: int) -> None:
        """From any thread: so many bytes of the command under way have been moved; 0 once it is over."""
        self._under_way = size

    def say(self, kind: LogType, text: str) -> None:
        """LOG_MESSAGE, and a line in the server's log."""
        log.log(_LEVELS.get(kind, logging.INFO), "%s", text)
        self._tell(Log(kind, text), self)

    def _peer_gone(self) -> bool:
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        return bool(poll.poll(0))

    def changed(self, act: Callable[[], None]) -> None:
        """Run ``act`` where waiting threads see what it does."""
        with self._turn:
            act()
            self._turn.notify_all()

    def check_stopped(self) -> None:
        with self._turn:
            if self._stopped:
                raise Cancelled("the mover was stopped")
