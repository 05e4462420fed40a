"""Asking sessions for their accounts, each by a socket of its own that is handed to it.

A session that hangs costs whoever asks ``PATIENCE`` and nothing else; while it has not answered it is not
asked again.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from ndmpd.net.watch import Watch

PATIENCE = 1.0
"""Seconds that a session has for its answer."""
_LONGEST = 256 << 10
_AT_ONCE = 32
"""Sessions that are asked in one turn: what waits for the fork server stays little."""

Account = dict[str, Any]
Accounts = dict[int, Account | None]
"""By the numbers of sessions; None where one does not answer."""


class SessionPoll:
    """``forward`` hands a descriptor to the session of a number; it may raise OSError."""

    def __init__(self, reactor: Any, forward: Callable[[int, int], None]) -> None:
        self._reactor = reactor
        self._forward = forward
        self._asked: dict[int, _Asked] = {}

    def ask(self, numbers: Iterable[int]) -> Deferred[Accounts]:
        """Fires once all have answered, are gone, or have had their time."""
        round_ = _Round(self._reactor, list(numbers))
        self._ask(round_, list(round_.waiting))
        return round_.done

    def _ask(self, round_: _Round, numbers: list[int]) -> None:
        for number in numbers[:_AT_ONCE]:
            asked = self._asked.get(number) or self._begin(number)
            if asked is None:
                round_.heard(number, None)
            else:
                asked.rounds.append(round_)
        if len(numbers) > _AT_ONCE:
            self._reactor.callLater(0, self._ask, round_, numbers[_AT_ONCE:])

    def _begin(self, number: int) -> _Asked | None:
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError:  # no descriptor is left
            return None
        with theirs:
            try:
                self._forward(number, theirs.fileno())
            except OSError:
                ours.close()
                return None
        asked = self._asked[number] = _Asked(ours)
        asked.watch = Watch(self._reactor, ours, lambda: self._hear(number, asked))
        return asked

    def _hear(self, number: int, asked: _Asked) -> None:
        try:
            data = asked.answer.recv(_LONGEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        asked.close()
        del self._asked[number]
        account = _taken(data)
        for round_ in asked.rounds:
            round_.heard(number, account)


class _Asked:
    """A session that was asked and has not answered yet; ``rounds`` wait for it."""

    def __init__(self, answer: socket.socket) -> None:
        self.answer = answer
        self.rounds: list[_Round] = []
        self.watch: Watch | None = None

    def close(self) -> None:
        if self.watch is not None:
            self.watch.stop()
        self.answer.close()


class _Round:
    """One poll: what has been heard, and of whom nothing yet."""

    def __init__(self, reactor: Any, numbers: list[int]) -> None:
        self.waiting = dict.fromkeys(numbers)
        self.done: Deferred[Accounts] = Deferred()
        self._found: Accounts = dict.fromkeys(numbers)
        self._end = reactor.callLater(PATIENCE if numbers else 0, self._finish)

    def heard(self, number: int, account: Account | None) -> None:
        if self.waiting.pop(number, _NOBODY) is _NOBODY or self.done.called:
            return
        self._found[number] = account
        if not self.waiting:
            self._end.reset(0)

    def _finish(self) -> None:
        self.done.callback(self._found)


_NOBODY = object()


def _taken(data: bytes) -> Account | None:
    """Nothing where the session ended, or says what is no account."""
    try:
        account = json.loads(data)
    except ValueError:
        return None
    return account if isinstance(account, dict) and account else None
