"""What differs between version 3 and 4, and what becomes of values that only one of them has."""

from __future__ import annotations

import pytest

from protocol.errors import WireError
from protocol.ndmp import registry
from protocol.ndmp.address import Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    AuthType,
    ButypeAttr,
    Code,
    DataState,
    Error,
    FsType,
    MoverHaltReason,
    MoverMode,
    RecoveryStatus,
    TapeAttr,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.config import ButypeInfo, DeviceCapability
from protocol.ndmp.connect import AuthAttr, AuthData, ConnectOpenReply, ConnectOpenRequest
from protocol.ndmp.data import DataConnectRequest, DataGetStateReply, Name
from protocol.ndmp.filehist import FileName
from protocol.ndmp.forms import V3_NEAREST
from protocol.ndmp.log import LogFilePost
from protocol.ndmp.message import Message, Pval
from protocol.ndmp.mover import MoverConnectRequest, MoverGetStateReply, MoverListenReply, MoverListenRequest
from protocol.ndmp.notify import NotifyMoverHaltedPost
from protocol.ndmp.tape import TapeOpenRequest

both_versions = pytest.mark.parametrize("version", Version)


def _there_and_back(body: Message, version: Version) -> Message:
    return registry.decode(type(body), registry.encode(body, version), version)


@both_versions
@pytest.mark.parametrize("body", [
    MoverListenRequest(123, AddrType.TCP),
    MoverListenRequest(MoverMode.READ, 123),
    TapeOpenRequest("tape0", 123),
    MoverConnectRequest(MoverMode.READ, Address(123)),
    DataGetStateReply(state=123, operation=-1),
    DataGetStateReply(error=0x7FFFFFFF),
    AuthData(77),
    AuthAttr(77),
    FileName(9, "kept"),
    DeviceCapability("tape0", TapeAttr(0x80000001), ()),
], ids=str)
def test_a_number_without_a_member_survives_as_a_plain_number(body: Message, version: Version) -> None:
    assert _there_and_back(body, version) == body


def test_known_and_unknown_numbers_differ_in_type() -> None:
    taken = _there_and_back(MoverListenRequest(MoverMode.WRITE, 123), Version.V4)
    assert isinstance(taken, MoverListenRequest)
    assert isinstance(taken.mode, MoverMode)
    assert not isinstance(taken.addr_type, AddrType)


def test_the_opening_of_a_session_is_the_same_in_both_versions() -> None:
    for body in (ConnectOpenRequest(2), ConnectOpenReply(Error.ILLEGAL_ARGS)):
        assert registry.encode(body, Version.V3) == registry.encode(body, Version.V4)


def test_version_3_is_told_the_first_of_several_addresses() -> None:
    first, second = TcpAddress(0x0A000001, 1, (("A", "b"),)), TcpAddress(0x0A000002, 2)
    taken = _there_and_back(MoverListenReply(connect_addr=Address(AddrType.TCP, (first, second))), Version.V3)
    assert taken == MoverListenReply(connect_addr=Address(AddrType.TCP, (TcpAddress(0x0A000001, 1),)))


def test_version_3_cannot_be_told_of_no_address() -> None:
    with pytest.raises(WireError, match=r"DataConnectRequest\.addr: Address\.tcp: a TCP address is needed"):
        registry.encode(DataConnectRequest(Address(AddrType.TCP)), Version.V3)


def test_a_loop_id_is_on_the_wire_in_version_3_alone() -> None:
    body = DataConnectRequest(Address(AddrType.FC, loop_id=5))
    assert registry.encode(body, Version.V3) == bytes.fromhex("00000002 00000005")
    assert registry.encode(body, Version.V4) == bytes.fromhex("00000002")


@pytest.mark.parametrize(("told", "instead"), [
    (Error.SEQUENCE_NUM, Error.ILLEGAL_ARGS),
    (Error.READ_IN_PROGRESS, Error.ILLEGAL_STATE),
    (Error.PRECONDITION, Error.ILLEGAL_STATE),
    (Error.CLASS_NOT_SUPPORTED, Error.NOT_SUPPORTED),
    (Error.VERSION_NOT_SUPPORTED, Error.NOT_SUPPORTED),
    (Error.EXT_DUPL_CLASSES, Error.ILLEGAL_ARGS),
    (Error.EXT_DANDN_ILLEGAL, Error.ILLEGAL_ARGS),
])
def test_version_3_is_told_the_nearest_error_it_knows(told: Error, instead: Error) -> None:
    body = ConnectOpenReply(told)
    assert _there_and_back(body, Version.V3) == ConnectOpenReply(instead)
    assert _there_and_back(body, Version.V4) == body


def test_every_error_that_version_3_lacks_has_a_nearest_one() -> None:
    assert set(V3_NEAREST[Error]) == {error for error in Error if error > Error.CONNECT}
    assert all(nearest <= Error.CONNECT for nearest in V3_NEAREST[Error].values())


def test_version_3_is_told_of_a_media_error_as_an_internal_one() -> None:
    taken = _there_and_back(NotifyMoverHaltedPost(MoverHaltReason.MEDIA_ERROR, "bad tape"), Version.V3)
    assert taken == NotifyMoverHaltedPost(MoverHaltReason.INTERNAL_ERROR, "bad tape")


@pytest.mark.parametrize(("attrs", "v3", "back"), [
    (ButypeAttr.BACKUP_FH_FILE, 0x001, ButypeAttr.BACKUP_FH_FILE | ButypeAttr.BACKUP_FH_DIR),
    (ButypeAttr.BACKUP_FH_DIR, 0x001, ButypeAttr.BACKUP_FH_FILE | ButypeAttr.BACKUP_FH_DIR),
    (ButypeAttr.RECOVER_FILEHIST, 0x200,
     ButypeAttr.RECOVER_FILEHIST | ButypeAttr.RECOVER_FH_FILE | ButypeAttr.RECOVER_FH_DIR),
    (ButypeAttr(0x1FE), 0x1FE, ButypeAttr(0x1FE)),
    (ButypeAttr(0), 0, ButypeAttr(0)),
])
def test_version_3_is_told_of_history_not_of_its_kind(attrs: ButypeAttr, v3: int, back: ButypeAttr) -> None:
    body = ButypeInfo("tar", (), attrs)
    assert registry.encode(body, Version.V3)[-4:] == v3.to_bytes(4)
    assert _there_and_back(body, Version.V3) == ButypeInfo("tar", (), back)
    assert _there_and_back(body, Version.V4) == body


@pytest.mark.parametrize(("status", "error"), [
    (RecoveryStatus.SUCCESSFUL, Error.NO_ERR),
    (RecoveryStatus.FAILED_PERMISSION, Error.PERMISSION),
    (RecoveryStatus.FAILED_NOT_FOUND, Error.FILE_NOT_FOUND),
    (RecoveryStatus.FAILED_NO_DIRECTORY, Error.BAD_FILE),
    (RecoveryStatus.FAILED_OUT_OF_MEMORY, Error.NO_MEM),
    (RecoveryStatus.FAILED_IO_ERROR, Error.IO),
    (RecoveryStatus.FAILED_UNDEFINED_ERROR, Error.UNDEFINED),
])
def test_version_3_is_told_an_error_for_what_became_of_a_file(status: RecoveryStatus, error: Error) -> None:
    body = LogFilePost("/f", status)
    assert registry.encode(body, Version.V3)[-4:] == error.to_bytes(4)
    assert _there_and_back(body, Version.V3) == body


def test_outcomes_that_one_version_cannot_say_become_undefined_failures() -> None:
    exists = LogFilePost("/f", RecoveryStatus.FAILED_FILE_PATH_EXISTS)
    undefined = LogFilePost("/f", RecoveryStatus.FAILED_UNDEFINED_ERROR)
    assert _there_and_back(exists, Version.V3) == undefined
    busy = registry.encode(exists, Version.V3)[:-4] + Error.DEVICE_BUSY.to_bytes(4)
    assert registry.decode(LogFilePost, busy, Version.V3) == undefined


@pytest.mark.parametrize(("code", "version"), [
    (Code.SCSI_SET_TARGET, Version.V3),
    (Code.SCSI_RESET_BUS, Version.V3),
    (Code.CONFIG_SET_EXT_LIST, Version.V4),
    (Code.CONFIG_GET_EXT_LIST, Version.V4),
])
def test_a_message_of_one_version_is_unknown_in_the_other(code: Code, version: Version) -> None:
    (other,) = set(Version) - {version}
    assert registry.request_class(code, version)
    assert registry.reply_class(code, version)
    assert registry.request_class(code, other) is None
    assert registry.reply_class(code, other) is None


@both_versions
@pytest.mark.parametrize("code", [0, 0x101, 0x306, 0xF000, 0x10000, 0x20000001, 1 << 40, -1])
def test_unknown_codes_have_no_class(code: int, version: Version) -> None:
    assert registry.request_class(code, version) is None
    assert registry.reply_class(code, version) is None
    assert registry.post_class(code, version) is None


@both_versions
def test_a_request_is_no_post_and_a_post_no_request(version: Version) -> None:
    assert registry.post_class(Code.MOVER_READ, version) is None
    assert registry.request_class(Code.NOTIFY_DATA_READ, version) is None
    assert registry.reply_class(Code.LOG_FILE, version) is None
    assert registry.reply_class(Code.CONNECT_CLOSE, version) is None


@both_versions
def test_classes_know_their_message(version: Version) -> None:
    for code in Code:
        for lookup in (registry.request_class, registry.reply_class, registry.post_class):
            cls = lookup(code, version)
            assert cls is None or registry.code_of(cls) == code


@both_versions
def test_every_reply_can_be_a_refusal_and_nothing_more(version: Version) -> None:
    for code in Code:
        cls = registry.reply_class(code, version)
        if cls:
            assert _there_and_back(cls(Error.NOT_SUPPORTED), version) == cls(Error.NOT_SUPPORTED)


def test_requests_of_the_same_form_are_different_messages() -> None:
    scsi = registry.request_class(Code.SCSI_EXECUTE_CDB, Version.V4)
    tape = registry.request_class(Code.TAPE_EXECUTE_CDB, Version.V4)
    assert scsi is not None and tape is not None and scsi is not tape


def test_a_part_of_a_body_is_no_message() -> None:
    with pytest.raises(KeyError):
        registry.code_of(Pval)


@pytest.mark.parametrize(("body", "complaint"), [
    (ConnectOpenRequest(65536), r"ConnectOpenRequest\.protocol_version: 65536"),
    (Name("a", "b", "", "", -1, 0), r"Name\.node: -1"),
    (MoverGetStateReply(record_size=1 << 32), r"MoverGetStateReply\.record_size"),
    (AuthData(AuthType.MD5, "me", auth_digest=b"short"), r"AuthData\.auth_digest: 5 bytes"),
    (FileName(FsType.NT, "\ud800"), r"FileName\.name"),
])
def test_a_value_that_does_not_fit_is_refused_by_field_name(body: Message, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        registry.encode(body, Version.V4)


def test_a_count_beyond_the_body_is_refused_before_its_elements() -> None:
    """A name takes 32 bytes at least; the smallest entries are what bounds a count."""
    cls = registry.request_class(Code.DATA_START_RECOVER, Version.V4)
    assert cls is not None
    with pytest.raises(WireError, match="3 elements announced where 68 bytes are left"):
        registry.decode(cls, bytes.fromhex("00000000 00000003") + bytes(68), Version.V4)


def test_raw_mode_reaches_the_server_in_both_versions() -> None:
    for version in Version:
        body = TapeOpenRequest("tape0", TapeOpenMode.RAW)
        assert _there_and_back(body, version) == body


def test_states_decode_to_members() -> None:
    taken = _there_and_back(DataGetStateReply(state=DataState.LISTEN), Version.V3)
    assert isinstance(taken, DataGetStateReply)
    assert taken.state is DataState.LISTEN
