"""The conformance suite of libiscsi, iscsi-test-cu, against a disk of a SAN node; its small tools as well.

Each family of tests is run by a process of its own: in release 1.19 what a family has put into CDBs can stay
there for the next one. Its families iSCSISendTargets, iSCSINop and iSCSICHAP are in later releases only.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.san_node import PREFIX, SanNode

pytestmark = [pytest.mark.peer, pytest.mark.needs("iscsi-test-cu")]

_RESULT = re.compile(r"^ *tests +(\d+) +(\d+) +(\d+) +(\d+)", re.MULTILINE)
_SKIPPED = re.compile(r"\[SKIPPED\] (.*?)\.? *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Family:
    """``tests``: how many it has, at least. ``skipped``: what it may say of those that it does not run."""

    name: str
    tests: int
    skipped: str = ""


NOT_IMPLEMENTED = r"\w+ is not implemented"
"""Commands that SBC-3 table 34 leaves to the unit."""
FIXED = r"(Logical unit|Media) is not removable.*"
"""A disk whose medium nobody takes out (RMB of SPC-4 6.6.2): what is to be prevented cannot happen."""
NO_WRITE_SAME_10 = r"Logical unit does not have LBPWS10.*"
"""SBC-3 6.6.4: a unit may give blocks back by WRITE SAME(16) and not by WRITE SAME(10)."""

FAMILIES = (
    Family("ExtendedCopy", 6), Family("ReceiveCopyResults", 2),
    Family("Inquiry", 7), Family("TestUnitReady", 1), Family("Mandatory", 1), Family("NoMedia", 1),
    Family("ReadCapacity10", 1), Family("ReadCapacity16", 4), Family("ModeSense6", 5),
    Family("ReportSupportedOpcodes", 4),
    Family("Read6", 2), Family("Read10", 6), Family("Read12", 5), Family("Read16", 5),
    Family("Write10", 6), Family("Write12", 5), Family("Write16", 5),
    Family("WriteVerify10", 6), Family("WriteVerify12", 6), Family("WriteVerify16", 6),
    Family("Verify10", 8), Family("Verify12", 8), Family("Verify16", 8),
    Family("Prefetch10", 4), Family("Prefetch16", 4), Family("Unmap", 3),
    Family("WriteSame16", 10, NO_WRITE_SAME_10),
    Family("WriteSame10", 10, f"{NOT_IMPLEMENTED}|{NO_WRITE_SAME_10}"),
    Family("CompareAndWrite", 5, NOT_IMPLEMENTED), Family("OrWrite", 6, NOT_IMPLEMENTED),
    Family("WriteAtomic16", 6, NOT_IMPLEMENTED), Family("ReadDefectData10", 1, NOT_IMPLEMENTED),
    Family("StartStopUnit", 3, FIXED), Family("PreventAllow", 8, FIXED), Family("Reserve6", 7),
    Family("PrinReadKeys", 2), Family("PrinServiceactionRange", 1), Family("PrinReportCapabilities", 1),
    Family("ProutRegister", 1), Family("ProutReserve", 13), Family("ProutClear", 1),
    Family("ProutPreempt", 1),
    Family("iSCSIcmdsn", 2), Family("iSCSIdatasn", 1), Family("iSCSIResiduals", 10), Family("iSCSITMF", 2),
    # UnmapSingle is left out: after GET LBA STATUS of LBA 9 it wants a descriptor that begins at another one,
    # and SBC-3 5.4.2 has the first begin with the LBA that the CDB says.
    Family("GetLBAStatus.Simple", 1), Family("GetLBAStatus.BeyondEol", 1),
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SanNode]:
    node = SanNode(tmp_path_factory.mktemp("node") / "state").start()
    try:
        yield node
    finally:
        assert node.stop() == 0


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False,
                          stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_suite_passes(node: SanNode, family: Family) -> None:
    output = run("iscsi-test-cu", "-d", "-n", "-t", f"ALL.{family.name}", node.url("disk0"))
    result = _RESULT.search(output)
    assert result is not None, output
    total, ran, passed, failed = map(int, result.groups())
    assert (failed, passed) == (0, total), output
    assert ran >= family.tests
    unexplained = [text for text in _SKIPPED.findall(output) if not re.fullmatch(family.skipped, text)]
    assert unexplained == []


@pytest.mark.needs("iscsi-ls")
def test_iscsi_ls_finds_every_unit(node: SanNode) -> None:
    found = set(re.findall(r"Target:(\S+)", run("iscsi-ls", node.portal)))
    assert found == {PREFIX + name for name in ("tape0", "tape1", "mc0", "disk0", "disk1", "copy0")}


@pytest.mark.needs("iscsi-inq")
@pytest.mark.parametrize(("unit", "kind"), [
    ("disk0", "DIRECT_ACCESS"), ("tape0", "SEQUENTIAL_ACCESS"), ("mc0", "MEDIA_CHANGER"),
    ("copy0", "PROCESSOR")])
def test_iscsi_inq_knows_what_each_unit_is(node: SanNode, unit: str, kind: str) -> None:
    output = run("iscsi-inq", node.url(unit))
    assert f"Peripheral Device Type:{kind}" in output
    assert "3PC:1" in output or unit == "mc0"


@pytest.mark.needs("iscsi-readcapacity16")
def test_iscsi_readcapacity16_reads_the_size(node: SanNode) -> None:
    assert f"Total size:{1 << 30}" in run("iscsi-readcapacity16", node.url("disk1"))


def test_a_target_that_is_not_there_is_told_apart(node: SanNode) -> None:
    assert "Target not found" in run("iscsi-inq", node.url("disk7"))


def test_the_node_leaves_nothing_running(tmp_path: Path) -> None:
    node = SanNode(tmp_path / "state").start()
    assert run("iscsi-inq", node.url("disk0"))
    assert node.stop() == 0
    assert list((tmp_path / "state" / "san" / "nexus").iterdir()) == []


@pytest.mark.needs("iscsi-readcapacity16")
def test_a_node_by_configuration_asks_for_chap_and_serves_a_file(tmp_path: Path) -> None:
    image, secret, config = tmp_path / "image", tmp_path / "secret", tmp_path / "node.toml"
    image.write_bytes(bytes(3 << 20))
    secret.write_text("a secret of 22 bytes..\n")
    secret.chmod(0o600)
    node = SanNode(tmp_path / "state")
    config.write_text(f'[san.target]\nlisten = "tcp:{node.port}:interface=127.0.0.1"\n'
                      f'[[san.target.user]]\nname = "head"\nsecret_file = "{secret}"\n'
                      f'[san.disk.archive]\npath = "{image}"\n'
                      f'[san.disk.fixed]\npath = "{image}"\nread_only = true\n')
    node.arguments = ("--embedded", str(node.folder), "--config", str(config))
    node.start()
    try:
        url = node.url("archive")
        assert "Total size" not in run("iscsi-readcapacity16", url)
        assert "Total size" not in run("iscsi-readcapacity16", url.replace("//", "//head%wrong@"))
        known = url.replace("//", "//head%a secret of 22 bytes..@")
        assert f"Total size:{3 << 20}" in run("iscsi-readcapacity16", known)
        output = run("iscsi-test-cu", "-d", "-n", "-t", "ALL.ReadOnly", known.replace("archive", "fixed"))
        result = _RESULT.search(output)
        assert result is not None and result.groups() == ("1", "1", "1", "0"), output
        assert "not write-protected" not in output
        assert image.read_bytes() == bytes(3 << 20)
    finally:
        assert node.stop() == 0
