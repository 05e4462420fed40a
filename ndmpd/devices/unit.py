"""One logical unit seen through its transport: sending commands, and what every kind of unit answers alike.

Not for concurrent use: one command at a time, callers serialise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ndmpd.devices.errors import DeviceBusy, DeviceError, no_medium
from ndmpd.pieces import Inline, Piece
from ndmpd.ports import Command, Result, SourceFault, Transport
from protocol.bits import text
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import Designator, Inquiry, Vpd, VpdPage

log = logging.getLogger(__name__)

SHORT = 60.0
"""Seconds that a command without motion may take."""
LONG = 3600.0
"""Seconds for whatever may wind a tape from end to end, or move robots."""

_ATTENTIONS = 16
"""Unit attentions in a row before the unit counts as broken; units queue a handful at power on."""
_BUSY_FOR = 5.0
_BUSY_PAUSE = 0.02
_PARAMETERS = 0xFFFF
"""Allocation length for parameter data that has no size of its own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended: GOOD, or CHECK CONDITION with sense. Other statuses are raised."""

    result: Result
    sense: Sense | None = None
    faults: tuple[SourceFault, ...] = ()


@runtime_checkable
class Owning(Protocol):
    """A transport that sees to it that its unit is this session's alone (``ndmpd.devices.ownership``)."""

    def own(self) -> None:
        """Idempotent; after a reset it makes sure anew. DeviceBusy where another has the unit."""

    def disown(self) -> None: ...


class Unit:
    """``name`` is what messages call the unit."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.transport = transport
        self.name = name
        self.soft_errors = 0
        """Commands that succeeded only after recovery inside the unit."""

    def send(self, doing: str, cdb: bytes, *, out: Sequence[Piece] = (), into: Sequence[Piece] = (),
             timeout: float = SHORT) -> Answer:
        """Execute one command; GOOD or CHECK CONDITION comes back as an ``Answer``.

        Unit attentions are shown to ``attention`` and the command is sent again; BUSY is waited out for a few
        seconds. Raises DeviceError for other statuses, for deferred errors, and where ``attention``
        does; TransportError where no status came back.
        """
        attentions = 0
        patience = time.monotonic() + _BUSY_FOR
        while True:
            order = Command(cdb, out, into, timeout)
            result = self.transport.execute(order)
            status = result.status
            if status in (Status.BUSY, Status.TASK_SET_FULL) and time.monotonic() < patience:
                time.sleep(_BUSY_PAUSE)
                continue
            if status == Status.GOOD:
                return Answer(result, None, tuple(order.faults))
            sense = self._sense(result.sense)
            if status != Status.CHECK_CONDITION or sense is None or sense.deferred:
                raise DeviceError(self.saying(doing), status, sense)
            if sense.key is SenseKey.UNIT_ATTENTION and attentions < _ATTENTIONS:
                attentions += 1
                log.debug("%s: %s", self.name, sense.text)
                self.attention(doing, cdb, sense)
                continue
            return Answer(result, sense, tuple(order.faults))

    def must(self, doing: str, cdb: bytes, *, out: Sequence[Piece] = (), into: Sequence[Piece] = (),
             timeout: float = SHORT) -> Answer:
        """As ``send``, but CHECK CONDITION raises, unless all it says is that recovery was needed."""
        answer = self.send(doing, cdb, out=out, into=into, timeout=timeout)
        if answer.sense is not None and not self.recovered(answer.sense):
            raise self.failure(doing, answer)
        return answer

    def ask(self, doing: str, cdb: bytes, size: int = _PARAMETERS) -> bytes:
        """Parameter data: at most ``size`` bytes, as many as the unit sends."""
        buffer = bytearray(size)
        answer = self.must(doing, cdb, into=(Inline(buffer),))
        return bytes(memoryview(buffer)[:min(answer.result.transferred, size)])

    def attention(self, doing: str, cdb: bytes, sense: Sense) -> None:
        """A unit attention came instead of the command. Returns where it may be sent again; else raises."""

    def recovered(self, sense: Sense) -> bool:
        """Whether the command succeeded after all; counts it."""
        if sense.key is SenseKey.RECOVERED_ERROR:
            self.soft_errors += 1
            return True
        return False

    def failure(self, doing: str, answer: Answer, records: int | None = None) -> DeviceError:
        return DeviceError(self.saying(doing), answer.result.status, answer.sense, records)

    def saying(self, doing: str) -> str:
        return f"{self.name}: {doing}"

    @staticmethod
    def _sense(data: bytes) -> Sense | None:
        try:
            return Sense.take(data)
        except WireError:
            return None

    # What every unit answers.

    def ready(self, wait: float = 0.0) -> bool:
        """TEST UNIT READY: True when ready, False when there is no medium.

        Waits up to ``wait`` seconds for a unit that is becoming ready; DeviceError where it does not.
        """
        deadline = time.monotonic() + wait
        while True:
            answer = self.send("test unit ready", command.TEST_UNIT_READY.put())
            sense = answer.sense
            if sense is None or self.recovered(sense) or sense.key is SenseKey.NO_SENSE:
                return True
            if no_medium(sense):
                return False
            if sense.key is not SenseKey.NOT_READY or time.monotonic() >= deadline:
                raise self.failure("test unit ready", answer)
            time.sleep(0.2)

    def inquiry(self) -> Inquiry:
        return Inquiry.take(self.ask("inquiry", command.INQUIRY.put(allocation=96), 96))

    def vital(self, page: int, size: int = 1024) -> VpdPage:
        """A vital product data page. DeviceError where the unit has none such."""
        cdb = command.INQUIRY.put(evpd=1, page=page, allocation=size)
        return VpdPage.take(self.ask(f"read vital product data {page:02X}h", cdb, size), page)

    def designators(self) -> tuple[Designator, ...]:
        """What identifies the unit (VPD 83h); empty where it does not say."""
        try:
            return Designator.take_all(self.vital(Vpd.IDENTIFICATION).body)
        except DeviceError as error:
            if not error.refused:
                raise
            return ()

    def serial(self) -> str:
        """The unit serial number (VPD 80h); "" where it has none."""
        try:
            return text(self.vital(Vpd.SERIAL_NUMBER).body)
        except DeviceError as error:
            if not error.refused:
                raise
            return ""

    def reserve(self) -> None:
        """Keep others from the unit: by its transport where that owns it, else by RESERVE(6).

        DeviceBusy where another nexus holds it.

        A unit that no longer knows the command (SPC-3 dropped it) is left to the lock that came with the
        transport.
        """
        if isinstance(self.transport, Owning):
            self.transport.own()
            return
        try:
            self.must("reserve", command.RESERVE_6.put())
        except DeviceError as error:
            if error.status == Status.RESERVATION_CONFLICT:
                raise DeviceBusy(f"{self.name} is reserved by another host or session") from error
            if not error.refused:
                raise

    def release(self) -> None:
        """Let others have the unit."""
        if isinstance(self.transport, Owning):
            self.transport.disown()
            return
        try:
            self.must("release", command.RELEASE_6.put())
        except DeviceError as error:
            if not error.refused:
                raise
