"""A server under attack, and a session on it that must notice nothing. A failing test shows the log's end."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.fuzz.peer import Peer, logged_in
from tests.fuzz.watch import Watch
from tests.peers.server import EmbeddedServer

_started: pytest.StashKey[list[EmbeddedServer]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(_started, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for server in item.config.stash[_started]:
            if server.program is not None:
                report.sections.append((f"end of {server.log_file}", server.program.log_tail()))
    return report


def grow(folder: Path) -> Path:
    """A small tree to back up."""
    for number in range(20):
        below = folder / f"folder{number % 3}"
        below.mkdir(parents=True, exist_ok=True)
        (below / f"file{number}").write_bytes(bytes([number]) * 3000 * number)
    (folder / "link").symlink_to("folder0/file0")
    return folder


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grow(tmp_path_factory.mktemp("fuzz") / "export")


@pytest.fixture(scope="module")
def dest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder to recover into."""
    path = tmp_path_factory.mktemp("recover") / "dest"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def watch(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, export: Path,
          dest: Path) -> Iterator[Watch]:
    folder = tmp_path_factory.mktemp("server")
    server = EmbeddedServer(folder / "state", (export, dest), ("--tape-capacity", "64MiB"))
    request.config.stash[_started].append(server)
    server.start()
    try:
        yield Watch(server)
    finally:
        server.stop()
        request.config.stash[_started].remove(server)


@pytest.fixture
def bystander(watch: Watch) -> Iterator[Peer]:
    """Another DMA's session, logged in and idle. Its end leaves the server without any session."""
    with logged_in(watch.server.port) as peer:
        yield peer
        assert not peer.closed
        peer.ping()
    watch.check_sound()
