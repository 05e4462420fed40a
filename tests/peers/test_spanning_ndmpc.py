"""``ndmpc`` as the DMA of jobs over several cartridges, brought by the robot: every combination of version,
connection, butype and record size.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import pytest

from ndmpd.client.catalogue import Catalogue
from ndmpd.client.history import History
from protocol.ndmp.codes import FileType
from tests.peers.conftest import Serving
from tests.peers.ndmpc import Ndmpc
from tests.peers.server import EmbeddedServer
from tests.peers.spanning import (
    CAPACITY,
    CARTRIDGES,
    Placement,
    fill_disk,
    first_difference,
    make_tree,
    records_until_full,
)
from tests.trees.comparison import compare, compare_entry

pytestmark = pytest.mark.timeout(120)

RECORDS = (10240, 64512, 65536, 256 << 10, 1 << 20)
DISK_DATA = 17 << 20
ROBOT = ("--drive", "tape0", "--changer", "mc0")
REACHED = [name for name in CARTRIDGES if name != CARTRIDGES[1]]
"""``tape1`` keeps its cartridge."""
ALL_CARTRIDGES = tuple(word for name in REACHED for word in ("--cartridge", name))


@dataclass(frozen=True, slots=True)
class Case:
    version: int
    separate: bool
    butype: str
    record: int
    windows: bool = False

    @property
    def name(self) -> str:
        return "-".join((f"v{self.version}", "TCP" if self.separate else "LOCAL", self.butype,
                         str(self.record)))

    @property
    def size(self) -> int:
        """Bytes that a cartridge of this case takes."""
        records = WINDOW // self.record if self.windows else records_until_full(self.record)
        return records * self.record

    def dma(self, server: EmbeddedServer) -> Ndmpc:
        agent = server.agent(self.version)
        return Ndmpc(agent, agent if self.separate else None, ROBOT)


WINDOW = 5 << 20
CASES = list(itertools.starmap(Case, itertools.product((3, 4), (False, True), ("tar", "image"), RECORDS)))


@dataclass(frozen=True, slots=True)
class Spanned:
    case: Case
    dma: Ndmpc
    catalogue: Path
    sizes: list[int]


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    path = Path(tempfile.mkdtemp(prefix="spanning-ndmpc-", dir=folder))
    (path / "restored").mkdir()
    return path


@pytest.fixture(scope="module")
def tree(place: Path) -> Path:
    return make_tree(place / "tree")


@pytest.fixture(scope="module")
def fitted(place: Path) -> Path:
    """A folder that is exported for a tree of a size to be found."""
    path = place / "fitted"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def server(place: Path, tree: Path, fitted: Path, serving: Serving) -> Iterator[EmbeddedServer]:
    with serving(place / "state", tree, fitted, place / "restored", capacity=CAPACITY) as server:
        fill_disk(server.disk("disk0"), DISK_DATA)
        yield server


def backup(case: Case, server: EmbeddedServer, source: Path | str, catalogue: Path, *options: str) -> Spanned:
    """Back up, and check where cartridges ended."""
    dma = case.dma(server)
    layout = ("-B", case.butype, "-b", str(case.record))
    report = dma.backup(source, catalogue, *layout, *options, *ALL_CARTRIDGES)
    assert (report["data_halt"], report["mover_halt"]) == ("SUCCESSFUL", "CONNECT_CLOSED")
    media = report["cartridges"]
    sizes = [each["length"] for each in media]
    assert [each["cartridge"] for each in media] == REACHED[:len(media)]
    assert [each["offset"] for each in media] == [0, *accumulate(sizes)][:-1]
    assert sizes[:-1] == [case.size] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= case.size and sizes[-1] % case.record == 0
    assert 0 <= sum(sizes) - report["bytes"] < case.record
    return Spanned(case, dma, catalogue, sizes)


@pytest.fixture(scope="module", params=CASES, ids=[case.name for case in CASES])
def spanned(request: pytest.FixtureRequest, server: EmbeddedServer, place: Path, tree: Path) -> Spanned:
    case: Case = request.param
    source = tree if case.butype == "tar" else "/vol/disk0"
    done = backup(case, server, source, place / f"{case.name}.catalogue")
    assert len(done.sizes) == 3
    return done


def new_disk(server: EmbeddedServer) -> str:
    """The second disk with old data on it."""
    fill_disk(server.disk("disk1"), 8 << 20, seed=7)
    return "/vol/disk1"


def check_disk(server: EmbeddedServer) -> None:
    assert first_difference(server.disk("disk0"), server.disk("disk1")) is None


def test_all_of_it_comes_back(server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path) -> None:
    if spanned.case.butype == "image":
        spanned.dma.restore(spanned.catalogue, "--to", new_disk(server))
        check_disk(server)
        return
    to = place / "restored" / spanned.case.name
    report = spanned.dma.restore(spanned.catalogue, "--to", str(to))
    assert compare(tree, to).found == []
    assert report["names_recovered"] == 1


def placement(spanned: Spanned) -> Placement:
    with Catalogue.open(spanned.catalogue) as catalogue:
        entries = list(History(catalogue, catalogue.backup(None).id).entries())
    return Placement(spanned.sizes, {each.path: each.fh_info for each in entries
                                     if each.type == FileType.REG and each.fh_info is not None})


def test_single_files_come_from_where_they_lie(
    server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path
) -> None:
    """All at once: one on the last cartridge, one on the second, and those over the borders; then each of
    them alone, read from its cartridge and no other.
    """
    if spanned.case.butype == "image":
        pytest.skip("an image is one piece")
    found = placement(spanned)
    large = [[path for path in found.on(number) if path.endswith("large")] for number in range(3)]
    on_second, on_last = large[1][-1], large[2][-1]
    chosen = [on_last, found.straddling(0), on_second, found.straddling(1)]
    to = place / "restored" / f"{spanned.case.name} direct"
    names = [f"{to}/{number}={old}" for number, old in enumerate(chosen)]
    report = spanned.dma.restore(spanned.catalogue, *names)
    assert report["names_recovered"] == len(chosen)
    alone = spanned.dma.restore(spanned.catalogue, f"{to}/alone={on_last}")
    assert alone["bytes"] < 2 << 20
    for number, old in enumerate(chosen):
        assert compare_entry(f"{tree}{old}", to / str(number)).found == []
    assert compare_entry(f"{tree}{on_last}", to / "alone").found == []


@pytest.mark.parametrize("separate", [False, True], ids=["LOCAL", "TCP"])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("windows", [False, True], ids=["cartridges", "windows"])
def test_without_a_catalogue_each_cartridge_ends_where_reading_did(
    server: EmbeddedServer, place: Path, tree: Path, version: int, separate: bool, windows: bool
) -> None:
    """A file mark behind a window (EOF), and one that ndmpc writes behind a full cartridge."""
    case = Case(version, separate, "tar", 64512, windows)
    name = f"bare {case.name} {windows}"
    done = backup(case, server, tree, place / name, *(("--limit", str(WINDOW)) if windows else ()))
    to = place / "restored" / name
    cartridges = ALL_CARTRIDGES[:2 * len(done.sizes)]
    done.dma.run("restore", "--to", str(to), "-B", "tar", "-b", str(case.record), *cartridges)
    assert compare(tree, to).found == []


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("windows", [False, True], ids=["cartridges", "windows"])
def test_a_window_per_cartridge_is_kept_to(
    server: EmbeddedServer, place: Path, tree: Path, record: int, windows: bool
) -> None:
    case = Case(4, True, "tar", record, windows)
    name = f"window {case.name} {windows}"
    # The larger window ends behind early warning: there the cartridge ends it.
    limit = WINDOW if windows else CAPACITY
    done = backup(case, server, tree, place / name, "--limit", str(limit))
    to = place / "restored" / name
    done.dma.restore(place / name, "--to", str(to))
    assert compare(tree, to).found == []


def fit(path: Path, dma: Ndmpc, place: Path, size: int) -> None:
    """Make a tree at ``path`` whose tar stream is of exactly ``size`` bytes."""
    file = path / "file"
    file.write_bytes(b"")
    probe = dma.backup(path, place / "probe", "-b", "512", *ALL_CARTRIDGES)
    file.write_bytes(bytes(range(256)) * ((size - probe["bytes"]) // 256))


@pytest.mark.parametrize("case", [
    Case(version, separate, "tar", record, windows)
    for (version, record), separate, windows in itertools.product(
        ((3, 1 << 20), (4, 64512)), (False, True), (False, True))
], ids=lambda case: f"{case.name}-{'windows' if case.windows else 'cartridges'}")
def test_a_stream_that_just_fits_needs_no_further_cartridge(
    server: EmbeddedServer, place: Path, fitted: Path, case: Case
) -> None:
    """To the byte. With one block more there is a third cartridge; and with two named only, no backup."""
    name = f"exact {case.name} {case.windows}"
    limit = ("--limit", str(case.size)) if case.windows else ()
    fit(fitted, case.dma(server), place, 2 * case.size)
    options = ("-b", str(case.record), *limit, *ALL_CARTRIDGES[:4])
    report = case.dma(server).backup(fitted, place / name, *options)
    assert report["bytes"] == 2 * case.size
    assert [each["length"] for each in report["cartridges"]] == [case.size] * 2
    to = place / "restored" / name
    case.dma(server).restore(place / name, "--to", str(to))
    assert compare(fitted, to).found == []
    with (fitted / "file").open("ab") as file:
        file.write(b"one more")
    case.dma(server).run("backup", fitted, *options, status=7)
    more = backup(case, server, fitted, place / f"{name} more", *limit)
    assert more.sizes == [case.size, case.size, case.record]


def test_two_drives_take_turns_without_a_robot(server: EmbeddedServer, place: Path, fitted: Path) -> None:
    (fitted / "file").write_bytes(bytes(1_500_000))
    agent = server.agent(4)
    dma = Ndmpc(agent, agent, ("--drive", "tape0", "--drive", "tape1"))
    report = dma.backup(fitted, place / "drives", "--limit", "1MiB")
    assert [each["drive"] for each in report["cartridges"]] == ["tape0", "tape1"]
    to = place / "restored" / "drives"
    dma.restore(place / "drives", "--to", str(to))
    assert compare(fitted, to).found == []
