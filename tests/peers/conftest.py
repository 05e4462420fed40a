"""Servers and the DMA for the peer tests. A failing test shows the end of the log of the server that it
used.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.peers.ndmjob import Ndmjob, build_shim, find_program
from tests.peers.reference import ReferenceServer
from tests.peers.server import EmbeddedServer
from tests.trees.odd import make_deep_tree, make_odd_tree
from tests.trees.real import RealTree, find_real_tree

_started: pytest.StashKey[list[EmbeddedServer]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_started] = []


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path is short and plain: ndmjob hands index names to a shell, in a buffer of 512
    bytes.
    """
    path = tmp_path_factory.mktemp("peers")
    assert len(str(path)) < 150
    return path


@pytest.fixture(scope="session")
def ndmjob_program() -> Path:
    program = find_program()
    assert program is not None, "the marker needs('ndmjob') is missing on this test"
    return program


@pytest.fixture(scope="session")
def ndmjob(ndmjob_program: Path, folder: Path) -> Ndmjob:
    logs = folder / "ndmjob"
    logs.mkdir()
    return Ndmjob(ndmjob_program, logs)


@pytest.fixture(scope="session")
def corrected_ndmjob(ndmjob_program: Path, folder: Path) -> Ndmjob:
    """ndmjob with the defects of its tape test put right; see ``ndmjob_shim.c``."""
    logs = folder / "corrected"
    logs.mkdir()
    return Ndmjob(ndmjob_program, logs, build_shim(logs))


@pytest.fixture
def reference(ndmjob_program: Path, tmp_path: Path) -> Iterator[ReferenceServer]:
    server = ReferenceServer(ndmjob_program, tmp_path).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def odd_tree(folder: Path) -> Path:
    exported = folder / "odd"
    exported.mkdir()
    make_odd_tree(exported / "tree")
    return exported / "tree"


@pytest.fixture(scope="session")
def deep_tree(folder: Path) -> Path:
    """One file at the end of a path that no system call takes whole."""
    make_deep_tree(folder / "deep", 4500)
    return folder / "deep"


@pytest.fixture(scope="session")
def real_tree() -> RealTree:
    tree = find_real_tree()
    if tree is None:
        pytest.skip(
            "no directory of /usr holds 20,000 files: install more packages, such as man-db and perl-doc"
        )
    return tree


@pytest.fixture(scope="session")
def restores(folder: Path) -> Path:
    """An exported folder to restore into; every test takes a name of its own below it."""
    path = folder / "restores"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest,
    folder: Path,
    odd_tree: Path,
    deep_tree: Path,
    real_tree: RealTree,
    restores: Path,
) -> Iterator[EmbeddedServer]:
    """The server under test, on an embedded SAN, with the trees and the restore folder as exports."""
    embedded = EmbeddedServer(folder / "state", (odd_tree, deep_tree, real_tree.path, restores))
    request.config.stash[_started].append(embedded)
    embedded.start()
    yield embedded
    embedded.stop()


Serving = Callable[..., AbstractContextManager[EmbeddedServer]]


@pytest.fixture(scope="session")
def serving(request: pytest.FixtureRequest) -> Serving:
    """A further server: ``with serving(state, export, ..., capacity=bytes) as server``."""

    @contextmanager
    def serve(state: Path, *exports: Path, capacity: int) -> Iterator[EmbeddedServer]:
        embedded = EmbeddedServer(state, exports, ("--tape-capacity", str(capacity)))
        request.config.stash[_started].append(embedded)
        embedded.start()
        try:
            yield embedded
        finally:
            embedded.stop()

    return serve
