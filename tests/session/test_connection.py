"""The connection as such: greeting, version, headers, sequence numbers, its end (2.6, 2.7, 2.11.2, 3.1)."""

from __future__ import annotations

import struct

import pytest

from ndmpd.session import ServerFacts, Session, effects, events
from protocol.ndmp.codes import (
    Code,
    ConnectionStatusReason,
    DataState,
    Error,
    LogType,
    MessageType,
    MoverMode,
    Version,
)
from protocol.ndmp.config import (
    ConfigGetHostInfoReply,
    ConfigGetHostInfoRequest,
    ConfigGetServerInfoReply,
    ConfigGetServerInfoRequest,
)
from protocol.ndmp.connect import ConnectCloseRequest, ConnectOpenRequest
from protocol.ndmp.data import DataGetEnvRequest, DataGetStateRequest
from protocol.ndmp.log import LogMessagePost
from protocol.ndmp.notify import NotifyConnectionStatusPost
from protocol.ndmp.tape import TapeOpenReply
from tests.session.driver import POLICY, Challenges, Dma, FakeFigures, Kind, decoded, posts
from tests.session.stages import data_in, joined_and_started

SHUTDOWN = NotifyConnectionStatusPost(ConnectionStatusReason.SHUTDOWN, 4, "")
END = [effects.ReleaseAll(), effects.Disconnect()]


# Version (3.1.1)

def test_the_server_speaks_first_and_names_the_highest_version() -> None:
    dma = Dma(authorized=False)
    assert [one.body for one in dma.seen] == [
        NotifyConnectionStatusPost(ConnectionStatusReason.CONNECTED, 4, "")]
    assert Dma(server=ServerFacts(highest=Version.V3), authorized=False).seen[0].body.protocol_version == 3


@pytest.mark.parametrize("version", [0, 1, 2, 5, 0xFFFF])
def test_a_version_that_is_not_spoken_is_refused_and_another_may_be_tried(version: int) -> None:
    dma = Dma(authorized=False)
    assert dma.ask(ConnectOpenRequest(version)) == Error.ILLEGAL_ARGS
    assert dma.ask(ConnectOpenRequest(3)) == Error.NO_ERR
    assert dma.session.version == Version.V3


def test_a_server_limited_to_version_3_refuses_4() -> None:
    dma = Dma(server=ServerFacts(highest=Version.V3), authorized=False)
    assert dma.ask(ConnectOpenRequest(4)) == Error.ILLEGAL_ARGS
    assert dma.session.version == Version.V3


@pytest.mark.parametrize("version", [3, 4])
def test_the_version_is_chosen_once(version: int) -> None:
    dma = Dma(authorized=False)
    assert dma.ask(ConnectOpenRequest(version)) == Error.NO_ERR
    assert dma.ask(ConnectOpenRequest(version)) == Error.ILLEGAL_STATE
    assert dma.ask(ConnectOpenRequest(7 - version)) == Error.ILLEGAL_STATE
    assert dma.session.version == version


def test_any_other_request_accepts_the_version_offered() -> None:
    dma = Dma(authorized=False)
    assert dma.ask(ConfigGetHostInfoRequest()) == Error.NOT_AUTHORIZED
    assert dma.ask(ConnectOpenRequest(3)) == Error.ILLEGAL_STATE
    assert dma.session.version == Version.V4


# Headers (2.6, 2.7)

def test_sequence_numbers_start_at_one_and_count_every_message_sent() -> None:
    dma = data_in(DataState.HALTED)
    assert [one.header.sequence for one in dma.seen] == list(range(1, len(dma.seen) + 1))


def test_a_reply_names_its_request_and_a_post_names_none() -> None:
    dma = joined_and_started(MoverMode.READ)
    dma.tell(events.Log(LogType.NORMAL, "hello"))
    replies = [one.header.reply_sequence for one in dma.seen if one.kind is Kind.REPLY]
    assert replies == list(range(1, dma.sequence + 1))
    assert {one.header.reply_sequence for one in dma.seen if one.kind is Kind.POST} == {0}


def test_the_time_stamp_is_the_time_given() -> None:
    for now, stamp in (1000, 1000), ((1 << 32) + 77.9, 77):
        sent = Session(ServerFacts(), POLICY, FakeFigures(), Challenges()).start(now)[0]
        assert isinstance(sent, effects.Send)
        assert decoded(sent, Version.V4).header.time_stamp == stamp


def test_sequence_numbers_wrap_past_zero() -> None:
    dma = Dma()
    dma.session._out._sequence = 0xFFFFFFFE
    seen = [dma.turn(DataGetStateRequest())[0].header.sequence for _ in range(3)]
    assert seen == [0xFFFFFFFF, 1, 2]


@pytest.mark.parametrize("jump", [0, 5, 1 << 31])
def test_a_peer_that_counts_in_its_own_way_is_served_and_noted(jump: int) -> None:
    dma = Dma()
    before = len(dma.notes)
    dma.sequence = (dma.sequence + jump - 1) & 0xFFFFFFFF
    seen = dma.turn(DataGetStateRequest())
    assert seen[0].error == Error.NO_ERR and seen[0].header.reply_sequence == dma.sequence
    assert len(dma.notes) == before + 1


@pytest.mark.parametrize("record", [b"", b"GET / HTTP/1.1\r\n", bytes(23)])
def test_a_record_without_a_header_ends_the_connection(record: bytes) -> None:
    dma = Dma(authorized=False)
    assert posts(dma.raw(record)) == [SHUTDOWN]
    assert dma.deeds == END
    assert "does not speak NDMP" in dma.notes[-1]


def test_a_header_of_unknown_type_ends_the_connection() -> None:
    dma = Dma(authorized=False)
    assert posts(dma.record(Code.CONNECT_OPEN, b"", kind=2)) == [SHUTDOWN]
    assert dma.session.closed


def test_a_reply_from_the_peer_is_ignored_and_noted() -> None:
    dma = Dma(authorized=False)
    assert dma.record(Code.CONNECT_OPEN, b"", kind=MessageType.REPLY) == []
    assert dma.notes[-1].startswith("ignored a reply")
    assert dma.ask(ConnectOpenRequest(3)) == Error.NO_ERR


def test_fields_that_are_zero_in_a_request_are_not_looked_at() -> None:
    """2.7 says MUST, and nothing depends on them."""
    header = struct.pack(">6I", 9, 1, MessageType.REQUEST, Code.DATA_GET_STATE, 55, Error.IO)
    assert Dma().raw(header)[0].error == Error.NO_ERR


# The end

def test_close_gets_no_reply_and_frees_everything_before_the_peer_sees_the_end() -> None:
    dma = Dma()
    assert dma.turn(ConnectCloseRequest()) == []
    assert dma.deeds == END
    assert dma.session.closed and not dma.session.busy


def test_a_lost_connection_frees_everything_and_sends_nothing() -> None:
    dma = joined_and_started(MoverMode.READ)
    assert dma.tell(events.ConnectionLost("reset by peer")) == []
    assert dma.deeds == [effects.ReleaseAll()]
    assert dma.session.closed


def test_a_connection_lost_in_the_middle_of_a_request_leaves_nobody_busy() -> None:
    dma = Dma()
    assert dma.ask(ConfigGetHostInfoRequest()) is None
    dma.tell(events.ConnectionLost())
    assert not dma.session.busy
    assert dma.tell(events.Performed(ConfigGetHostInfoReply())) == []


def test_an_end_from_this_side_is_announced() -> None:
    dma = joined_and_started(MoverMode.READ, Version.V3)
    assert posts(dma.tell(events.Shutdown())) == [
        NotifyConnectionStatusPost(ConnectionStatusReason.SHUTDOWN, 3, "")]
    assert dma.deeds == END


def test_everything_is_released_once() -> None:
    dma = Dma()
    dma.turn(ConnectCloseRequest())
    for event in events.ConnectionLost(), events.Shutdown(), events.Log(LogType.NORMAL, "late"):
        assert dma.tell(event) == [] and dma.last == []
    assert dma.raw(b"anything") == [] and dma.last == []


def test_a_connection_that_cannot_be_served_is_told_why() -> None:
    session = Session(ServerFacts(), POLICY, FakeFigures(), Challenges())
    sent, *rest = session.refuse("all 64 sessions are in use; try again later", 5)
    assert decoded(sent, Version.V4).body == NotifyConnectionStatusPost(
        ConnectionStatusReason.REFUSED, 4, "all 64 sessions are in use; try again later")
    assert rest == END and session.closed


# Requests that a service carries out

def test_a_performed_request_is_answered_with_the_services_reply() -> None:
    dma = Dma()
    assert dma.ask(ConfigGetHostInfoRequest()) is None
    assert dma.deeds == [effects.Perform(ConfigGetHostInfoRequest())]
    assert dma.session.busy
    reply = ConfigGetHostInfoReply(hostname="head", os_type="Linux", os_vers="6.1", hostid="1")
    assert dma.tell(events.Performed(reply))[0].body == reply
    assert not dma.session.busy


def test_server_info_is_served_before_authentication() -> None:
    dma = Dma(authorized=False)
    assert dma.ask(ConfigGetServerInfoRequest()) is None
    assert dma.tell(events.Log(LogType.ERROR, "inside")) == [], "nobody is told what goes on in here"
    assert dma.notes[-1] == "inside"
    assert dma.tell(events.Performed(ConfigGetServerInfoReply(vendor_name="v")))[0].error == Error.NO_ERR


def test_no_record_may_be_given_while_a_request_is_open() -> None:
    dma = Dma()
    dma.ask(ConfigGetHostInfoRequest())
    with pytest.raises(RuntimeError):
        dma.turn(DataGetStateRequest())
    assert dma.tell(events.Performed(ConfigGetHostInfoReply()))[0].error == Error.NO_ERR


@pytest.mark.parametrize("event", [
    events.Performed(ConfigGetHostInfoReply()), events.DataStarted(), events.DataFailed(Error.IO, "x"),
    events.DataListening(()), events.MoverConnected(None), events.MoverFailed(Error.IO, "x"),
], ids=lambda event: type(event).__name__)
def test_an_answer_that_nobody_waits_for_is_ignored(event: events.Event) -> None:
    dma = Dma()
    assert dma.tell(event) == [] and dma.deeds == []
    assert dma.notes[-1] == f"ignored {type(event).__name__}: too late"


def test_an_answer_to_another_request_leaves_the_open_one_open() -> None:
    dma = Dma()
    dma.ask(ConfigGetHostInfoRequest())
    assert dma.tell(events.DataStarted()) == []
    assert dma.session.busy


# Bugs

def test_a_service_that_gives_the_wrong_reply_costs_an_undefined_error_and_no_more() -> None:
    dma = Dma()
    dma.ask(ConfigGetHostInfoRequest())
    assert dma.tell(events.Performed(TapeOpenReply()))[0].error == Error.UNDEFINED
    assert "TapeOpenReply" in dma.notes[-1]
    assert dma.ask(DataGetStateRequest()) == Error.NO_ERR


def test_a_handler_with_a_bug_answers_undefined_and_the_session_goes_on() -> None:
    dma = data_in(DataState.ACTIVE)
    dma.figures.data_figures = None  # type: ignore[assignment]
    assert dma.ask(DataGetStateRequest()) == Error.UNDEFINED
    assert "AttributeError" in dma.notes[-1]
    assert dma.ask(DataGetEnvRequest()) == Error.NO_ERR


def test_a_reply_that_cannot_be_encoded_is_an_error_in_the_header() -> None:
    dma = Dma()
    dma.ask(ConfigGetHostInfoRequest())
    seen = dma.tell(events.Performed(ConfigGetHostInfoReply(hostname="\ud800")))
    assert seen[0].body is None and seen[0].error == Error.XDR_ENCODE


def test_a_log_text_without_bytes_of_its_own_is_sent_all_the_same() -> None:
    dma = data_in(DataState.ACTIVE)
    entries = [posts(dma.tell(events.Log(LogType.ERROR, text)))[0] for text in ("caf\udce9", "\ud800!")]
    assert [entry.entry for entry in entries if isinstance(entry, LogMessagePost)] == ["caf\udce9", "?!"]
