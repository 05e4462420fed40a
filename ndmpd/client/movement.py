"""DATA and MOVER joined and watched until both have halted: what backup, restore and toc have in common.

The states are polled; notices only make the next poll come at once. A pause is put to the job's own
``on_pause``. When a side ends and the other does not notice, it is told to (draft 2.11.1: aborts may cross
halts, so a refusal of one means nothing).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ndmpd.client.agents import DataAgent, MoverAgent
from ndmpd.client.connection import Connection, await_posts
from ndmpd.client.errors import CatalogueError, ClientError, Refused
from ndmpd.client.observer import Observer
from ndmpd.client.posts import Posts
from protocol.ndmp.codes import (
    AddrType,
    Code,
    DataHaltReason,
    DataOperation,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverState,
    Version,
)
from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.mover import MoverGetStateReply

POLL = 0.5
"""Seconds between two looks at the states when no notice comes."""
AT_LEAST = 0.1
"""Seconds between two looks in a flood of posts."""
GRACE = 30.0
"""Seconds without any progress that a mover may take to notice that DATA has ended a recover."""
PATIENCE = 1800.0
"""The same where hurry would cost data: DATA may still be setting attributes, a drive emptying its buffer."""
NOTICE = 10.0
"""Seconds to wait for the notice of a halt that was already seen by polling: history may still come before
it."""
CLEANING = 60.0
"""Seconds for both sides to halt once they were aborted."""
ALL = (1 << 64) - 1

OnPause = Callable[[DataGetStateReply, MoverGetStateReply], None]


@dataclass(frozen=True, slots=True)
class Ending:
    """How both sides ended, and the environment as the server returned it."""

    data: DataGetStateReply
    mover: MoverGetStateReply
    environment: list[tuple[str, str]]

    @property
    def whole(self) -> bool:
        return (self.data.halt_reason == DataHaltReason.SUCCESSFUL
                and self.mover.halt_reason == MoverHaltReason.CONNECT_CLOSED)

    @property
    def reasons(self) -> tuple[str, str]:
        return tuple(getattr(each, "name", str(each))  # type: ignore[return-value]
                     for each in (self.data.halt_reason, self.mover.halt_reason))


class Movement:
    """One run of DATA and MOVER. ``swapped``: DATA listens and MOVER connects, not the other way round."""

    def __init__(self, data: DataAgent, mover: MoverAgent, posts: Posts, observer: Observer,
                 swapped: bool = False) -> None:
        self.data = data
        self.mover = mover
        self.posts = posts
        self._observer = observer
        self._swapped = swapped
        self.local = data.connection is mover.connection
        self.connections: list[Connection] = [data.connection]
        if not self.local:
            self.connections.append(mover.connection)
        for connection in self.connections:
            connection.on_post = posts.take
            connection.on_raw_post = posts.take_raw
        self._progress: tuple[int, ...] = ()
        self._progress_at = time.monotonic()

    def join(self, mode: MoverMode, offset: int, length: int) -> None:
        """Set the first window and connect the two; the tape is in position already."""
        kind = AddrType.LOCAL if self.local else AddrType.TCP
        # Version 3 knows windows of a listening mover only, version 4 of an idle one (draft 3.6.2.2).
        late = self.mover.connection.version == Version.V3 and not self._swapped
        if not late:
            self.mover.set_window(offset, length)
        if self._swapped:
            self.mover.connect(mode, self.data.listen(kind))
            return
        address = self.mover.listen(mode, kind)
        if late:
            self.mover.set_window(offset, length)
        self.data.connect(address)

    def run(self, on_pause: OnPause) -> Ending:
        """Watch until both sides have halted, then collect what there is to know and make both IDLE."""
        looked = 0.0
        while True:
            self.posts.woken = False
            until = time.monotonic() + POLL
            while not self.posts.woken and time.monotonic() < until:
                await_posts(self.connections, max(until - time.monotonic(), 0.0))
            time.sleep(max(0.0, min(AT_LEAST, looked + AT_LEAST - time.monotonic())))
            looked = time.monotonic()
            data, mover = self.data.get_state(), self.mover.get_state()
            self._observer.states(data, mover)
            if mover.state == MoverState.PAUSED:
                on_pause(data, self._seen_paused(mover))
                self._progress = ()
            elif data.state == DataState.HALTED and mover.state == MoverState.HALTED:
                return self._end(data, mover)
            else:
                self._serve_read(mover)
                self._hurry(data, mover)

    def _seen_paused(self, mover: MoverGetStateReply) -> MoverGetStateReply:
        """A paused mover's state with the position of its notice: not every server repeats it in the
        state."""
        self._await(lambda: self.posts.paused is not None)
        notice, self.posts.paused = self.posts.paused, None
        return mover if notice is None else replace(mover, seek_position=notice.seek_position)

    def _await(self, arrived: Callable[[], bool]) -> None:
        """Wait for a notice of what polling has shown already: the state changes before it is sent."""
        deadline = time.monotonic() + NOTICE
        while time.monotonic() < deadline and not arrived():
            await_posts(self.connections, POLL)

    def _serve_read(self, mover: MoverGetStateReply) -> None:
        """Pass NOTIFY_DATA_READ on as MOVER_READ. With LOCAL addresses the server does so itself."""
        if self.posts.wanted is None or self.local or mover.state != MoverState.ACTIVE:
            return
        wanted = self.posts.wanted
        try:
            if self.mover.read(*wanted) and self.posts.wanted == wanted:
                self.posts.wanted = None
        except Refused as refusal:
            # The mover may have paused since it was asked; then the range is asked for again after the pause.
            if refusal.error != Error.ILLEGAL_STATE:
                raise

    def _hurry(self, data: DataGetStateReply, mover: MoverGetStateReply) -> None:
        """Tell a side that does not notice the end of the other one."""
        data_ended = data.state == DataState.HALTED
        mover_ended = mover.state == MoverState.HALTED
        progress = (data.bytes_processed, mover.bytes_moved, mover.record_num, data_ended, mover_ended)
        if progress != self._progress:
            self._progress, self._progress_at = progress, time.monotonic()
        waited = time.monotonic() - self._progress_at
        if mover_ended and (mover.halt_reason != MoverHaltReason.CONNECT_CLOSED or waited > PATIENCE):
            _unless_refused(self.data.abort)
        elif data_ended:
            grace = PATIENCE if data.operation == DataOperation.BACKUP else GRACE
            if waited > grace:
                _unless_refused(self.mover.close if waited < 2 * grace else self.mover.abort)

    def _end(self, data: DataGetStateReply, mover: MoverGetStateReply) -> Ending:
        seen = self.posts.seen
        self._await(lambda: bool(seen[Code.NOTIFY_DATA_HALTED] and seen[Code.NOTIFY_MOVER_HALTED]))
        try:
            environment = self.data.get_env()
        except Refused:
            # Several servers give it after a backup only; after a recover it adds nothing that is needed.
            if data.operation == DataOperation.BACKUP:
                raise
            environment = []
        self.data.stop()
        self.mover.stop()
        self.posts.history.flush()
        return Ending(data, mover, environment)

    def abandon(self) -> None:
        """Bring both sides back to IDLE, whatever they are doing. Raises nothing: it is for cleaning up."""
        with suppress(CatalogueError):
            self.posts.history.flush()
        deadline = time.monotonic() + CLEANING
        for connection, halted, get_state, abort, stop in (
                (self.data.connection, DataState.HALTED, self.data.get_state, self.data.abort,
                 self.data.stop),
                (self.mover.connection, MoverState.HALTED, self.mover.get_state, self.mover.abort,
                 self.mover.stop)):
            # Where a connection is gone, so is whatever it held (draft 3.4.1).
            with suppress(ClientError):
                while time.monotonic() < deadline:
                    state = get_state().state
                    if state == 0:
                        break
                    _unless_refused(stop if state == halted else abort)
                    connection.pump(0.05)


def _unless_refused(request: Callable[[], None]) -> None:
    try:
        request()
    except Refused:
        pass
