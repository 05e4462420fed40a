"""The fork server: who is forked, with what, and that nobody outlives whoever asked for him."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ndmpd.net import forkserver
from ndmpd.net.forkserver import ForkServer, SessionForks, Verb, Work, receive, send

PATIENCE = 10.0


def children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def within(met: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def session(connection: socket.socket, requests: socket.socket, tally: int) -> None:
    """Obeys words: what a real session would do of its own accord."""
    forks = SessionForks(requests)
    while word := connection.recv(100).decode():
        if word == "fds":
            connection.sendall(",".join(sorted(os.listdir("/proc/self/fd"), key=int)).encode())
        elif word.startswith("job"):
            ours, theirs = socket.socketpair()
            counters = os.memfd_create("counters")
            forks.spawn(int(word[3:]), theirs, connection, counters)
            os.close(counters)
            theirs.close()
            connection.sendall(ours.recv(100) or b"nothing")
        elif word.startswith("kill"):
            forks.kill(int(word[4:]))
            connection.sendall(b"killed")
        elif word == "login":
            forks.logged_in()
        elif word == "drop":
            told = forks.told()
            connection.sendall(str(told is not None and told[0] is Verb.DROP).encode())
        elif word == "account":
            told = forks.told()
            assert told is not None and told[0] is Verb.ASK
            os.write(told[1][0], b"the account of tally %d" % tally)
            os.close(told[1][0])
            connection.sendall(b"given")
        elif word == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            connection.sendall(b"deaf")
        elif word == "crash":
            raise RuntimeError("a bug")


def job(told: socket.socket, connection: socket.socket, counters: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told.sendall(b"%d" % len(os.listdir("/proc/self/fd")))
    signal.pause()


def stubborn(told: socket.socket, connection: socket.socket, counters: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told.sendall(b"here")
    while True:
        signal.pause()


def copy_manager() -> None:
    """Runs until it is ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pause()


def cleaning() -> None:
    """Long enough to be seen."""
    time.sleep(0.3)


@pytest.fixture(autouse=True)
def no_reactor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runner has one installed, which a fork server must never have."""
    monkeypatch.delitem(sys.modules, "twisted.internet.reactor", raising=False)


@pytest.fixture
def forks() -> Iterator[ForkServer]:
    server = ForkServer(Work(session, job, copy_manager, cleaning))
    yield server
    server.close()
    assert not os.path.exists(f"/proc/{server.pid}")


def opened(forks: ForkServer, number: int = 1, tally: int = 0) -> socket.socket:
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    forkserver.send(forks.control, Verb.SESSION, number, tally, fds=[theirs.fileno()])
    theirs.close()
    return ours


def ask(connection: socket.socket, word: str) -> str:
    connection.sendall(word.encode())
    return connection.recv(1000).decode()


def exited(forks: ForkServer) -> tuple[int, int]:
    forks.control.settimeout(PATIENCE)
    message = forkserver.receive(forks.control)
    assert message is not None and message[0] is Verb.EXITED
    return message[1:3]


def test_a_session_has_its_own_descriptors_and_nobody_elses(forks: ForkServer) -> None:
    first = opened(forks)
    alone = ask(first, "fds")
    others = [opened(forks, number) for number in range(2, 8)]
    counts = {len(ask(one, "fds").split(",")) for one in others}
    assert counts == {len(alone.split(","))}
    # The standard ones, the connection, the socket for requests, and the folder being listed.
    assert len(alone.split(",")) <= 6


def test_the_end_of_a_session_is_told_with_its_status(forks: ForkServer) -> None:
    well, ill, killed = opened(forks, 7), opened(forks, 8), opened(forks, 9)
    well.close()
    assert exited(forks) == (7, 0)
    ill.sendall(b"crash")
    assert exited(forks) == (8, 1)
    ask(killed, "fds")
    (pid,) = children(forks.pid)
    os.kill(pid, signal.SIGKILL)
    assert exited(forks) == (9, -signal.SIGKILL)


def test_a_login_is_told_with_the_number_of_its_session(forks: ForkServer) -> None:
    first, second = opened(forks, 7), opened(forks, 8)
    second.sendall(b"login")
    forks.control.settimeout(PATIENCE)
    assert forkserver.receive(forks.control) == (Verb.LOGGED_IN, 8, 0, [])
    first.close()


def test_a_session_hears_that_it_is_to_make_room(forks: ForkServer) -> None:
    first, second = opened(forks, 7), opened(forks, 8)
    for number in 8, 7, 99:
        forkserver.send(forks.control, Verb.DROP, number)
    assert ask(first, "drop") == ask(second, "drop") == "True"


def test_a_session_gives_an_account_to_whom_it_is_told_to(forks: ForkServer) -> None:
    ours, theirs = socket.socketpair()
    first, second = opened(forks, 7), opened(forks, 8, tally=3)
    for number in 8, 99:
        forkserver.send(forks.control, Verb.ASK, number, fds=[theirs.fileno()])
    theirs.close()
    assert ask(second, "account") == "given"
    assert ours.recv(100) == b"the account of tally 3"
    assert ours.recv(100) == b"", "somebody else has the descriptor still"
    first.close()


def test_a_session_that_hangs_is_asked_without_end_and_nobody_waits(forks: ForkServer) -> None:
    hanging, other = opened(forks, 7), opened(forks, 8)
    for _ in range(1000):
        ours, theirs = socket.socketpair()
        forkserver.send(forks.control, Verb.ASK, 7, fds=[theirs.fileno()])
        ours.close()
        theirs.close()
    assert ask(other, "fds")
    assert ask(opened(forks, 9), "fds")
    hanging.close()


@pytest.mark.parametrize("grace", [1, 60])
def test_a_session_that_is_killed_has_the_time_it_is_given(forks: ForkServer, grace: int) -> None:
    deaf = opened(forks, 7)
    assert ask(deaf, "deaf") == "deaf"
    began = time.monotonic()
    forkserver.send(forks.control, Verb.KILL, 7, grace)
    forks.control.settimeout(3)
    if grace == 1:
        assert exited(forks) == (7, -signal.SIGKILL)
        assert time.monotonic() - began >= 1
    else:
        time.sleep(1.5)
        assert ask(deaf, "fds")


def test_a_session_that_is_gone_takes_its_jobs_along_and_no_others(forks: ForkServer) -> None:
    first, second = opened(forks, 1), opened(forks, 2)
    ask(first, "job1")
    ask(second, "job1")
    assert len(children(forks.pid)) == 4
    first.close()
    within(lambda: len(children(forks.pid)) == 2)
    assert ask(second, "fds")


def test_a_job_is_ended_by_its_number_and_only_for_its_own_session(forks: ForkServer) -> None:
    first, second = opened(forks, 1), opened(forks, 2)
    ask(first, "job5")
    ask(second, "kill5")
    time.sleep(0.2)
    assert len(children(forks.pid)) == 3
    ask(first, "kill5")
    within(lambda: len(children(forks.pid)) == 2)


def test_a_job_that_does_not_listen_is_killed_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "GRACE", 0.3)
    forks = ForkServer(Work(session, stubborn, copy_manager, cleaning))
    try:
        connection = opened(forks)
        assert ask(connection, "job1") == "here"
        ask(connection, "kill1")
        within(lambda: len(children(forks.pid)) == 1, 3)
    finally:
        forks.close()


def test_a_listener_that_is_gone_takes_everything_along(forks: ForkServer) -> None:
    connection = opened(forks)
    ask(connection, "job1")
    pids = children(forks.pid)
    assert len(pids) == 2
    forks.close()
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_a_fork_server_that_died_before_it_read_everything_is_found_to_be_gone() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        send(ours, Verb.KILL, 1)
        theirs.close()
        # The kernel tells of what was lost, once, where one looks for a message.
        assert receive(ours) is None


def test_a_request_without_its_descriptor_is_answered_and_harms_nobody(forks: ForkServer) -> None:
    forkserver.send(forks.control, Verb.SESSION, 3)
    assert exited(forks) == (3, 1)
    forkserver.send(forks.control, Verb.JOB, 4)
    forkserver.send(forks.control, Verb.KILL, 99)
    assert ask(opened(forks, 5), "fds")


def test_many_sessions_leave_no_descriptor_in_the_fork_server(forks: ForkServer) -> None:
    opened(forks, 1).close()
    exited(forks)
    before = len(os.listdir(f"/proc/{forks.pid}/fd"))
    for number in range(2, 20):
        connection = opened(forks, number)
        ask(connection, "job1")
        connection.close()
        exited(forks)
    within(lambda: not children(forks.pid))
    # A session's own socket is closed a moment after its end is told.
    within(lambda: len(os.listdir(f"/proc/{forks.pid}/fd")) <= before)


def test_the_copy_managers_end_is_told_so_that_another_can_be_asked_for(forks: ForkServer) -> None:
    before = set(children_of(forks.pid))
    send(forks.control, Verb.COPY_MANAGER, 0)
    (pid,) = wait_for(lambda: set(children_of(forks.pid)) - before)
    os.kill(pid, signal.SIGKILL)
    message = receive(forks.control)
    assert message is not None and message[:3] == (Verb.EXITED, 0, -signal.SIGKILL)
    send(forks.control, Verb.COPY_MANAGER, 0)
    assert wait_for(lambda: set(children_of(forks.pid)) - before)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(found: Callable[[], set[int]]) -> set[int]:
    deadline = time.monotonic() + 10
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found()
