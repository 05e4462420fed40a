"""What the units say that they can do, and profiles that narrow it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ndmpd.san import San, create
from ndmpd.san.copymanager.profile import LIMITS, load_profile
from ndmpd.san.errors import SanError
from ndmpd.san.nexus import Nexus
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.cscd import COPY_MANAGER, NULL_BLOCK, NULL_STREAM
from protocol.scsi.segments import (
    BlockToBlock,
    BlockToStream,
    EmbeddedToStream,
    Filemarks,
    InlineToStream,
    StreamDiscard,
    Verify,
)
from protocol.scsi.spc import DeviceType, Inquiry, Vpd, VpdPage
from protocol.scsi.thirdparty import ThirdPartyCopy
from protocol.scsi.xcopy import ListIdUsage, ParameterList
from tests.san.conftest import Host, TapeHost, refused
from tests.san.copymanager.conftest import CopyHost, cscd, fill_disk, records

EVERYTHING = (*range(0x15), 0xE4)
COPYING = ("disk0", "tape0", "copy0")


def vpd(host: Host, page: int) -> bytes:
    outcome = host.send(scsi.INQUIRY.put(evpd=1, page=page, allocation=1024), room=1024)
    assert outcome.good, outcome
    return outcome.data


@pytest.mark.parametrize("name", COPYING)
def test_units_say_that_they_copy(san: San, host: CopyHost, name: str) -> None:
    unit = CopyHost(san, name, host.nexus)
    found = Inquiry.take(unit.send(scsi.INQUIRY.put(allocation=96), room=96).data)
    assert found.third_party_copy
    assert Vpd.THIRD_PARTY_COPY in VpdPage.take(vpd(unit, 0)).body
    page = ThirdPartyCopy.take(vpd(unit, Vpd.THIRD_PARTY_COPY))
    types = tuple(one for one in EVERYTHING if name != "disk0" or one not in (3, 0x0E, 0x13))
    assert page.types == types
    assert page.cscd_ids == (NULL_BLOCK, NULL_STREAM, COPY_MANAGER)
    for opcode, actions in ((0x83, (0, 0x1C)), (0x84, (0, 1, 3, 4))):
        assert all(page.supports(opcode, action) for action in actions)
        for action in actions:
            cdb = scsi.REPORT_SUPPORTED_OPCODES.put(
                options=2, requested_opcode=opcode, requested_action=action, allocation=64)
            assert unit.send(cdb, room=64).data[1] == 3
    # The two ways to ask give one answer.
    parameters = OperatingParameters.take(unit.parameters().data)
    assert parameters == replace(LIMITS, types=types)
    assert ThirdPartyCopy.of(parameters, page.commands, page.cscd_ids, page.device_type) == page
    unit.transport.close()


def test_a_changer_does_not_copy(san: San, host: CopyHost) -> None:
    changer = Host(san, "mc0", host.nexus)
    assert not Inquiry.take(changer.send(scsi.INQUIRY.put(allocation=96), room=96).data).third_party_copy
    assert refused(changer.send(bytes((0x84, 3)) + bytes(14)), Asc.INVALID_OPCODE)
    changer.transport.close()


def test_copy0_is_a_processor_and_does_little_else(san: San, host: CopyHost) -> None:
    found = Inquiry.take(host.send(scsi.INQUIRY.put(allocation=96), room=96).data)
    assert (found.type, found.product) == (DeviceType.PROCESSOR, "COPY MANAGER")
    assert host.send(scsi.TEST_UNIT_READY.put()).good
    assert refused(host.send(scsi.READ_CAPACITY_10.put(), room=8), Asc.INVALID_OPCODE)


def test_a_san_without_a_copy_manager_gets_one(tmp_path: Path) -> None:
    san = create(tmp_path, cartridges=1, disk_size=1 << 20)
    settings = json.loads((san.path / "san.json").read_bytes())
    del settings["units"]["copy0"]
    (san.path / "san.json").write_text(json.dumps(settings))
    assert "copy0" not in San.open(san.path).units
    assert create(tmp_path).unit("copy0").type is DeviceType.PROCESSOR
    assert San.open(san.path).units == san.units


def narrow(san: San, **settings: object) -> None:
    (san.path / "profiles.json").write_text(json.dumps({"copy0": settings}))


def test_without_cat_its_bit_is_refused_where_it_is(san: San, host: CopyHost) -> None:
    narrow(san, cat=False)
    ends = [cscd(san, "tape0", pad=True)]
    outcome = host.copy(ends, [EmbeddedToStream(0, 4, b"abcd"), EmbeddedToStream(0, 4, b"abcd", cat=True)])
    assert refused(outcome, Asc.INVALID_FIELD_IN_PARAMETERS)
    assert outcome.sense is not None and outcome.sense.key_specific == 16 + 32 + 20 + 1
    assert host.copy(ends, [EmbeddedToStream(0, 4, b"abcd")]).good


def test_without_inline_and_held_data_their_segments_are_unknown(san: San, host: CopyHost) -> None:
    narrow(san, inline=False, held=False, without=[5])
    tape = cscd(san, "tape0")
    assert refused(host.copy([tape], [Filemarks(0, 0)], b"inline"), Asc.INVALID_FIELD_IN_PARAMETERS)
    for segment in (InlineToStream(0, 4, 0, 0), StreamDiscard(0, 4, 0, held=True),
                    EmbeddedToStream(0, 4, b"")):
        assert refused(host.copy([tape], [segment]), Asc.UNSUPPORTED_SEGMENT_TYPE)
    found = OperatingParameters.take(host.parameters().data)
    assert (found.max_inline_length, found.held_limit) == (0, 0)
    assert set(EVERYTHING) - set(found.types) == {4, 5, *range(0x0B, 0x10)}
    assert ThirdPartyCopy.take(vpd(host, Vpd.THIRD_PARTY_COPY)).held is None


def test_limits_hold_and_are_stated(san: San, host: CopyHost) -> None:
    narrow(san, max_cscds=1, max_segments=2, max_list_length=70, max_inline_length=8, snlid=False,
           total_concurrent=0, types=[7, 16, 0xE4])
    disk = cscd(san, "disk0")
    assert refused(host.copy([disk, disk], [Verify(0)]), Asc.PARAMETER_LIST_LENGTH)
    assert refused(host.copy([disk, disk], []), Asc.TOO_MANY_TARGETS)
    assert refused(host.copy([disk], [Verify(0)] * 3), Asc.TOO_MANY_SEGMENTS)
    assert refused(host.copy([disk], [Verify(0)], bytes(9)), Asc.INVALID_FIELD_IN_PARAMETERS)
    assert refused(host.copy([disk], [BlockToBlock(0, 0, 0, 0, 0)]), Asc.UNSUPPORTED_SEGMENT_TYPE)
    assert refused(host.copy([disk], [Verify(0)], list_id=0, usage=ListIdUsage.NONE),
                   Asc.INVALID_FIELD_IN_PARAMETERS)
    assert host.copy([disk], [Verify(0)] * 2, bytes(8)).good
    found = OperatingParameters.take(host.parameters().data)
    assert (found.max_cscds, found.max_segments, found.max_list_length, found.snlid) == (1, 2, 70, False)


def test_a_copy_manager_may_claim_what_it_does_not_keep(san: San, host: CopyHost) -> None:
    narrow(san, max_segments=1, vpd=False, claims={"max_segments": 1000, "types": [0xE4, 7]})
    assert OperatingParameters.take(host.parameters().data).max_segments == 1000
    assert OperatingParameters.take(host.parameters().data).types == (7, 0xE4)
    assert refused(host.copy([cscd(san, "disk0")], [Verify(0)] * 2), Asc.TOO_MANY_SEGMENTS)
    assert Vpd.THIRD_PARTY_COPY not in VpdPage.take(vpd(host, 0)).body
    assert refused(host.send(scsi.INQUIRY.put(evpd=1, page=Vpd.THIRD_PARTY_COPY, allocation=64), room=64))


@pytest.mark.parametrize("text", [
    "{", "[]", '{"copy0": {"max_segment": 1}}', '{"copy0": {"max_cscds": -1}}',
    '{"copy0": {"max_cscds": "x"}}',
    '{"copy0": {"claims": {"data_granularity": 3}}}', '{"copy0": 5}', '{"copy0": {"types": [256]}}',
    '{"copy0": {"max_inline_length": 99999999}}'])
def test_a_profile_that_cannot_be_used_says_where_it_is(san: San, text: str) -> None:
    (san.path / "profiles.json").write_text(text)
    with pytest.raises(SanError, match=r"profiles.json, unit copy0: .*; mend or remove it"):
        load_profile(san, "copy0")


@pytest.mark.skipif(not shutil.which("sg_vpd"), reason="not installed: sg_vpd; apt-get install sg3-utils")
@pytest.mark.parametrize("name", COPYING)
def test_sg_vpd_reads_the_page(san: San, host: CopyHost, name: str, tmp_path: Path) -> None:
    unit = Host(san, name, host.nexus)
    (tmp_path / "page").write_text(vpd(unit, Vpd.THIRD_PARTY_COPY).hex(" "))
    unit.transport.close()
    done = subprocess.run(["sg_vpd", "--page=tpc", f"--inhex={tmp_path / 'page'}"], capture_output=True,
                          text=True, timeout=20, check=True)
    assert done.stderr == ""
    for line in ("block<o> -> stream [0x8]", "Receive copy operating parameters",
                 "Maximum CSCD descriptor count: 128", "Maximum stream device transfer size: 16777215"):
        assert line.lower() in done.stdout.lower(), done.stdout


@pytest.mark.skipif(not shutil.which("sg_decode_sense"),
                    reason="not installed: sg_decode_sense; apt-get install sg3-utils")
def test_sg_decode_sense_reads_a_failure(san: San, host: CopyHost, tape: TapeHost) -> None:
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "tape0")],
                        [BlockToStream(0, 1, 512, 4, 0), BlockToStream(0, 1, 512, 4, 2046)])
    assert outcome.sense is not None
    done = subprocess.run(["sg_decode_sense", *[f"{one:02x}" for one in outcome.sense.put()]],
                          capture_output=True, text=True, timeout=20, check=True)
    assert "Copy Aborted" in done.stdout
    assert "Copy target device not reachable" in done.stdout
    assert "byte 16" in done.stdout


def same_unit(san: San, *segments: BlockToBlock) -> ParameterList:
    """As libiscsi's test tool has it: source and destination are the unit that is asked."""
    return ParameterList(1, ListIdUsage.DISCARD, (cscd(san, "disk0"),), segments)


def test_a_disk_passes_what_libiscsi_asks_of_it(san: San, host: CopyHost) -> None:
    """ExtendedCopy Simple, ParamHdr and ValidSegDescr, ReceiveCopyResults, of iscsi-test-cu."""
    content = fill_disk(san, "disk0")
    with Nexus(san.path) as nexus:
        disk = CopyHost(san, "disk0", nexus)
        assert disk.raw(same_unit(san, BlockToBlock(0, 0, 1000, 0, 1048)).put()).good
        assert san.disk_path("disk0").read_bytes()[1048 * 512:] == content[:1000 * 512]
        for bad in (BlockToBlock(0, 1, 8, 0, 8), BlockToBlock(0, 0, 8, 2048, 0),
                    BlockToBlock(0, 0, 8, 0, 2041)):
            outcome = disk.raw(same_unit(san, bad).put())
            assert outcome.sense is not None
            assert outcome.sense.code in (0x0000, 0x0804, 0x0D02)
        assert len(disk.parameters().data) >= 40
        assert refused(disk.status(99))
        assert disk.copy([cscd(san, "disk0")], [BlockToBlock(0, 0, 8, 0, 8)], usage=ListIdUsage.HOLD).good
        assert disk.status().good
        disk.transport.close()


def test_the_unit_that_is_asked_can_be_named_without_a_descriptor(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    content = fill_disk(san, "disk0")
    drive = CopyHost(san, "tape0", host.nexus)
    assert drive.copy([cscd(san, "disk0")], [BlockToStream(0, COPY_MANAGER, 512, 2, 0)]).good
    drive.transport.close()
    assert records(tape) == [content[:512], content[512:1024]]
