"""Blocks of a disk that no local file is behind: what is read and written is what the extent names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ndmpd.datapath import read_bytes
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.pieces import FileExtent, LunExtent
from ndmpd.san import San, create
from ndmpd.san.nexus import Nexus
from ndmpd.services.lowering import Lowering

BLOCK = 512
CONTENT = bytes(number % 251 for number in range(64 * BLOCK))


class Distant(EmbeddedTransport):
    """A disk that can only be reached by READ and WRITE."""

    most = None

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None


@pytest.fixture
def san(tmp_path: Path) -> San:
    san = create(tmp_path, capacity=1 << 20, cartridges=1, disks=1, disk_size=len(CONTENT))
    san.disk_path("disk0").write_bytes(CONTENT)
    return san


@pytest.fixture(params=[Distant, EmbeddedTransport])
def lowering(san: San, request: pytest.FixtureRequest) -> Iterator[Lowering]:
    with Nexus(san.path) as nexus:
        lowering = Lowering(lambda name: request.param(san.path, name, nexus))
        yield lowering
        lowering.close()


EXTENTS = [LunExtent("disk0", 3, 5), LunExtent("disk0", 3, 5, BLOCK, 100),
           LunExtent("disk0", 3, 5, BLOCK, 0, 7), LunExtent("disk0", 63, 1, BLOCK, 10, 20),
           LunExtent("disk0", 0, 64, BLOCK, 511, 511)]


@pytest.mark.parametrize("extent", EXTENTS, ids=str)
def test_an_extent_is_read_without_what_its_edges_leave_out(lowering: Lowering, extent: LunExtent) -> None:
    start = extent.lba * BLOCK + extent.skip
    found = b"".join(read_bytes([piece], []) for piece in lowering.sources(extent))
    assert found == CONTENT[start:start + extent.length]


@pytest.mark.parametrize("extent", EXTENTS, ids=str)
def test_writing_an_extent_leaves_what_it_leaves_out(san: San, extent: LunExtent) -> None:
    with Nexus(san.path) as nexus:
        lowering = Lowering(lambda name: Distant(san.path, name, nexus))
        lowering.write(extent, b"\xff" * extent.length)
        lowering.close()
    start = extent.lba * BLOCK + extent.skip
    assert san.disk_path("disk0").read_bytes() == (
        CONTENT[:start] + b"\xff" * extent.length + CONTENT[start + extent.length:])
