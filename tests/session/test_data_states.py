"""Every DATA state against every input, in both versions.

The tables below were written from figure 7 and the clauses 3.5.2.1 to 3.5.2.9 of the draft; they are not read
from the session's own table.
"""

from __future__ import annotations

import pytest

from ndmpd.session import effects, events
from ndmpd.session.data import DATA, DataInput
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    RecoveryStatus,
    Version,
)
from protocol.ndmp.data import (
    DataAbortRequest,
    DataConnectRequest,
    DataGetEnvRequest,
    DataGetStateRequest,
    DataListenRequest,
    DataStartRecoverFilehistRequest,
    DataStopRequest,
)
from protocol.ndmp.message import Message
from protocol.ndmp.notify import NotifyDataHaltedPost
from tests.session.driver import HERE, PEER, Dma, posts
from tests.session.expectation import Cell, cells
from tests.session.stages import BACKUP, ENV, RECOVER, TCP, data_in

REQUESTS: dict[str, tuple[Message, events.Event | None]] = {
    "GET_STATE": (DataGetStateRequest(), None),
    "LISTEN": (DataListenRequest(AddrType.TCP), events.DataListening((HERE,))),
    "CONNECT": (DataConnectRequest(TCP), events.DataConnected(PEER)),
    "START_BACKUP": (BACKUP, events.DataStarted()),
    "START_RECOVER": (RECOVER, events.DataStarted()),
    "START_FILEHIST": (DataStartRecoverFilehistRequest(ENV, (), "tar"), events.DataStarted()),
    "GET_ENV": (DataGetEnvRequest(), None),
    "ABORT": (DataAbortRequest(), None),
    "STOP": (DataStopRequest(), None),
}
EXPECTED_REQUESTS = """
                IDLE       LISTEN   CONNECTED  ACTIVE   HALTED
GET_STATE       IDLE       LISTEN   CONNECTED  ACTIVE   HALTED
LISTEN          LISTEN     -        -          -        -
CONNECT         CONNECTED  -        -          -        -
START_BACKUP    -          -        ACTIVE     -        -
START_RECOVER   -          -        ACTIVE     -        -
START_FILEHIST  -          -        ACTIVE     -        -
GET_ENV         -          -        -          ACTIVE   HALTED
ABORT           -          !HALTED  !HALTED    !HALTED  HALTED
STOP            -          -        -          -        IDLE
"""

EVENTS: dict[str, events.Event] = {
    "accepted": events.DataAccepted(PEER),
    "halted": events.DataHalted(DataHaltReason.CONNECT_ERROR),
    "variable": events.DataVariable("LEVEL", "0"),
    "recovered": events.Recovered("/a", RecoveryStatus.SUCCESSFUL),
    "history": events.History(0x703, b"\0\0\0\0"),
    "wants": events.DataWants(0, 512),
}
EXPECTED_EVENTS = """
            IDLE  LISTEN     CONNECTED  ACTIVE   HALTED
accepted    -     CONNECTED  -          -        -
halted      -     !HALTED    !HALTED    !HALTED  -
variable    -     -          CONNECTED  ACTIVE   -
recovered   -     -          -          ACTIVE   -
history     -     -          -          ACTIVE   -
wants       -     -          -          ACTIVE   -
"""

CAUSES = {"accepted": DataInput.PEER_CONNECTED, "halted": DataInput.ENDED}

VERSIONS = pytest.mark.parametrize("version", Version)


def name(cell: Cell) -> str:
    return f"{cell.cause}-in-{cell.state}"


def notices(seen: list) -> list[NotifyDataHaltedPost]:
    return [post for post in posts(seen) if isinstance(post, NotifyDataHaltedPost)]


@VERSIONS
@pytest.mark.parametrize("cell", cells(EXPECTED_REQUESTS), ids=name)
def test_a_request_does_what_the_draft_says_in_each_state(cell: Cell, version: Version) -> None:
    dma = data_in(DataState[cell.state], version, recover=cell.cause == "GET_ENV")
    request, completion = REQUESTS[cell.cause]
    seen = dma.turn(request)
    if cell.to is not None and completion is not None:
        assert dma.session.busy
        seen = dma.tell(completion)
    assert not dma.session.busy
    assert seen[0].error == (Error.NO_ERR if cell.to else Error.ILLEGAL_STATE)
    assert dma.session.data_state == DataState[cell.to or cell.state]
    assert len(notices(seen)) == cell.notice
    if cell.to is None:
        assert dma.deeds == [], "a refused request changes nothing (2.11.1)"
    else:
        cause = DataInput[cell.cause.replace("_FILEHIST", "_RECOVER_FILEHIST")]
        assert DATA.step(DataState[cell.state], cause, version) == DataState[cell.to]
    assert dma.complaints == []


@VERSIONS
@pytest.mark.parametrize("cell", cells(EXPECTED_EVENTS), ids=name)
def test_an_event_counts_in_its_states_and_is_ignored_in_others(cell: Cell, version: Version) -> None:
    dma = data_in(DataState[cell.state], version, recover=True)
    seen = dma.tell(EVENTS[cell.cause])
    assert dma.session.data_state == DataState[cell.to or cell.state]
    assert len(notices(seen)) == cell.notice
    if cell.to is None:
        assert seen == [] and dma.deeds == []
        assert dma.notes[-1].startswith("ignored ")
    elif cell.cause in CAUSES:
        assert DATA.step(DataState[cell.state], CAUSES[cell.cause], version) == DataState[cell.to]
    assert dma.complaints == []


def test_the_tables_above_leave_out_no_state_and_no_request() -> None:
    both = [*cells(EXPECTED_REQUESTS), *cells(EXPECTED_EVENTS)]
    assert {cell.state for cell in both} == {state.name for state in DataState}
    requests = {cause.name for cause in DataInput} - {"PEER_CONNECTED", "ENDED", "START_RECOVER_FILEHIST"}
    assert {cell.cause for cell in cells(EXPECTED_REQUESTS)} == requests | {"START_FILEHIST"}


def test_every_row_of_the_machine_names_its_clause() -> None:
    for (state, cause), step in DATA.rows.items():
        assert step.clause[:2] in ("2.", "3."), (state, cause)


def test_a_backup_asks_the_mover_for_nothing() -> None:
    dma = data_in(DataState.ACTIVE)
    assert dma.tell(events.DataWants(0, 512)) == []
    assert dma.deeds == []


@pytest.mark.parametrize("refused", [
    (DataListenRequest(AddrType.TCP), DataState.IDLE),
    (DataConnectRequest(TCP), DataState.IDLE),
    (BACKUP, DataState.CONNECTED),
], ids=["listen", "connect", "start"])
def test_what_a_service_cannot_do_leaves_the_state_as_it_was(refused: tuple[Message, DataState]) -> None:
    request, state = refused
    dma = data_in(state)
    assert dma.ask(request) is None
    seen = dma.tell(events.DataFailed(Error.CONNECT, "10.0.0.2 port 20002 refused the connection"))
    assert seen[0].error == Error.CONNECT
    log = posts(seen)[0]
    assert log.entry == "10.0.0.2 port 20002 refused the connection"
    assert log.associated_message_sequence == seen[0].header.sequence
    assert dma.session.data_state == state and not dma.session.busy


def test_a_start_that_crosses_the_loss_of_its_connection_is_refused_and_undone() -> None:
    """2.11.5.1: the notice is out before the reply."""
    dma = data_in(DataState.CONNECTED)
    assert dma.ask(BACKUP) is None
    seen = dma.tell(events.DataHalted(DataHaltReason.CONNECT_ERROR))
    assert notices(seen) == [NotifyDataHaltedPost(DataHaltReason.CONNECT_ERROR)]
    assert dma.session.busy
    seen = dma.tell(events.DataStarted())
    assert [one.error for one in seen] == [Error.ILLEGAL_STATE]
    assert dma.deeds == [effects.DataAbort()]
    assert dma.session.data_state == DataState.HALTED


def test_abort_is_answered_at_once_and_announced_after_the_reply() -> None:
    dma = data_in(DataState.ACTIVE)
    seen = dma.turn(DataAbortRequest())
    assert dma.deeds == [effects.DataAbort()]
    assert [one.kind.value for one in seen] == ["reply", "post"]
    assert posts(seen) == [NotifyDataHaltedPost(DataHaltReason.ABORTED)]


def test_nothing_of_a_job_is_sent_after_its_notice() -> None:
    dma: Dma = data_in(DataState.HALTED)
    for event in EVENTS.values():
        assert dma.tell(event) == []
    assert dma.tell(events.DataHalted(DataHaltReason.SUCCESSFUL)) == []
