"""Copies that end inside a segment: COPY ABORTED, byte for byte. SPC-4 5.17.7.4 and 4.5.3."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result
from ndmpd.san import San
from ndmpd.san.copymanager import ends as ends_module
from ndmpd.san.nexus import Nexus
from ndmpd.san.registry import open_unit
from ndmpd.san.tape import TapeDrive
from protocol.scsi import command as scsi
from protocol.scsi.command import Status
from protocol.scsi.copyresults import CopyState, CopyStatus
from protocol.scsi.cscd import NULL_BLOCK, NULL_STREAM, ROD, BlockDevice, Cscd, Identification, StreamDevice
from protocol.scsi.segments import (
    BlockOffsetToBlockOffset,
    BlockOffsetToStream,
    BlockToBlock,
    BlockToStream,
    Filemarks,
    InlineToStream,
    Locate,
    Segment,
    Space,
    StreamDiscard,
    StreamToBlock,
    StreamToBlockOffset,
    StreamToStream,
    TapeImage,
    Verify,
)
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import Designator, DesignatorType
from protocol.scsi.xcopy import EXTENDED_COPY, ListIdUsage, ParameterList
from tests.san.conftest import Host, TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, fill_disk

DISK, TAPE, DISK1, TAPE1, UNKNOWN, NOT_A_TAPE, BAD_BLOCKS = range(7)


def ends(san: San) -> list[Cscd]:
    stranger = Designator(DesignatorType.NAA, bytes(range(16)))
    return [cscd(san, "disk0"), cscd(san, "tape0"), cscd(san, "disk1"), cscd(san, "tape1"),
            Identification(stranger, 0, BlockDevice(512)),
            Identification(cscd(san, "disk0").designator, 1, StreamDevice()),
            cscd(san, "disk0", block_length=4096)]


def fixed(code: int, segment: int, *, residue: int | None = None, specific: str = "000000",
          source: bytes = b"", destination: bytes = b"") -> bytes:
    """Fixed format sense data, put together by hand."""
    head = bytearray(18)
    head[0], head[2] = 0x70 if residue is None else 0xF0, 0x0A
    head[3:7] = (residue or 0).to_bytes(4, "big")
    head[7] = 10 + len(source) + len(destination)
    head[8] = 18 if source else 0
    head[9] = 18 + len(source) if destination else 0
    head[10:12] = segment.to_bytes(2, "big")
    head[12:14] = code.to_bytes(2, "big")
    head[15:18] = bytes.fromhex(specific)
    return bytes(head) + source + destination


@dataclass(frozen=True)
class Case:
    """``specific``: sense-key specific bytes: 80 list, A0 segment, A8 segment with a bit; then the byte."""

    name: str
    segment: Segment
    code: int
    specific: str = "000000"


CASES = [
    Case("a source id without a descriptor", BlockToStream(7, TAPE, RECORD, 8, 0), 0x0804, "a00004"),
    Case("a destination id without a descriptor", BlockToStream(DISK, 7, RECORD, 8, 0), 0x0804, "a00006"),
    Case("a reserved id", BlockToBlock(0x0800, DISK1, 8, 0, 0), 0x0804, "a00004"),
    Case("a ROD", BlockToBlock(DISK, ROD, 8, 0, 0), 0x0804, "a00006"),
    Case("blocks of the null unit", BlockToStream(NULL_BLOCK, TAPE, RECORD, 8, 0), 0x0804),
    Case("records of the null unit", StreamToBlock(NULL_STREAM, DISK1, RECORD, 8, 0), 0x0804),
    Case("blocks for the null unit", BlockToBlock(DISK, NULL_BLOCK, 8, 0, 0), 0x0804),
    Case("records for the null unit", BlockToStream(DISK, NULL_STREAM, RECORD, 8, 0), 0x0804),
    Case("a unit that is not there", Verify(UNKNOWN), 0x0D02, "800090"),
    Case("a source that is not there", BlockToStream(UNKNOWN, TAPE, RECORD, 8, 0), 0x0D02, "800090"),
    Case("a destination that is not there", BlockToBlock(DISK, UNKNOWN, 8, 0, 0), 0x0D02, "800090"),
    Case("a disk said to be a tape", StreamDiscard(NOT_A_TAPE, RECORD, 8), 0x0D03, "8000b0"),
    Case("a block length that the disk has not",
         BlockToStream(BAD_BLOCKS, TAPE, RECORD, 1, 0), 0x2600, "8000ed"),
    Case("blocks behind the end of the source", BlockToStream(DISK, TAPE, RECORD, 8, 2041), 0x0D02, "800010"),
    Case("an LBA far behind the end", BlockToStream(DISK, TAPE, RECORD, 8, (1 << 64) - 1), 0x0D02, "800010"),
    Case("bytes behind the end of the source",
         BlockOffsetToStream(DISK, TAPE, RECORD, RECORD, 2040, 1), 0x0D02, "800010"),
    Case("blocks behind the end of the destination", BlockToBlock(DISK, DISK1, 9, 0, 2040), 0x0D02, "800050"),
    Case("bytes behind the end of the destination",
         BlockOffsetToBlockOffset(DISK, DISK1, 512, 0, 2047, 0, 1), 0x0D02, "800050"),
    Case("records behind the end of the disk", StreamToBlock(TAPE, DISK1, RECORD, 8, 2041), 0x0D02, "800050"),
    Case("a disk for records", BlockToStream(DISK, DISK1, RECORD, 8, 0), 0x260C, "a00006"),
    Case("a tape for blocks", BlockToStream(TAPE, TAPE, RECORD, 8, 0), 0x260C, "a00004"),
    Case("a disk to discard from", StreamDiscard(DISK, RECORD, 8), 0x260C, "a00004"),
    Case("a disk to copy records from", StreamToStream(DISK, TAPE, 1, 1, 1), 0x260C, "a00004"),
    Case("filemarks for a disk", Filemarks(DISK, 1), 0x260C, "a00006"),
    Case("a disk to space", Space(DISK, 0, 1), 0x260C, "a00006"),
    Case("a disk to locate on", Locate(DISK, 1), 0x260C, "a00006"),
    Case("an image of a disk", TapeImage(DISK, TAPE, 1), 0x260C, "a00004"),
    Case("an image for a disk", TapeImage(TAPE, DISK, 1), 0x260C, "a00006"),
    Case("inline data behind its end", InlineToStream(TAPE, 8, 8, 9), 0x260B, "a0000c"),
    Case("a transfer length of nothing", BlockToStream(DISK, TAPE, 0, 8, 0), 0x2600, "a00009"),
    Case("no length for what is written", StreamToStream(TAPE1, TAPE, 8, 0, 8), 0x2600, "a0000d"),
    Case("an offset behind the first block read",
         BlockOffsetToStream(DISK, TAPE, 8, 8, 0, 512), 0x2600, "a0001a"),
    Case("an offset behind the first block written",
         StreamToBlockOffset(TAPE, DISK1, 8, 8, 0, 512), 0x2600, "a0001a"),
    Case("an offset behind the first source block",
         BlockOffsetToBlockOffset(DISK, DISK1, 8, 0, 0, 512, 0), 0x2600, "a0001c"),
    Case("an offset behind the first target block",
         BlockOffsetToBlockOffset(DISK, DISK1, 8, 0, 0, 0, 512), 0x2600, "a0001e"),
    Case("less than a record", InlineToStream(TAPE, RECORD, 0, 8), 0x260A, "a80001"),
]


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("case", CASES, ids=[one.name for one in CASES])
def test_a_segment_at_fault_is_named_with_the_byte_at_fault(
        san: San, host: CopyHost, tape: TapeHost, case: Case, place: int) -> None:
    content = fill_disk(san, "disk0")
    before: list[Segment] = [BlockToStream(DISK, TAPE, 512, 1, number) for number in range(place)]
    found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)), (*before, case.segment, *before),
                                      bytes(16)))
    assert found == fixed(case.code, place, specific=case.specific)
    # What came before is on the tape, and nothing else.
    assert tape.position() == (place, 0)
    tape.rewind()
    assert [tape.read(512).data for _ in range(place)] == [content[at:at + 512]
                                                            for at in range(0, place * 512, 512)]
    status = CopyStatus.take(host.status().data)
    assert (status.status, status.segments, status.bytes_moved) == (CopyState.FAILED, place + 1, place * 512)


def exact(host: CopyHost, parameters: ParameterList) -> bytes:
    """Sense data of a copy that fails, as it came."""
    data = parameters.put()
    result = host.transport.execute(Command(EXTENDED_COPY.put(length=len(data)), [Inline(data)], (), 30))
    assert result.status == Status.CHECK_CONDITION
    return result.sense


@pytest.mark.parametrize("place", [0, 2])
def test_a_granularity_that_a_segment_does_not_keep(san: San, host: CopyHost, place: int) -> None:
    (san.path / "profiles.json").write_text(
        '{"copy0": {"data_granularity": 1024, "inline_granularity": 8}}')
    for segment, byte in ((BlockToStream(DISK, TAPE, 512, 3, 0), "0e"),
                          (InlineToStream(TAPE, 4, 0, 12), "10"),
                          (BlockOffsetToStream(DISK, TAPE, 512, 512, 0, 0), "0c")):
        good: list[Segment] = [BlockToStream(DISK, TAPE, 512, 2, 0)] * place
        found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)), (*good, segment), bytes(16)))
        assert found == fixed(0x260D, place, specific=f"a000{byte}")


def test_a_destination_that_another_host_owns(san: San, host: CopyHost, tape: TapeHost) -> None:
    with Nexus(san.path) as other:
        thief = Host(san, "disk1", other)
        assert thief.send(scsi.RESERVE_6.put()).good
        found = exact(host, ParameterList(
            1, ListIdUsage.HOLD, tuple(ends(san)),
            (BlockToStream(DISK, TAPE, 512, 1, 0), BlockToBlock(DISK, DISK1, 8, 0, 0))))
        thief.transport.close()
    assert found == fixed(0x0D01, 1, specific="800050", destination=bytes((0x18,)))
    assert tape.position() == (1, 0)


def test_a_source_that_another_host_takes_on_the_way(san: San, host: CopyHost, tape: TapeHost) -> None:
    """Its records before the segment are on tape; the conflict is the segment's that reads the disk."""
    with Nexus(san.path) as other:
        thief = Host(san, "disk1", other)
        thief.send(scsi.RESERVE_6.put())
        found = exact(host, ParameterList(
            1, ListIdUsage.HOLD, tuple(ends(san)),
            (BlockToStream(DISK, TAPE, 512, 3, 0), BlockToStream(DISK1, TAPE, 512, 3, 0),
             BlockToStream(DISK, TAPE, 512, 3, 0))))
        thief.transport.close()
    assert found == fixed(0x0D01, 1, specific="800050", source=bytes((0x18,)))
    assert tape.position() == (3, 0)


def test_a_tape_without_a_cartridge(san: San, host: CopyHost, tape: TapeHost) -> None:
    assert tape.send(scsi.LOAD_UNLOAD.put(load=0)).good
    found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)),
                                      (BlockToStream(DISK, TAPE, 512, 1, 0),)))
    unready = bytes.fromhex("02 70000200000000 0a00000000 3a00 00000000")
    assert found == fixed(0x0D01, 0, specific="800030", destination=unready)


def test_a_unit_attention_of_the_destination_ends_the_copy(
        san: San, host: CopyHost, tape: TapeHost) -> None:
    with Nexus(san.path) as other:
        stranger = TapeHost(san, "tape0", other)
        assert stranger.send(scsi.LOAD_UNLOAD.put(load=0)).good
        assert stranger.send(scsi.LOAD_UNLOAD.put(load=1)).good
        stranger.transport.close()
    found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)),
                                      (BlockToStream(DISK, TAPE, 512, 1, 0),)))
    changed = bytes.fromhex("02 70000600000000 0a00000000 2800 00000000")
    assert found == fixed(0x0D01, 0, specific="800030", destination=changed)
    assert tape.position() == (0, 0)


def test_a_unit_that_the_nexus_never_spoke_to_is_no_failure(san: San, host: CopyHost) -> None:
    assert host.copy(ends(san), [BlockToStream(DISK, TAPE, 512, 8, 0), Verify(DISK1, tur=True)]).good


def test_a_reserved_unit_takes_no_copies_of_others(san: San, host: CopyHost) -> None:
    with Nexus(san.path) as other:
        owner = CopyHost(san, "disk0", other)
        assert owner.send(scsi.RESERVE_6.put()).good
        mine = CopyHost(san, "disk0", host.nexus)
        assert mine.copy(ends(san), [Verify(DISK1)]).status == Status.RESERVATION_CONFLICT
        assert mine.parameters().status == Status.RESERVATION_CONFLICT
        assert owner.copy(ends(san), [Verify(DISK1)]).good
        mine.transport.close()
        owner.transport.close()


def test_a_drive_that_gives_less_than_it_says_is_an_underrun(
        san: San, host: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    tape.write(bytes(RECORD))
    tape.rewind()
    execute = TapeDrive.execute

    def short(drive: TapeDrive, nexus: str, command: Command) -> Result:
        found = execute(drive, nexus, command)
        return Result(found.status, found.sense, found.transferred - 1) if command.cdb[0] == 8 else found

    monkeypatch.setattr(TapeDrive, "execute", short)
    found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)),
                                      (Verify(DISK), StreamToBlock(TAPE, DISK1, RECORD, 8, 0))))
    assert found == fixed(0x0D04, 1, specific="800030")


def test_a_unit_that_stays_locked_fails_the_copy(
        san: San, host: CopyHost, tape: TapeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends_module, "_PATIENCE", 0.1)
    locked = open_unit(san, "disk1")
    with locked.exclusive(1.0):
        found = exact(host, ParameterList(1, ListIdUsage.HOLD, tuple(ends(san)),
                                          (BlockToStream(DISK, TAPE, 512, 1, 0), Verify(DISK1))))
    locked.close()
    assert found == fixed(0x0D01, 1, specific="800050")
    assert tape.position() == (1, 0)


def test_a_unit_alone_carries_out_no_copy(san: San) -> None:
    unit = open_unit(san, "disk0")
    with Nexus(san.path) as nexus:
        for _ in range(2):
            result = unit.execute(nexus.id, Command(EXTENDED_COPY.put()))
    unit.close()
    assert Sense.take(result.sense).key is SenseKey.NOT_READY
