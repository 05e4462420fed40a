"""The management socket and the metrics on one reactor: answers wait for nobody, and each gets his own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThread

from ndmpd.management.client import Unanswered, ask
from ndmpd.management.metrics import serve_metrics
from ndmpd.management.server import SOCKET, ManagementServer
from ndmpd.management.sessions import SessionTable
from ndmpd.services.tally import Tallies

reactor: Any = installed
Document = dict[str, Any]


class Answers:
    """Answers "now" at once, and whatever else when it is told to."""

    def __init__(self) -> None:
        self.waiting: dict[str, Deferred[Document]] = {}

    def __call__(self, request: Document) -> Deferred[Document]:
        if request["verb"] == "now":
            return succeed({"answer": "now"})
        self.waiting[request["verb"]] = Deferred()
        return self.waiting[request["verb"]]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def server(state: Path, answers: Answers) -> Iterator[ManagementServer]:
    made = ManagementServer(reactor, state / "run", answers)
    yield made
    made.stop()


def asked(state: Path, verb: str) -> Deferred[Document]:
    return deferToThread(ask, state, {"verb": verb})


async def until(ready: Any) -> None:
    while not ready():
        pause: Deferred[None] = Deferred()
        reactor.callLater(0.01, pause.callback, None)
        await pause


@pytest_twisted.ensureDeferred
async def test_an_answer_that_takes_long_keeps_nobody_else_waiting(
        state: Path, answers: Answers, server: ManagementServer) -> None:
    late = asked(state, "later")
    await until(lambda: "later" in answers.waiting)
    assert await asked(state, "now") == {"answer": "now"}
    assert not late.called
    answers.waiting["later"].callback({"answer": "at last"})
    assert await late == {"answer": "at last"}
    await until(lambda: not server.connections)


@pytest_twisted.ensureDeferred
async def test_whoever_waits_when_the_server_stops_is_told_that_there_is_no_answer(
        state: Path, answers: Answers, server: ManagementServer) -> None:
    late = asked(state, "later")
    await until(lambda: "later" in answers.waiting)
    server.stop()
    with pytest.raises(Unanswered):
        await late
    assert not (state / "run" / SOCKET).exists()


@pytest_twisted.ensureDeferred
async def test_metrics_are_those_of_the_moment_in_which_they_are_asked_for() -> None:
    table = SessionTable(Tallies(("gw1",), 4), 4)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    serve_metrics(reactor, listening, table)
    before, after = await scraped(port), None
    table.enter(1, "192.0.2.1")
    after = await scraped(port)
    assert (before["ndmpd_sessions"], after["ndmpd_sessions"]) == (0, 1)
    at_once = await DeferredList([scraped(port) for _ in range(8)])
    assert all(done and found["ndmpd_sessions"] == 1 for done, found in at_once)


def scraped(port: int) -> Deferred[dict[str, float]]:
    return deferToThread(_scrape, port)


def _scrape(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {sample.name: sample.value for family in families for sample in family.samples}
