"""Commands and their data over iSCSI: every way that data may come, and what residuals say."""

from __future__ import annotations

import pytest

from ndmpd.san import San
from protocol.iscsi.pdu import R2T, DataIn, NopIn, NopOut, ScsiResponse
from protocol.iscsi.session import LogoutRequest, LogoutResponse, Reject, RejectReason
from protocol.scsi import command as scsi
from tests.san.target.conftest import Connect

BLOCK = 512
PATTERN = bytes(number % 251 for number in range(1 << 20))


def write(blocks: int, lba: int = 0) -> bytes:
    return scsi.WRITE_10.put(lba=lba, blocks=blocks)


def read(blocks: int, lba: int = 0) -> bytes:
    return scsi.READ_10.put(lba=lba, blocks=blocks)


@pytest.mark.parametrize("digests", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("keys", [
    (("InitialR2T", "Yes"), ("ImmediateData", "No")),
    (("InitialR2T", "No"), ("ImmediateData", "Yes"), ("MaxBurstLength", "65536"),
     ("FirstBurstLength", "512")),
    (("MaxRecvDataSegmentLength", "4096"), ("MaxBurstLength", "10240")),
    (("MaxRecvDataSegmentLength", "1048576"), ("MaxBurstLength", "1048576")),
], ids=["solicited", "small bursts", "small segments", "large"])
@pytest.mark.parametrize("size", [BLOCK, 300 * BLOCK, 1 << 20])
def test_what_was_written_is_read(ready: Connect, keys: tuple[tuple[str, str], ...],
                                  digests: tuple[bool, bool], size: int) -> None:
    one = ready("disk0", *keys, digests=digests)
    answer = one.execute(write(size // BLOCK), out=PATTERN[:size])
    assert (answer.status, answer.residual) == (0, 0)
    answer = one.execute(read(size // BLOCK), length=size)
    assert (answer.status, answer.residual) == (0, 0)
    assert answer.data == PATTERN[:size]


@pytest.mark.parametrize("immediate", [0, 1000, 4096])
def test_unsolicited_data_comes_before_any_is_asked_for(ready: Connect, immediate: int) -> None:
    """Immediate data, then Data-Out up to FirstBurstLength, then an R2T for the rest (4.2.4.2)."""
    one = ready("disk0", ("InitialR2T", "No"), ("ImmediateData", "Yes"), ("FirstBurstLength", "8192"))
    data = PATTERN[:20480]
    tag = one.command(write(40), length=len(data), out=data, immediate=data[:immediate], final=0)
    one.data_out(tag, data[immediate:6000], immediate, final=0)
    one.data_out(tag, data[6000:8192], 6000, data_sn=1)
    assert one.finish(tag, data).status == 0
    assert one.execute(read(40), length=len(data)).data == data


def test_a_read_ends_with_its_data_and_its_sequences_are_marked(ready: Connect) -> None:
    """Status in the last Data-In (11.7.3), F at the end of each burst (11.7.1)."""
    one = ready("disk0", ("MaxRecvDataSegmentLength", "4096"), ("MaxBurstLength", "10240"))
    one.command(read(48), length=48 * BLOCK)
    found = []
    while not found or not found[-1].has_status:
        pdu, data = one.receive()
        assert isinstance(pdu, DataIn)
        found.append(pdu)
    assert [(pdu.offset, pdu.data_sn, pdu.final) for pdu in found] == [
        (0, 0, 0), (4096, 1, 0), (8192, 2, 1), (10240, 3, 0), (14336, 4, 0), (18432, 5, 1), (20480, 6, 1)]
    assert (found[-1].status, len(data)) == (0, 4096)


@pytest.mark.parametrize(("cdb", "length", "moved", "residual", "over"), [
    (read(1), 10000, 512, 9488, False), (read(2), 512, 512, 512, True), (read(1), 200, 200, 312, True),
    (read(1), 0, 0, 512, True), (read(0), 512, 0, 512, False),
    (scsi.INQUIRY.put(allocation=255), 255, 74, 181, False),
    (scsi.INQUIRY.put(allocation=36), 8, 8, 28, True),
    (scsi.READ_CAPACITY_10.put(), 8, 8, 0, False)])
def test_residuals_of_reads(ready: Connect, cdb: bytes, length: int, moved: int, residual: int,
                            over: bool) -> None:
    """RFC 7143 11.4.5: by what the CDB says, against what the initiator expects."""
    answer = ready().execute(cdb, length=length)
    assert (answer.status, len(answer.data), answer.residual) == (0, moved, residual)
    assert (answer.overflow, answer.underflow) == (over, bool(residual) and not over)


@pytest.mark.parametrize(("blocks", "size", "residual", "over"), [
    (2, 512, 512, True), (1, 200, 312, True), (1, 0, 512, True), (1, 1024, 512, False)])
def test_residuals_of_writes(ready: Connect, san: San, blocks: int, size: int, residual: int,
                             over: bool) -> None:
    """What did come is written in whole blocks, and no byte more."""
    one = ready()
    before = one.execute(read(4), length=4 * BLOCK).data
    tag = one.command(write(blocks), length=size, out=b"", write=1)
    answer = one.finish(tag, PATTERN[:size])
    assert (answer.status, answer.residual) == (0, residual)
    assert (answer.overflow, answer.underflow) == (over, not over)
    whole = min(size // BLOCK, blocks) * BLOCK
    assert one.execute(read(4), length=4 * BLOCK).data == PATTERN[:whole] + before[whole:]


def test_a_tape_takes_no_part_of_a_record(ready: Connect) -> None:
    one = ready("tape0")
    while (answer := one.execute(bytes(6))).status:
        assert answer.key == 6
    tag = one.command(scsi.WRITE_6_TAPE.put(length=1000), length=600, out=b"")
    answer = one.finish(tag, PATTERN[:600])
    assert (answer.status, answer.key, answer.code) == (2, 0xB, 0x4B00)
    position = one.execute(scsi.READ_POSITION.put(action=0), length=20)
    assert position.data[4:8] == bytes(4)


@pytest.mark.parametrize("digests", [(False, False), (True, True)])
def test_records_of_a_tape(ready: Connect, digests: tuple[bool, bool]) -> None:
    one = ready("tape0", digests=digests)
    while one.execute(bytes(6)).status:
        pass
    record = PATTERN[:300_001]
    assert one.execute(scsi.WRITE_6_TAPE.put(length=len(record)), out=record).status == 0
    assert one.execute(scsi.WRITE_FILEMARKS_6.put(count=1)).status == 0
    assert one.execute(scsi.REWIND.put()).status == 0
    answer = one.execute(scsi.READ_6_TAPE.put(length=400_000), length=400_000)
    assert (answer.status, answer.data, answer.residual) == (2, record, 400_000 - len(record))
    assert answer.sense[2] & 0x20, "ILI"
    answer = one.execute(scsi.READ_6_TAPE.put(length=512), length=512)
    assert (answer.status, answer.data, answer.residual) == (2, b"", 512)
    assert answer.sense[2] & 0x80, "filemark"


def test_sense_comes_behind_the_data_that_was_moved(ready: Connect) -> None:
    answer = ready().execute(read(1, lba=0xFFFFFF), length=512)
    assert (answer.status, answer.key, answer.code, answer.residual) == (2, 5, 0x2100, 512)


def test_other_luns_are_not_there(ready: Connect) -> None:
    one = ready()
    assert one.finish(one.command(scsi.INQUIRY.put(allocation=36), length=36, lun=1 << 48)).data[0] == 0x7F
    luns = one.finish(one.command(scsi.REPORT_LUNS.put(allocation=64), length=64, lun=5 << 48)).data
    assert luns == bytes((0, 0, 0, 8)) + bytes(12)
    assert one.finish(one.command(bytes(6), lun=1 << 48)).code == 0x2500


def test_an_extended_cdb_arrives_whole(ready: Connect) -> None:
    """A CDB of 32 bytes by an additional header segment; no unit has one, and each says so."""
    one = ready()
    answer = one.execute(bytes((0x7F, 0, 0, 0, 0, 0, 0, 24)) + bytes(24))
    assert (answer.status, answer.key, answer.code) == (2, 5, 0x2000)
    assert one.execute(bytes(6)).status == 0


def test_more_data_than_is_ever_taken_is_refused_before_it_comes(ready: Connect) -> None:
    one = ready()
    tag = one.command(scsi.WRITE_16.put(lba=0, blocks=1 << 22), length=1 << 31, out=b"")
    assert (one.finish(tag).code) == 0x2400
    assert one.execute(scsi.READ_16.put(lba=0, blocks=1 << 22), length=1 << 31).code == 0x2400


@pytest.mark.parametrize("wrong", [
    {"data_sn": 5}, {"offset": 512}, {"transfer_tag": 0x1234}, {"final": 0}, {"size": 8192}])
def test_data_out_that_was_not_asked_for_so_ends_its_command(ready: Connect, wrong: dict[str, int]) -> None:
    one = ready("disk0", ("InitialR2T", "Yes"), ("ImmediateData", "No"))
    tag = one.command(write(8), length=4096, out=b"")
    r2t, _ = one.receive()
    assert isinstance(r2t, R2T) and (r2t.offset, r2t.length) == (0, 4096)
    right = {"offset": 0, "transfer_tag": r2t.transfer_tag}
    given = right | {key: value for key, value in wrong.items() if key != "size"}
    one.data_out(tag, PATTERN[:wrong.get("size", 4096)], given.pop("offset"), **given)
    answer = one.finish(tag)
    assert (answer.status, answer.key, answer.code) == (2, 0xB, 0x4B00)
    assert one.execute(bytes(6)).status == 0


def test_a_damaged_data_segment_ends_its_command_and_not_the_session(ready: Connect) -> None:
    one = ready("disk0", digests=(True, True))
    tag = one.command(write(1), length=BLOCK, out=b"", immediate=PATTERN[:BLOCK], spoil="data")
    answer = one.finish(tag)
    assert (answer.status, answer.key, answer.code) == (2, 0xB, 0x4705)
    assert one.execute(write(1), out=PATTERN[:BLOCK]).status == 0


def test_a_damaged_header_ends_the_connection(ready: Connect) -> None:
    one = ready("disk0", digests=(True, False))
    one.command(bytes(6), spoil="header")
    with pytest.raises(ConnectionError):
        one.receive()


def test_commands_outside_the_window_are_dropped_without_a_word(ready: Connect) -> None:
    """RFC 7143 4.2.2.1."""
    one = ready()
    one.command(bytes(6), cmd_sn=one.cmd_sn + 1000)
    one.cmd_sn -= 1
    one.command(bytes(6), cmd_sn=one.cmd_sn - 1)
    one.cmd_sn -= 1
    assert one.execute(bytes(6)).status == 0


def test_the_window_moves_on_with_commands(ready: Connect) -> None:
    one = ready()
    for _ in range(200):
        tag = one.command(bytes(6))
        pdu, _ = one.receive()
        assert isinstance(pdu, ScsiResponse) and pdu.task_tag == tag
        assert pdu.exp_cmd_sn == one.cmd_sn
        assert 0 < pdu.max_cmd_sn - pdu.exp_cmd_sn < 64


def test_many_commands_at_a_time_are_all_answered_in_order(ready: Connect) -> None:
    one = ready()
    tags = [one.command(read(8, lba=number * 8), length=4096) for number in range(60)]
    assert [one.finish(tag).status for tag in tags] == [0] * 60


def test_a_tag_in_use_is_rejected(ready: Connect) -> None:
    one = ready("disk0", ("InitialR2T", "Yes"), ("ImmediateData", "No"))
    tag = one.command(write(8), length=4096, out=b"")
    r2t, _ = one.receive()
    one.tag = tag - 1
    one.command(bytes(6))
    pdu, data = one.receive()
    assert isinstance(pdu, Reject) and pdu.reason == RejectReason.TASK_IN_PROGRESS and len(data) == 48
    one.data_out(tag, PATTERN[:4096], 0, transfer_tag=r2t.transfer_tag)
    assert one.finish(tag).status == 0


def test_pings_are_echoed(ready: Connect) -> None:
    one = ready()
    one.send(NopOut(task_tag=99, cmd_sn=one.cmd_sn), b"are you there?")
    pdu, data = one.receive()
    assert isinstance(pdu, NopIn) and (pdu.task_tag, data) == (99, b"are you there?")
    one.send(NopOut(task_tag=0xFFFFFFFF, transfer_tag=7, cmd_sn=one.cmd_sn))
    assert one.execute(bytes(6)).status == 0


def test_what_no_target_knows_is_rejected(ready: Connect) -> None:
    one = ready()
    one.socket.sendall(bytes((0x1C | 0x40, 0x80)) + bytes(46))
    pdu, data = one.receive()
    assert isinstance(pdu, Reject) and pdu.reason == RejectReason.NOT_SUPPORTED and data[0] == 0x5C
    one.socket.sendall(bytes((0x10 | 0x40, 0x80)) + bytes(46))
    assert one.receive()[0].reason == RejectReason.SNACK


def test_logout_ends_the_session(ready: Connect) -> None:
    one = ready()
    one.send(LogoutRequest(task_tag=5, cmd_sn=one.cmd_sn, reason=2))
    assert one.receive()[0].response == 2
    one.send(LogoutRequest(task_tag=6, cmd_sn=one.cmd_sn))
    pdu, _ = one.receive()
    assert isinstance(pdu, LogoutResponse) and pdu.response == 0
    with pytest.raises(ConnectionError):
        one.receive()


def test_a_data_segment_beyond_what_was_agreed_ends_the_connection(ready: Connect) -> None:
    one = ready()
    one.socket.sendall(bytes((0x01, 0xA1, 0, 0, 0, 0xFF, 0xFF, 0xFF)) + bytes(40))
    with pytest.raises(ConnectionError):
        one.receive()
