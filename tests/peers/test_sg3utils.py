"""The formats of EXTENDED COPY against sg3-utils: what it decodes of ours, and what it sends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from protocol.scsi import spc
from protocol.scsi.asc import NAMES, Asc
from protocol.scsi.command import INQUIRY, READ_CAPACITY_10, READ_CAPACITY_16
from protocol.scsi.copyresults import (
    RECEIVE_COPY_DATA,
    RECEIVE_COPY_STATUS,
    RECEIVE_FAILURE_DETAILS,
    RECEIVE_OPERATING_PARAMETERS,
    CopyState,
    CopyStatus,
    FailedSegment,
    HeldData,
    OperatingParameters,
)
from protocol.scsi.cscd import COPY_MANAGER, NULL_STREAM, BlockDevice, CscdType, Identification
from protocol.scsi.sbc import Capacity
from protocol.scsi.segments import BlockToBlock, SegmentType
from protocol.scsi.sense import CopySense, Reported, SegmentPointer, Sense, SenseKey, illegal
from protocol.scsi.spc import Designator, DesignatorType, DeviceType, Inquiry, Vpd, VpdPage
from protocol.scsi.thirdparty import Command, ThirdPartyCopy
from protocol.scsi.xcopy import EXTENDED_COPY, ListIdUsage, ParameterList
from tests.peers.sg3utils import Answer, Bench, bench, build_shim

MISSING = [program for program in ("sg_vpd", "sg_decode_sense", "sg_copy_results", "sg_xcopy")
           if not shutil.which(program)]
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(bool(MISSING),
                       reason=f"not installed: {', '.join(MISSING)}; apt-get install sg3-utils"),
]

LIMITS = OperatingParameters(
    8, 64, 8192, (SegmentType.BLOCK_TO_STREAM, SegmentType.BLOCK_TO_BLOCK, SegmentType.FILEMARKS,
                  CscdType.IDENTIFICATION),
    True, 1 << 28, 65536, 16384, 8 << 20, 32, 16, 512, 4, 1)
EARLY_WARNING = Sense(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, information=512, eom=True)
FAILURE = CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, 3, 1234,
                    destination_sense=Reported(2, EARLY_WARNING.put()), pointer=SegmentPointer(48))


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: apt-get install gcc libc6-dev")
    return build_shim(tmp_path_factory.mktemp("shim"))


def output(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True,
                          stdin=subprocess.DEVNULL)
    return [line.strip() for line in done.stdout.splitlines()]


def in_hex(folder: Path, data: bytes) -> str:
    path = folder / "data.hex"
    path.write_text(data.hex(" "))
    return str(path)


def test_sg_vpd_reads_the_third_party_copy_page(tmp_path):
    page = ThirdPartyCopy.of(LIMITS, (Command(0x83, (0, 0x1C)), Command(0x84, (0, 1, 3, 4))),
                             (NULL_STREAM, COPY_MANAGER))
    lines = output("sg_vpd", "--page=tpc", f"--inhex={in_hex(tmp_path, page.put())}")
    assert lines == [
        "Third party copy VPD page:",
        "Supported commands:", "Extended copy(LID1)", "Copy operation abort", "Receive copy status(LID1)",
        "Receive copy data(LID1)", "Receive copy operating parameters", "Receive copy failure details(LID1)",
        "Parameter data:", "Maximum CSCD descriptor count: 8", "Maximum segment descriptor count: 64",
        "Maximum descriptor list length: 8192", "Maximum inline data length: 65536",
        "Supported descriptors:", "block -> stream [0x0]", "block -> block [0x2]", "filemark -> tape [0x10]",
        "CSCD: Identification Descriptor [0xe4]",
        "Supported CSCD IDs (above 0x7ff):", "copy src or dst null LU, pdt=1 [0xc001]",
        "copy src or dst is copy manager LU [0xffff]",
        "General copy operations:", "Total concurrent copies: 32", "Maximum identified concurrent copies: 16",
        "Maximum segment length: 268435456", "Data segment granularity: 512", "Inline data granularity: 4",
        "Stream copy operations:", "Maximum stream device transfer size: 8388608",
        "Held data:", "Held data limit: 16384", "Held data granularity: 1"]


def test_sg_decode_sense_reads_third_party_sense_of_the_fixed_form(tmp_path):
    lines = output("sg_decode_sense", f"--file={in_hex(tmp_path, FAILURE.put())}")
    assert lines[:4] == [
        "Fixed format, current; Sense key: Copy Aborted", "Additional sense: Third party device failure",
        "Info fld=0x4d2 [1234]", "Segment pointer: Relative to start of parameter list, byte 48"]


def test_sg_decode_sense_reads_third_party_sense_of_the_descriptor_form(tmp_path):
    lines = output("sg_decode_sense", f"--file={in_hex(tmp_path, FAILURE.put(wide=True))}")
    assert lines[:9] == [
        "Descriptor format, current; Sense key: Copy Aborted", "Additional sense: Third party device failure",
        "Descriptor type: Information: 0x00000000000004d2",
        "Descriptor type: Command specific: 0x0000000000000003",
        "Descriptor type: Sense key specific: Segment pointer:",
        "Relative to start of parameter list, byte 48", "Descriptor type: Forwarded sense data",
        "FSDT: clear", "Sense data source: Extended copy command destination device 1"]
    assert "Additional sense: End-of-partition/medium detected" in lines
    assert "Info fld=0x200 [512]  EOM" in lines


def test_sg_decode_sense_reads_an_error_inside_a_segment(tmp_path):
    sense = CopySense(Asc.INVALID_FIELD_IN_PARAMETERS, 1, pointer=SegmentPointer(9, in_segment=True, bit=3))
    lines = output("sg_decode_sense", f"--file={in_hex(tmp_path, sense.put())}")
    assert "Segment pointer: Relative to start of segment descriptor, byte 9 bit 3" in lines


def test_sg_decode_sense_has_the_same_names_for_what_copy_managers_say():
    codes = [code for code in NAMES if code >> 8 in (0x0D, 0x23, 0x26, 0x2F, 0x55) or code == 0x0804]
    decoded = [output("sg_decode_sense", *CopySense(code).put().hex(" ").split())[1] for code in codes]
    assert len(codes) > 30
    expected = [f"additional sense: {NAMES[code].lower()}" for code in codes]
    assert [line.lower() for line in decoded] == expected


class Disk:
    """As much of a disk with a copy manager as sg_copy_results and sg_xcopy ask for."""

    def __init__(self, number: int) -> None:
        self.designator = Designator(DesignatorType.NAA, bytes.fromhex("60014055a1b2c3d4e5f60718293a4b") +
                                     bytes((number,)))
        self.copies: list[ParameterList] = []
        self.list_ids: list[int] = []

    def __call__(self, cdb: bytes, data: bytes) -> Answer:
        if INQUIRY.matches(cdb):
            return self.inquiry(INQUIRY.take(cdb))
        if READ_CAPACITY_10.matches(cdb):
            return Answer(Capacity(1 << 20, 512).put_10())
        if READ_CAPACITY_16.matches(cdb):
            return Answer(Capacity(1 << 20, 512).put_16())
        if EXTENDED_COPY.matches(cdb):
            assert EXTENDED_COPY.take(cdb)["length"] == len(data)
            self.copies.append(ParameterList.take(data))
            return Answer()
        for command, result in (
                (RECEIVE_COPY_STATUS, CopyStatus(True, CopyState.DONE, 3, 2, 5)),
                (RECEIVE_COPY_DATA, HeldData(b"held", 4)),
                (RECEIVE_OPERATING_PARAMETERS, LIMITS),
                (RECEIVE_FAILURE_DETAILS, FailedSegment(2, FAILURE.put()))):
            if command.matches(cdb):
                self.list_ids.append(cdb[2])
                return Answer(result.put())
        return Answer(status=2, sense=illegal(Asc.INVALID_OPCODE).put())

    def inquiry(self, field: dict[str, int]) -> Answer:
        if not field["evpd"]:
            return Answer(Inquiry(DeviceType.DISK, "NDMPD", "DISK", third_party_copy=True).put())
        if field["page"] == Vpd.SUPPORTED:
            return Answer(VpdPage(0, Vpd.SUPPORTED, bytes((0, Vpd.IDENTIFICATION))).put())
        if field["page"] == Vpd.IDENTIFICATION:
            return Answer(spc.put_identification(DeviceType.DISK, (self.designator,)))
        return Answer(status=2, sense=illegal().put())


def results(desk: Bench, *options: str) -> list[str]:
    done = desk.run("sg_copy_results", *options, desk.path("disk"))
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines()]


def test_sg_copy_results_reads_every_kind_of_result(tmp_path, shim):
    disk = Disk(1)
    with bench(tmp_path / "units", shim, {"disk": disk}) as desk:
        parameters = results(desk, "--params")
        status = results(desk, "--status", "--list_id=42")
        failed = results(desk, "--failed", "--list_id=43")
        held = results(desk, "--receive", "--list_id=44")
    assert disk.list_ids == [0, 42, 43, 44]
    assert parameters[:19] == [
        "Receive copy results (report operating parameters):", "Supports no list identifier (SNLID): yes",
        "Maximum target descriptor count: 8", "Maximum segment descriptor count: 64",
        "Maximum descriptor list length: 8192 bytes", "Maximum segment length: 268435456 bytes",
        "Maximum inline data length: 65536 bytes", "Held data limit: 16384 bytes",
        "Maximum stream device transfer size: 8388608 bytes", "Total concurrent copies: 32",
        "Maximum concurrent copies: 16", "Data segment granularity: 512 bytes",
        "Inline data granularity: 4 bytes", "Held data granularity: 1 bytes", "Implemented descriptor list:",
        "Segment descriptor 0x00: Copy from block device to stream device",
        "Segment descriptor 0x02: Copy from block device to block device",
        "Segment descriptor 0x10: Write filemarks to sequential-access device",
        "Target descriptor 0xe4: Identification descriptor"]
    assert status == [
        "Receive copy results (copy status):", "Held data discarded: Yes",
        "Copy manager status: Operation completed without errors", "Segments processed: 3",
        "Transfer count units: 2", "Transfer count: 5"]
    assert failed[:4] == [
        "Receive copy results (failed segment details):", "Extended copy command status: 2",
        "Fixed format, current; Sense key: Copy Aborted", "Additional sense: Third party device failure"]
    assert held[0].startswith("00     00 00 00 04 68 65 6c 64")


@pytest.mark.parametrize("options, list_id, usage, flags", [
    (("id_usage=hold", "list_id=9"), 9, ListIdUsage.HOLD, {}),
    (("id_usage=discard", "list_id=10"), 10, ListIdUsage.DISCARD, {"cat": True}),
    (("id_usage=disable",), 0, ListIdUsage.NONE, {"dc": True}),
])
def test_sg_xcopy_sends_what_we_take_apart(tmp_path, shim, options, list_id, usage, flags):
    source, target = Disk(1), Disk(2)
    with bench(tmp_path / "units", shim, {"source": source, "target": target}) as desk:
        done = desk.run("sg_xcopy", f"if={desk.path('source')}", f"of={desk.path('target')}", "bs=512",
                        "count=4096", "skip=64", "seek=128", "prio=3", *options,
                        *(f"{name}=1" for name in flags))
    assert done.returncode == 0, done.stderr
    assert source.copies + target.copies == [ParameterList(
        list_id, usage, tuple(Identification(one.designator, DeviceType.DISK, BlockDevice(512))
                              for one in (source, target)),
        (BlockToBlock(0, 1, 4096, 64, 128, **flags),), priority=3)]
