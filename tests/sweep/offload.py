"""What can go wrong with a copy, as values, and the paths to copy manager and units on which it happens.

The copy manager is the real one. Where a fault has it end early, it is given just that part of the command:
what is on the tape is what it has done, and what it says of it, true or not, is the fault's.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any

from ndmpd.datapath import read_bytes
from ndmpd.devices.errors import CommandTimeout, TransportError
from ndmpd.pieces import FileExtent, Inline
from ndmpd.ports import Command, Result, Transport
from ndmpd.san.copymanager.checks import amount
from ndmpd.san.copymanager.ends import End
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copysegments import BlockToStream, StreamToBlock
from protocol.scsi.segments import Segment
from protocol.scsi.sense import CopySense, Reported, Sense, SenseKey
from protocol.scsi.spc import DeviceType
from protocol.scsi.xcopy import EXTENDED_COPY, ParameterList
from tests.services.copy_rig import BLOCK, Place
from tests.services.rig import PATIENCE

K = SenseKey


class Done(Enum):
    """How much of the struck copy is carried out."""

    NOTHING = auto()
    PART = auto()
    """Some whole records, maybe all, maybe none."""
    ALL = auto()
    RUNNING = auto()
    """All of it, and it goes on while the initiator already has its answer."""


class Ends(Enum):
    """What the mover may make of a fault, where the head may take over."""

    GOES_ON = auto()
    FAILS = auto()
    EITHER = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """``status`` None: no answer. ``source``, ``destination``: what the copy manager forwards of them, with
    COPY ABORTED. ``lies``: it claims other than what it did. ``lasting``: every command from there on.
    """

    name: str
    status: int | None = Status.CHECK_CONDITION
    key: SenseKey | None = None
    code: int = 0
    done: Done = Done.NOTHING
    source: Reported | None = None
    destination: Reported | None = None
    ends: Ends = Ends.GOES_ON
    lasting: bool = False
    deferred: bool = False
    lies: bool = False


def check(key: SenseKey, code: int) -> Reported:
    return Reported(Status.CHECK_CONDITION, Sense(key, code).put())


_REPORTS = {
    "a medium error": check(K.MEDIUM_ERROR, Asc.WRITE_ERROR),
    "a hardware error": check(K.HARDWARE_ERROR, Asc.INTERNAL_FAILURE),
    "not ready": check(K.NOT_READY, Asc.BECOMING_READY),
    "a reset": check(K.UNIT_ATTENTION, Asc.BUS_RESET),
    "other mode parameters": check(K.UNIT_ATTENTION, Asc.MODE_PARAMETERS_CHANGED),
    "an illegal request": check(K.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB),
    "an aborted command": check(K.ABORTED_COMMAND, Asc.NONE),
    "busy": Reported(Status.BUSY, b""),
    "a full task set": Reported(Status.TASK_SET_FULL, b""),
    "a reservation conflict": Reported(Status.RESERVATION_CONFLICT, b""),
    "nonsense": Reported(Status.CHECK_CONDITION, b"\0\1\2"),
}
CHANGED = check(K.UNIT_ATTENTION, Asc.MEDIUM_MAY_HAVE_CHANGED)
_REFUSALS = (
    Asc.PARAMETER_LIST_LENGTH, Asc.INVALID_OPCODE, Asc.INVALID_FIELD_IN_CDB, Asc.LUN_NOT_SUPPORTED,
    Asc.INVALID_FIELD_IN_PARAMETERS, Asc.PARAMETER_NOT_SUPPORTED, Asc.PARAMETER_VALUE_INVALID,
    Asc.TOO_MANY_TARGETS, Asc.UNSUPPORTED_TARGET_TYPE, Asc.TOO_MANY_SEGMENTS, Asc.UNSUPPORTED_SEGMENT_TYPE,
    Asc.UNEXPECTED_INEXACT_SEGMENT, Asc.INLINE_DATA_LENGTH, Asc.INVALID_COPY_OPERATION, Asc.COPY_GRANULARITY,
    Asc.COPY_NOT_AUTHORIZED, Asc.OPERATION_IN_PROGRESS, Asc.INSUFFICIENT_RESOURCES)
_ATTENTIONS = (Asc.POWER_ON, Asc.BUS_RESET, Asc.NEXUS_LOSS, Asc.MODE_PARAMETERS_CHANGED, Asc.COMMANDS_CLEARED,
               Asc.REPORTED_LUNS_CHANGED)
_COPY_CODES = (Asc.THIRD_PARTY_DEVICE_FAILURE, Asc.COPY_TARGET_NOT_REACHABLE, Asc.INCORRECT_COPY_TARGET_TYPE,
               Asc.UNREACHABLE_COPY_TARGET, Asc.COPY_TARGET_UNDERRUN, Asc.THIRD_PARTY_TEMPORARY_INITIATOR,
               Asc.COMMANDS_CLEARED_BY_DEVICE_SERVER, Asc.INVALID_FIELD_IN_PARAMETERS)
FAILURE = Asc.THIRD_PARTY_DEVICE_FAILURE

COPY_FAULTS = (
    Fault("busy", Status.BUSY),
    Fault("task set full", Status.TASK_SET_FULL),
    Fault("busy for good", Status.BUSY, lasting=True),
    Fault("reservation conflict", Status.RESERVATION_CONFLICT),
    Fault("reservation conflict that stays", Status.RESERVATION_CONFLICT, lasting=True),
    Fault("task aborted", 0x40, done=Done.PART),
    *(Fault(f"refused {code:04X}", key=K.ILLEGAL_REQUEST, code=code) for code in _REFUSALS),
    *(Fault(f"refused {code:04X} always", key=K.ILLEGAL_REQUEST, code=code, lasting=True)
      for code in _REFUSALS),
    *(Fault(f"attention {code:04X}", key=K.UNIT_ATTENTION, code=code) for code in _ATTENTIONS),
    Fault("attention that stays", key=K.UNIT_ATTENTION, code=Asc.POWER_ON, lasting=True),
    Fault("hardware error", key=K.HARDWARE_ERROR, code=Asc.INTERNAL_FAILURE, done=Done.PART),
    Fault("aborted command", key=K.ABORTED_COMMAND, code=Asc.NONE, done=Done.PART),
    Fault("not ready", key=K.NOT_READY, code=Asc.NOT_READY),
    Fault("no sense data", done=Done.PART),
    Fault("deferred error", key=K.MEDIUM_ERROR, code=Asc.WRITE_ERROR, done=Done.PART, deferred=True),
    Fault("recovered", key=K.RECOVERED_ERROR, code=Asc.WRITE_ERROR, done=Done.ALL),
    *(Fault(f"copy aborted {code:04X}", key=K.COPY_ABORTED, code=code, done=Done.PART)
      for code in _COPY_CODES),
    *(Fault(f"the source has {name}", key=K.COPY_ABORTED, code=FAILURE, done=Done.PART, source=report)
      for name, report in _REPORTS.items()),
    *(Fault(f"the destination has {name}", key=K.COPY_ABORTED, code=FAILURE, done=Done.PART,
            destination=report) for name, report in _REPORTS.items()),
    Fault("the path broke before", None),
    Fault("the path broke in between", None, done=Done.PART),
    Fault("the answer was lost", None, done=Done.ALL),
    Fault("the path broke for good", None, lasting=True),
    Fault("no answer in time", None, done=Done.RUNNING),
    Fault("says that all is done", Status.GOOD, done=Done.PART, lies=True, ends=Ends.EITHER),
    Fault("says that nothing was done", key=K.COPY_ABORTED, code=FAILURE, done=Done.PART, lies=True,
          ends=Ends.EITHER),
    Fault("says that it was refused", key=K.ILLEGAL_REQUEST, code=Asc.INVALID_FIELD_IN_PARAMETERS,
          done=Done.PART, lies=True, ends=Ends.EITHER),
)


class Trouble:
    """One fault of one case. ``at``: the copy, from 0, that it strikes; ``record``: the record size."""

    def __init__(self, place: Place, record: int, rng: random.Random, fault: Fault | None = None,
                 at: int = 0) -> None:
        self.place, self.record, self.rng, self.fault, self.at = place, record, rng, fault, at
        self.copies = 0
        self.struck = 0
        self.history: list[str] = []
        self.end: tuple[DeviceType, Reported, bool] | None = None
        """A unit that reports this to the copy manager, at its command number ``at``; always from then on?"""
        self.commands = 0
        self.other: Callable[[str, Transport], Transport] = lambda name, inner: inner
        """What is wrong with other paths than the copy manager's."""
        self.running: list[threading.Thread] = []

    def wrap(self, name: str, inner: Transport) -> Transport:
        return CopyTransport(inner, self) if name == "copy0" else self.other(name, inner)

    def due(self) -> bool:
        self.copies += 1
        fault = self.fault
        return fault is not None and self.copies > self.at and (fault.lasting or not self.struck)

    def at_end(self, end: End) -> Result | None:
        """What a unit answers the copy manager instead of carrying a command out."""
        if self.end is None or end.unit is None or end.kind is not self.end[0]:
            return None
        self.commands += 1
        _, report, lasting = self.end
        if self.commands <= self.at or (self.struck and not lasting):
            return None
        self.struck += 1
        self.history.append(f"{end.unit.name} reports {report}")
        return Result(report.status, report.data)

    def wait(self) -> None:
        while self.running:
            thread = self.running.pop()
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a copy does not end"


class CopyTransport:
    """The path to a copy manager, on which ``trouble`` happens."""

    most = None

    def __init__(self, inner: Transport, trouble: Trouble) -> None:
        self.inner, self.trouble = inner, trouble

    def execute(self, command: Command) -> Result:
        trouble = self.trouble
        if not EXTENDED_COPY.matches(command.cdb):
            return self.inner.execute(command)
        trouble.wait()
        if not trouble.due():
            result = self.inner.execute(command)
            trouble.history.append(f"copy -> {result.status:x} {result.sense.hex()}")
            return result
        trouble.struck += 1
        assert trouble.fault is not None
        trouble.history.append(f"copy: {trouble.fault.name}")
        return self._strike(command, trouble.fault)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self.inner.backing(lba, blocks)

    def close(self) -> None:
        self.trouble.wait()
        self.inner.close()

    def _strike(self, command: Command, fault: Fault) -> Result:
        found = ParameterList.take(read_bytes(command.data_out, []))
        sizes = [amount(one, found)[0] for one in found.segments]
        total = sum(sizes) // self.trouble.record
        done = {Done.NOTHING: 0, Done.PART: self.trouble.rng.randint(0, total)}.get(fault.done, total)
        segments = None
        while segments is None:
            segments = shortened(found.segments, sizes, done * self.trouble.record)
            done -= segments is None
        self.trouble.history.append(f"  {done} of {total} records in {len(sizes)} segments")
        if fault.done is Done.RUNNING:
            self._leave_running(command)
        elif segments:
            data = replace(found, segments=tuple(segments)).put()
            result = self.inner.execute(Command(EXTENDED_COPY.put(length=len(data)), [Inline(data)]))
            if result.status != Status.GOOD:
                # The units themselves had something to say: that comes first.
                self.trouble.history.append(f"  on its own: {result.sense.hex()}")
                if fault.lies or fault.status is not None:
                    self.trouble.struck -= 1
                    return result if done == total else self._told(result, sizes)
        if fault.status is None:
            kind = CommandTimeout if fault.done is Done.RUNNING else TransportError
            raise kind(f"{fault.name} (injected)")
        if fault.status != Status.CHECK_CONDITION or fault.key is None:
            return Result(fault.status)
        if fault.key is not K.COPY_ABORTED:
            return Result(fault.status, Sense(fault.key, fault.code, deferred=fault.deferred).put())
        return Result(fault.status, self._sense(fault, sizes, 0 if fault.lies else done).put())

    def _told(self, result: Result, sizes: Sequence[int]) -> Result:
        """The sense data of a part of the command as those of all of it: residues are of the last segment."""
        told = CopySense.of(Sense.take(result.sense))
        if told.segment is None or told.residue is None:
            return result
        raise TransportError("an answer that would be wrong (injected)")

    def _sense(self, fault: Fault, sizes: Sequence[int], done: int) -> CopySense:
        ends = [sum(sizes[:at + 1]) // self.trouble.record for at in range(len(sizes))]
        segment = next((at for at, end in enumerate(ends) if end > done), len(ends) - 1)
        return CopySense(fault.code, segment, (ends[segment] - done) * self.trouble.record, fault.source,
                         fault.destination)

    def _leave_running(self, command: Command) -> None:
        operations = self.trouble.place.server.operations
        ended = threading.Event()

        def run() -> None:
            try:
                self.inner.execute(command)
            finally:
                ended.set()

        thread = threading.Thread(target=run)
        thread.start()
        self.trouble.running.append(thread)
        while not operations._running and not ended.is_set():
            time.sleep(0.0002)


def shortened(segments: Sequence[Segment], sizes: Sequence[int], length: int) -> list[Segment] | None:
    """What moves the first ``length`` bytes of ``segments``; None where none of that kind does."""
    found: list[Segment] = []
    for one, size in zip(segments, sizes, strict=True):
        if not length:
            break
        changed: Any = one
        if size > length:
            if isinstance(one, BlockToStream | StreamToBlock):
                if length % BLOCK:
                    return None
                changed = replace(one, blocks=length // BLOCK)
            elif hasattr(one, "byte_count"):
                changed = replace(one, byte_count=length)
            else:
                return None
            size = length
        length -= size
        found.append(changed if length or not hasattr(changed, "cat") else replace(changed, cat=False))
    return found
