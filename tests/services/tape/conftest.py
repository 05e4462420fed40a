"""A small embedded SAN, and DMAs whose tape it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.san import Flush, San, create
from ndmpd.san.nexus import Nexus
from protocol.ndmp.codes import Version
from tests.services.tape.dma import MIB, Dma


@pytest.fixture
def san(tmp_path: Path) -> San:
    """Cartridges of 4 MiB, the last MiB of which is the early-warning zone."""
    return create(tmp_path, capacity=4 * MIB, early_warning=MIB, cartridges=4, disk_size=MIB,
                  flush=Flush.NOTHING)


@pytest.fixture
def connection(san: San) -> Iterator[Callable[[Version], Dma]]:
    """Makes DMAs, each of which is a nexus of its own; at the end their connections break."""
    with ExitStack() as stack:
        def connection(version: Version = Version.V4) -> Dma:
            nexus = stack.enter_context(Nexus(san.path))
            dma = Dma(lambda name: EmbeddedTransport(san.path, name, nexus), version)
            stack.callback(dma.service.close)
            return dma
        yield connection


@pytest.fixture(params=[Version.V3, Version.V4], ids=["v3", "v4"])
def dma(request: pytest.FixtureRequest, connection: Callable[[Version], Dma]) -> Dma:
    """One DMA in each version."""
    return connection(request.param)


@pytest.fixture
def dma4(connection: Callable[[Version], Dma]) -> Dma:
    return connection(Version.V4)
