"""DATA and MOVER of one session, joined by NDMP LOCAL."""

from __future__ import annotations

import pytest

from ndmpd.session import effects, events
from ndmpd.session.joint import JOINED
from protocol.ndmp.address import LOCAL
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    Version,
)
from protocol.ndmp.data import DataAbortRequest, DataConnectRequest, DataListenRequest, DataStopRequest
from protocol.ndmp.message import Message
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverCloseRequest,
    MoverConnectRequest,
    MoverContinueRequest,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
    MoverStopRequest,
)
from protocol.ndmp.notify import NotifyDataHaltedPost, NotifyDataReadPost, NotifyMoverHaltedPost
from tests.session.driver import ALL_ONES, HERE, PEER, RECORD, Dma, Kind, posts
from tests.session.stages import BACKUP, RECOVER, TCP, joined, joined_and_started

READ, WRITE = MoverMode.READ, MoverMode.WRITE
D, M = DataState, MoverState


def pair(dma: Dma) -> tuple[DataState, MoverState]:
    return dma.session.data_state, dma.session.mover_state


def ready() -> Dma:
    dma = Dma()
    dma.open_tape()
    assert dma.ask(MoverSetRecordSizeRequest(RECORD)) == Error.NO_ERR
    return dma


# Joining

@pytest.mark.parametrize("version", Version)
@pytest.mark.parametrize("mover_calls", [False, True], ids=["data connects", "mover connects"])
@pytest.mark.parametrize("mode", [READ, WRITE])
def test_whichever_side_connects_both_are_connected_at_once(mode: MoverMode, mover_calls: bool,
                                                            version: Version) -> None:
    dma = joined(mode, version, mover_calls)
    assert pair(dma) == (D.CONNECTED, M.ACTIVE)
    assert [type(effect) for effect in dma.last] == [effects.JoinLocal, effects.Send, effects.MoverStart]
    assert dma.last[-1] == effects.MoverStart(mode, RECORD, 0, ALL_ONES)


def test_data_cannot_connect_where_no_mover_listens() -> None:
    dma = ready()
    assert dma.ask(DataConnectRequest(LOCAL)) == Error.CONNECT
    assert dma.ask(MoverListenRequest(READ, AddrType.TCP)) is None
    dma.tell(events.MoverListening((HERE,)))
    assert dma.ask(DataConnectRequest(LOCAL)) == Error.CONNECT
    assert pair(dma) == (D.IDLE, M.LISTEN)


def test_the_mover_cannot_connect_where_no_data_listens() -> None:
    dma = ready()
    assert dma.ask(MoverConnectRequest(READ, LOCAL)) == Error.CONNECT
    assert dma.ask(DataListenRequest(AddrType.TCP)) is None
    dma.tell(events.DataListening((HERE,)))
    assert dma.ask(MoverConnectRequest(READ, LOCAL)) == Error.CONNECT
    assert pair(dma) == (D.LISTEN, M.IDLE)


@pytest.mark.parametrize("asked", [
    (DataListenRequest(AddrType.LOCAL), MoverListenRequest(READ, AddrType.LOCAL)),
    (MoverListenRequest(READ, AddrType.LOCAL), DataListenRequest(AddrType.LOCAL)),
])
def test_both_sides_cannot_wait_for_each_other(asked: tuple[Message, Message]) -> None:
    dma = ready()
    assert [dma.ask(one) for one in asked] == [Error.NO_ERR, Error.ILLEGAL_STATE]


def test_a_call_from_the_network_does_not_reach_a_local_listener() -> None:
    dma = ready()
    dma.ask(MoverListenRequest(READ, AddrType.LOCAL))
    dma.tell(events.MoverAccepted(PEER))
    assert pair(dma) == (D.IDLE, M.LISTEN)
    dma.ask(MoverAbortRequest())
    dma.ask(DataListenRequest(AddrType.LOCAL))
    dma.tell(events.DataAccepted(PEER))
    assert pair(dma) == (D.LISTEN, M.HALTED)


@pytest.mark.parametrize(("mode", "start", "error"), [
    (READ, BACKUP, None), (WRITE, RECOVER, None),
    (READ, RECOVER, Error.ILLEGAL_STATE), (WRITE, BACKUP, Error.ILLEGAL_STATE),
])
def test_a_job_needs_its_joined_mover_in_its_own_direction(mode: MoverMode, start: Message,
                                                           error: Error | None) -> None:
    assert joined(mode).ask(start) == error


# Each event on each pair that a join can be in

def in_pair(data: DataState, mover: MoverState, mode: MoverMode) -> Dma:
    dma = joined(mode) if data == D.CONNECTED else joined_and_started(mode)
    if data == D.HALTED:
        dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL))
    if mover == M.PAUSED:
        dma.tell(events.MoverPaused(MoverPauseReason.EOM))
    elif mover == M.HALTED:
        dma.tell(events.MoverHalted(MoverHaltReason.CONNECT_CLOSED))
    assert pair(dma) == (data, mover)
    return dma


INPUTS: dict[str, Message | events.Event] = {
    "DATA_ABORT": DataAbortRequest(),
    "MOVER_ABORT": MoverAbortRequest(),
    "MOVER_CLOSE": MoverCloseRequest(),
    "data ended": events.DataHalted(DataHaltReason.CONNECT_ERROR),
    "mover ended": events.MoverHalted(MoverHaltReason.MEDIA_ERROR),
    "mover paused": events.MoverPaused(MoverPauseReason.EOF),
}
LEADS_TO: dict[tuple[DataState, MoverState], dict[str, tuple[DataState, MoverState]]] = {
    (D.CONNECTED, M.ACTIVE): {
        "DATA_ABORT": (D.HALTED, M.ACTIVE),
        "MOVER_ABORT": (D.HALTED, M.HALTED),
        "data ended": (D.HALTED, M.ACTIVE),
        "mover ended": (D.HALTED, M.HALTED),
        "mover paused": (D.CONNECTED, M.PAUSED),
    },
    (D.CONNECTED, M.PAUSED): {
        "DATA_ABORT": (D.HALTED, M.PAUSED),
        "MOVER_ABORT": (D.HALTED, M.HALTED),
        "MOVER_CLOSE": (D.HALTED, M.HALTED),
        "data ended": (D.HALTED, M.PAUSED),
        "mover ended": (D.HALTED, M.HALTED),
    },
    (D.ACTIVE, M.ACTIVE): {
        "DATA_ABORT": (D.HALTED, M.ACTIVE),
        "MOVER_ABORT": (D.ACTIVE, M.HALTED),
        "data ended": (D.HALTED, M.ACTIVE),
        "mover ended": (D.ACTIVE, M.HALTED),
        "mover paused": (D.ACTIVE, M.PAUSED),
    },
    (D.ACTIVE, M.PAUSED): {
        "DATA_ABORT": (D.HALTED, M.PAUSED),
        "MOVER_ABORT": (D.ACTIVE, M.HALTED),
        "MOVER_CLOSE": (D.ACTIVE, M.HALTED),
        "data ended": (D.HALTED, M.PAUSED),
        "mover ended": (D.ACTIVE, M.HALTED),
    },
    (D.ACTIVE, M.HALTED): {
        "DATA_ABORT": (D.HALTED, M.HALTED),
        "MOVER_ABORT": (D.ACTIVE, M.HALTED),
        "data ended": (D.HALTED, M.HALTED),
    },
    (D.HALTED, M.ACTIVE): {
        "DATA_ABORT": (D.HALTED, M.ACTIVE),
        "MOVER_ABORT": (D.HALTED, M.HALTED),
        "mover ended": (D.HALTED, M.HALTED),
        "mover paused": (D.HALTED, M.PAUSED),
    },
    (D.HALTED, M.PAUSED): {
        "DATA_ABORT": (D.HALTED, M.PAUSED),
        "MOVER_ABORT": (D.HALTED, M.HALTED),
        "MOVER_CLOSE": (D.HALTED, M.HALTED),
        "mover ended": (D.HALTED, M.HALTED),
    },
    (D.HALTED, M.HALTED): {
        "DATA_ABORT": (D.HALTED, M.HALTED),
        "MOVER_ABORT": (D.HALTED, M.HALTED),
    },
}
"""What is left out changes nothing: an event ignored, a request refused with ILLEGAL_STATE. MOVER_CLOSE in
(HALTED, ACTIVE) depends on the direction and has a test of its own."""
CASES = [
    pytest.param(before, cause, id=f"{cause}-in-{before[0].name}-{before[1].name}")
    for before in LEADS_TO for cause in INPUTS
    if (before, cause) != ((D.HALTED, M.ACTIVE), "MOVER_CLOSE")
]


@pytest.mark.parametrize("mode", [READ, WRITE])
@pytest.mark.parametrize(("before", "cause"), CASES)
def test_each_input_leads_each_pair_where_it_should(before: tuple[DataState, MoverState], cause: str,
                                                    mode: MoverMode) -> None:
    dma = in_pair(*before, mode)
    given = INPUTS[cause]
    seen = dma.turn(given) if isinstance(given, Message) else dma.tell(given)
    after = LEADS_TO[before].get(cause, before)
    assert pair(dma) == after
    told = [type(post) for post in posts(seen)]
    assert told.count(NotifyDataHaltedPost) == (after[0] != before[0])
    assert told.count(NotifyMoverHaltedPost) == (after[1] != before[1] and after[1] == M.HALTED)
    if isinstance(given, Message):
        refused = cause not in LEADS_TO[before]
        assert seen[0].error == (Error.ILLEGAL_STATE if refused else Error.NO_ERR)


def test_the_pairs_above_are_all_there_are() -> None:
    assert set(LEADS_TO) == set(JOINED)
    reached = {after for outcomes in LEADS_TO.values() for after in outcomes.values()}
    assert reached <= set(JOINED)


@pytest.mark.parametrize(("mode", "error"), [(WRITE, Error.NO_ERR), (READ, Error.ILLEGAL_STATE)])
def test_a_recovers_mover_may_be_closed_once_data_halted_a_backups_writes_on(mode: MoverMode,
                                                                             error: Error) -> None:
    dma = in_pair(D.HALTED, M.ACTIVE, mode)
    assert dma.ask(MoverCloseRequest()) == error
    assert dma.session.mover_state == (M.HALTED if error == Error.NO_ERR else M.ACTIVE)


def test_data_without_a_job_learns_of_the_movers_end_after_its_notice() -> None:
    dma = joined()
    seen = dma.turn(MoverAbortRequest())
    assert [one.kind for one in seen] == [Kind.REPLY, Kind.POST, Kind.POST, Kind.POST]
    mover, _, data = posts(seen)
    assert mover == NotifyMoverHaltedPost(MoverHaltReason.ABORTED)
    assert data == NotifyDataHaltedPost(DataHaltReason.CONNECT_ERROR)
    assert dma.deeds == [effects.MoverAbort(), effects.DataAbort()]


def test_a_job_being_started_is_refused_when_the_mover_ends() -> None:
    dma = joined()
    assert dma.ask(BACKUP) is None
    seen = dma.tell(events.MoverHalted(MoverHaltReason.INTERNAL_ERROR))
    assert dma.session.data_state == D.HALTED
    assert effects.DataAbort() in dma.deeds
    # No event of an aborted job follows: the reply comes now or never.
    assert [one.error for one in seen if one.kind is Kind.REPLY] == [Error.ILLEGAL_STATE]
    assert seen[-1].kind is Kind.POST
    assert not dma.session.busy
    assert dma.tell(events.DataStarted()) == []


@pytest.mark.parametrize("stop", [DataStopRequest(), MoverStopRequest()], ids=["data", "mover"])
def test_after_a_stop_the_sides_no_longer_know_each_other(stop: Message) -> None:
    dma = in_pair(D.HALTED, M.HALTED, READ)
    assert dma.ask(stop) == Error.NO_ERR
    other = MoverStopRequest() if isinstance(stop, DataStopRequest) else DataStopRequest()
    assert dma.ask(other) == Error.NO_ERR
    assert dma.ask(DataConnectRequest(TCP)) is None
    dma.tell(events.DataConnected(PEER))
    assert dma.ask(RECOVER) is None, "a mover of a join long gone has no say in the direction"


# Reading for a joined recover

def test_local_data_asks_its_mover_and_not_the_dma() -> None:
    """3.5.2.4; ndmjob answers NOTIFY_DATA_READ with a MOVER_READ, which a local mover has no use for."""
    dma = joined_and_started(WRITE)
    assert dma.tell(events.DataWants(RECORD, 4096)) == []
    assert dma.deeds == [effects.MoverRead(RECORD, 4096)]
    assert dma.ask(MoverReadRequest(0, 512)) == Error.ILLEGAL_STATE


@pytest.mark.parametrize("offset", [0, RECORD])
def test_to_the_end_of_the_stream_is_all_ones_for_the_mover(offset: int) -> None:
    dma = joined_and_started(WRITE)
    dma.tell(events.DataWants(offset, ALL_ONES))
    assert dma.deeds == [effects.MoverRead(offset, ALL_ONES)]


def test_wanting_nothing_moves_nothing() -> None:
    dma = joined_and_started(WRITE)
    noted = len(dma.notes)
    assert dma.tell(events.DataWants(RECORD, 0)) == []
    assert dma.deeds == [] and len(dma.notes) == noted


def test_what_data_wants_of_a_paused_mover_waits_for_continue() -> None:
    dma = joined_and_started(WRITE)
    dma.tell(events.MoverPaused(MoverPauseReason.EOF))
    assert dma.tell(events.DataWants(5 * RECORD, 512)) == [] and dma.deeds == []
    dma.ask(MoverSetWindowRequest(4 * RECORD, ALL_ONES))
    dma.ask(MoverContinueRequest())
    assert dma.deeds == [effects.MoverContinue(4 * RECORD, ALL_ONES), effects.MoverRead(5 * RECORD, 512)]
    dma.tell(events.MoverPaused(MoverPauseReason.EOF))
    dma.ask(MoverSetWindowRequest(0, ALL_ONES))
    dma.ask(MoverContinueRequest())
    assert dma.deeds == [effects.MoverContinue(0, ALL_ONES)], "and is asked for once"


def test_what_data_wants_of_a_mover_that_is_gone_is_not_asked_for() -> None:
    dma = joined_and_started(WRITE)
    dma.tell(events.MoverHalted(MoverHaltReason.MEDIA_ERROR))
    assert dma.tell(events.DataWants(0, 512)) == [] and dma.deeds == []


def test_data_on_tcp_asks_the_dma_even_with_a_mover_beside_it() -> None:
    dma = ready()
    assert dma.ask(MoverListenRequest(WRITE, AddrType.TCP)) is None
    dma.tell(events.MoverListening((HERE,)))
    assert dma.ask(DataConnectRequest(TCP)) is None
    dma.tell(events.DataConnected(PEER))
    dma.tell(events.MoverAccepted(PEER))
    assert dma.ask(RECOVER) is None
    dma.tell(events.DataStarted())
    seen = dma.tell(events.DataWants(0, ALL_ONES))
    assert posts(seen) == [NotifyDataReadPost(0, ALL_ONES)] and dma.deeds == []
    assert dma.ask(MoverReadRequest(0, ALL_ONES)) == Error.NO_ERR
