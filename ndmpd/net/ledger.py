"""The books of one session: what its jobs moved and how they ended, for whoever runs the server.

They are kept from the counters that DATA and MOVER have anyway, on the reactor thread: when a state changes,
and once a second while a job is under way. A session without a job has nothing to do for them.

Each byte is counted once on a server: by the session whose MOVER moves it, and where MOVER is another
server's by the one whose DATA does. So are jobs, but by the session with DATA where there is one.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ndmpd.services.data import DataService
from ndmpd.services.mover import MoverService
from ndmpd.services.tally import HEAD, OPERATIONS, OUTCOMES, Operation, Outcome, Tally
from ndmpd.services.transfer import movers_of
from ndmpd.session import effects
from ndmpd.session.core import Session
from ndmpd.session.effects import Effect
from protocol.ndmp.codes import DataOperation, DataState, MoverHaltReason, MoverMode, MoverState

EVERY = 1.0
"""Seconds between two looks while a job is under way."""
SPAN = 5
"""Seconds over which the rate is measured."""
RENEWS = frozenset({effects.DataStart, effects.DataRelease, effects.MoverStart})
"""Effects after which DATA's or MOVER's counters are others."""
_RUNS = (MoverState.ACTIVE, MoverState.PAUSED)
_MOVER_OUTCOMES = {MoverHaltReason.CONNECT_CLOSED: Outcome.SUCCESSFUL,
                   MoverHaltReason.ABORTED: Outcome.ABORTED}


class Ledger:
    def __init__(self, reactor: Any, tally: Tally, session: Session, data: DataService,
                 mover: MoverService) -> None:
        self._reactor = reactor
        self._tally = tally
        self._session = session
        self._data = data
        self._mover = mover
        self._states = session.data_state, session.mover_state
        self._failed_logins = 0
        self._data_told = 0
        self._mover_told: dict[str, int] = {}
        self._samples: deque[tuple[float, int]] = deque(maxlen=SPAN)
        self._next: Any = None

    def look(self) -> None:
        """A turn of the session is over."""
        states = self._session.data_state, self._session.mover_state
        if states != self._states:
            before, self._states = self._states, states
            self._changed(*before)
        failed = self._session.failed_logins
        if failed != self._failed_logins:
            self._tally.failed_login(failed - self._failed_logins)
            self._failed_logins = failed

    def renew(self, effect: Effect) -> None:
        """``effect``, one of ``RENEWS``, is about to be carried out."""
        self._settle()
        if isinstance(effect, effects.MoverStart):
            self._mover_told = {}
        else:
            self._data_told = 0
        if not isinstance(effect, effects.DataRelease):
            self._samples.clear()
            self._samples.append((time.monotonic(), 0))

    def close(self) -> None:
        """The session is over and its devices are free; what it still did is aborted."""
        data, mover = self._states
        self._settle()
        if data == DataState.ACTIVE:
            self._job(Outcome.ABORTED)
        if mover in _RUNS:
            self._moved_for_another(Outcome.ABORTED)
        self._states = DataState.IDLE, MoverState.IDLE
        self._rest()

    @property
    def rate(self) -> float:
        """Bytes a second over the last seconds, 0 where there is no job."""
        if not self._samples:
            return 0.0
        then, before = self._samples[0]
        elapsed = time.monotonic() - then
        return max(0, self._bytes() - before) / elapsed if elapsed > 0 else 0.0

    def _bytes(self) -> int:
        """Of the stream, by the side that knows better."""
        mover = self._mover.figures().bytes_moved if self._states[1] in _RUNS else 0
        data = self._data.figures().bytes_processed if self._states[0] == DataState.ACTIVE else 0
        return mover or data

    def _changed(self, data: DataState, mover: MoverState) -> None:
        """The states were others before this turn."""
        self._settle()
        now_data, now_mover = self._states
        told = self._session.describe
        if data == DataState.ACTIVE and now_data == DataState.HALTED:
            self._job(OUTCOMES.get(told()[0].halt_reason, Outcome.FAILED))  # type: ignore[call-overload]
        if mover in _RUNS and now_mover == MoverState.HALTED:
            self._moved_for_another(
                _MOVER_OUTCOMES.get(told()[1].halt_reason, Outcome.FAILED))  # type: ignore[call-overload]
        if now_data == DataState.ACTIVE or now_mover in _RUNS:
            if self._next is None:
                self._tick()
        else:
            self._rest()

    def _tick(self) -> None:
        self._next = self._reactor.callLater(EVERY, self._tick)
        self._settle()
        self._samples.append((time.monotonic(), self._bytes()))

    def _rest(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._samples.clear()

    def _settle(self) -> None:
        """Count what was moved since the last time."""
        operation = self._direction
        for name, moved in self._mover.shares().items():
            more = moved - self._mover_told.get(name, 0)
            if more > 0:
                self._tally.moved(name, operation, more)
                self._mover_told[name] = moved
        order = self._data.order
        if order is not None and not order.local:
            moved = self._data.figures().bytes_processed
            if moved > self._data_told:
                self._tally.moved(HEAD, OPERATIONS[order.operation], moved - self._data_told)
                self._data_told = moved

    @property
    def _direction(self) -> Operation:
        """MOVER reads the stream in a backup. Whether a recover only lists, it cannot know."""
        return Operation.BACKUP if self._mover.mode == MoverMode.READ else Operation.RECOVER

    def _job(self, outcome: Outcome) -> None:
        """DATA's job is over."""
        order = self._data.order
        if order is None or order.operation == DataOperation.NOACTION:
            return
        movers = movers_of(self._data.used)
        if not movers and self._mover.local:
            movers = [name for name, moved in self._mover.shares().items() if moved and name != HEAD]
        self._tally.job(OPERATIONS[order.operation], outcome, movers or [HEAD])

    def _moved_for_another(self, outcome: Outcome) -> None:
        """MOVER's run is over; where its DATA is ours too, DATA's session counts the job."""
        if not self._mover.local:
            self._tally.job(self._direction, outcome, [HEAD])
