"""A copy manager: what it can do, copies that it carries out, and the certainty that one has ended. SPC-4.

EXTENDED COPY with one-byte list identifiers (LID1) has no immediate form: the command ends with the copy. So
a copy occupies a transport of its own, and what is asked about it meanwhile goes over another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ndmpd.devices.errors import DeviceError, TransportError, UnitDown
from ndmpd.devices.unit import Unit
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline
from ndmpd.ports import Transport
from protocol.errors import WireError
from protocol.scsi.command import Status
from protocol.scsi.copyresults import (
    RECEIVE_COPY_STATUS,
    RECEIVE_OPERATING_PARAMETERS,
    CopyState,
    CopyStatus,
    OperatingParameters,
)
from protocol.scsi.cscd import Identification
from protocol.scsi.segments import RegisterKey
from protocol.scsi.sense import CopySense, Reported, Sense, SenseKey
from protocol.scsi.spc import Designator, DeviceType, Vpd
from protocol.scsi.thirdparty import ThirdPartyCopy
from protocol.scsi.xcopy import COPY_OPERATION_ABORT, EXTENDED_COPY, ListIdUsage, ParameterList

log = logging.getLogger(__name__)

COPY_WITHIN = 3600.0
"""Seconds for one EXTENDED COPY: the tapes it moves may wind from end to end."""
ENDS_WITHIN = 30.0
"""Seconds that a copy is given to end after it was aborted."""
_LOOK = 0.2
"""Seconds between two questions about a copy under way."""
_ANSWER = 4096
_ATTEMPTS = 4
"""Times that a tape may answer a registration with a unit attention."""


class CopyGoesOn(NdmpdError):
    """A copy that was to end has not, or cannot be asked: what it moves cannot be trusted to stand still."""


@dataclass(frozen=True, slots=True)
class Copied:
    """How an EXTENDED COPY ended. ``status`` None: no answer came, and the copy has ended since.

    ``sense`` says why, with a status of CHECK CONDITION; ``reason`` is for people.
    """

    status: int | None
    sense: Sense | None = None
    reason: str = ""

    @property
    def good(self) -> bool:
        return self.status == Status.GOOD

    @property
    def source(self) -> Reported | None:
        """What the unit that was read said to the copy manager."""
        return CopySense.of(self.sense).source_sense if self.sense else None

    @property
    def destination(self) -> Reported | None:
        """What the unit that was written said to the copy manager."""
        return CopySense.of(self.sense).destination_sense if self.sense else None


@dataclass(slots=True)
class _UnderWay:
    """A copy while it lasts, as ``CopyManager.copy`` was given it."""

    list_id: int
    stopped: Callable[[], bool]
    moved: Callable[[int], None]
    aborted: bool = False


class CopyManager(Unit):
    """``open_transport`` makes a path to the unit that takes EXTENDED COPY.

    ``key``: the head's reservation key, where copies are sent by another nexus than the one that drives are
    opened by. It is then registered with every tape before the first copy to or from it (REGISTER KEY
    segment), since a copy manager has no other access than whoever sends it the copy.

    One thread watches all the copies of its life, one after the other: to start one for each copy would cost
    more than all else that is done for it.
    """

    def __init__(self, open_transport: Callable[[], Transport], name: str, key: int | None = None) -> None:
        super().__init__(open_transport(), name)
        self._key = key
        self._joined: set[Designator] = set()
        self._open_transport = open_transport
        self._asking: Unit | None = None
        self._lock = threading.Lock()
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()
        self._under_way: _UnderWay | None = None
        self._looking = threading.Lock()
        """Held while the watcher deals with the copy under way, which it may not outlive."""

    def copies(self) -> bool:
        """Whether it takes EXTENDED COPY at all (3PC)."""
        return self.inquiry().third_party_copy

    def limits(self) -> tuple[OperatingParameters | None, ThirdPartyCopy | None]:
        """What it says of its limits, in both places; None for what it does not answer."""
        page: ThirdPartyCopy | None = None
        with suppress(DeviceError, WireError):
            page = ThirdPartyCopy.take(self.vital(Vpd.THIRD_PARTY_COPY).put())
        parameters: OperatingParameters | None = None
        with suppress(DeviceError, WireError):
            data = self.ask("receive operating parameters",
                            RECEIVE_OPERATING_PARAMETERS.put(allocation=_ANSWER), _ANSWER)
            parameters = OperatingParameters.take(data)
        return parameters, page

    def close(self) -> None:
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()
        self.transport.close()
        with self._lock:
            if self._asking is not None:
                self._asking.transport.close()
                self._asking = None

    # Copies.

    def copy(self, order: ParameterList, *, stopped: Callable[[], bool],
             moved: Callable[[int], None]) -> Copied:
        """Carry out ``order``; back when it has ended, one way or another.

        ``moved`` hears the bytes moved so far, now and then, from another thread; once ``stopped`` says so
        the copy is aborted. Raises CopyGoesOn.
        """
        data = order.put()
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="copy watch", daemon=True)
            self._watcher.start()
        self._under_way = _UnderWay(order.list_id, stopped, moved)
        try:
            try:
                self._join(order)
                answer = self.send("extended copy", EXTENDED_COPY.put(length=len(data)), out=[Inline(data)],
                                   timeout=COPY_WITHIN)
            finally:
                with self._looking:
                    self._under_way = None
        except DeviceError as failure:
            # A status other than CHECK CONDITION: the unit did not take the command.
            return Copied(failure.status, failure.sense, str(failure))
        except TransportError as failure:
            self.make_sure_it_ended(order.list_id)
            return Copied(None, None, str(failure))
        if answer.sense is None or self.recovered(answer.sense):
            return Copied(Status.GOOD)
        return Copied(Status.CHECK_CONDITION, answer.sense, answer.sense.text)

    def _join(self, order: ParameterList) -> None:
        """Register with the tapes of ``order``, once. Where that fails the copy will say so."""
        if self._key is None:
            return
        for cscd in order.cscds:
            if (not isinstance(cscd, Identification) or cscd.device_type != DeviceType.TAPE
                    or cscd.designator in self._joined):
                continue
            self._joined.add(cscd.designator)
            data = ParameterList(0, ListIdUsage.NONE, (cscd,), (RegisterKey(0, 0, self._key),)).put()
            for _ in range(_ATTEMPTS):
                answer = self.send("register with a tape", EXTENDED_COPY.put(length=len(data)),
                                   out=[Inline(data)])
                told = CopySense.of(answer.sense).destination_sense if answer.sense else None
                if told is None or told.sense is None or told.sense.key is not SenseKey.UNIT_ATTENTION:
                    break
            if answer.sense is not None:
                # A conflict where the nexus is registered already, as one that drives are opened by too.
                log.debug("%s: no registration with a tape: %s", self.name, answer.sense.text)

    def attention(self, doing: str, cdb: bytes, sense: Sense) -> None:
        """A copy is not sent again behind the back of whoever knows where the tape ought to stand."""
        if cdb[0] == EXTENDED_COPY.opcode:
            raise DeviceError(self.saying(doing), Status.CHECK_CONDITION, sense)

    def _watch(self) -> None:
        """The watcher's thread, from the first copy until ``close``."""
        while not self._closed.wait(_LOOK):
            with self._looking:
                if self._under_way is not None:
                    self._look_at(self._under_way)

    def _look_at(self, copy: _UnderWay) -> None:
        """Ask how far the copy is; abort it on demand. That it cannot be asked is no fault of the copy."""
        try:
            if copy.stopped() and not copy.aborted:
                self.abort(copy.list_id)
                copy.aborted = True
            status = self.status(copy.list_id)
            if status is not None and status.bytes_moved is not None:
                copy.moved(status.bytes_moved)
        except (NdmpdError, WireError) as failure:
            log.debug("%s: %s", self.name, failure)

    def status(self, list_id: int) -> CopyStatus | None:
        """RECEIVE COPY STATUS; None where the copy manager knows no copy of that identifier.

        Callable from any thread.
        """
        with self._lock:
            try:
                data = self._questions().ask("receive copy status", RECEIVE_COPY_STATUS.put(
                    list_id=list_id, allocation=_ANSWER), _ANSWER)
            except DeviceError as failure:
                if failure.refused:
                    return None
                raise
        return CopyStatus.take(data)

    def abort(self, list_id: int) -> None:
        """COPY OPERATION ABORT, where there is such a command. Returns before the copy has ended."""
        with self._lock:
            try:
                self._questions().must("abort the copy", COPY_OPERATION_ABORT.put(list_id=list_id))
            except DeviceError as failure:
                if not failure.refused:
                    raise
                log.debug("%s cannot abort copies: %s", self.name, failure)

    def make_sure_it_ended(self, list_id: int) -> None:
        """Abort what may still run and wait until it does not. Raises CopyGoesOn."""
        deadline = time.monotonic() + ENDS_WITHIN
        aborted = False
        while True:
            try:
                if not aborted:
                    self.abort(list_id)
                    aborted = True
                status = self.status(list_id)
                if status is None or status.status != CopyState.RUNNING:
                    return
                why = "it is still under way"
            except UnitDown:
                return
            except (NdmpdError, WireError) as failure:
                why = str(failure)
                self._forget_questions()
            if time.monotonic() > deadline:
                raise CopyGoesOn(f"{self.name}: copy {list_id} did not end within {ENDS_WITHIN:.0f} s "
                                 f"({why}); see to it that it has before the tape is used again")
            time.sleep(_LOOK)

    def _questions(self) -> Unit:
        if self._asking is None:
            self._asking = Unit(self._open_transport(), self.name)
        return self._asking

    def _forget_questions(self) -> None:
        with self._lock:
            if self._asking is not None:
                with suppress(NdmpdError, OSError):
                    self._asking.transport.close()
                self._asking = None
