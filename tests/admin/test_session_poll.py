"""Sessions are asked for their accounts: what cannot be asked is known at once not to answer."""

from __future__ import annotations

import errno
import socket
from typing import Any, NoReturn

import pytest
from twisted.internet.task import Clock

from ndmpd.management.poll import Accounts, SessionPoll


class Reactor(Clock):
    """Time is the test's; what is watched never has anything to read."""

    def addReader(self, reader: object) -> None:
        """See above."""

    removeReader = addReader


def asked(poll: SessionPoll, reactor: Reactor, *numbers: int) -> Accounts:
    found: list[Accounts] = []
    poll.ask(numbers).addCallback(found.append)
    reactor.advance(0)
    return found[0]


def no_room(*_: Any) -> NoReturn:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_session_that_no_descriptor_is_left_for_is_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reactor = Reactor()
    monkeypatch.setattr(socket, "socketpair", no_room)
    assert asked(SessionPoll(reactor, lambda number, end: None), reactor, 1, 2) == {1: None, 2: None}


def test_a_session_that_cannot_be_reached_is_one_that_does_not_answer() -> None:
    reactor = Reactor()
    assert asked(SessionPoll(reactor, no_room), reactor, 7) == {7: None}
