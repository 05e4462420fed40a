"""What a backup of the SAN's disk to the SAN's drive costs the network between it and the head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.two_networks import NoNamespaces, Site, two_networks, two_sites

pytestmark = [pytest.mark.peer, pytest.mark.root, pytest.mark.needs("libiscsi", "ip")]

MIB = 1 << 20
SMALL, LARGE = 64 * MIB, 1024 * MIB


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    try:
        with two_sites(tmp_path, request.param) as found:
            yield found
    except NoNamespaces as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "site", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], indirect=True, ids=["64MiB", "1GiB"]
)
def test_a_copy_manager_keeps_an_image_off_the_heads_network(site: Site) -> None:
    size = site.disk.stat().st_size
    server_free, through = site.back_up("SCSI", "tape0"), site.back_up("NAS", "tape1")
    assert (server_free.used, through.used.split()[0]) == ("SCSI copy0", "NAS")
    assert server_free.moved == through.moved > size
    assert through.traffic >= 2 * size, "every byte comes to the head, and leaves it"
    assert server_free.traffic < 2 * MIB
    assert through.traffic > 64 * server_free.traffic
    assert site.same_tapes()


def test_the_networks_are_gone_whatever_happened() -> None:
    try:
        with pytest.raises(ZeroDivisionError), two_networks() as (head, node):
            names = {head.name, node.name}
            assert names <= _networks()
            raise ZeroDivisionError
    except NoNamespaces as error:
        pytest.skip(str(error))
    assert not names & _networks()


def _networks() -> set[str]:
    return {path.name for path in Path("/run/netns").iterdir()}
