"""One case of the sweep: a DMA that runs a job on cartridges of its own, and a fault on the way."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.pieces import FileExtent, Inline
from ndmpd.ports import Command, Result, Transport
from ndmpd.san import Flush, San, create
from ndmpd.san.nexus import Nexus
from ndmpd.session.spans import ALL_ONES
from protocol.ndmp.address import LOCAL, Address
from protocol.ndmp.codes import (
    AddrType,
    DataHaltReason,
    DataState,
    Error,
    MoverHaltReason,
    MoverMode,
    MoverPauseReason,
    MoverState,
    TapeMtioOp,
    TapeOpenMode,
)
from protocol.ndmp.data import (
    DataAbortRequest,
    DataConnectRequest,
    DataStartBackupRequest,
    DataStartRecoverRequest,
    DataStopRequest,
    Name,
)
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.mover import (
    MoverAbortRequest,
    MoverCloseRequest,
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
    NotifyDataHaltedPost,
    NotifyDataReadPost,
    NotifyMoverHaltedPost,
    NotifyMoverPausedPost,
)
from protocol.ndmp.tape import (
    TapeCloseRequest,
    TapeGetStateReply,
    TapeGetStateRequest,
    TapeMtioRequest,
    TapeOpenRequest,
)
from protocol.scsi import command as scsi
from protocol.scsi.command import Opcode, Status
from protocol.scsi.ssc import LongPosition, PositionForm
from tests.session.driver import HERE
from tests.sweep import verdict
from tests.sweep.faults import FaultyTransport, Plan
from tests.sweep.jobs import SEA, Planned, Source, Work
from tests.sweep.stand import PATIENCE, Stand

GRACE = 0.1
"""Seconds in which a mover sees that its peer is gone, if it can."""


class Field:
    """What cases are run on, one after the other: SANs with one cartridge each, by capacity; two disks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = Source(folder)
        self.places = folder / "places"
        self.places.mkdir()
        self._sans: dict[tuple[int, int], list[San]] = {}
        self._used: set[Path] = set()
        self.disks = create(folder / "disks", cartridges=1, drives=1, disks=2, disk_size=len(SEA),
                            flush=Flush.NOTHING)
        self.disks.disk_path("disk0").write_bytes(SEA)
        self.disk_nexus = Nexus(self.disks.path)

    def cartridges(self, work: Work) -> Iterator[San]:
        """Blank ones, without end."""
        have = self._sans.setdefault((work.capacity, work.early_warning), [])
        number = 0
        while True:
            if number == len(have):
                name = f"{work.capacity} {work.early_warning} {number}"
                have.append(create(self.folder / name, capacity=work.capacity,
                                   early_warning=work.early_warning, cartridges=1, drives=1, disks=1,
                                   disk_size=512, flush=Flush.NOTHING))
            verdict.blank(have[number])
            yield have[number]
            number += 1

    def sans(self) -> list[San]:
        return [san for sans in self._sans.values() for san in sans]

    def disk(self, name: str, *, backed: bool) -> Transport:
        transport = EmbeddedTransport(self.disks.path, name, self.disk_nexus)
        return transport if backed else Unbacked(transport)


class Unbacked:
    """A disk that is reached by SCSI alone."""

    most = None

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    def execute(self, command: Command) -> Result:
        return self.inner.execute(command)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        self.inner.close()


class Refused(Exception):
    """A request of the DMA was answered with an error."""


class Case:
    """``used``: the cartridges in the order in which they were mounted."""

    def __init__(self, field: Field, work: Work, butype: Planned, plan: Plan, *, backed: bool = True) -> None:
        self.field, self.work, self.butype, self.plan = field, work, butype, plan
        plan.act = self._act
        self.blanks = field.cartridges(work)
        self.used: list[San] = []
        self.nexuses: dict[Path, Nexus] = {}
        self.stand = Stand(butype, self._drive, lambda name: field.disk(name, backed=backed), work.version)
        self.tape_state: TapeGetStateReply | None = None
        self.mover_state: MoverGetStateReply | None = None
        self.truth: LongPosition | None = None
        self.refused: Error | None = None
        self.thief: Nexus | None = None
        """Another host that has taken the drive away."""
        self.closed = False
        self.unflushed = False
        """What was written may have been in the drive's buffer yet when the mover halted."""

    # The drive.

    def mount(self, san: San) -> None:
        self.mounted = san
        if san.path not in self.nexuses:
            self.nexuses[san.path] = Nexus(san.path)

    def _drive(self, name: str) -> Transport:
        return FaultyTransport(self._raw(), self.plan)

    def _raw(self) -> EmbeddedTransport:
        return EmbeddedTransport(self.mounted.path, "tape0", self.nexuses[self.mounted.path])

    def _act(self, name: str, inner: Transport) -> None:
        """What the drive, or another host, does at the moment of the fault."""
        assert isinstance(inner, EmbeddedTransport)
        if name == "rewound":
            assert inner.execute(Command(scsi.REWIND.put())).status == Status.GOOD
        unit = inner._unit
        with unit.exclusive(PATIENCE):
            state = unit.state
            if name == "taken":
                self.thief = Nexus(self.mounted.path)
                state.holder = self.thief.id
            elif name == "block length":
                state.block_length = 7 * 512  # type: ignore[attr-defined]
            else:
                state.holder, state.block_length = None, 0  # type: ignore[attr-defined]

    def position(self) -> LongPosition:
        """Where the drive itself says that the tape stands."""
        transport = self._raw()
        buffer = bytearray(32)
        try:
            for _ in range(20):
                result = transport.execute(Command(
                    scsi.READ_POSITION.put(action=PositionForm.LONG), (), (Inline(buffer),)))
                if result.status == Status.GOOD:
                    return LongPosition.take(buffer)
            raise AssertionError(f"READ POSITION: status {result.status:x}")
        finally:
            transport.close()

    # The DMA.

    def ask(self, request: Message) -> Message:
        """The reply; Refused where it is an error."""
        reply = self.stand.request(request)
        assert isinstance(reply, Reply)
        if reply.error != Error.NO_ERR:
            self.refused = reply.error
            raise Refused(f"{type(request).__name__}: {reply.error!r}")
        return reply

    def load(self, san: San, mode: TapeOpenMode) -> None:
        self.mount(san)
        self.ask(TapeOpenRequest("tape0", mode))
        self.ask(TapeMtioRequest(TapeMtioOp.REW, 1))

    def change(self, san: San, mode: TapeOpenMode) -> None:
        self.ask(TapeCloseRequest())
        self.load(san, mode)

    def join(self, mode: MoverMode, offset: int, length: int) -> None:
        self.ask(MoverSetRecordSizeRequest(self.work.record))
        self.ask(MoverSetWindowRequest(offset, length))
        if self.work.local:
            self.ask(MoverListenRequest(mode, AddrType.LOCAL))
            self.ask(DataConnectRequest(LOCAL))
        else:
            self.ask(MoverListenRequest(mode, AddrType.TCP))
            self.ask(DataConnectRequest(Address(AddrType.TCP, (HERE,))))

    def backup(self, start: Callable[[], None] | None = None) -> None:
        """The whole job, over cartridges and windows; ``start`` instead of this session's DATA."""
        windows = iter([count * self.work.record for count in self.work.windows])
        self.used.append(next(self.blanks))
        self.load(self.used[0], TapeOpenMode.RDWR)
        self.plan.armed = True

        def begin() -> None:
            length = next(windows, ALL_ONES)
            if start is None:
                self.join(MoverMode.READ, 0, length)
                self.ask(DataStartBackupRequest("planned", ()))
            else:
                self.ask(MoverSetRecordSizeRequest(self.work.record))
                self.ask(MoverSetWindowRequest(0, length))
                self.ask(MoverListenRequest(MoverMode.READ, AddrType.TCP))
                start()

        def paused(post: NotifyMoverPausedPost) -> None:
            if post.reason == MoverPauseReason.EOM:
                san = next(self.blanks)
                self.ask(TapeCloseRequest())
                self.used.append(san)
                self.load(san, TapeOpenMode.RDWR)
            else:
                assert post.reason == MoverPauseReason.EOW, post
            self.ask(MoverSetWindowRequest(self.mover_bytes(), next(windows, ALL_ONES)))
            self.ask(MoverContinueRequest())

        self._run(begin, paused)

    def recover(self, spans: list[tuple[San, int, int]], start: Callable[[], None] | None = None) -> None:
        """``spans``: (cartridge, stream offset, length) of what lies on each."""
        self.used = [san for san, _, _ in spans]
        self.load(spans[0][0], TapeOpenMode.READ)
        self.plan.armed = True

        def begin() -> None:
            if start is not None:
                self.ask(MoverSetRecordSizeRequest(self.work.record))
                self.ask(MoverSetWindowRequest(spans[0][1], spans[0][2]))
                self.ask(MoverListenRequest(MoverMode.WRITE, AddrType.TCP))
                start()
                return
            self.join(MoverMode.WRITE, spans[0][1], spans[0][2])
            everything = Name("/", "/", "", "", 0, ALL_ONES)
            self.ask(DataStartRecoverRequest((), (everything,), "planned"))

        def paused(post: NotifyMoverPausedPost) -> None:
            assert post.reason == MoverPauseReason.SEEK, post
            found = next((one for one in spans if one[1] <= post.seek_position < one[1] + one[2]), None)
            assert found is not None, post
            self.change(found[0], TapeOpenMode.READ)
            self.ask(MoverSetWindowRequest(found[1], found[2]))
            self.ask(MoverContinueRequest())

        self._run(begin, paused)

    def _run(self, begin: Callable[[], None], paused: Callable[[NotifyMoverPausedPost], None]) -> None:
        stand = self.stand
        try:
            begin()
            while True:
                stand.until(lambda: stand.released or bool(stand.posts) or self._ended(), "the job")
                if stand.released:
                    return
                if not stand.posts:
                    break
                post = stand.posts.popleft()
                if isinstance(post, NotifyMoverPausedPost) and stand.session.mover_state == MoverState.PAUSED:
                    if stand.session.data_state == DataState.HALTED and not self._backing_up():
                        self.ask(MoverCloseRequest())
                    else:
                        paused(post)
                elif (isinstance(post, NotifyDataReadPost) and not self.work.local
                        and stand.session.mover_state == MoverState.ACTIVE):
                    self.ask(MoverReadRequest(post.offset, post.length))
                elif isinstance(post, NotifyDataHaltedPost) and not self._backing_up():
                    self._end_mover()
        except Refused:
            if not stand.released:
                self.abort()

    def _end_mover(self) -> None:
        """DATA has halted. A mover that sent nothing yet cannot tell a peer that went from one that reads."""
        grace = time.monotonic() + GRACE
        self.stand.until(lambda: (self._ended() or bool(self.stand.posts) or time.monotonic() > grace),
                         "the mover's end")
        if self.stand.session.mover_state == MoverState.ACTIVE and not self.stand.posts:
            assert self.mover_bytes() == 0, "a mover that has moved bytes does not see that its peer is gone"
            self.ask(MoverCloseRequest())

    def mover_bytes(self) -> int:
        state = self.ask(MoverGetStateRequest())
        assert isinstance(state, MoverGetStateReply)
        return state.bytes_moved

    def _backing_up(self) -> bool:
        return self.stand.session._joint.mover.mode == MoverMode.READ

    def _ended(self) -> bool:
        return self.stand.over()

    def abort(self) -> None:
        """MOVER_ABORT and DATA_ABORT, as far as there is something to abort."""
        if self.stand.session.mover_state != MoverState.IDLE:
            assert self._error(MoverAbortRequest()) == Error.NO_ERR
        if self.stand.session.data_state != DataState.IDLE:
            assert self._error(DataAbortRequest()) == Error.NO_ERR
        self.stand.until(self.stand.over, "the end of an aborted job")

    def _error(self, request: Message) -> Error:
        reply = self.stand.request(request)
        assert isinstance(reply, Reply)
        return Error(reply.error)

    def settle(self) -> None:
        """The job is over: ask for all states, then give up the drive. Nothing goes wrong from here on."""
        self.plan.armed = False
        self.unflushed = self.plan.unflushed
        stand = self.stand
        if stand.released:
            self.close()
            figures = stand.mover.figures()
            self.mover_state = MoverGetStateReply(bytes_moved=figures.bytes_moved,
                                                  record_num=figures.record_num)
            return
        state = stand.request(TapeGetStateRequest())
        assert isinstance(state, TapeGetStateReply)
        # The drive is free: what the mover counted is final, and its figures are still there.
        self.tape_state = state if state.error == Error.NO_ERR else None
        mover = self.ask(MoverGetStateRequest())
        assert isinstance(mover, MoverGetStateReply)
        self.mover_state = mover
        thief, self.thief = self.thief, None
        if thief is not None:
            thief.close()
        elif self.tape_state is not None:
            self.truth = self.position()
        for request, idle in ((MoverStopRequest(), stand.session.mover_state == MoverState.IDLE),
                              (DataStopRequest(), stand.session.data_state == DataState.IDLE)):
            if not idle:
                assert self._error(request) == Error.NO_ERR
        if self.tape_state is not None:
            if self._error(TapeCloseRequest()) != Error.NO_ERR:
                assert self._error(TapeCloseRequest()) in (Error.NO_ERR, Error.DEV_NOT_OPEN)
            if Opcode.RELEASE_6 not in self.plan.struck:
                assert verdict.holder(self.mounted) is None, "the drive is left reserved"
        if Opcode.RELEASE_6 in self.plan.struck:
            # A drive that refuses to be released is free when the session ends.
            self.close()

    @property
    def mover_halts(self) -> list[MoverHaltReason]:
        return [MoverHaltReason(post.reason) for post in self.stand.told
                if isinstance(post, NotifyMoverHaltedPost)]

    @property
    def data_halts(self) -> list[DataHaltReason]:
        return [DataHaltReason(post.reason) for post in self.stand.told
                if isinstance(post, NotifyDataHaltedPost)]

    @property
    def succeeded(self) -> bool:
        return (self.mover_halts == [MoverHaltReason.CONNECT_CLOSED]
                and self.data_halts in ([DataHaltReason.SUCCESSFUL], []))

    # The end.

    def close(self) -> None:
        self.plan.armed = False
        if self.closed:
            return
        self.closed = self.stand.released = True
        try:
            self.stand.close()
        finally:
            for nexus in [*self.nexuses.values(), *([self.thief] if self.thief is not None else [])]:
                nexus.close()


def meanwhile(stand: Stand, act: Callable[[], None]) -> None:
    """From the mover's thread: have the DMA do ``act``, and wait until it is done."""
    done = threading.Event()

    def do() -> None:
        try:
            stand.until(lambda: not stand.session.busy, "the request under way")
            act()
        finally:
            done.set()

    stand.call(do)
    assert done.wait(PATIENCE)


@contextmanager
def reported(seed: int, case: Case) -> Iterator[None]:
    """Whatever goes wrong inside says how to have it again."""
    try:
        yield
    except BaseException as failure:
        fault = case.plan.fault.name if case.plan.fault else "none"
        work = case.work
        failure.add_note("\n".join([
            f"seed {seed}, fault {fault!r} at command {case.plan.at}; {len(work.records)} records of "
            f"{work.record} bytes, local={work.local}, strict={work.strict}, capacity={work.capacity}, "
            f"windows={work.windows}",
            f"again: SWEEP_SEED={seed} pytest {os.environ.get('PYTEST_CURRENT_TEST', '').split(' ')[0]!r}",
            f"told {[str(getattr(one, 'entry', one))[:160] for one in case.stand.told]}",
            f"halts {case.mover_halts} {case.data_halts}, refused {case.refused}",
            *case.plan.history[-25:]]))
        raise


def rng_of(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed} {name}")
