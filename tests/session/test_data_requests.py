"""What DATA says of itself and of its job: state, environment, logs, history, reads (3.5, 4.1, 4.2)."""

from __future__ import annotations

import pytest

from ndmpd.session import DataFigures, effects, events
from protocol.ndmp.address import LOCAL, Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    Code,
    DataHaltReason,
    DataOperation,
    DataState,
    DataUnsupported,
    Error,
    HasAssociatedMessage,
    LogType,
    MoverHaltReason,
    MoverState,
    RecoveryStatus,
    Version,
)
from protocol.ndmp.config import ConfigGetHostInfoRequest
from protocol.ndmp.data import (
    DataAbortRequest,
    DataConnectRequest,
    DataGetEnvReply,
    DataGetEnvRequest,
    DataGetStateReply,
    DataGetStateRequest,
    DataListenReply,
    DataListenRequest,
    DataStartBackupRequest,
    DataStartRecoverFilehistRequest,
    DataStartRecoverRequest,
    DataStopRequest,
)
from protocol.ndmp.header import SIZE
from protocol.ndmp.log import LogFilePost, LogMessagePost
from protocol.ndmp.message import Message, Pval
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyDataReadPost
from tests.session.driver import ALL_ONES, HERE, PEER, Dma, posts
from tests.session.stages import BACKUP, ENV, EVERYTHING, RECOVER, TCP, data_in, mover_in

VERSIONS = pytest.mark.parametrize("version", Version)


def state_of(dma: Dma) -> DataGetStateReply:
    body = dma.turn(DataGetStateRequest())[0].body
    assert isinstance(body, DataGetStateReply)
    return body


def environment_of(dma: Dma) -> list[tuple[str, str]]:
    body = dma.turn(DataGetEnvRequest())[0].body
    assert isinstance(body, DataGetEnvReply) and body.error == Error.NO_ERR
    return [(pair.name, pair.value) for pair in body.env]


# Connecting (3.5.2.1, 3.5.2.2)

@pytest.mark.parametrize("addr_type", [AddrType.IPC, AddrType.FC, 123, -1])
@VERSIONS
def test_only_local_and_tcp_addresses_are_served(addr_type: int, version: Version) -> None:
    dma = Dma(version)
    assert dma.ask(DataListenRequest(addr_type)) == Error.ILLEGAL_ARGS
    assert dma.ask(DataConnectRequest(Address(addr_type))) == Error.ILLEGAL_ARGS


def test_an_empty_list_of_tcp_addresses_is_refused() -> None:
    assert Dma().ask(DataConnectRequest(Address(AddrType.TCP, ()))) == Error.ILLEGAL_ARGS


def test_the_listen_reply_lists_every_address_and_the_state_the_first() -> None:
    dma = Dma()
    other = TcpAddress(HERE.ip + 1, HERE.port)
    assert dma.ask(DataListenRequest(AddrType.TCP)) is None
    seen = dma.tell(events.DataListening((HERE, other)))
    assert seen[0].body == DataListenReply(connect_addr=Address(AddrType.TCP, (HERE, other)))
    assert state_of(dma).data_connection_addr == Address(AddrType.TCP, (HERE,))


def test_data_that_is_connected_names_its_peer_once_and_without_environment() -> None:
    """3.5.1.1, data_connection_addr."""
    dma = Dma()
    target = Address(AddrType.TCP, (TcpAddress(7, 7, (("fast", "y"),)), PEER))
    assert dma.ask(DataConnectRequest(target)) is None
    assert dma.deeds == [effects.DataConnect(target.tcp)]
    dma.tell(events.DataConnected(PEER))
    assert state_of(dma).data_connection_addr == Address(AddrType.TCP, (PEER,))


@VERSIONS
def test_a_local_listen_is_answered_with_a_local_address(version: Version) -> None:
    assert Dma(version).turn(DataListenRequest(AddrType.LOCAL))[0].body == DataListenReply(connect_addr=LOCAL)


# Starting (3.5.2.3 to 3.5.2.5)

@pytest.mark.parametrize(("start", "operation"), [
    (BACKUP, DataOperation.BACKUP),
    (RECOVER, DataOperation.RECOVER),
    (DataStartRecoverFilehistRequest(ENV, (), "tar"), DataOperation.RECOVER_FILEHIST),
])
@VERSIONS
def test_a_start_hands_the_job_over_as_it_was_sent(start: Message, operation: DataOperation,
                                                   version: Version) -> None:
    dma = data_in(DataState.CONNECTED, version)
    assert dma.ask(start) is None
    environment = (("FILESYSTEM", "/export"), ("HIST", "y"), ("odd name", ""))
    nlist = EVERYTHING if operation == DataOperation.RECOVER else ()
    assert dma.deeds == [effects.DataStart(operation, "tar", environment, nlist)]
    assert state_of_after(dma, events.DataStarted()).operation == operation


def state_of_after(dma: Dma, event: events.Event) -> DataGetStateReply:
    dma.tell(event)
    return state_of(dma)


def test_a_recover_of_nothing_is_refused_and_a_listing_of_everything_is_not() -> None:
    """ndmjob -t sends an empty list."""
    dma = data_in(DataState.CONNECTED)
    assert dma.ask(DataStartRecoverRequest(ENV, (), "tar")) == Error.ILLEGAL_ARGS
    assert dma.ask(DataStartRecoverFilehistRequest(ENV, (), "tar")) is None


@pytest.mark.parametrize("error", [Error.ILLEGAL_ARGS, Error.NO_ERR])
def test_a_job_that_is_refused_may_be_sent_again(error: Error) -> None:
    """An event of failure without an error is answered UNDEFINED, never as a success."""
    dma = data_in(DataState.CONNECTED)
    assert dma.ask(BACKUP) is None
    seen = dma.tell(events.DataFailed(error, "no such butype: tar; dump is served"))
    assert seen[0].error == (error or Error.UNDEFINED)
    assert dma.ask(DataStartBackupRequest("dump", ())) is None
    dma.tell(events.DataStarted())
    assert environment_of(dma) == []


# Environment (3.5.2.7)

SENT = [("FILESYSTEM", "/export"), ("HIST", "y"), ("odd name", "")]


@pytest.mark.parametrize("recover", [False, True])
def test_the_environment_comes_back_as_sent_with_what_the_job_added(recover: bool) -> None:
    dma = data_in(DataState.ACTIVE, recover=recover)
    assert environment_of(dma) == SENT
    dma.tell(events.DataVariable("DUMP_DATE", "7"))
    dma.tell(events.DataVariable("HIST", "d"))
    dma.tell(events.DataVariable("DUMP_DATE", "8"))
    changed = [("FILESYSTEM", "/export"), ("HIST", "d"), ("odd name", ""), ("DUMP_DATE", "8")]
    assert environment_of(dma) == changed
    dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL))
    assert environment_of(dma) == changed


def test_a_name_sent_twice_comes_back_twice_and_is_replaced_in_both_places() -> None:
    dma = data_in(DataState.CONNECTED)
    dma.ask(DataStartBackupRequest("tar", (Pval("LEVEL", "1"), Pval("X", "x"), Pval("LEVEL", "2"))))
    dma.tell(events.DataVariable("LEVEL", "0"))
    dma.tell(events.DataStarted())
    assert environment_of(dma) == [("LEVEL", "0"), ("X", "x"), ("LEVEL", "0")]


def test_names_differ_by_case_and_by_every_byte() -> None:
    dma = data_in(DataState.CONNECTED)
    dma.ask(DataStartBackupRequest("tar", (Pval("hist", "y"), Pval("caf\udce9", "\udcff"))))
    dma.tell(events.DataStarted())
    dma.tell(events.DataVariable("HIST", "n"))
    assert environment_of(dma) == [("hist", "y"), ("caf\udce9", "\udcff"), ("HIST", "n")]


def test_a_job_that_never_was_has_no_environment() -> None:
    dma = data_in(DataState.LISTEN)
    dma.ask(DataAbortRequest())
    assert environment_of(dma) == []
    refused = data_in(DataState.CONNECTED)
    refused.ask(BACKUP)
    refused.tell(events.DataFailed(Error.ILLEGAL_ARGS, "no"))
    refused.ask(DataAbortRequest())
    assert environment_of(refused) == []


def test_stop_forgets_everything() -> None:
    dma = data_in(DataState.ACTIVE, recover=True)
    dma.tell(events.DataWants(512, 512))
    dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL))
    dma.figures.data_figures = DataFigures(5, 6, 7)
    assert dma.ask(DataStopRequest()) == Error.NO_ERR
    assert dma.deeds == [effects.DataRelease()]
    unknown = DataUnsupported.EST_BYTES_REMAIN | DataUnsupported.EST_TIME_REMAIN
    assert state_of(dma) == DataGetStateReply(unsupported=unknown)


# State (3.5.2.6)

@pytest.mark.parametrize(("figures", "unsupported"), [
    (DataFigures(10, 20, 30), DataUnsupported(0)),
    (DataFigures(10, None, 30), DataUnsupported.EST_BYTES_REMAIN),
    (DataFigures(10, 20, None), DataUnsupported.EST_TIME_REMAIN),
    (DataFigures(10), DataUnsupported.EST_BYTES_REMAIN | DataUnsupported.EST_TIME_REMAIN),
    (DataFigures(10, 0, 0), DataUnsupported(0)),
])
@VERSIONS
def test_the_state_marks_estimates_that_nobody_made(figures: DataFigures, unsupported: DataUnsupported,
                                                    version: Version) -> None:
    dma = data_in(DataState.ACTIVE, version)
    dma.figures.data_figures = figures
    assert state_of(dma) == DataGetStateReply(
        unsupported=unsupported, operation=DataOperation.BACKUP, state=DataState.ACTIVE, bytes_processed=10,
        est_bytes_remain=figures.est_bytes_remain or 0, est_time_remain=figures.est_time_remain or 0,
        data_connection_addr=Address(AddrType.TCP, (PEER,)))


def test_an_endless_estimate_still_fits_its_field() -> None:
    dma = data_in(DataState.ACTIVE)
    dma.figures.data_figures = DataFigures(0, 1, 1 << 40)
    assert state_of(dma).est_time_remain == 0xFFFFFFFF


# Reading (3.5.2.4, 4.1.5)

@pytest.mark.parametrize(("offset", "length", "posted"), [
    (0, ALL_ONES, ALL_ONES), (512, ALL_ONES, ALL_ONES - 512), (512, 1024, 1024), (0, 0, 0),
])
def test_remote_data_asks_the_dma_for_what_it_wants(offset: int, length: int, posted: int) -> None:
    """A length that the DMA passes on as it is must not overflow in MOVER_READ (3.6.2.5)."""
    dma = data_in(DataState.ACTIVE, recover=True)
    assert posts(dma.tell(events.DataWants(offset, length))) == [NotifyDataReadPost(offset, posted)]
    assert (state_of(dma).read_offset, state_of(dma).read_length) == (offset, posted)


# The end of a job (4.1.1)

@VERSIONS
def test_the_text_of_a_failure_comes_before_the_notice(version: Version) -> None:
    dma = data_in(DataState.ACTIVE, version)
    seen = dma.tell(events.DataHalted(DataHaltReason.INTERNAL_ERROR, "block 7 of disk0 cannot be read"))
    text = "block 7 of disk0 cannot be read"
    assert posts(seen) == [
        LogMessagePost(LogType.ERROR, 0, text),
        NotifyDataHaltedPost(DataHaltReason.INTERNAL_ERROR, text if version == Version.V3 else ""),
    ]
    assert state_of(dma).halt_reason == DataHaltReason.INTERNAL_ERROR


def test_a_success_with_a_remark_is_no_error() -> None:
    dma = data_in(DataState.ACTIVE)
    log = posts(dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL, "3 files were skipped")))[0]
    assert log == LogMessagePost(LogType.NORMAL, 0, "3 files were skipped")


# Logs (4.2)

@VERSIONS
def test_a_refusal_is_explained_with_reference_to_its_reply(version: Version) -> None:
    dma = Dma(version)
    reply, log = dma.turn(DataListenRequest(123))
    assert isinstance(log.body, LogMessagePost) and log.body.log_type == LogType.ERROR
    assert "use LOCAL or TCP" in log.body.entry
    if version == Version.V4:
        assert log.body.associated_message_valid == HasAssociatedMessage.HAS_ASSOCIATED_MESSAGE
        assert log.body.associated_message_sequence == reply.header.sequence


def test_a_job_logs_to_the_dma_without_reference_to_any_message() -> None:
    dma = data_in(DataState.ACTIVE)
    assert posts(dma.tell(events.Log(LogType.WARNING, "/a: vanished"))) == [
        LogMessagePost(LogType.WARNING, 0, "/a: vanished", HasAssociatedMessage.NO_ASSOCIATED_MESSAGE, 0)]


@pytest.mark.parametrize(("dma", "told"), [
    (data_in(DataState.IDLE), False), (data_in(DataState.CONNECTED), True), (data_in(DataState.ACTIVE), True),
    (data_in(DataState.HALTED), False), (mover_in(MoverState.LISTEN), True),
    (mover_in(MoverState.ACTIVE), True), (mover_in(MoverState.PAUSED), True),
    (mover_in(MoverState.HALTED), False),
], ids=["idle", "data connected", "data active", "data halted", "mover listening", "mover active",
        "mover paused", "mover halted"])
def test_a_log_goes_to_the_dma_while_there_is_a_job_and_to_the_server_after(dma: Dma, told: bool) -> None:
    assert bool(posts(dma.tell(events.Log(LogType.ERROR, "the drive is hot")))) == told
    assert ("the drive is hot" in dma.notes) != told


def test_a_service_may_explain_the_reply_it_is_about_to_give() -> None:
    dma = Dma()
    dma.ask(ConfigGetHostInfoRequest())
    assert len(posts(dma.tell(events.Log(LogType.ERROR, "hostid is unreadable")))) == 1


@pytest.mark.parametrize("status", RecoveryStatus)
def test_the_outcome_of_a_name_is_posted_as_it_was_given(status: RecoveryStatus) -> None:
    dma = data_in(DataState.ACTIVE, recover=True)
    assert posts(dma.tell(events.Recovered("/a\udcff", status))) == [LogFilePost("/a\udcff", status)]


def test_history_passes_through_byte_for_byte() -> None:
    dma = data_in(DataState.ACTIVE)
    body = bytes(range(256)) * 4
    (sent,) = dma.session.handle(events.History(Code.FH_ADD_NODE, body), 5)
    assert isinstance(sent, effects.Send)
    assert sent.record[SIZE:] == body
    assert int.from_bytes(sent.record[12:16], "big") == Code.FH_ADD_NODE


def test_a_mover_in_the_same_session_may_explain_its_end() -> None:
    ended = events.MoverHalted(MoverHaltReason.MEDIA_ERROR, "tape0: I/O error")
    seen = mover_in(MoverState.PAUSED).tell(ended)
    assert posts(seen)[0] == LogMessagePost(LogType.ERROR, 0, "tape0: I/O error")


def test_a_connection_over_tcp_needs_no_mover_here() -> None:
    dma = Dma()
    assert dma.ask(DataConnectRequest(TCP)) is None
    dma.tell(events.DataConnected(PEER))
    assert dma.session.mover_state == MoverState.IDLE
    assert dma.ask(RECOVER) is None
