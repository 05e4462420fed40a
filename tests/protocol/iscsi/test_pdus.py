"""Headers as libiscsi 1.19 and tgtd 1.0.85 exchanged them, and what must not be taken."""

from __future__ import annotations

import pytest

from protocol.errors import WireError
from protocol.iscsi import pdu, session
from protocol.iscsi.pdu import BHS, DataIn, Lengths, Pdu, ScsiCommand, ScsiResponse
from protocol.iscsi.segments import put_digest, put_extended_cdb, take_extended_cdb
from protocol.iscsi.session import (
    LoginRequest,
    LoginResponse,
    LoginStatus,
    LogoutRequest,
    LogoutResponse,
    Stage,
    TextRequest,
    TextResponse,
)
from protocol.scsi import command as scsi

# Captured: iscsi-readcapacity16 and iscsi-ls against a disk of tgtd.
CAPTURED: list[tuple[str, int, Pdu]] = [
    ("43870000 000001ac 808e4abf 00000000 72d46671 00000000 35a3008d 00000001 00000000 00000000 00000000"
     "00000000", 0x1AC,
     LoginRequest(task_tag=0x72D46671, transit=1, stage=Stage.OPERATIONAL, next_stage=Stage.FULL_FEATURE,
                  isid=0x808E4ABF0000, cmd_sn=0x35A3008D, exp_stat_sn=1)),
    ("23870000 0000012c 808e4abf 00006100 72d46671 00000000 00000000 35a3008d 35a3008e 00000000 00000000"
     "00000000", 0x12C,
     LoginResponse(task_tag=0x72D46671, transit=1, stage=Stage.OPERATIONAL, next_stage=Stage.FULL_FEATURE,
                   isid=0x808E4ABF0000, tsih=0x6100, exp_cmd_sn=0x35A3008D, max_cmd_sn=0x35A3008E,
                   status=LoginStatus.SUCCESS)),
    ("01c10000 00000000 00010000 00000000 72d46674 00000020 35a3008f 00000003 9e100000 00000000 00000000"
     "00200000", 0,
     ScsiCommand(task_tag=0x72D46674, read=1, lun=1 << 48, length=32, cmd_sn=0x35A3008F, exp_stat_sn=3,
                 head=int.from_bytes(scsi.READ_CAPACITY_16.put(allocation=32), "big"))),
    ("25810000 00000020 00000000 00000000 72d46674 ffffffff 00000003 35a30090 35a30110 00000000 00000000"
     "00000000", 32,
     DataIn(task_tag=0x72D46674, has_status=1, stat_sn=3, exp_cmd_sn=0x35A30090, max_cmd_sn=0x35A30110)),
    ("21800002 00000014 00000000 00000000 72d46672 00000000 00000001 35a3008e 35a3010e 00000000 00000000"
     "00000000", 0x14,
     ScsiResponse(task_tag=0x72D46672, status=2, stat_sn=1, exp_cmd_sn=0x35A3008E, max_cmd_sn=0x35A3010E)),
    ("44800000 00000010 00000000 00000000 7c00dc46 ffffffff 63557247 00000001 00000000 00000000 00000000"
     "00000000", 16,
     TextRequest(task_tag=0x7C00DC46, immediate=1, cmd_sn=0x63557247, exp_stat_sn=1)),
    ("24800000 00000030 00000000 00000000 7c00dc46 ffffffff 00000001 63557247 63557248 00000000 00000000"
     "00000000", 0x30,
     TextResponse(task_tag=0x7C00DC46, stat_sn=1, exp_cmd_sn=0x63557247, max_cmd_sn=0x63557248)),
    ("46800000 00000000 00000000 00000000 72d46675 00000000 35a30090 00000004 00000000 00000000 00000000"
     "00000000", 0,
     LogoutRequest(task_tag=0x72D46675, cmd_sn=0x35A30090, exp_stat_sn=4)),
    ("26800000 00000000 00000000 00000000 72d46675 00000000 00000004 35a30090 35a30110 00000000 00000000"
     "00000000", 0,
     LogoutResponse(task_tag=0x72D46675, stat_sn=4, exp_cmd_sn=0x35A30090, max_cmd_sn=0x35A30110)),
]


@pytest.mark.parametrize(("text", "length", "value"), CAPTURED, ids=lambda one: type(one).__name__)
def test_captured_headers_both_ways(text: str, length: int, value: Pdu) -> None:
    header = bytes.fromhex(text)
    assert type(value).take(header) == value
    assert value.put(length) == header
    assert Lengths.take(header).data == length


# Byte by byte from the drawings of RFC 7143 11.5 to 11.9, 11.17 to 11.19.
DRAWN: list[tuple[str, Pdu]] = [
    ("42810000 00000000 00010000 00000000 00000011 00000022 00000033 00000044 00000055 00000066 00000000"
     "00000000",
     pdu.TaskRequest(task_tag=0x11, function=1, lun=1 << 48, referenced=0x22, cmd_sn=0x33, exp_stat_sn=0x44,
                     ref_cmd_sn=0x55, exp_data_sn=0x66)),
    ("22800500 00000000 00000000 00000000 00000011 00000000 00000022 00000033 00000044 00000000 00000000"
     "00000000",
     pdu.TaskResponse(task_tag=0x11, response=5, stat_sn=0x22, exp_cmd_sn=0x33, max_cmd_sn=0x44)),
    ("05000000 00000000 00000000 00000000 00000011 00000022 00000000 00000033 00000000 00000044 00000055"
     "00000000",
     pdu.DataOut(task_tag=0x11, final=0, transfer_tag=0x22, exp_stat_sn=0x33, data_sn=0x44, offset=0x55)),
    ("31800000 00000000 00000000 00000000 00000011 00000022 00000033 00000044 00000055 00000066 00000077"
     "00000088",
     pdu.R2T(task_tag=0x11, transfer_tag=0x22, stat_sn=0x33, exp_cmd_sn=0x44, max_cmd_sn=0x55, r2t_sn=0x66,
             offset=0x77, length=0x88)),
    ("32800000 00000000 00000000 00000000 ffffffff 00000000 00000033 00000044 00000055 01020003 00040005"
     "00000000",
     pdu.AsyncMessage(stat_sn=0x33, exp_cmd_sn=0x44, max_cmd_sn=0x55, event=1, vendor_code=2, parameter_1=3,
                      parameter_2=4, parameter_3=5)),
    ("40800000 00000000 00000000 00000000 00000011 ffffffff 00000022 00000033 00000000 00000000 00000000"
     "00000000",
     pdu.NopOut(task_tag=0x11, cmd_sn=0x22, exp_stat_sn=0x33)),
    ("20800000 00000000 00000000 00000000 00000011 ffffffff 00000022 00000033 00000044 00000000 00000000"
     "00000000",
     pdu.NopIn(task_tag=0x11, stat_sn=0x22, exp_cmd_sn=0x33, max_cmd_sn=0x44)),
    ("3f800400 00000000 00000000 00000000 ffffffff 00000000 00000022 00000033 00000044 00000055 00000000"
     "00000000",
     session.Reject(reason=4, stat_sn=0x22, exp_cmd_sn=0x33, max_cmd_sn=0x44, data_sn=0x55)),
    ("21860018 00000000 00000000 00000000 00000011 00000000 00000022 00000033 00000044 00000055 00000000"
     "00000066",
     ScsiResponse(task_tag=0x11, overflow=1, underflow=1, status=0x18, stat_sn=0x22, exp_cmd_sn=0x33,
                  max_cmd_sn=0x44, exp_data_sn=0x55, residual=0x66)),
]


@pytest.mark.parametrize(("text", "value"), DRAWN, ids=lambda one: type(one).__name__)
def test_drawn_headers_both_ways(text: str, value: Pdu) -> None:
    header = bytes.fromhex(text)
    assert (type(value).take(header), value.put()) == (value, header)


# In an order, not as a set: test processes compare what they have collected.
@pytest.mark.parametrize("kind", dict.fromkeys(type(one[-1]) for one in [*CAPTURED, *DRAWN]),
                         ids=lambda one: one.__name__)
def test_what_is_cut_short_or_another_pdu_is_not_taken(kind: type[Pdu]) -> None:
    header = bytes((kind.opcode,)) + bytes(47)
    assert kind.take(header).task_tag == 0
    with pytest.raises(WireError):
        kind.take(header[:-1])
    with pytest.raises(WireError):
        kind.take(bytes((kind.opcode ^ 1,)) + header[1:])


# RFC 7143 appendix A.
@pytest.mark.parametrize(("data", "digest"), [
    (bytes(32), "aa36918a"), (b"\xff" * 32, "43aba862"), (bytes(range(32)), "4e79dd46"),
    (bytes(range(31, -1, -1)), "5cdb3f11"),
    (bytes.fromhex("01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000"
                   "00000000 02000000 00000000"), "563a96d9")])
def test_digests_are_those_of_the_standard(data: bytes, digest: str) -> None:
    assert put_digest(data).hex() == digest
    assert put_digest(data[:7], data[7:]) == put_digest(data)


def test_an_extended_cdb_goes_into_an_additional_header_segment() -> None:
    """11.2.2.3: the length is that of the CDB less 15; here 32 bytes, whole, and 17, padded."""
    cdb = bytes(range(32))
    segment = bytes.fromhex("0011 01 00") + cdb[16:]
    assert put_extended_cdb(cdb) == segment
    assert take_extended_cdb(cdb[:16], segment) == cdb
    assert put_extended_cdb(cdb[:17]) == bytes.fromhex("0002 01 00 10 000000")
    assert put_extended_cdb(cdb[:16]) == b""


def test_other_additional_header_segments_are_skipped() -> None:
    bidirectional = bytes.fromhex("0005 02 00 00001000")
    extended = put_extended_cdb(bytes(20))
    assert take_extended_cdb(bytes(16), bidirectional + extended) == bytes(20)


@pytest.mark.parametrize("segments", [
    "0000 01 00", "00ff 01 00 00000000", "0011 01", "ffff 01 00" + "00" * 65536])
def test_additional_header_segments_that_do_not_fit_are_refused(segments: str) -> None:
    with pytest.raises(WireError):
        take_extended_cdb(bytes(16), bytes.fromhex(segments))


def test_a_header_is_48_bytes() -> None:
    assert {one.form.size for one in Pdu.__subclasses__()} == {BHS}
