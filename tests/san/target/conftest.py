"""A small embedded SAN as iSCSI target in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ndmpd.san import Flush, San, create
from ndmpd.san.target.portal import PREFIX, Access, Portal
from tests.san.target.initiator import Initiator

MIB = 1 << 20


class Node:
    """``port`` is where it listens."""

    def __init__(self, san: San, access: Access) -> None:
        self.san = san
        self.portal = Portal(san, access)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.portal.accepted(connection)

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listening.close()
        self.portal.stop()


Serve = Callable[..., Node]
Connect = Callable[..., Initiator]


@pytest.fixture
def san(tmp_path: Path) -> San:
    return create(tmp_path, capacity=4 * MIB, early_warning=MIB, cartridges=4, disk_size=16 * MIB, slots=6,
                  flush=Flush.NOTHING)


@pytest.fixture
def serve(san: San) -> Iterator[Serve]:
    nodes: list[Node] = []

    def start(access: Access | None = None) -> Node:
        nodes.append(Node(san, access or Access()))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()


@pytest.fixture
def node(serve: Serve) -> Node:
    return serve()


@pytest.fixture
def connect(node: Node) -> Iterator[Connect]:
    """``connect("disk0", ...)``: an initiator that is not logged in yet; ``ready`` one that is."""
    with ExitStack() as stack:
        yield lambda unit="disk0", **more: stack.enter_context(
            Initiator(node.port, PREFIX + unit, **more))


@pytest.fixture
def ready(connect: Connect) -> Connect:
    def log_in(unit: str = "disk0", *keys: tuple[str, str], **more: object) -> Initiator:
        initiator = connect(unit, **more)
        assert initiator.log_in(*keys).status == 0
        initiator.clear()
        return initiator

    return log_in
