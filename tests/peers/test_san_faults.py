"""A head and a SAN node as programs of their own: whole jobs over iSCSI, and what becomes of them when the
node, the link, a unit, an account, the head or the copy manager fails in the middle.

After every fault the job ends in bounded time, loud or whole, the tape holds a beginning of the image, no
record twice, and the next jobs run without anybody's help.
"""

from __future__ import annotations

import filecmp
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.peers import san_rig as rig
from tests.peers.san_rig import MIB, Done, Head, Link, Node, beginning_of, job, meanwhile

pytestmark = [pytest.mark.needs("libiscsi"), pytest.mark.timeout(110)]

SIZE = 64 * MIB
BOUND = 60.0
"""Seconds in which every job has ended, whatever happened to it."""
MOVERS = ("NAS", "SCSI")
NAS_AND_SLOW_SCSI = ("NAS", pytest.param("SCSI", marks=pytest.mark.slow))
"""For faults after which a copy is given half a minute to end."""


@dataclass(slots=True)
class Site:
    """A node, a head at it, and what a whole image of disk0 looks like on tape."""

    node: Node
    head: Head
    folder: Path
    whole: bytes = b""
    chance: random.Random = field(default_factory=lambda: random.Random(11))

    @property
    def catalogue(self) -> Path:
        return self.folder / "catalogue"

    def back_up(self, mover: str, drive: str = "tape0", head: Head | None = None) -> Done:
        self.catalogue.unlink(missing_ok=True)
        return job(head or self.head, "backup", "/vol/disk0", "-B", "image", "-c", self.catalogue,
                   "--drive", drive, "-E", f"DATAMOVER={mover}")  # fmt: skip

    def restore(self, mover: str, drive: str = "tape0", head: Head | None = None) -> Done:
        rig.empty(self.node.disk("disk1"))
        return job(head or self.head, "restore", "-c", self.catalogue, "--to", "/vol/disk1",
                   "--drive", drive, "-E", f"DATAMOVER={mover}")  # fmt: skip

    def equal(self) -> bool:
        filecmp.clear_cache()
        return filecmp.cmp(self.node.disk("disk0"), self.node.disk("disk1"), shallow=False)

    def writing(self) -> Callable[[], bool]:
        """Whether a backup is in its middle, at a seeded moment."""
        rig.blank(self.node, "tape0")
        least = self.chance.randrange(1, SIZE // 2)
        return lambda: self.node.tape_bytes("tape0") >= least

    def restoring(self) -> Callable[[], bool]:
        """Whether a restore is in its middle, at a seeded moment."""
        least, disk = self.chance.randrange(1, SIZE // 2), self.node.disk("disk1")
        rig.empty(disk)
        return lambda: disk.stat().st_blocks * 512 >= least

    def judge(self, done: Done) -> None:
        """A backup after a fault: whole, or loud with nothing but a beginning on tape."""
        assert done.seconds < BOUND, done
        print(f"backup: {done}")
        tape = self.node.tape("tape0")
        if done.status == 0:
            assert tape == self.whole, done
        else:
            assert done.loud, done
            assert beginning_of(tape, self.whole), done

    def judge_restore(self, done: Done) -> None:
        assert done.seconds < BOUND, done
        print(f"restore: {done}")
        assert self.equal() if done.status == 0 else done.loud, done

    def next_jobs(self, mover: str, head: Head | None = None) -> None:
        """They run at once, without anybody's help."""
        done = self.back_up(mover, head=head)
        assert done.status == 0 and done.variables["DATAMOVER_USED"].startswith(mover), done
        assert self.node.tape("tape0") == self.whole
        done = self.restore(mover, head=head)
        assert done.status == 0 and self.equal(), done


@contextmanager
def made(folder: Path) -> Iterator[Site]:
    node = Node(folder / "node")
    node.make(SIZE)
    rig.fill(node.disk("disk0"), 5)
    site = Site(node, rig.head(folder / "head", node.port), folder)
    try:
        node.start()
        site.head.start()
        yield site
    finally:
        site.head.stop()
        node.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with made(tmp_path_factory.mktemp("san")) as found:
        done = found.back_up("NAS")
        assert done.status == 0, done
        found.whole = found.node.tape("tape0")
        yield found


def test_both_movers_write_the_same_tape_over_the_network_and_each_restores_the_others(site: Site) -> None:
    written = site.back_up("SCSI", "tape1")
    assert written.status == 0 and written.variables["DATAMOVER_USED"] == "SCSI copy0", written
    assert site.node.tape("tape1") == site.whole
    restored = site.restore("NAS", "tape1")
    assert restored.status == 0 and site.equal(), restored
    assert site.back_up("NAS").status == 0
    assert site.node.tape("tape0") == site.whole
    restored = site.restore("SCSI")
    assert restored.status == 0 and site.equal(), restored


@pytest.mark.parametrize("mover", MOVERS)
@pytest.mark.parametrize("away", [0.0, 2.0])
def test_a_node_that_dies_in_mid_backup_and_comes_back(site: Site, mover: str, away: float) -> None:
    with meanwhile(site.writing(), (0, site.node.kill), (away, site.node.start)):
        done = site.back_up(mover)
    site.judge(done)
    site.next_jobs(mover)


@pytest.mark.parametrize("mover", MOVERS)
def test_a_node_that_dies_in_mid_restore_and_comes_back(site: Site, mover: str) -> None:
    assert site.back_up("NAS").status == 0
    with meanwhile(site.restoring(), (0, site.node.kill), (1, site.node.start)):
        done = site.restore(mover)
    site.judge_restore(done)
    site.next_jobs(mover)


@pytest.mark.parametrize("mover", NAS_AND_SLOW_SCSI)
def test_a_node_that_does_not_come_back_ends_the_job_and_serves_the_next_once_it_does(
    site: Site, mover: str
) -> None:
    with meanwhile(site.writing(), (0, site.node.kill)):
        done = site.back_up(mover)
    assert done.status != 0
    site.judge(done)
    refused = site.back_up(mover)
    assert refused.status == 4 and refused.seconds < BOUND and "TAPE_OPEN" in refused.output, refused
    site.node.start()
    site.next_jobs(mover)


@pytest.fixture(scope="module")
def link(site: Site) -> Iterator[Link]:
    found = Link(site.node.port)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def far(site: Site, link: Link) -> Iterator[Head]:
    """Another head, at the other end of ``link``."""
    found = rig.head(site.folder / "far", link.port)
    found.start()
    yield found
    found.stop()


Cut = Callable[[Link], None]
CUTS = pytest.mark.parametrize("cut", [Link.swallow, Link.reset], ids=["swallowed", "reset"])


@pytest.mark.parametrize("mover", NAS_AND_SLOW_SCSI)
@CUTS
def test_a_link_that_is_cut_for_good_in_mid_backup(
    site: Site, far: Head, link: Link, mover: str, cut: Cut
) -> None:
    with meanwhile(site.writing(), (0, lambda: cut(link))):
        done = site.back_up(mover, head=far)
    link.heal()
    assert done.status != 0, done
    site.judge(done)
    site.next_jobs(mover, far)


@pytest.mark.slow
@pytest.mark.parametrize("mover", MOVERS)
@CUTS
def test_a_link_that_is_cut_for_good_in_mid_restore(
    site: Site, far: Head, link: Link, mover: str, cut: Cut
) -> None:
    assert site.back_up("NAS").status == 0
    with meanwhile(site.restoring(), (0, lambda: cut(link))):
        done = site.restore(mover, head=far)
    link.heal()
    assert done.status != 0, done
    site.judge_restore(done)
    site.next_jobs(mover, far)


@pytest.mark.parametrize("mover", MOVERS)
def test_a_link_that_swallows_for_less_than_the_patience_costs_nothing_but_time(
    site: Site, far: Head, link: Link, mover: str
) -> None:
    with meanwhile(site.writing(), (0, link.swallow), (1.5, link.heal)):
        done = site.back_up(mover, head=far)
    assert done.status == 0 and done.seconds > 1.5, done
    site.judge(done)
    with meanwhile(site.restoring(), (0, link.swallow), (1.5, link.heal)):
        done = site.restore(mover, head=far)
    assert done.status == 0 and site.equal(), done


@pytest.mark.parametrize("mover", MOVERS)
def test_a_link_that_is_reset_and_heals_at_once(
    site: Site, far: Head, link: Link, mover: str
) -> None:
    with meanwhile(site.writing(), (0, link.reset), (0, link.heal)):
        done = site.back_up(mover, head=far)
    site.judge(done)
    assert site.back_up(mover, head=far).status == 0
    with meanwhile(site.restoring(), (0, link.reset), (0, link.heal)):
        done = site.restore(mover, head=far)
    site.judge_restore(done)
    site.next_jobs(mover, far)


@pytest.mark.parametrize("mover", MOVERS)
@pytest.mark.parametrize("unit", ["tape0", "disk0"])
def test_a_reset_of_a_unit_in_mid_backup(site: Site, mover: str, unit: str) -> None:
    with meanwhile(site.writing(), (0, lambda: rig.reset_unit(site.node.port, unit))):
        done = site.back_up(mover)
    site.judge(done)
    site.next_jobs(mover)


@pytest.mark.parametrize("mover", MOVERS)
@pytest.mark.parametrize("unit", ["tape0", "disk1"])
def test_a_reset_of_a_unit_in_mid_restore(site: Site, mover: str, unit: str) -> None:
    assert site.back_up("NAS").status == 0
    with meanwhile(site.restoring(), (0, lambda: rig.reset_unit(site.node.port, unit))):
        done = site.restore(mover)
    site.judge_restore(done)
    site.next_jobs(mover)


def test_a_copy_manager_that_dies_in_mid_backup_leaves_the_rest_to_the_head(site: Site) -> None:
    with meanwhile(site.writing(), (0, site.node.kill_copy_manager)):
        done = site.back_up("AUTO")
    assert done.status == 0 and done.variables["DATAMOVER_USED"] == "SCSI copy0, NAS", done
    assert site.node.tape("tape0") == site.whole
    site.node.await_copy_manager()
    site.next_jobs("SCSI")


def test_a_copy_manager_that_dies_in_mid_restore_leaves_the_rest_to_the_head(site: Site) -> None:
    assert site.back_up("NAS").status == 0
    with meanwhile(site.restoring(), (0, site.node.kill_copy_manager)):
        done = site.restore("AUTO")
    assert done.status == 0 and site.equal(), done
    site.node.await_copy_manager()
    site.next_jobs("SCSI")


@pytest.mark.parametrize("mover", MOVERS)
def test_a_head_that_dies_in_mid_backup_is_no_hindrance_to_the_next(site: Site, mover: str) -> None:
    with meanwhile(site.writing(), (0, site.head.kill)):
        done = site.back_up(mover)
    assert done.status != 0 and done.seconds < BOUND, done
    site.head.start()
    site.next_jobs(mover)
    assert beginning_of(site.node.tape("tape0"), site.whole)


def test_a_second_head_is_told_who_has_the_drive_while_the_first_works(
    site: Site, link: Link, tmp_path: Path
) -> None:
    first, told = rig.head(tmp_path / "first", link.port, ""), []
    first.start()
    try:
        with meanwhile(
            site.writing(),
            (0, link.swallow), (0, lambda: told.append(rig.asked_for(site.head, "tape0"))), (0, link.heal),
        ):  # fmt: skip
            done = site.back_up("SCSI", head=first)
        assert told == ["DEVICE_BUSY"]
        assert f"initiator {rig.INITIATOR}.first," in site.head.log_file.read_text()
        assert done.status == 0 and site.node.tape("tape0") == site.whole, done
    finally:
        first.stop()


ALLOWED = """
[san.target]
allow = ["{initiator}"]
[[san.target.user]]
name = "head"
secret_file = "{folder}/node.chap"
"""


@contextmanager
def guarded(folder: Path, secret: str) -> Iterator[Site]:
    """A node that lets in but one head, by its name and by CHAP."""
    rig.keep_secret(folder / "node.chap", secret)
    rig.keep_secret(folder / "head.chap", secret)
    settings = ALLOWED.format(initiator=f"{rig.INITIATOR}.head", folder=folder)
    node = Node(folder / "node", settings=settings)
    node.make(MIB)
    rig.fill(node.disk("disk0"), 6)
    login = f'{rig.QUICK}user = "head"\nsecret_file = "{folder}/head.chap"\n'
    site = Site(node, rig.head(folder / "head", node.port, login), folder)
    try:
        node.start()
        site.head.start()
        yield site
    finally:
        site.head.stop()
        node.stop()


def refused(site: Site, error: str, said: str) -> None:
    """A backup is, soon, with an error for the DMA, and words for whoever reads the head's log."""
    done = site.back_up("NAS")
    assert done.status == 4 and done.seconds < 10 and f"TAPE_OPEN: {error}" in done.output, done
    assert said in site.head.log_file.read_text(), said


def test_a_secret_that_is_changed_at_one_end_keeps_the_head_out_until_the_other_end_has_it_too(
    tmp_path: Path,
) -> None:
    first, second = "one secret of many bytes", "another secret, longer yet"
    with guarded(tmp_path, first) as site:
        assert site.back_up("SCSI").status == 0
        rig.keep_secret(tmp_path / "node.chap", second)
        site.node.kill()
        site.node.start()
        refused(site, "IO", "does not accept the secret of 'head'; correct user and secret_file under")
        rig.keep_secret(tmp_path / "head.chap", second)
        site.head.stop()
        site.head.start()
        done = site.back_up("SCSI")
        assert done.status == 0 and site.restore("NAS").status == 0 and site.equal(), done
        for log in (site.node.log_file, site.head.log_file):
            assert rig.tells_no_secret(log.read_text(), first, second), log


def test_a_head_that_is_not_let_in_or_asks_for_no_unit_is_told_what_to_do(tmp_path: Path) -> None:
    secret = "one secret of many bytes"
    with guarded(tmp_path, secret) as site:
        site.node.settings = site.node.settings.replace(".head", ".nobody")
        site.node.kill()
        site.node.start()
        refused(site, "IO", f"the target does not let {rig.INITIATOR}.head in; allow that initiator name")
        site.node.settings = site.node.settings.replace(".nobody", ".head")
        site.node.kill()
        site.node.start()
        assert site.back_up("NAS").status == 0
        site.head.stop()
        site.head.tables = site.head.tables.replace(":tape0/0", ":tape9/0")
        site.head.start()
        refused(site, "NO_DEVICE", "the portal has no such target; see what it has with: ndmpd devices")
        assert rig.tells_no_secret(site.head.log_file.read_text(), secret)


@pytest.fixture
def usual(site: Site, link: Link, tmp_path: Path) -> Iterator[Head]:
    """A head with the time limits that one has without saying so."""
    found = rig.head(tmp_path / "usual", link.port, "")
    found.start()
    yield found
    found.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mover", MOVERS)
@CUTS
def test_a_link_that_is_cut_for_five_seconds_or_for_good_under_the_usual_time_limits(
    site: Site, usual: Head, link: Link, mover: str, cut: Cut
) -> None:
    with meanwhile(site.writing(), (0, lambda: cut(link)), (5, link.heal)):
        done = site.back_up(mover, head=usual)
    assert done.status == 0 or cut is Link.reset, done
    site.judge(done)
    assert site.back_up(mover, head=usual).status == 0
    with meanwhile(site.restoring(), (0, lambda: cut(link)), (5, link.heal)):
        done = site.restore(mover, head=usual)
    assert done.status == 0 or cut is Link.reset, done
    site.judge_restore(done)
    with meanwhile(site.writing(), (0, lambda: cut(link))):
        done = site.back_up(mover, head=usual)
    link.heal()
    site.judge(done)
    assert site.back_up(mover, head=usual).status == 0
    with meanwhile(site.restoring(), (0, lambda: cut(link))):
        done = site.restore(mover, head=usual)
    link.heal()
    site.judge_restore(done)
    site.next_jobs(mover, usual)
