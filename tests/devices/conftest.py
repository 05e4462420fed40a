"""A small embedded SAN and drives on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.tape import TapeDrive
from ndmpd.san import Flush, San, create
from ndmpd.san.nexus import Nexus

KIB = 1 << 10
MIB = 1 << 20


@pytest.fixture
def san(tmp_path: Path) -> San:
    """Two drives with 8 MiB cartridges whose last MiB is the early-warning zone; two disks of 4 MiB."""
    return create(tmp_path, capacity=8 * MIB, early_warning=MIB, cartridges=4, disk_size=4 * MIB,
                  flush=Flush.NOTHING)


@pytest.fixture
def connect(san: San) -> Iterator[Callable[[str], EmbeddedTransport]]:
    """Opens transports, each with a nexus of its own."""
    with ExitStack() as stack:
        def connect(unit: str) -> EmbeddedTransport:
            transport = EmbeddedTransport(san.path, unit, stack.enter_context(Nexus(san.path)))
            stack.callback(transport.close)
            return transport
        yield connect


@pytest.fixture
def drive(connect: Callable[[str], EmbeddedTransport]) -> TapeDrive:
    drive = TapeDrive(connect("tape0"), "tape0")
    drive.open()
    return drive
