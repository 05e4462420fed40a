"""Every MOVER state against every input, in both versions and both directions.

The tables below were written from figure 8 and the clauses 3.6.2.1 to 3.6.2.10 of the draft, and from what
ndmjob and Bareos send where it differs: MOVER_CLOSE in ACTIVE, SET_WINDOW after LISTEN in version 3. They are
not read from the session's own table.
"""

from __future__ import annotations

import pytest

from ndmpd.session import effects, events
from ndmpd.session.mover import MOVER, MoverInput
from protocol.ndmp.codes import (
    AddrType,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    Version,
)
from protocol.ndmp.message import Message
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverCloseRequest,
    MoverConnectRequest,
    MoverContinueRequest,
    MoverGetStateRequest,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
    MoverStopRequest,
)
from protocol.ndmp.notify import NotifyMoverHaltedPost, NotifyMoverPausedPost
from tests.session.driver import HERE, PEER, RECORD, posts
from tests.session.expectation import Cell, cells
from tests.session.stages import TCP, mover_in


def requests(mode: MoverMode) -> dict[str, tuple[Message, events.Event | None]]:
    return {
        "GET_STATE": (MoverGetStateRequest(), None),
        "SET_RECORD_SIZE": (MoverSetRecordSizeRequest(RECORD), None),
        "SET_WINDOW": (MoverSetWindowRequest(0, RECORD), None),
        "LISTEN": (MoverListenRequest(mode, AddrType.TCP), events.MoverListening((HERE,))),
        "CONNECT": (MoverConnectRequest(mode, TCP), events.MoverConnected(PEER)),
        "READ": (MoverReadRequest(0, 512), None),
        "CONTINUE": (MoverContinueRequest(), None),
        "CLOSE": (MoverCloseRequest(), None),
        "ABORT": (MoverAbortRequest(), None),
        "STOP": (MoverStopRequest(), None),
    }


BACKUP_V4 = """
                 IDLE    LISTEN   ACTIVE   PAUSED   HALTED
GET_STATE        IDLE    LISTEN   ACTIVE   PAUSED   HALTED
SET_RECORD_SIZE  IDLE    -        -        -        -
SET_WINDOW       IDLE    -        -        PAUSED   -
LISTEN           LISTEN  -        -        -        -
CONNECT          ACTIVE  -        -        -        -
READ             -       -        -        -        -
CONTINUE         -       -        -        ACTIVE   -
CLOSE            -       -        -        !HALTED  -
ABORT            -       !HALTED  !HALTED  !HALTED  HALTED
STOP             -       -        -        -        IDLE
"""
RECOVER_V4 = """
                 IDLE    LISTEN   ACTIVE   PAUSED   HALTED
GET_STATE        IDLE    LISTEN   ACTIVE   PAUSED   HALTED
SET_RECORD_SIZE  IDLE    -        -        -        -
SET_WINDOW       IDLE    -        -        PAUSED   -
LISTEN           LISTEN  -        -        -        -
CONNECT          ACTIVE  -        -        -        -
READ             -       -        ACTIVE   -        -
CONTINUE         -       -        -        ACTIVE   -
CLOSE            -       -        !HALTED  !HALTED  -
ABORT            -       !HALTED  !HALTED  !HALTED  HALTED
STOP             -       -        -        -        IDLE
"""
SET_WINDOW_V3 = "SET_WINDOW       IDLE    LISTEN   -        PAUSED   -"


def as_v3(table: str) -> str:
    """Version 3: the window may be set after MOVER_LISTEN as well."""
    return "\n".join(SET_WINDOW_V3 if line.startswith("SET_WINDOW") else line for line in table.splitlines())


EXPECTED_REQUESTS = {
    (Version.V4, MoverMode.READ): BACKUP_V4,
    (Version.V4, MoverMode.WRITE): RECOVER_V4,
    (Version.V3, MoverMode.READ): as_v3(BACKUP_V4),
    (Version.V3, MoverMode.WRITE): as_v3(RECOVER_V4),
}

EVENTS: dict[str, events.Event] = {
    "accepted": events.MoverAccepted(PEER),
    "paused": events.MoverPaused(MoverPauseReason.EOW, 4096),
    "halted": events.MoverHalted(MoverHaltReason.INTERNAL_ERROR),
}
EXPECTED_EVENTS = """
          IDLE  LISTEN   ACTIVE   PAUSED   HALTED
accepted  -     ACTIVE   -        -        -
paused    -     -        !PAUSED  -        -
halted    -     !HALTED  !HALTED  !HALTED  -
"""

CAUSES = {
    "accepted": MoverInput.PEER_CONNECTED, "paused": MoverInput.INTERRUPTED, "halted": MoverInput.ENDED,
}

ALL_REQUESTS = [
    pytest.param(version, mode, cell, id=f"{version.name}-{mode.name}-{cell.cause}-in-{cell.state}")
    for (version, mode), table in EXPECTED_REQUESTS.items()
    for cell in cells(table)
]
ALL_EVENTS = [
    pytest.param(version, mode, cell, id=f"{version.name}-{mode.name}-{cell.cause}-in-{cell.state}")
    for version, mode in EXPECTED_REQUESTS
    for cell in cells(EXPECTED_EVENTS)
]


def notices(seen: list) -> list[Message]:
    return [post for post in posts(seen) if isinstance(post, NotifyMoverHaltedPost | NotifyMoverPausedPost)]


@pytest.mark.parametrize(("version", "mode", "cell"), ALL_REQUESTS)
def test_a_request_does_what_the_draft_says_in_each_state(version: Version, mode: MoverMode,
                                                          cell: Cell) -> None:
    dma = mover_in(MoverState[cell.state], version, mode)
    if cell.cause == "CONTINUE" and cell.to:
        assert dma.ask(MoverSetWindowRequest(0, RECORD)) == Error.NO_ERR
    request, completion = requests(mode)[cell.cause]
    seen = dma.turn(request)
    if cell.to is not None and completion is not None:
        assert dma.session.busy
        seen = dma.tell(completion)
    assert not dma.session.busy
    assert seen[0].error == (Error.NO_ERR if cell.to else Error.ILLEGAL_STATE)
    assert dma.session.mover_state == MoverState[cell.to or cell.state]
    assert len(notices(seen)) == cell.notice
    if cell.to is None:
        assert dma.deeds == [], "a refused request changes nothing (2.11.1)"
    else:
        assert MOVER.step(MoverState[cell.state], MoverInput[cell.cause], version) == MoverState[cell.to]
    assert dma.complaints == []


@pytest.mark.parametrize(("version", "mode", "cell"), ALL_EVENTS)
def test_an_event_counts_in_its_states_and_is_ignored_in_others(version: Version, mode: MoverMode,
                                                                cell: Cell) -> None:
    dma = mover_in(MoverState[cell.state], version, mode)
    seen = dma.tell(EVENTS[cell.cause])
    assert dma.session.mover_state == MoverState[cell.to or cell.state]
    assert len(notices(seen)) == cell.notice
    if cell.to is None:
        assert seen == [] and dma.deeds == []
        assert dma.notes[-1].startswith("ignored ")
    else:
        assert MOVER.step(MoverState[cell.state], CAUSES[cell.cause], version) == MoverState[cell.to]
    assert dma.complaints == []


def test_the_tables_above_leave_out_no_state_and_no_request() -> None:
    for table in EXPECTED_REQUESTS.values():
        assert {cell.state for cell in cells(table)} == {state.name for state in MoverState}
        causes = {cause.name for cause in MoverInput} - {"PEER_CONNECTED", "INTERRUPTED", "ENDED"}
        assert {cell.cause for cell in cells(table)} == causes
    assert {cell.state for cell in cells(EXPECTED_EVENTS)} == {state.name for state in MoverState}


def test_every_row_of_the_machine_names_its_clause() -> None:
    for (state, cause), step in MOVER.rows.items():
        assert step.only is not None or step.clause[:2] in ("2.", "3."), (state, cause)


@pytest.mark.parametrize("request_", [MoverListenRequest(MoverMode.READ, AddrType.TCP),
                                      MoverConnectRequest(MoverMode.READ, TCP)], ids=["listen", "connect"])
def test_a_mover_that_cannot_be_reached_stays_idle(request_: Message) -> None:
    dma = mover_in(MoverState.IDLE)
    assert dma.ask(request_) is None
    seen = dma.tell(events.MoverFailed(Error.CONNECT, "no port is left in data_ports"))
    assert seen[0].error == Error.CONNECT
    assert [post.entry for post in posts(seen)] == ["no port is left in data_ports"]
    assert dma.session.mover_state == MoverState.IDLE
    state = dma.turn(MoverGetStateRequest())[0].body
    assert state.mode == MoverMode.NOACTION


def test_a_mover_runs_from_the_moment_its_peer_connects() -> None:
    dma = mover_in(MoverState.LISTEN)
    dma.tell(events.MoverAccepted(PEER))
    assert dma.deeds == [effects.MoverStart(MoverMode.READ, RECORD, 0, (1 << 64) - 1)]


def test_abort_is_answered_at_once_and_announced_after_the_reply() -> None:
    dma = mover_in(MoverState.ACTIVE)
    seen = dma.turn(MoverAbortRequest())
    assert dma.deeds == [effects.MoverAbort()]
    assert [one.kind.value for one in seen] == ["reply", "post"]
    assert posts(seen) == [NotifyMoverHaltedPost(MoverHaltReason.ABORTED)]


def test_close_ends_the_run_as_if_the_peer_had_closed() -> None:
    dma = mover_in(MoverState.PAUSED)
    seen = dma.turn(MoverCloseRequest())
    assert dma.deeds == [effects.MoverClose()]
    assert posts(seen) == [NotifyMoverHaltedPost(MoverHaltReason.CONNECT_CLOSED)]


def test_version_3_hears_of_a_failed_tape_as_an_internal_error() -> None:
    """MEDIA_ERROR is version 4's."""
    reasons = {Version.V4: MoverHaltReason.MEDIA_ERROR, Version.V3: MoverHaltReason.INTERNAL_ERROR}
    for version, told in reasons.items():
        dma = mover_in(MoverState.ACTIVE, version)
        seen = dma.tell(events.MoverHalted(MoverHaltReason.MEDIA_ERROR, "write failed"))
        log, notice = posts(seen)
        assert log.entry == "write failed" and notice.reason == told
        assert notice.text_reason == ("write failed" if version == Version.V3 else "")
