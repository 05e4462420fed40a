"""A DMA and services that do anything in any order: what must hold whatever they do.

Each request gets exactly one reply, each entry into PAUSED or HALTED exactly one notice, after the reply that
caused it; joined sides are only ever in pairs that the joint table knows; no turn runs into a bug.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ndmpd.session import DataFigures, MoverFigures, effects, events
from ndmpd.session.joint import JOINED
from protocol.ndmp import registry
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import (
    AddrType,
    Code,
    DataHaltReason,
    DataState,
    Error,
    LogType,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    RecoveryStatus,
    TapeMtioOp,
    TapeOpenMode,
    Version,
)
from protocol.ndmp.data import (
    DataAbortRequest,
    DataConnectRequest,
    DataGetEnvRequest,
    DataGetStateReply,
    DataGetStateRequest,
    DataListenRequest,
    DataStartRecoverFilehistRequest,
    DataStopRequest,
)
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverCloseRequest,
    MoverConnectRequest,
    MoverContinueRequest,
    MoverGetStateReply,
    MoverGetStateRequest,
    MoverListenRequest,
    MoverReadRequest,
    MoverSetRecordSizeRequest,
    MoverSetWindowRequest,
    MoverStopRequest,
)
from protocol.ndmp.notify import (
    NotifyConnectionStatusPost,
    NotifyDataHaltedPost,
    NotifyMoverHaltedPost,
    NotifyMoverPausedPost,
)
from protocol.ndmp.tape import TapeCloseRequest, TapeMtioRequest, TapeOpenRequest, TapeReadRequest
from tests.session.driver import ALL_ONES, COMPLETING, HERE, PEER, RECORD, Dma, Kind, Seen
from tests.session.stages import (
    BACKUP,
    ENV,
    RECOVER,
    TCP,
    data_in,
    joined,
    joined_and_started,
    mover_in,
)

modes = st.sampled_from([MoverMode.READ, MoverMode.WRITE, MoverMode.NOACTION, 123])
addr_types = st.sampled_from([AddrType.LOCAL, AddrType.TCP, AddrType.IPC, 123])
addresses = st.sampled_from([LOCAL, TCP, Address(123)])
offsets = st.sampled_from([0, 1, RECORD, 7 * RECORD, ALL_ONES - 1, ALL_ONES])

REQUESTS = st.one_of(
    st.sampled_from([
        DataGetStateRequest(), DataGetEnvRequest(), DataAbortRequest(), DataStopRequest(), BACKUP, RECOVER,
        DataStartRecoverFilehistRequest(ENV, (), "tar"), MoverGetStateRequest(), MoverContinueRequest(),
        MoverAbortRequest(), MoverCloseRequest(), MoverStopRequest(), TapeCloseRequest(),
        TapeReadRequest(512), TapeMtioRequest(TapeMtioOp.REW, 1),
    ]),
    st.builds(DataListenRequest, addr_types),
    st.builds(DataConnectRequest, addresses),
    st.builds(MoverListenRequest, modes, addr_types),
    st.builds(MoverConnectRequest, modes, addresses),
    st.builds(MoverSetRecordSizeRequest, st.sampled_from([0, 512, RECORD])),
    st.builds(MoverSetWindowRequest, offsets, offsets),
    st.builds(MoverReadRequest, offsets, offsets),
    st.builds(TapeOpenRequest, st.just("tape0"), st.sampled_from([*TapeOpenMode, 123])),
)

HAPPENINGS = st.one_of(
    st.sampled_from([
        events.DataAccepted(PEER), events.MoverAccepted(PEER), events.History(Code.FH_ADD_FILE, bytes(4)),
        events.Recovered("/a", RecoveryStatus.FAILED_NOT_FOUND), events.Log(LogType.NORMAL, "text"),
        events.DataVariable("LEVEL", "0"),
    ]),
    st.builds(events.DataWants, offsets, offsets),
    st.builds(events.DataHalted, st.sampled_from(list(DataHaltReason)[1:]), st.sampled_from(["", "why"])),
    st.builds(events.MoverPaused, st.sampled_from(list(MoverPauseReason)[1:]), offsets),
    st.builds(events.MoverHalted, st.sampled_from(list(MoverHaltReason)[1:]), st.sampled_from(["", "why"])),
)

ANSWERS: dict[type, Callable[[Error], events.Event]] = {
    effects.DataListen: lambda e: events.DataFailed(e, "no") if e else events.DataListening((HERE,)),
    effects.DataConnect: lambda e: events.DataFailed(e, "no") if e else events.DataConnected(PEER),
    effects.DataStart: lambda e: events.DataFailed(e, "no") if e else events.DataStarted(),
    effects.MoverListen: lambda e: events.MoverFailed(e, "no") if e else events.MoverListening((HERE,)),
    effects.MoverConnect: lambda e: events.MoverFailed(e, "no") if e else events.MoverConnected(PEER),
}

BEGINNINGS: list[Callable[[Version], Dma]] = [
    Dma,
    lambda version: mover_in(MoverState.IDLE, version),
    lambda version: mover_in(MoverState.ACTIVE, version, MoverMode.WRITE),
    lambda version: data_in(DataState.ACTIVE, version, recover=True),
    lambda version: joined(MoverMode.READ, version),
    lambda version: joined_and_started(MoverMode.READ, version),
    lambda version: joined_and_started(MoverMode.WRITE, version),
]

NOTICE_OF = {
    MoverState.PAUSED: NotifyMoverPausedPost, MoverState.HALTED: NotifyMoverHaltedPost,
}


class Walk(RuleBasedStateMachine):
    """One session and its peer."""

    @initialize(version=st.sampled_from(Version), begin=st.sampled_from(BEGINNINGS))
    def connect(self, version: Version, begin: Callable[[Version], Dma]) -> None:
        self.dma = begin(version)
        self.asked = self.replied = 0
        self.waiting: effects.Effect | None = None
        self.states = self.dma.session.data_state, self.dma.session.mover_state

    @precondition(lambda self: not self.dma.session.busy)
    @rule(request=REQUESTS)
    def ask(self, request: Message) -> None:
        self.asked += 1
        self.check(self.dma.turn(request))

    @precondition(lambda self: not self.dma.session.busy)
    @rule(code=st.sampled_from(sorted({*Code, 0x999} - {Code.CONNECT_CLOSE, Code.CONNECT_CLIENT_AUTH})),
          body=st.binary(max_size=40))
    def babble(self, code: int, body: bytes) -> None:
        self.asked += 1
        self.check(self.dma.record(code, body))

    @precondition(lambda self: self.dma.session.busy)
    @rule(error=st.sampled_from([Error.NO_ERR, Error.NO_ERR, Error.IO]))
    def answer(self, error: Error) -> None:
        waiting, self.waiting = self.waiting, None
        if isinstance(waiting, effects.Perform):
            code = registry.code_of(type(waiting.request))
            reply = registry.reply_class(code, self.dma.session.version)
            assert reply is not None and issubclass(reply, Reply)
            self.check(self.dma.tell(events.Performed(reply(error))))
        else:
            self.check(self.dma.tell(ANSWERS[type(waiting)](error)))

    @rule(event=HAPPENINGS)
    def happen(self, event: events.Event) -> None:
        self.check(self.dma.tell(event))

    @rule(left=st.sampled_from([0, 1, ALL_ONES]), done=st.integers(0, 1 << 40))
    def move(self, left: int, done: int) -> None:
        self.dma.figures.mover_figures = MoverFigures(done & 0xFFFFFFFF, done, left)
        self.dma.figures.data_figures = DataFigures(done, left or None)

    def check(self, seen: list[Seen]) -> None:
        """What a turn did, against the change of states that it made."""
        self.replied += sum(one.kind is Kind.REPLY for one in seen)
        started = [effect for effect in self.dma.last if isinstance(effect, COMPLETING)]
        assert len(started) <= 1
        if started:
            self.waiting = started[0]
        assert self.asked - self.replied == self.dma.session.busy

        data, mover = self.states
        self.states = self.dma.session.data_state, self.dma.session.mover_state
        sent = [type(one.body) for one in seen if one.kind is Kind.POST]
        halted = self.states[0] == DataState.HALTED != data
        assert sent.count(NotifyDataHaltedPost) == halted
        for state, notice in NOTICE_OF.items():
            entered = self.states[1] == state != mover
            assert sent.count(notice) == entered
        assert NotifyConnectionStatusPost not in sent
        kinds = [one.kind for one in seen]
        assert Kind.REPLY not in kinds[1:], "a reply precedes what it causes"

    @invariant()
    def the_pair_is_legal(self) -> None:
        joint = self.dma.session._joint
        assert not joint.joined or joint.pair in JOINED

    @invariant()
    def the_states_reported_are_the_states(self) -> None:
        if self.dma.session.busy:
            return
        self.asked += 2
        data, mover = (self.dma.turn(ask)[0].body for ask in (DataGetStateRequest(), MoverGetStateRequest()))
        self.replied += 2
        assert isinstance(data, DataGetStateReply) and isinstance(mover, MoverGetStateReply)
        assert (data.state, mover.state) == self.states
        assert (data.halt_reason != DataHaltReason.NA) == (data.state == DataState.HALTED)
        assert (mover.halt_reason != MoverHaltReason.NA) == (mover.state == MoverState.HALTED)
        assert (mover.pause_reason != MoverPauseReason.NA) == (mover.state == MoverState.PAUSED)

    @invariant()
    def nothing_broke(self) -> None:
        assert self.dma.complaints == []


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
