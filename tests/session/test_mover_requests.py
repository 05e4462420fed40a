"""Windows, records, reads and figures of MOVER (3.6.1.1, 3.6.2)."""

from __future__ import annotations

import pytest

from ndmpd.session import MoverFigures, ServerFacts, effects, events
from protocol.ndmp.address import LOCAL, Address, TcpAddress
from protocol.ndmp.codes import (
    AddrType,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.message import Message
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverConnectRequest,
    MoverContinueRequest,
    MoverGetStateReply,
    MoverGetStateRequest,
    MoverListenReply,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
    MoverStopRequest,
)
from tests.session.driver import ALL_ONES, HERE, PEER, RECORD, Dma, posts
from tests.session.stages import TCP, mover_in

READ, WRITE = MoverMode.READ, MoverMode.WRITE


def ready(mode: TapeOpenMode = TapeOpenMode.RDWR, version: Version = Version.V4) -> Dma:
    dma = Dma(version)
    dma.open_tape(mode)
    assert dma.ask(MoverSetRecordSizeRequest(RECORD)) == Error.NO_ERR
    return dma


def listen(dma: Dma, mode: int = READ, addr_type: int = AddrType.LOCAL) -> Error | None:
    return dma.ask(MoverListenRequest(mode, addr_type))


def state_of(dma: Dma) -> MoverGetStateReply:
    body = dma.turn(MoverGetStateRequest())[0].body
    assert isinstance(body, MoverGetStateReply)
    return body


# Record size (3.6.2.1)

@pytest.mark.parametrize(("size", "error"), [
    (0, Error.ILLEGAL_ARGS), (511, Error.ILLEGAL_ARGS), (512, Error.NO_ERR), (64512, Error.NO_ERR),
    (1 << 20, Error.NO_ERR), ((1 << 20) + 1, Error.ILLEGAL_ARGS), (0xFFFFFFFF, Error.ILLEGAL_ARGS),
])
def test_record_sizes_lie_within_the_servers_bounds(size: int, error: Error) -> None:
    dma = Dma(server=ServerFacts(max_record_size=1 << 20))
    assert dma.ask(MoverSetRecordSizeRequest(size)) == error
    assert state_of(dma).record_size == (size if error == Error.NO_ERR else 0)


def test_a_new_record_size_makes_the_window_invalid() -> None:
    dma = ready()
    dma.ask(MoverSetWindowRequest(RECORD, 3 * RECORD))
    dma.ask(MoverSetRecordSizeRequest(512))
    assert (state_of(dma).window_offset, state_of(dma).window_length) == (0, 0)


def test_the_record_size_outlives_a_stop_and_nothing_else_does() -> None:
    dma = mover_in(MoverState.HALTED)
    dma.figures.mover_figures = MoverFigures(9, 9, 9)
    assert dma.ask(MoverStopRequest()) == Error.NO_ERR
    assert state_of(dma) == MoverGetStateReply(record_size=RECORD)


# Before the mover leaves IDLE (3.6.2.3, 3.6.2.4)

@pytest.mark.parametrize("addr_type", [AddrType.LOCAL, AddrType.TCP])
@pytest.mark.parametrize("mode", [READ, WRITE])
def test_arguments_are_checked_before_the_tape_and_the_tape_before_the_record_size(
        mode: MoverMode, addr_type: AddrType) -> None:
    dma = Dma()
    assert listen(dma, 123, addr_type) == Error.ILLEGAL_ARGS
    assert listen(dma, MoverMode.NOACTION, addr_type) == Error.ILLEGAL_ARGS
    assert listen(dma, mode, 123) == Error.ILLEGAL_ARGS
    assert listen(dma, mode, addr_type) == Error.DEV_NOT_OPEN
    dma.open_tape(TapeOpenMode.READ)
    assert listen(dma, mode, addr_type) == (Error.PERMISSION if mode == READ else Error.PRECONDITION)
    dma.close_tape()
    dma.open_tape()
    assert listen(dma, mode, addr_type) == Error.PRECONDITION


@pytest.mark.parametrize("addr_type", [AddrType.IPC, AddrType.FC, 123, -1])
def test_only_local_and_tcp_addresses_are_served(addr_type: int) -> None:
    dma = ready()
    assert listen(dma, READ, addr_type) == Error.ILLEGAL_ARGS
    assert dma.ask(MoverConnectRequest(READ, Address(addr_type))) == Error.ILLEGAL_ARGS


def test_an_empty_list_of_tcp_addresses_is_refused() -> None:
    assert ready().ask(MoverConnectRequest(READ, Address(AddrType.TCP, ()))) == Error.ILLEGAL_ARGS


@pytest.mark.parametrize("mode", [TapeOpenMode.RDWR, TapeOpenMode.RAW])
def test_a_tape_opened_for_writing_or_raw_takes_a_backup(mode: TapeOpenMode) -> None:
    assert listen(ready(mode=mode)) == Error.NO_ERR


def test_a_window_need_not_be_set_before_listening() -> None:
    """Against 3.6.2.4: ndmjob's tests listen again after MOVER_STOP without setting one."""
    dma = ready()
    for _ in range(2):
        assert listen(dma) == Error.NO_ERR
        assert dma.ask(MoverAbortRequest()) == Error.NO_ERR
        assert dma.ask(MoverStopRequest()) == Error.NO_ERR


@pytest.mark.parametrize("ask", [MoverListenRequest(READ, AddrType.LOCAL), MoverConnectRequest(READ, TCP)])
def test_a_backup_window_must_hold_whole_records(ask: MoverListenRequest) -> None:
    dma = ready()
    assert dma.ask(MoverSetWindowRequest(0, RECORD + 512)) == Error.NO_ERR
    assert dma.ask(ask) == Error.PRECONDITION
    assert dma.ask(MoverSetWindowRequest(0, 2 * RECORD)) == Error.NO_ERR
    assert dma.ask(ask) in (Error.NO_ERR, None)


@pytest.mark.parametrize("ask", [MoverListenRequest(WRITE, AddrType.LOCAL), MoverConnectRequest(WRITE, TCP)])
def test_a_recover_window_must_begin_with_a_record_and_may_end_anywhere(ask: MoverListenRequest) -> None:
    dma = ready()
    assert dma.ask(MoverSetWindowRequest(512, ALL_ONES - 512)) == Error.NO_ERR
    assert dma.ask(ask) == Error.PRECONDITION
    assert dma.ask(MoverSetWindowRequest(RECORD, 777)) == Error.NO_ERR
    assert dma.ask(ask) in (Error.NO_ERR, None)


def test_the_reply_lists_every_address_and_the_state_the_first() -> None:
    dma = ready()
    assert listen(dma, READ, AddrType.TCP) is None
    assert dma.deeds == [effects.MoverListen(READ)]
    other = TcpAddress(HERE.ip + 1, HERE.port)
    seen = dma.tell(events.MoverListening((HERE, other)))
    assert seen[0].body == MoverListenReply(connect_addr=Address(AddrType.TCP, (HERE, other)))
    assert state_of(dma).data_connection_addr == Address(AddrType.TCP, (HERE,))


def test_a_connected_mover_names_its_peer_once_and_without_environment() -> None:
    """3.6.1.1, data_connection_addr."""
    dma = ready()
    target = Address(AddrType.TCP, (TcpAddress(7, 7, (("fast", "y"),)), PEER))
    assert dma.ask(MoverConnectRequest(WRITE, target)) is None
    assert dma.deeds == [effects.MoverConnect(WRITE, target.tcp)]
    dma.tell(events.MoverConnected(PEER))
    assert dma.deeds == [effects.MoverStart(WRITE, RECORD, 0, ALL_ONES)]
    assert state_of(dma).data_connection_addr == Address(AddrType.TCP, (PEER,))
    assert state_of(dma).mode == WRITE


# Windows (3.6.2.2)

@pytest.mark.parametrize(("offset", "length"), [
    (0, 0), (RECORD, 0), (0, ALL_ONES), (RECORD, ALL_ONES - RECORD), (RECORD, ALL_ONES),
    (0, 1), (ALL_ONES, 0), (ALL_ONES - 1, 1),
])
def test_windows_that_are_accepted_in_idle(offset: int, length: int) -> None:
    """(0, 0) is ndmjob's before any record size, (N, all ones) its second tape's."""
    dma = Dma()
    assert dma.ask(MoverSetWindowRequest(offset, length)) == Error.NO_ERR
    assert (state_of(dma).window_offset, state_of(dma).window_length) == (offset, length)


@pytest.mark.parametrize(("offset", "length"), [(2, ALL_ONES - 1), (ALL_ONES, 1)])
def test_a_window_does_not_overflow(offset: int, length: int) -> None:
    assert Dma().ask(MoverSetWindowRequest(offset, length)) == Error.ILLEGAL_ARGS


@pytest.mark.parametrize(("window", "reach"), [
    ((0, 0), ALL_ONES), ((0, ALL_ONES), ALL_ONES), ((RECORD, ALL_ONES - RECORD), ALL_ONES),
    ((RECORD, ALL_ONES), ALL_ONES), ((RECORD, 2 * RECORD), 2 * RECORD),
])
def test_a_window_without_an_end_reaches_the_mover_as_all_ones(window: tuple[int, int], reach: int) -> None:
    dma = ready()
    dma.ask(MoverSetWindowRequest(*window))
    dma.ask(MoverConnectRequest(READ, TCP))
    dma.tell(events.MoverConnected(PEER))
    assert dma.deeds == [effects.MoverStart(READ, RECORD, window[0], reach)]


@pytest.mark.parametrize(("mode", "window", "error"), [
    (READ, (0, 0), Error.ILLEGAL_ARGS),
    (READ, (0, RECORD), Error.NO_ERR),
    (READ, (777, RECORD), Error.NO_ERR),
    (READ, (0, RECORD + 1), Error.ILLEGAL_ARGS),
    (READ, (RECORD, ALL_ONES), Error.NO_ERR),
    (READ, (RECORD, ALL_ONES - RECORD), Error.NO_ERR),
    (WRITE, (0, 0), Error.ILLEGAL_ARGS),
    (WRITE, (RECORD, 777), Error.NO_ERR),
    (WRITE, (777, RECORD), Error.ILLEGAL_ARGS),
    (WRITE, (RECORD, ALL_ONES), Error.NO_ERR),
])
def test_a_window_set_while_paused_is_checked_against_the_mode(mode: MoverMode, window: tuple[int, int],
                                                               error: Error) -> None:
    dma = mover_in(MoverState.PAUSED, mode=mode)
    assert dma.ask(MoverSetWindowRequest(*window)) == error


def test_version_3_sets_its_window_after_listening() -> None:
    dma = ready(version=Version.V3)
    assert listen(dma, READ, AddrType.TCP) is None
    dma.tell(events.MoverListening((HERE,)))
    assert dma.ask(MoverSetWindowRequest(0, RECORD + 1)) == Error.ILLEGAL_ARGS
    assert dma.ask(MoverSetWindowRequest(0, 4 * RECORD)) == Error.NO_ERR
    dma.tell(events.MoverAccepted(PEER))
    assert dma.deeds == [effects.MoverStart(READ, RECORD, 0, 4 * RECORD)]


# Continue (3.6.2.7)

def test_version_4_continues_only_into_a_new_window() -> None:
    dma = mover_in(MoverState.PAUSED)
    assert dma.ask(MoverContinueRequest()) == Error.PRECONDITION
    assert dma.ask(MoverSetWindowRequest(5 * RECORD, ALL_ONES)) == Error.NO_ERR
    assert dma.ask(MoverContinueRequest()) == Error.NO_ERR
    assert dma.deeds == [effects.MoverContinue(5 * RECORD, ALL_ONES)]
    dma.tell(events.MoverPaused(MoverPauseReason.EOM))
    assert dma.ask(MoverContinueRequest()) == Error.PRECONDITION


def test_version_3_may_continue_in_the_old_window() -> None:
    dma = mover_in(MoverState.PAUSED, Version.V3)
    assert dma.ask(MoverContinueRequest()) == Error.NO_ERR
    assert dma.deeds == [effects.MoverContinue(0, ALL_ONES)]


def test_continue_needs_the_tape_open_again_and_for_writing() -> None:
    dma = mover_in(MoverState.PAUSED)
    dma.ask(MoverSetWindowRequest(0, ALL_ONES))
    dma.close_tape()
    assert dma.ask(MoverContinueRequest()) == Error.DEV_NOT_OPEN
    dma.open_tape(TapeOpenMode.READ)
    assert dma.ask(MoverContinueRequest()) == Error.PERMISSION
    dma.close_tape()
    dma.open_tape()
    assert dma.ask(MoverContinueRequest()) == Error.NO_ERR


# Reads (3.6.2.5)

@pytest.mark.parametrize(("offset", "length", "error"), [
    (0, 0, Error.ILLEGAL_ARGS), (1, ALL_ONES, Error.ILLEGAL_ARGS), (ALL_ONES, 1, Error.ILLEGAL_ARGS),
    (2, ALL_ONES - 1, Error.ILLEGAL_ARGS), (0, 1, Error.NO_ERR), (ALL_ONES - 1, 1, Error.NO_ERR),
])
def test_a_read_is_not_empty_and_does_not_overflow(offset: int, length: int, error: Error) -> None:
    assert mover_in(MoverState.ACTIVE, mode=WRITE).ask(MoverReadRequest(offset, length)) == error


@pytest.mark.parametrize(("asked", "done"), [
    ((0, ALL_ONES), (0, ALL_ONES)), ((512, ALL_ONES - 512), (512, ALL_ONES)), ((512, 1024), (512, 1024)),
])
def test_a_read_goes_to_the_mover(asked: tuple[int, int], done: tuple[int, int]) -> None:
    dma = mover_in(MoverState.ACTIVE, mode=WRITE)
    assert dma.ask(MoverReadRequest(*asked)) == Error.NO_ERR
    assert dma.deeds == [effects.MoverRead(*done)]
    assert state_of(dma).seek_position == asked[0]


def test_one_read_at_a_time() -> None:
    for version, error in (Version.V4, Error.READ_IN_PROGRESS), (Version.V3, Error.ILLEGAL_STATE):
        dma = mover_in(MoverState.ACTIVE, version, WRITE)
        dma.figures.mover_figures = MoverFigures(bytes_left_to_read=1)
        assert dma.ask(MoverReadRequest(0, 512)) == error
        assert dma.deeds == []
        dma.figures.mover_figures = MoverFigures(bytes_left_to_read=0)
        assert dma.ask(MoverReadRequest(0, 512)) == Error.NO_ERR


# Figures (3.6.2.6)

def test_the_state_reports_the_figures_of_a_run() -> None:
    dma = mover_in(MoverState.PAUSED)
    dma.figures.mover_figures = MoverFigures(record_num=7, bytes_moved=71680, bytes_left_to_read=3)
    assert state_of(dma) == MoverGetStateReply(
        mode=READ, state=MoverState.PAUSED, pause_reason=MoverPauseReason.EOM, record_size=RECORD,
        record_num=7, bytes_moved=71680, bytes_left_to_read=3, window_length=ALL_ONES,
        data_connection_addr=Address(AddrType.TCP, (PEER,)))


def test_a_window_just_set_gives_the_record_number() -> None:
    """3.6.1.1: the offset divided by the record size."""
    dma = mover_in(MoverState.PAUSED)
    dma.figures.mover_figures = MoverFigures(record_num=7, bytes_moved=71680)
    dma.ask(MoverSetWindowRequest(20 * RECORD, ALL_ONES))
    assert state_of(dma).record_num == 20
    dma.ask(MoverContinueRequest())
    assert state_of(dma).record_num == 7


def test_a_record_number_beyond_32_bits_wraps() -> None:
    dma = Dma()
    dma.ask(MoverSetRecordSizeRequest(512))
    dma.ask(MoverSetWindowRequest(512 * ((1 << 32) + 5), ALL_ONES))
    assert state_of(dma).record_num == 5


def test_reasons_are_reported_in_their_own_states_only() -> None:
    dma = mover_in(MoverState.PAUSED)
    dma.ask(MoverSetWindowRequest(0, ALL_ONES))
    dma.ask(MoverContinueRequest())
    assert state_of(dma).pause_reason == MoverPauseReason.NA
    dma.tell(events.MoverPaused(MoverPauseReason.EOW))
    dma.tell(events.MoverHalted(MoverHaltReason.MEDIA_ERROR))
    assert (state_of(dma).pause_reason, state_of(dma).halt_reason) == (
        MoverPauseReason.NA, MoverHaltReason.MEDIA_ERROR)
    dma.ask(MoverStopRequest())
    assert state_of(dma).halt_reason == MoverHaltReason.NA


def test_a_mover_that_never_ran_reports_no_figures() -> None:
    dma = mover_in(MoverState.LISTEN)
    dma.figures.mover_figures = MoverFigures(9, 9, 9)
    dma.ask(MoverAbortRequest())
    state = state_of(dma)
    assert (state.record_num, state.bytes_moved, state.bytes_left_to_read) == (0, 0, 0)


@pytest.mark.parametrize(("reason", "position"), [
    (MoverPauseReason.SEEK, 3 * RECORD), (MoverPauseReason.EOF, 0),
])
def test_a_pause_tells_the_position_that_is_wanted(reason: MoverPauseReason, position: int) -> None:
    seen = mover_in(MoverState.ACTIVE, mode=WRITE).tell(events.MoverPaused(reason, position))
    notice: Message = posts(seen)[0]
    assert (notice.reason, notice.seek_position) == (reason, position)


def test_a_local_mover_reports_a_local_address() -> None:
    dma = ready()
    listen(dma)
    assert state_of(dma).data_connection_addr == LOCAL
