"""Task management: aborts and resets, answered when what they abort has really ended. RFC 7143 11.5."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from ndmpd.errors import NdmpdError
from ndmpd.san.target.exchange import Exchange
from ndmpd.san.target.logical_unit import LogicalUnit
from protocol.iscsi.pdu import TaskAnswer, TaskFunction, TaskRequest

_log = logging.getLogger(__name__)


class Peer(Protocol):
    """A session, as task management sees it."""

    nexus: str

    def find(self, tag: int) -> Exchange | None: ...

    def abort(self, exchanges: Iterable[Exchange] | None, watcher: Callable[[], None], *,
              tell: bool = False) -> int:
        """Abort these commands, or all; ``watcher`` is called for each of the number returned. ``tell``: they
        end with TASK ABORTED, and not without a word.
        """

    def end(self, reason: str) -> None: ...


class _Countdown:
    """Calls ``done`` once as many have reported as are expected. Reports may come before ``expect`` is told
    how many there will be.
    """

    def __init__(self, done: Callable[[], None]) -> None:
        self._done = done
        self._reported = 0
        self._expected: int | None = None
        self._guard = threading.Lock()

    def expect(self, number: int) -> None:
        with self._guard:
            self._expected = number
            last = self._reported == number
        if last:
            self._done()

    def report(self) -> None:
        with self._guard:
            self._reported += 1
            last = self._reported == self._expected
        if last:
            self._done()


def manage(request: TaskRequest, asking: Peer, peers: Iterable[Peer], unit: LogicalUnit,
           answer: Callable[[TaskAnswer], None]) -> None:
    """Carry the function out. ``peers``: all sessions of the unit, ``asking`` among them.

    ``answer`` is called when nothing that was to be aborted is under way any more, from whatever thread.
    """
    function = request.function
    if function in _ON_THE_UNIT and request.lun:
        answer(TaskAnswer.NO_LUN)
        return
    match function:
        case TaskFunction.ABORT_TASK:
            exchange = asking.find(request.referenced)
            if exchange is None:
                answer(TaskAnswer.NO_TASK)
                return
            _abort([asking], [exchange], lambda: answer(TaskAnswer.COMPLETE))
        case TaskFunction.ABORT_TASK_SET:
            _abort([asking], None, lambda: answer(TaskAnswer.COMPLETE))
        case TaskFunction.CLEAR_TASK_SET:
            _abort_all(asking, peers, lambda: _finish(lambda: unit.tell_cleared(asking.nexus), answer))
        case TaskFunction.LOGICAL_UNIT_RESET | TaskFunction.TARGET_WARM_RESET:
            _abort_all(asking, peers, lambda: _finish(unit.reset, answer))
        case TaskFunction.TARGET_COLD_RESET:
            everybody = list(peers)

            def cold() -> None:
                _finish(unit.reset, answer)
                # 11.5.1: as after a power on, all have to log in anew.
                for peer in everybody:
                    peer.end("the target was reset")

            _abort(everybody, None, cold)
        case TaskFunction.TASK_REASSIGN:
            answer(TaskAnswer.NO_REASSIGNMENT)
        case _:
            answer(TaskAnswer.NOT_SUPPORTED)


_ON_THE_UNIT = (TaskFunction.ABORT_TASK, TaskFunction.ABORT_TASK_SET, TaskFunction.CLEAR_ACA,
                TaskFunction.CLEAR_TASK_SET, TaskFunction.LOGICAL_UNIT_RESET)


def _abort(peers: Iterable[Peer], exchanges: list[Exchange] | None, done: Callable[[], None]) -> None:
    count = _Countdown(done)
    count.expect(sum([peer.abort(exchanges, count.report) for peer in peers]))


def _abort_all(asking: Peer, peers: Iterable[Peer], done: Callable[[], None]) -> None:
    """For a reset. The commands of others end with TASK ABORTED (TAS, SPC-4 7.5.8): they would else wait for
    as long as their commands may take, which on a tape is an hour.
    """
    count = _Countdown(done)
    count.expect(sum([peer.abort(None, count.report, tell=peer is not asking) for peer in peers]))


def _finish(act: Callable[[], None], answer: Callable[[TaskAnswer], None]) -> None:
    try:
        act()
    except (NdmpdError, OSError) as error:
        _log.error("a reset was not carried out: %s", error)
        answer(TaskAnswer.REJECTED)
    else:
        answer(TaskAnswer.COMPLETE)
