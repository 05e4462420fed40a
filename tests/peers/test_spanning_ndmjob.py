"""ndmjob as the DMA of jobs over several cartridges, brought by the robot.

ndmjob writes two file marks where a window ends and none where a cartridge does; it reads back with the
sizes of its index (the mover then pauses for SEEK), with the windows of its command line, or without any, to
the EOF or EOM of each cartridge. Records are of 10,240, 64,512 and 65,536 bytes: its most is 102,400.
"""

from __future__ import annotations

import itertools
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.peers import simh
from tests.peers.conftest import Serving
from tests.peers.ndmjob import Agent, Job, Ndmjob, Outcome
from tests.peers.ndmjob_index import Index
from tests.peers.server import EmbeddedServer
from tests.peers.spanning import (
    CAPACITY,
    CARTRIDGES,
    SLOTS,
    Placement,
    fill_disk,
    first_difference,
    make_tree,
    media_sizes,
    records_until_full,
)
from tests.trees.comparison import compare, compare_entry

pytestmark = [pytest.mark.peer, pytest.mark.needs("ndmjob"), pytest.mark.timeout(120)]

CHANGER = "mc0"
DRIVE, PORT = 0x100, 0x10
FREE = [slot for slot in SLOTS if slot != SLOTS[1]]
"""Slots that have a cartridge while ``tape0`` is empty: that of the second is in ``tape1``."""
DISK_DATA = 17 << 20
IMAGE_FRAME = 4096 + 4096 + 64
"""Header, map and end of an image that has few extents."""
WINDOW = 5 << 20
"""Less than a cartridge; what is left over from whole records is cut off."""


@dataclass(frozen=True, slots=True)
class Case:
    version: int
    separate: bool
    butype: str
    blocks: int
    windows: bool

    @property
    def name(self) -> str:
        return "-".join((f"v{self.version}", "TCP" if self.separate else "LOCAL", self.butype,
                         str(self.record), "windows" if self.windows else "cartridges"))

    @property
    def record(self) -> int:
        return self.blocks * 512

    @property
    def size(self) -> int:
        """Bytes that a cartridge of this case takes."""
        records = WINDOW // self.record if self.windows else records_until_full(self.record)
        return records * self.record

    def job(self, server: EmbeddedServer, windows: bool | None = None, cartridges: int = len(FREE)) -> Job:
        window = f"/{self.size}" if (self.windows if windows is None else windows) else ""
        agent = server.agent(self.version)
        return Job(
            agent, "tape0", self.butype, agent if self.separate else None, self.blocks,
            tuple(f"@{slot}{window}" for slot in FREE[:cartridges]), 60, CHANGER,
        )  # fmt: skip


CASES = list(itertools.starmap(Case, itertools.product(
    (3, 4), (False, True), ("tar", "image"), (20, 126, 128), (False, True))))
# Every pair of settings is in these; the others differ from them in combinations of three and more.
COVERING = {
    Case(4, True, "tar", 20, True), Case(3, False, "image", 20, False), Case(3, False, "tar", 126, True),
    Case(4, True, "image", 126, False), Case(4, False, "tar", 128, False), Case(3, True, "image", 128, True),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spanned:
    """A backup over several cartridges."""

    case: Case
    index: Path
    backup: Outcome

    @property
    def sizes(self) -> list[int]:
        return media_sizes(Index.read(self.index).media)


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    path = Path(tempfile.mkdtemp(prefix="spanning-", dir=folder))
    (path / "restored").mkdir()
    return path


@pytest.fixture(scope="module")
def wordy(ndmjob: Ndmjob, place: Path) -> Ndmjob:
    """ndmjob saying why the mover pauses."""
    logs = place / "logs"
    logs.mkdir()
    return replace(ndmjob, folder=logs, verbosity=3)


@pytest.fixture(scope="module")
def tree(place: Path) -> Path:
    return make_tree(place / "tree")


@pytest.fixture(scope="module")
def server(place: Path, tree: Path, serving: Serving) -> Iterator[EmbeddedServer]:
    with serving(place / "state", tree, place / "restored", capacity=CAPACITY) as server:
        yield server


@pytest.fixture(scope="module")
def empty_drive(wordy: Ndmjob, server: EmbeddedServer) -> None:
    """ndmjob's robot jobs want the drive empty, and leave it so."""
    assert wordy.robot(server.agent(4), CHANGER, "-Z").completed


@pytest.fixture(scope="module", params=[
    pytest.param(case, id=case.name, marks=() if case in COVERING else pytest.mark.slow) for case in CASES])
def spanned(request: pytest.FixtureRequest, wordy: Ndmjob, server: EmbeddedServer, place: Path, tree: Path,
            empty_drive: None) -> Spanned:
    case: Case = request.param
    index = place / f"{case.name}.index"
    if case.butype == "image":
        fill_disk(server.disk("disk0"), DISK_DATA)
    source = str(tree) if case.butype == "tar" else "/vol/disk0"
    return Spanned(case, index, wordy.backup(case.job(server), source, index))


def check_restored(server: EmbeddedServer, tree: Path, case: Case, destination: str) -> None:
    if case.butype == "tar":
        assert compare(tree, Path(destination)).found == []
    else:
        assert first_difference(server.disk("disk0"), server.disk("disk1")) is None


def destination(place: Path, server: EmbeddedServer, case: Case, purpose: str) -> str:
    if case.butype == "image":
        fill_disk(server.disk("disk1"), 8 << 20, seed=7)
        return "/vol/disk1"
    return str(place / "restored" / f"{case.name} {purpose}")


def test_a_backup_fills_cartridge_after_cartridge(spanned: Spanned) -> None:
    """EOM where a cartridge is full, EOW where a window is, and a pause only between two."""
    assert spanned.backup.succeeded, spanned.backup.explain()
    *full, last = spanned.sizes
    assert len(full) >= 2
    assert full == [spanned.case.size] * len(full)
    assert 0 < last <= spanned.case.size
    assert spanned.backup.pauses == ["EOW" if spanned.case.windows else "EOM"] * len(full)


def test_it_is_restored_by_the_index(
    wordy: Ndmjob, server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path
) -> None:
    """The sizes are known, so each window ends before its cartridge does: SEEK."""
    to = destination(place, server, spanned.case, "by index")
    outcome = wordy.restore(spanned.case.job(server), to, index=spanned.index)
    assert outcome.succeeded, outcome.explain()
    borders = len(spanned.sizes) - 1
    assert outcome.pauses[:borders] == ["SEEK"] * borders
    check_restored(server, tree, spanned.case, to)


def test_it_is_restored_by_cartridges_that_end_as_they_do(
    wordy: Ndmjob, server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path
) -> None:
    """No sizes and no index: the mover finds a file mark. Behind a full cartridge it is the one that 3.4.1
    wants before the rewind.
    """
    to = destination(place, server, spanned.case, "without sizes")
    borders = len(spanned.sizes) - 1
    job = spanned.case.job(server, windows=False, cartridges=borders + 1)
    outcome = wordy.restore(job, to)
    assert outcome.succeeded, outcome.explain()
    assert outcome.pauses[:borders] == ["EOF"] * borders
    check_restored(server, tree, spanned.case, to)


def test_it_is_restored_by_windows_on_the_command_line(
    wordy: Ndmjob, server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path
) -> None:
    to = destination(place, server, spanned.case, "by windows")
    borders = len(spanned.sizes) - 1
    outcome = wordy.restore(spanned.case.job(server, windows=True, cartridges=borders + 1), to)
    assert outcome.succeeded, outcome.explain()
    assert outcome.pauses[:borders] == ["SEEK"] * borders
    check_restored(server, tree, spanned.case, to)


def test_single_files_come_from_where_they_lie(
    wordy: Ndmjob, server: EmbeddedServer, spanned: Spanned, place: Path, tree: Path
) -> None:
    """One each on the second and third cartridge, and one over each border between the first three."""
    if spanned.case.butype != "tar":
        pytest.skip("an image is one piece")
    index = Index.read(spanned.index)
    placement = Placement(spanned.sizes, {path.decode(): offset for path, offset in index.offsets.items()
                                          if offset is not None})
    large = [next(path for path in placement.on(number) if path.endswith("large")) for number in (1, 2)]
    chosen = [placement.straddling(0), large[0], placement.straddling(1), large[1]]
    to = place / "restored" / f"{spanned.case.name} direct"
    outcome = wordy.restore(
        spanned.case.job(server), str(to), [f"/new {number}={old}" for number, old in enumerate(chosen)],
        spanned.index, {"DIRECT": "y"},
    )  # fmt: skip
    assert outcome.succeeded, outcome.explain()
    for number, old in enumerate(chosen):
        assert compare_entry(f"{tree}{old}", to / f"new {number}").found == []
    assert len([pause for pause in outcome.pauses if pause == "SEEK"]) >= 2


@pytest.mark.parametrize("windows", [False, True], ids=["cartridges", "windows"])
@pytest.mark.parametrize("separate", [False, True], ids=["LOCAL", "TCP"])
def test_a_stream_that_just_fits_needs_no_further_cartridge(
    wordy: Ndmjob, server: EmbeddedServer, empty_drive: None, place: Path, separate: bool, windows: bool
) -> None:
    """Two cartridges or windows of records; with one page more than fits, two are not enough."""
    case = Case(4, separate, "image", 126, windows)
    job, index = case.job(server, cartridges=2), place / f"exact-{case.name}.index"
    data = (2 * case.size - IMAGE_FRAME) // 4096 * 4096
    fill_disk(server.disk("disk0"), data)
    outcome = wordy.backup(job, "/vol/disk0", index)
    assert outcome.succeeded, outcome.explain()
    assert media_sizes(Index.read(index).media) == [case.size] * 2
    assert len(outcome.pauses) == 1
    to = destination(place, server, case, "exact")
    for known in (index, None):
        restored = wordy.restore(job, to, index=known)
        assert restored.succeeded, restored.explain()
        check_restored(server, place, case, to)
    fill_disk(server.disk("disk0"), data + 4096)
    outcome = wordy.backup(job, "/vol/disk0", index)
    assert not outcome.succeeded
    assert "Out of tapes" in outcome.log


def test_cartridges_without_file_marks_end_where_their_records_do(
    wordy: Ndmjob, server: EmbeddedServer, empty_drive: None, place: Path, tree: Path
) -> None:
    """EOM: as other makers leave cartridges that are full."""
    case = Case(4, True, "tar", 126, False)
    job = case.job(server, cartridges=3)
    backup = wordy.backup(job, str(tree))
    assert backup.succeeded, backup.explain()
    for name in CARTRIDGES[0], CARTRIDGES[2]:
        image = place / f"{name}.tap"
        server.tape_command("export", name, str(image))
        with image.open("rb") as file:
            records = [record for record in simh.objects(file) if record is not None]
        assert len(records) == records_until_full(case.record)
        simh.write(image, records)
        server.tape_command("import", name, str(image))
    to = str(place / "restored" / "bare ends")
    restored = wordy.restore(job, to)
    assert restored.succeeded, restored.explain()
    assert restored.pauses[:2] == ["EOM", "EOM"]
    assert compare(tree, Path(to)).found == []


def test_a_cartridge_that_is_full_before_its_window_ends_it(
    wordy: Ndmjob, server: EmbeddedServer, empty_drive: None, place: Path, tree: Path
) -> None:
    case = Case(4, True, "tar", 126, False)
    size = 64512 * 160
    job = replace(case.job(server), media=tuple(f"@{slot}/{size}" for slot in FREE))
    index = place / "full.index"
    outcome = wordy.backup(job, str(tree), index)
    assert outcome.succeeded, outcome.explain()
    assert outcome.pauses == ["EOM", "EOM"]
    assert media_sizes(Index.read(index).media)[:2] == [case.size] * 2
    to = str(place / "restored" / "full")
    restored = wordy.restore(job, to, index=index)
    assert restored.succeeded, restored.explain()
    assert compare(tree, Path(to)).found == []


def test_labelled_cartridges_are_told_apart(
    wordy: Ndmjob, server: EmbeddedServer, empty_drive: None, place: Path, tree: Path
) -> None:
    case = Case(4, True, "tar", 126, False)
    job = case.job(server)
    job = replace(job, media=tuple(f"L{number}{medium}" for number, medium in enumerate(job.media[:3])))
    labels = wordy.run("-o", "init-labels", *job.arguments())
    assert labels.completed, labels.explain()
    index, to = place / "labels.index", str(place / "restored" / "labels")
    outcome = wordy.backup(job, str(tree), index)
    assert outcome.succeeded, outcome.explain()
    restored = wordy.restore(job, to, index=index)
    assert restored.succeeded, restored.explain()
    assert compare(tree, Path(to)).found == []
    swapped = replace(job, media=("L1" + job.media[0].removeprefix("L0"), *job.media[1:]))
    assert "Label mismatch" in wordy.backup(swapped, str(tree)).log


def places(outcome: Outcome) -> dict[str, int]:
    """The address of each cartridge, by the inventory that a robot command ends with."""
    return {tag: int(address) for address, tag in
            re.findall(r"@(\d+) +\w+ +Full +PVolTag\((\w+),", "\n".join(outcome.lines("QR")))}


@pytest.mark.parametrize("version", [3, 4])
def test_the_robot_does_as_it_is_told(
    wordy: Ndmjob, server: EmbeddedServer, empty_drive: None, version: int
) -> None:
    agent: Agent = server.agent(version)
    third, home, free = CARTRIDGES[2], SLOTS[2], SLOTS[1]

    def inventory() -> dict[str, int]:
        taken = wordy.robot(agent, CHANGER, "init-elem-status")
        assert taken.completed, taken.explain()
        return places(taken)

    before = inventory()
    assert len(before) == len(CARTRIDGES) and before[third] == home
    steps = [
        (("move", f"from-addr={home}", f"to-addr={free}"), free),
        (("move", f"from-addr={free}", f"to-addr={home}"), home),
        ((f"export={home}",), PORT),
        ((f"import={home}",), home),
        ((f"load={home}",), DRIVE),
        (("unload",), home),
        ((f"load={home}",), DRIVE),
        ((f"unload={free}",), free),
        ((f"load={free}",), DRIVE),
        (("-Z",), free),
        (("move", f"from-addr={free}", f"to-addr={home}"), home),
    ]
    for words, expected in steps:
        outcome = wordy.robot(agent, CHANGER, *words)
        assert outcome.completed, outcome.explain()
        assert inventory() == before | {third: expected}
    nothing = wordy.robot(agent, CHANGER, f"load={free}")
    assert "robot move BAD" in nothing.log and not nothing.completed
    assert inventory() == before
    assert "slot 1002h" in server.tape_command("list").stdout
