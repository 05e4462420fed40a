"""What is refused before any segment is carried out: ILLEGAL REQUEST, in this order. SPC-4 5.17.7.3."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from protocol.scsi.asc import Asc
from protocol.scsi.copyresults import OperatingParameters
from protocol.scsi.cscd import BlockDevice, FcPortName
from protocol.scsi.segments import (
    BlockToBlock,
    BlockToStream,
    Filemarks,
    InlineToStream,
    Segment,
    StreamToStream,
    TapeImage,
    ThirdPartyReservation,
)
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.xcopy import ListIdUsage, ParameterList
from tests.san.conftest import Outcome, TapeHost
from tests.san.copymanager.conftest import RECORD, CopyHost, cscd, disk_content, fill_disk, records


def refusal(outcome: Outcome) -> tuple[int, int | None]:
    """The code, and the byte of the parameter list that the field pointer names."""
    assert outcome.sense is not None, outcome
    assert outcome.sense.key is SenseKey.ILLEGAL_REQUEST
    assert outcome.sense.information is None
    specific = outcome.sense.key_specific
    if specific is None:
        return outcome.sense.code, None
    assert not specific >> 22 & 1, "the parameter list, not the CDB"
    return outcome.sense.code, specific & 0xFFFF


COPY = BlockToBlock(0, 1, 8, 0, 8)


def two_disks(san: San, *segments: Segment) -> ParameterList:
    return ParameterList(1, ListIdUsage.HOLD, (cscd(san, "disk0"), cscd(san, "disk1")), segments or (COPY,))


def test_nothing_is_asked_for_by_a_list_of_no_length(host: CopyHost) -> None:
    assert host.raw(b"").good


@pytest.mark.parametrize("kept", [1, 15, 16, 16 + 32, 16 + 33, 16 + 64, 16 + 64 + 27])
def test_a_list_that_is_cut_has_the_wrong_length(san: San, host: CopyHost, kept: int) -> None:
    whole = two_disks(san).put()
    assert refusal(host.raw(whole[:kept]))[0] == Asc.PARAMETER_LIST_LENGTH


def test_less_data_than_the_cdb_says_is_no_list(san: San, host: CopyHost) -> None:
    whole = two_disks(san).put()
    assert host.raw(whole[:40], len(whole)).is_check(SenseKey.ABORTED_COMMAND, 0x4B00)


def test_bytes_behind_the_list_are_left_alone(san: San, host: CopyHost) -> None:
    assert host.raw(two_disks(san).put() + b"behind").good


def test_a_cdb_may_not_ask_for_more_than_any_list_has(san: San, host: CopyHost) -> None:
    assert refusal(host.raw(two_disks(san).put(), 0xFFFFFFFF))[0] == Asc.PARAMETER_LIST_LENGTH


def limits_of(host: CopyHost) -> OperatingParameters:
    return OperatingParameters.take(host.parameters().data)


def test_too_many_descriptors_are_counted_once_their_length_is_right(san: San, host: CopyHost) -> None:
    limits = limits_of(host)
    disk = cscd(san, "disk0")
    many = ParameterList(1, ListIdUsage.HOLD, (disk,) * (limits.max_cscds + 1), (COPY,))
    assert refusal(host.raw(many.put())) == (Asc.TOO_MANY_TARGETS, 2)
    many = two_disks(san, *[COPY] * (limits.max_segments + 1))
    assert refusal(host.raw(many.put())) == (Asc.TOO_MANY_SEGMENTS, 8)
    too_long = bytearray(two_disks(san).put())
    too_long[8:12] = (limits.max_list_length - 63).to_bytes(4, "big")
    data = bytes(too_long) + bytes(limits.max_list_length)
    assert refusal(host.raw(data)) == (Asc.PARAMETER_LIST_LENGTH, 8)


def test_more_inline_data_than_there_may_be(san: San, host: CopyHost) -> None:
    limits = limits_of(host)
    data = bytearray(two_disks(san).put())
    data[12:16] = (limits.max_inline_length + 1).to_bytes(4, "big")
    assert refusal(host.raw(bytes(data) + bytes(limits.max_inline_length + 1))) == (
        Asc.INVALID_FIELD_IN_PARAMETERS, 12)


def test_only_units_by_their_designator_are_known(san: San, host: CopyHost) -> None:
    other = FcPortName(device_type=0, parameters=BlockDevice(512), lun=0, port_name=1)
    for place in (0, 1):
        cscds = [cscd(san, "disk0"), cscd(san, "disk1")]
        cscds[place] = other  # type: ignore[call-overload]
        assert refusal(host.copy(cscds, [COPY])) == (Asc.UNSUPPORTED_TARGET_TYPE, 16 + 32 * place)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_segment_of_a_kind_that_is_not_there_stops_all_of_them(
        san: San, host: CopyHost, place: int) -> None:
    before = disk_content(san, "disk1")
    fill_disk(san, "disk0")
    segments: list[Segment] = [COPY, COPY, COPY]
    segments[place] = ThirdPartyReservation(1, 2, 3, bytes(24))
    assert refusal(host.copy([cscd(san, "disk0"), cscd(san, "disk1")], segments)) == (
        Asc.UNSUPPORTED_SEGMENT_TYPE, 16 + 64 + 28 * place)
    assert disk_content(san, "disk1") == before


def test_a_disk_does_not_copy_from_stream_to_stream(san: San, host: CopyHost) -> None:
    disk = CopyHost(san, "disk0", host.nexus)
    tapes = [cscd(san, "tape0"), cscd(san, "tape1")]
    for segment in (StreamToStream(0, 1, 512, 512, 0), TapeImage(0, 1, 1),
                    StreamToStream(0, 1, 512, 512, 0, held=True)):
        assert refusal(disk.copy(tapes, [segment])) == (Asc.UNSUPPORTED_SEGMENT_TYPE, 80)
    disk.transport.close()


@pytest.mark.parametrize(("fixed", "length", "byte"), [(0, 512, 29), (1, 0, 28)])
def test_stream_parameters_that_say_fixed_and_variable_at_once(
        san: San, host: CopyHost, fixed: int, length: int, byte: int) -> None:
    data = bytearray(ParameterList(1, ListIdUsage.HOLD, (cscd(san, "tape0"),), (Filemarks(0, 1),)).put())
    data[16 + 28], data[16 + 29:16 + 32] = fixed, length.to_bytes(3, "big")
    assert refusal(host.raw(bytes(data))) == (Asc.INVALID_FIELD_IN_PARAMETERS, 16 + byte)


def test_the_reserved_usage_of_list_identifiers(san: San, host: CopyHost) -> None:
    data = bytearray(two_disks(san).put())
    data[1] = 1 << 3
    assert refusal(host.raw(bytes(data))) == (Asc.INVALID_FIELD_IN_PARAMETERS, 1)
    data[1] = 3 << 3
    assert refusal(host.raw(bytes(data))) == (Asc.INVALID_FIELD_IN_PARAMETERS, 0)
    data[0] = 0
    assert host.raw(bytes(data)).good


def test_the_lu_id_type_of_a_designator_is_ignored(san: San, host: CopyHost) -> None:
    data = bytearray(two_disks(san).put())
    data[16 + 1] |= 2 << 6
    assert host.raw(bytes(data)).good


@pytest.mark.parametrize("place", [0, 2])
def test_a_segment_of_the_wrong_length(san: San, host: CopyHost, place: int) -> None:
    data = bytearray(two_disks(san, COPY, COPY, COPY).put())
    at = 80 + 28 * place
    data[at + 2:at + 4] = (23).to_bytes(2, "big")
    assert refusal(host.raw(bytes(data)))[0] == Asc.INVALID_FIELD_IN_PARAMETERS


@pytest.mark.parametrize("place", [0, 1, 2])
def test_more_embedded_data_than_the_segment_has(
        san: San, host: CopyHost, tape: TapeHost, place: int) -> None:
    good = bytes.fromhex("0500 0010 0000 0000 00000004 0004 0000") + b"abcd"
    bad = bytes.fromhex("0500 0010 0000 0000 00000004 0005 0000") + b"abcd"
    listed = b"".join(bad if number == place else good for number in range(3))
    head = bytes((1, 0, 0, 32, 0, 0, 0, 0)) + len(listed).to_bytes(4, "big") + bytes(4)
    assert refusal(host.raw(head + cscd(san, "tape0").put() + listed)) == (
        Asc.INVALID_FIELD_IN_PARAMETERS, 48 + 20 * place + 12)
    assert records(tape) == []


def test_too_long_segments_and_transfers(san: San, host: CopyHost) -> None:
    (san.path / "profiles.json").write_text(
        '{"copy0": {"max_segment_length": 8192, "max_stream_transfer": 4096}}')
    ends = [cscd(san, "disk0"), cscd(san, "tape0"), cscd(san, "tape1", fixed=True, block_length=1024)]
    for segment, byte in ((BlockToStream(0, 1, RECORD, 17, 0), 14), (BlockToStream(0, 1, 4097, 8, 0), 9),
                          (BlockToStream(0, 2, 5, 8, 0), 9), (InlineToStream(1, RECORD, 0, 8193), 16)):
        found = host.copy(ends, [BlockToStream(0, 1, RECORD, 16, 0), segment], bytes(8200))
        assert refusal(found) == (Asc.INVALID_FIELD_IN_PARAMETERS, 16 + 96 + 24 + byte)
    assert host.copy(ends, [BlockToStream(0, 1, RECORD, 16, 0), BlockToStream(0, 2, 4, 16, 0)]).good


def test_sense_of_a_refusal_is_as_the_standard_draws_it(san: San, host: CopyHost) -> None:
    unknown = ThirdPartyReservation(1, 2, 3, bytes(24))
    outcome = host.copy([cscd(san, "disk0"), cscd(san, "disk1")], [COPY, unknown])
    assert outcome.sense == Sense.take(bytes.fromhex("70 00 05 00000000 0a 00000000 2609 00 80006c"))
