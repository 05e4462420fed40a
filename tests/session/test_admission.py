"""Every message code against every level of access, every kind of open device and every state of the mover.

What is expected was written from 2.5.3, 2.8.1, 2.9, 2.11.3, 2.11.4 and 3.4 of the draft; it is not read from
the session's own table.
"""

from __future__ import annotations

import pytest

from ndmpd.session import events
from ndmpd.session.admission import RULES
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, Error, MoverState, TapeMtioOp, TapeOpenMode, Version
from protocol.ndmp.connect import ConnectOpenRequest
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.scsi import ScsiOpenReply
from protocol.ndmp.tape import TapeCloseReply, TapeMtioRequest, TapeOpenReply, TapeOpenRequest
from tests.session.driver import Dma, Kind, Seen
from tests.session.stages import mover_in

BEFORE_AUTHENTICATION = {
    Code.CONNECT_OPEN, Code.CONNECT_CLOSE, Code.CONNECT_CLIENT_AUTH, Code.CONFIG_GET_SERVER_INFO,
    Code.CONFIG_GET_AUTH_ATTR,
}
"""2.11.3."""

POSTS = {
    Code.NOTIFY_DATA_HALTED, Code.NOTIFY_CONNECTION_STATUS, Code.NOTIFY_MOVER_HALTED,
    Code.NOTIFY_MOVER_PAUSED, Code.NOTIFY_DATA_READ, Code.LOG_FILE, Code.LOG_MESSAGE, Code.FH_ADD_FILE,
    Code.FH_ADD_DIR, Code.FH_ADD_NODE,
}
OBSOLETE = {Code.SCSI_SET_TARGET, Code.SCSI_RESET_BUS}
V4_ONLY = {Code.CONFIG_SET_EXT_LIST, Code.CONFIG_GET_EXT_LIST}
UNKNOWN = (0, 0x101, 0x2FF, 0x40C, 0xA0A, 0xF000, 0x10000, 0x20000000, 0x20500001, 0xFFFFFFFF)


def supported(code: Code, version: Version) -> bool:
    return code not in POSTS | OBSOLETE and (code not in V4_ONLY or version == Version.V4)


def empty_body(code: int, version: Version) -> bytes:
    """Zeros that decode: empty strings and lists, the first member of each enum."""
    cls = registry.request_class(code, version)
    return bytes(cls.least(version)) if cls else b""


def session_before_authentication(version: Version) -> Dma:
    dma = Dma(version, authorized=False)
    assert dma.ask(ConnectOpenRequest(version)) == Error.NO_ERR
    return dma


def in_header(seen: list[Seen]) -> Error:
    """The error of a reply that has no body."""
    assert len(seen) == 1 and seen[0].kind is Kind.REPLY and seen[0].body is None
    return Error(seen[0].header.error)


VERSIONS = pytest.mark.parametrize("version", Version)
CODES = pytest.mark.parametrize("code", Code, ids=lambda code: code.name)


@VERSIONS
@CODES
def test_before_authentication_only_five_requests_are_served(code: Code, version: Version) -> None:
    dma = session_before_authentication(version)
    seen = dma.record(code, empty_body(code, version))
    if not supported(code, version):
        assert in_header(seen) == Error.NOT_SUPPORTED
    elif code not in BEFORE_AUTHENTICATION:
        assert isinstance(seen[0].body, Reply)
        assert seen[0].body == type(seen[0].body)(Error.NOT_AUTHORIZED)
    else:
        assert all(one.error != Error.NOT_AUTHORIZED or code == Code.CONNECT_CLIENT_AUTH for one in seen)
    assert dma.complaints == []


@VERSIONS
@CODES
def test_an_authorized_dma_may_send_whatever_the_version_has(code: Code, version: Version) -> None:
    dma = Dma(version)
    seen = dma.record(code, empty_body(code, version))
    if supported(code, version):
        errors = [one.error for one in seen if one.kind is Kind.REPLY]
        assert not {Error.NOT_SUPPORTED, Error.NOT_AUTHORIZED, Error.XDR_DECODE} & set(errors)
    else:
        assert in_header(seen) == Error.NOT_SUPPORTED
    assert dma.complaints == []


@VERSIONS
@pytest.mark.parametrize("code", UNKNOWN, ids=hex)
def test_a_message_nobody_knows_is_not_supported_and_the_session_goes_on(code: int, version: Version) -> None:
    for dma in Dma(version), session_before_authentication(version):
        assert in_header(dma.record(code, b"whatever")) == Error.NOT_SUPPORTED
        assert not dma.session.closed


@pytest.mark.parametrize(("version", "code"), [
    pytest.param(version, code, id=f"{version.name}-{code.name}")
    for version in Version for code in Code if supported(code, version) and code != Code.CONNECT_CLOSE
])
def test_a_body_that_cannot_be_decoded_is_answered_in_the_header(version: Version, code: Code) -> None:
    dma = Dma(version)
    too_long = empty_body(code, version) + b"\xff\xff\xff\xff"
    assert in_header(dma.record(code, too_long)) == Error.XDR_DECODE
    assert not dma.session.closed


@VERSIONS
def test_a_close_ends_the_session_without_a_reply_whatever_comes_behind_it(version: Version) -> None:
    for dma in Dma(version), session_before_authentication(version):
        assert dma.record(Code.CONNECT_CLOSE, b"\xff\xff\xff") == []
        assert dma.session.closed


def test_access_is_checked_before_a_byte_of_the_body_is_read() -> None:
    seen = session_before_authentication(Version.V4).record(Code.DATA_START_BACKUP, b"\xff" * 64)
    assert seen[0].error == Error.NOT_AUTHORIZED and seen[0].body is not None


def test_the_table_holds_every_request_and_names_its_clause() -> None:
    assert set(RULES) == {code for code in Code if supported(code, Version.V4)}
    assert all(rule.clause.startswith("3.") for rule in RULES.values())


# Devices (2.11.4)

TAPE = [Code.TAPE_CLOSE, Code.TAPE_GET_STATE, Code.TAPE_MTIO, Code.TAPE_WRITE, Code.TAPE_READ,
        Code.TAPE_EXECUTE_CDB]
SCSI = [Code.SCSI_CLOSE, Code.SCSI_GET_STATE, Code.SCSI_RESET_DEVICE, Code.SCSI_EXECUTE_CDB]


def open_device(dma: Dma, code: Code, reply: Reply) -> None:
    assert dma.record(code, empty_body(code, Version.V4)) == []
    dma.tell(events.Performed(reply))


def with_device(name: str) -> Dma:
    dma = Dma()
    if name == "tape":
        open_device(dma, Code.TAPE_OPEN, TapeOpenReply())
    elif name == "scsi":
        open_device(dma, Code.SCSI_OPEN, ScsiOpenReply())
    return dma


@pytest.mark.parametrize("code", TAPE + SCSI, ids=lambda code: code.name)
@pytest.mark.parametrize("device", ["none", "tape", "scsi"])
def test_a_request_needs_its_own_kind_of_device(code: Code, device: str) -> None:
    dma = with_device(device)
    seen = dma.record(code, empty_body(code, Version.V4))
    if device == ("tape" if code in TAPE else "scsi"):
        assert seen == [] and dma.session.busy
    else:
        assert [one.error for one in seen] == [Error.DEV_NOT_OPEN]


@pytest.mark.parametrize("code", [Code.TAPE_OPEN, Code.SCSI_OPEN], ids=lambda code: code.name)
@pytest.mark.parametrize("device", ["tape", "scsi"])
def test_a_second_device_is_refused_whatever_its_kind(code: Code, device: str) -> None:
    seen = with_device(device).record(code, empty_body(code, Version.V4))
    assert seen[0].error == Error.DEVICE_OPENED


def test_a_device_that_failed_to_open_is_not_open() -> None:
    dma = Dma()
    open_device(dma, Code.TAPE_OPEN, TapeOpenReply(Error.DEVICE_BUSY))
    assert dma.record(Code.TAPE_READ, empty_body(Code.TAPE_READ, Version.V4))[0].error == Error.DEV_NOT_OPEN


def test_a_tape_close_that_failed_leaves_the_drive_open_for_another_close() -> None:
    """3.4.3: the second one does no further input or output."""
    dma = with_device("tape")
    dma.record(Code.TAPE_CLOSE)
    assert dma.tell(events.Performed(TapeCloseReply(Error.IO)))[0].error == Error.IO
    assert dma.record(Code.SCSI_OPEN, empty_body(Code.SCSI_OPEN, Version.V4))[0].error == Error.DEVICE_OPENED
    dma.record(Code.TAPE_CLOSE)
    assert dma.tell(events.Performed(TapeCloseReply()))[0].error == Error.NO_ERR
    assert dma.record(Code.SCSI_OPEN, empty_body(Code.SCSI_OPEN, Version.V4)) == []


@VERSIONS
@pytest.mark.parametrize(("request_", "needs_v4"), [
    (TapeOpenRequest("tape0", 123), None),
    (TapeOpenRequest("tape0", TapeOpenMode.RAW), True),
    (TapeOpenRequest("tape0", TapeOpenMode.RDWR), False),
    (TapeMtioRequest(123, 1), None),
    (TapeMtioRequest(TapeMtioOp.TUR, 1), True),
    (TapeMtioRequest(TapeMtioOp.OFF, 1), False),
])
def test_enums_outside_the_version_are_illegal_arguments_before_the_device_is_looked_at(
        request_: Message, needs_v4: bool | None, version: Version) -> None:
    error = Dma(version).ask(request_)
    if needs_v4 is None or (needs_v4 and version == Version.V3):
        assert error == Error.ILLEGAL_ARGS
    else:
        assert error in (None, Error.DEV_NOT_OPEN)


BUSY = {
    MoverState.IDLE: set(),
    MoverState.LISTEN: {Code.TAPE_CLOSE, Code.TAPE_WRITE, Code.TAPE_READ},
    MoverState.ACTIVE: set(TAPE) - {Code.TAPE_GET_STATE},
    MoverState.PAUSED: set(),
    MoverState.HALTED: set(),
}
"""3.4.3, 3.4.6, 3.4.7 for LISTEN and ACTIVE; 2.11.4 for the rest in ACTIVE."""


@VERSIONS
@pytest.mark.parametrize("code", TAPE, ids=lambda code: code.name)
@pytest.mark.parametrize("state", MoverState, ids=lambda state: state.name)
def test_the_tape_belongs_to_a_mover_that_uses_it(state: MoverState, code: Code, version: Version) -> None:
    dma = mover_in(state, version)
    seen = dma.record(code, empty_body(code, version))
    if code in BUSY[state]:
        assert seen[0].error == Error.DEVICE_BUSY
    else:
        assert seen == [] and dma.session.busy
