"""What MOVER requests make happen, and what MOVER's events lead to (3.6.2, 4.1.3, 4.1.4).

A handler is called once the request is admitted; it answers, or leaves the request open for an event.
"""

from __future__ import annotations

from ndmpd.session import effects, events
from ndmpd.session.figures import MoverFigures
from ndmpd.session.mover import CONTINUE_NEEDS_WINDOW, MOVER, MoverInput
from ndmpd.session.outbox import printable
from ndmpd.session.parts import Parts
from ndmpd.session.refused import Refused
from ndmpd.session.spans import ALL_ONES, check_records, to_the_end
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import AddrType, Error, LogType, MoverHaltReason, MoverMode, MoverState
from protocol.ndmp.mover import (
    MoverAbortReply,
    MoverAbortRequest,
    MoverCloseReply,
    MoverCloseRequest,
    MoverConnectReply,
    MoverConnectRequest,
    MoverContinueReply,
    MoverContinueRequest,
    MoverGetStateRequest,
    MoverListenReply,
    MoverListenRequest,
    MoverReadReply,
    MoverReadRequest,
    MoverSetRecordSizeReply,
    MoverSetRecordSizeRequest,
    MoverSetWindowReply,
    MoverSetWindowRequest,
    MoverStopReply,
    MoverStopRequest,
)
from protocol.ndmp.notify import NotifyMoverHaltedPost, NotifyMoverPausedPost


class MoverRequests:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._mover = parts.mover
        self._out = parts.outbox

    def _next(self, cause: MoverInput) -> MoverState | None:
        return MOVER.step(self._mover.state, cause, self._parts.version)

    def _enter(self, cause: MoverInput) -> None:
        """Make a step that is known to be there."""
        state = self._next(cause)
        assert state is not None
        if state == MoverState.ACTIVE:
            self._mover.run()
        else:
            self._mover.state = state

    # Requests

    def get_state(self, request: MoverGetStateRequest) -> None:
        ran = self._mover.started
        self._out.answer(self._mover.describe(self._parts.figures.mover() if ran else MoverFigures()))

    def set_record_size(self, request: MoverSetRecordSizeRequest) -> None:
        self._mover.set_record_size(request.len)
        self._out.answer(MoverSetRecordSizeReply())

    def set_window(self, request: MoverSetWindowRequest) -> None:
        """3.6.2.2. In IDLE the mode is not known yet, and a window of zero bytes means that none is set."""
        state, mode = self._mover.state, self._mover.mode
        if state == MoverState.PAUSED and request.length == 0:
            raise Refused(Error.ILLEGAL_ARGS, "a window of 0 bytes leaves the mover nothing to go on with")
        if state != MoverState.IDLE:
            check_records(mode, self._mover.record_size, request.offset, request.length, Error.ILLEGAL_ARGS)
        self._mover.set_window(request.offset, request.length)
        self._out.answer(MoverSetWindowReply())

    def listen(self, request: MoverListenRequest) -> None:
        mode = self._check_ready(request.mode)
        if request.addr_type == AddrType.TCP:
            self._mover.mode = mode
            self._out.do(effects.MoverListen(mode))
            return
        self._parts.joint.check_listen()
        self._mover.mode = mode
        self._enter(MoverInput.LISTEN)
        self._out.answer(MoverListenReply(connect_addr=LOCAL))

    def connect(self, request: MoverConnectRequest) -> None:
        mode = self._check_ready(request.mode)
        if request.addr.addr_type == AddrType.TCP:
            self._mover.mode = mode
            self._out.do(effects.MoverConnect(mode, request.addr.tcp))
            return
        self._parts.joint.check_mover_connect()
        self._mover.mode = mode
        self._parts.join(MoverConnectReply())

    def _check_ready(self, mode: MoverMode | int) -> MoverMode:
        """What the mover needs before it leaves IDLE (3.6.2.3, 3.6.2.4), the tape being open.

        A window need not have been set, against the draft: ndmjob's tests set none after MOVER_STOP.
        """
        mode = MoverMode(mode)
        self._check_writable(mode)
        mover = self._mover
        if not mover.record_size:
            raise Refused(Error.PRECONDITION, "no record size is set; send MOVER_SET_RECORD_SIZE first")
        check_records(mode, mover.record_size, mover.window_offset, mover.window_length, Error.PRECONDITION)
        return mode

    def _check_writable(self, mode: MoverMode) -> None:
        if mode == MoverMode.READ and not self._parts.device.writable:
            raise Refused(Error.PERMISSION, "mode READ writes the tape, which is open for reading only")

    def read(self, request: MoverReadRequest) -> None:
        """3.6.2.5. Joined DATA asks by itself; a mover that writes the tape has nothing to read."""
        if self._mover.local or self._mover.mode != MoverMode.WRITE:
            raise Refused(Error.ILLEGAL_STATE)
        if self._parts.figures.mover().bytes_left_to_read:
            raise Refused(Error.READ_IN_PROGRESS)
        self._read(request.offset, request.length)
        self._out.answer(MoverReadReply())

    def continue_(self, request: MoverContinueRequest) -> None:
        mover = self._mover
        self._check_writable(mover.mode)
        if self._parts.version in CONTINUE_NEEDS_WINDOW and not mover.window_fresh:
            raise Refused(Error.PRECONDITION, "no window is set since the pause; send MOVER_SET_WINDOW first")
        self._enter(MoverInput.CONTINUE)
        self._out.answer(MoverContinueReply())
        self._out.do(effects.MoverContinue(mover.window_offset, mover.reach))
        if mover.wanted is not None:
            wanted, mover.wanted = mover.wanted, None
            self._read(*wanted)

    def close(self, request: MoverCloseRequest) -> None:
        self._parts.joint.check_close()
        self._mover.halt(MoverHaltReason.CONNECT_CLOSED)
        self._out.do(effects.MoverClose())
        self._out.answer(MoverCloseReply())
        self._post_halted("")

    def abort(self, request: MoverAbortRequest) -> None:
        if self._mover.state == MoverState.HALTED:
            self._out.answer(MoverAbortReply())
            return
        self._out.do(effects.MoverAbort())
        self._mover.halt(MoverHaltReason.ABORTED)
        self._out.answer(MoverAbortReply())
        self._post_halted("")

    def stop(self, request: MoverStopRequest) -> None:
        self._mover.reset()
        self._parts.joint.part()
        self._out.do(effects.MoverRelease())
        self._out.answer(MoverStopReply())

    # Events that complete a request

    def listening(self, event: events.MoverListening) -> None:
        self._enter(MoverInput.LISTEN)
        self._mover.address = Address(AddrType.TCP, event.addresses[:1])
        self._out.answer(MoverListenReply(connect_addr=Address(AddrType.TCP, event.addresses)))

    def connected(self, event: events.MoverConnected) -> None:
        self._enter(MoverInput.CONNECT)
        self._mover.address = Address(AddrType.TCP, (event.address,))
        self._out.answer(MoverConnectReply())
        self._parts.start_mover()

    def failed(self, event: events.MoverFailed) -> None:
        self._mover.mode = MoverMode.NOACTION
        raise Refused(Error.UNDEFINED if event.error == Error.NO_ERR else event.error, event.text)

    # Events of their own

    def accepted(self, event: events.MoverAccepted) -> bool:
        if self._next(MoverInput.PEER_CONNECTED) is None or self._mover.local:
            return False
        self._enter(MoverInput.PEER_CONNECTED)
        self._mover.address = Address(AddrType.TCP, (event.address,))
        self._parts.start_mover()
        return True

    def paused(self, event: events.MoverPaused) -> bool:
        if self._next(MoverInput.INTERRUPTED) is None:
            return False
        self._mover.pause(event.reason)
        self._out.post(NotifyMoverPausedPost(event.reason, event.seek_position))
        return True

    def halted(self, event: events.MoverHalted) -> bool:
        if self._next(MoverInput.ENDED) is None:
            return False
        self._mover.halt(event.reason)
        if event.text:
            closed = event.reason == MoverHaltReason.CONNECT_CLOSED
            self._out.log(LogType.NORMAL if closed else LogType.ERROR, event.text)
        self._post_halted(event.text)
        return True

    def serve(self, offset: int, length: int) -> bool:
        """Joined DATA wants bytes (more than none): now, or as soon as the DMA lets the mover go on."""
        if self._mover.state == MoverState.PAUSED:
            self._mover.wanted = offset, length
        elif self._mover.state == MoverState.ACTIVE:
            self._read(offset, length)
        else:
            return False
        return True

    def _read(self, offset: int, length: int) -> None:
        self._mover.seek_position = offset
        self._out.do(effects.MoverRead(offset, ALL_ONES if to_the_end(offset, length) else length))

    def _post_halted(self, text: str) -> None:
        self._out.post(NotifyMoverHaltedPost(self._mover.halt_reason, printable(text)))
