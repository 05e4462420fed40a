"""What can go wrong between the server and a tape drive, as values, and the transport that makes it happen.

A fault strikes one command, counted from the moment the plan is armed; how much of that command the drive
carried out before is part of the fault. The drive itself is a real one of the embedded SAN, so what is on the
tape afterwards is what the commands that reached it have done.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from ndmpd.devices.errors import CommandTimeout, TransportError
from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result, Transport
from ndmpd.san.dataphase import clip
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import Sense, SenseKey

TRANSFERS = frozenset({Opcode.WRITE_6, Opcode.READ_6})
WRITES = frozenset({Opcode.WRITE_6, Opcode.WRITE_FILEMARKS_6})
MOVES = frozenset({*TRANSFERS, Opcode.WRITE_FILEMARKS_6, Opcode.SPACE_6, Opcode.LOCATE_10, Opcode.REWIND})
ANY = frozenset(Opcode)


class Done(Enum):
    """How much of the struck command the drive carried out."""

    NOTHING = auto()
    PART = auto()
    """Of a transfer of several records, some; of any other command nothing."""
    ALL = auto()


class Outcome(Enum):
    """What the server may make of a fault that struck a command of the job itself."""

    GOES_ON = auto()
    """The job succeeds all the same."""
    FAILS = auto()
    """The job must not succeed: data, or the place on the tape, may be lost."""
    EITHER = auto()
    """Success is as good as a failure that is told, as long as everything is there."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``answer``: status and sense of the struck command, None where no status comes back (``timeout``: in
    time). ``strikes``: the commands it can strike. ``lasting``: every such command from there on. ``act``:
    done to the drive first. ``doubt``: what was written cannot be told from what the drive says.
    """

    name: str
    status: int | None = Status.CHECK_CONDITION
    key: SenseKey | None = None
    code: int = 0
    done: tuple[Done, ...] = (Done.NOTHING,)
    strikes: frozenset[Opcode] = ANY
    outcome: Outcome = Outcome.FAILS
    eom: bool = False
    deferred: bool = False
    lasting: bool = False
    timeout: bool = False
    lies: bool = False
    doubt: bool = False
    act: str = ""


K, E, ON = SenseKey, Outcome.EITHER, Outcome.GOES_ON
PARTLY = (Done.NOTHING, Done.PART)
ANYHOW = (Done.NOTHING, Done.PART, Done.ALL)

FAULTS = (
    Fault("medium error", key=K.MEDIUM_ERROR, code=Asc.WRITE_ERROR, done=PARTLY, strikes=MOVES),
    Fault("medium error on an inquiry of state", key=K.MEDIUM_ERROR, code=Asc.UNRECOVERED_READ_ERROR,
          strikes=ANY - MOVES, outcome=E),
    Fault("hardware error", key=K.HARDWARE_ERROR, code=Asc.INTERNAL_FAILURE, done=ANYHOW, outcome=E),
    Fault("hardware error that stays", key=K.HARDWARE_ERROR, code=Asc.INTERNAL_FAILURE, lasting=True,
          outcome=E, doubt=True),
    Fault("write protected", key=K.DATA_PROTECT, code=Asc.WRITE_PROTECTED, strikes=WRITES),
    Fault("no medium", key=K.NOT_READY, code=Asc.MEDIUM_NOT_PRESENT, strikes=MOVES, doubt=True),
    Fault("becoming ready", key=K.NOT_READY, code=Asc.BECOMING_READY, strikes=MOVES),
    Fault("reset, the tape where it was", key=K.UNIT_ATTENTION, code=Asc.POWER_ON, outcome=ON, act="reset"),
    Fault("reset, the tape rewound", key=K.UNIT_ATTENTION, code=Asc.BUS_RESET, outcome=E, act="rewound"),
    Fault("mode parameters changed", key=K.UNIT_ATTENTION, code=Asc.MODE_PARAMETERS_CHANGED, outcome=ON),
    Fault("mode parameters really changed", key=K.UNIT_ATTENTION, code=Asc.MODE_PARAMETERS_CHANGED,
          strikes=TRANSFERS, outcome=E, act="block length"),
    Fault("commands cleared", key=K.UNIT_ATTENTION, code=Asc.COMMANDS_CLEARED, outcome=ON),
    Fault("medium may have changed", key=K.UNIT_ATTENTION, code=Asc.MEDIUM_MAY_HAVE_CHANGED, outcome=E),
    Fault("illegal request", key=K.ILLEGAL_REQUEST, code=Asc.INVALID_FIELD_IN_CDB, outcome=E),
    Fault("fixed blocks refused", key=K.ILLEGAL_REQUEST, code=Asc.INVALID_FIELD_IN_CDB, lasting=True,
          strikes=frozenset({Opcode.MODE_SELECT_6}), outcome=ON),
    Fault("position refused", key=K.ILLEGAL_REQUEST, code=Asc.INVALID_OPCODE, lasting=True,
          strikes=frozenset({Opcode.READ_POSITION}), outcome=E, doubt=True),
    Fault("aborted command", key=K.ABORTED_COMMAND, code=Asc.NONE, done=ANYHOW, strikes=MOVES),
    Fault("busy", status=Status.BUSY, outcome=ON),
    Fault("task set full", status=Status.TASK_SET_FULL, outcome=ON),
    Fault("busy for good", status=Status.BUSY, lasting=True, outcome=E, doubt=True),
    Fault("task aborted", status=0x40, done=ANYHOW, strikes=MOVES),
    Fault("reservation conflict", status=Status.RESERVATION_CONFLICT, outcome=E),
    Fault("the drive is taken away", status=Status.RESERVATION_CONFLICT, outcome=E, act="taken", doubt=True),
    Fault("recovered error", key=K.RECOVERED_ERROR, code=Asc.WRITE_ERROR, done=(Done.ALL,), outcome=ON),
    Fault("deferred error", key=K.MEDIUM_ERROR, code=Asc.WRITE_ERROR, deferred=True, strikes=MOVES),
    Fault("early warning", key=K.NO_SENSE, code=Asc.END_OF_MEDIUM, eom=True, done=(Done.PART, Done.ALL),
          strikes=frozenset({Opcode.WRITE_6}), outcome=ON),
    Fault("volume overflow", key=K.VOLUME_OVERFLOW, code=Asc.END_OF_MEDIUM, eom=True, done=PARTLY,
          strikes=frozenset({Opcode.WRITE_6}), outcome=ON),
    Fault("a short transfer", key=K.NO_SENSE, done=PARTLY, strikes=frozenset({Opcode.WRITE_6}), outcome=E),
    Fault("a residue that lies", key=K.NO_SENSE, eom=True, done=(Done.PART,), lies=True,
          strikes=frozenset({Opcode.WRITE_6}), outcome=E, doubt=True),
    Fault("the path broke", status=None, done=ANYHOW, outcome=E),
    Fault("the path broke for good", status=None, done=ANYHOW, lasting=True, outcome=E, doubt=True),
    Fault("no answer in time", status=None, timeout=True, done=ANYHOW, outcome=E, doubt=True),
)


class Plan:
    """One fault of one case: what, and at which command. ``act`` carries out ``Fault.act``; ``trigger``, for
    what is no fault of the drive, is called before a command of the mover is carried out.
    """

    def __init__(self, fault: Fault | None, at: int, rng: random.Random,
                 act: Callable[[str, Transport], None] = lambda name, inner: None,
                 trigger: Callable[[], None] | None = None) -> None:
        self.fault, self.at, self.rng = fault, at, rng
        self.act, self.trigger = act, trigger
        self.count = 0
        self.armed = False
        self.struck: list[int] = []
        """Operation codes of the commands that were struck."""
        self.history: list[str] = []
        self.path: Transport | None = None
        """Where the command goes, for who has no transport of his own."""
        self.unflushed = False
        """Records were written, and no WRITE FILEMARKS since has had them all on the medium."""

    def due(self, opcode: int) -> bool:
        if not self.armed:
            return False
        self.count += 1
        own = threading.current_thread() is not threading.main_thread()
        if self.trigger is not None and self.count > self.at and own:
            trigger, self.trigger = self.trigger, None
            trigger()
            return False
        fault = self.fault
        if fault is None or self.count <= self.at or opcode not in fault.strikes:
            return False
        return not self.struck or (fault.lasting and self.armed)


class FaultyTransport:
    """The path to a drive, on which ``plan`` happens."""

    most = None

    def __init__(self, inner: Transport, plan: Plan) -> None:
        self.inner, self.plan = inner, plan

    def execute(self, command: Command) -> Result:
        plan = self.plan
        opcode = command.cdb[0]
        if plan.due(opcode):
            result = self._strike(command)
        else:
            result = self.inner.execute(command)
        if opcode in WRITES:
            plan.unflushed = opcode == Opcode.WRITE_6
        if plan.armed:
            plan.history.append(f"{Opcode(opcode).name} {command.cdb[1:5].hex()} -> {result.status:x} "
                                f"{result.sense[:8].hex()}")
        return result

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self.inner.backing(lba, blocks)

    def close(self) -> None:
        self.inner.close()

    def _strike(self, command: Command) -> Result:
        fault, plan = self.plan.fault, self.plan
        assert fault is not None
        opcode = command.cdb[0]
        plan.struck.append(opcode)
        plan.history.append(f"{Opcode(opcode).name} {command.cdb[1:5].hex()}: {fault.name}")
        if fault.act:
            plan.act(fault.act, self.inner)
        done = plan.rng.choice(fault.done) if len(plan.struck) == 1 else Done.NOTHING
        residue: int | None = None
        moved = 0
        if opcode in TRANSFERS:
            asked = int.from_bytes(command.cdb[2:5], "big")
            fixed = bool(command.cdb[1] & 1)
            units = asked if fixed else min(1, asked)
            most = {Done.NOTHING: 0, Done.PART: max(0, units - 1), Done.ALL: units}[done]
            least = units if done is Done.ALL else min(1, most)
            number = plan.rng.randint(least, most)
            if fault.eom and fault.key is SenseKey.NO_SENSE:
                # Early warning is met by a record that was written.
                number = max(1, number)
            if number:
                natural, moved = self._part(command, asked, number if fixed else asked)
                if natural is not None:
                    # The drive itself had something to say: that comes first.
                    plan.struck.pop()
                    return natural
            residue = units - number if fixed else (0 if number else asked)
            if fault.lies:
                residue = (residue + plan.rng.randint(1, 3)) if plan.rng.random() < 0.5 else residue - 1
        elif done is Done.ALL:
            result = self.inner.execute(command)
            if result.status != Status.GOOD:
                plan.struck.pop()
                return result
            moved = result.transferred
        if fault.status is None:
            raise (CommandTimeout if fault.timeout else TransportError)(f"{fault.name} (injected)")
        if fault.key is None:
            return Result(fault.status, b"", moved)
        told = residue is not None and fault.key is not SenseKey.UNIT_ATTENTION and not fault.deferred
        sense = Sense(fault.key, fault.code, residue & 0xFFFFFFFF if told and residue is not None else None,
                      eom=fault.eom, deferred=fault.deferred)
        return Result(fault.status, sense.put(), moved)

    def _part(self, command: Command, asked: int, length: int) -> tuple[Result | None, int]:
        """Have the drive carry out ``length`` of the ``asked`` units; its own answer unless that is GOOD."""
        fixed = bool(command.cdb[1] & 1)
        writing = command.cdb[0] == Opcode.WRITE_6
        form = scsi.WRITE_6_TAPE if writing else scsi.READ_6_TAPE
        pieces = command.data_out if writing else command.data_in
        size = sum(piece.length for piece in pieces) // asked * length
        part = Command(form.put(fixed=fixed, length=length), clip(pieces, size) if writing else (),
                       () if writing else clip(pieces, size), command.timeout, command.faults)
        result = self.inner.execute(part)
        return (None, result.transferred) if result.status == Status.GOOD else (result, result.transferred)
