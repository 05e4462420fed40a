"""A transport that plays a script: for what no well-behaved drive does on request."""

from __future__ import annotations

from dataclasses import dataclass, field

from ndmpd.pieces import FileExtent, Inline
from ndmpd.ports import Command, Result
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import BlockDescriptor, ModeParameters
from protocol.scsi.ssc import BlockLimits, LongPosition, PositionForm, ShortPosition

GOOD = Result(Status.GOOD)


def check(key: SenseKey, code: int = 0, **bits: object) -> Result:
    return Result(Status.CHECK_CONDITION, Sense(key, code, **bits).put())  # type: ignore[arg-type]


REFUSED = check(SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB)
RESET = check(SenseKey.UNIT_ATTENTION, Asc.POWER_ON)
CHANGED = check(SenseKey.UNIT_ATTENTION, Asc.MEDIUM_MAY_HAVE_CHANGED)
NO_MEDIUM = check(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)


@dataclass
class ScriptedDrive:
    """Answers questions about its state by itself, and all else by ``script``: opcode -> results in order.

    A command that the script has nothing (more) for gets GOOD. ``sent`` lists the opcodes in order. Without
    ``tells_position`` READ POSITION is refused; ``forms`` are those known. ``data`` is what READ delivers.
    """

    script: dict[Opcode, list[Result]] = field(default_factory=dict)
    number: int | None = 0
    file: int | None = 0
    block_length: int = 0
    protected: bool = False
    forms: tuple[PositionForm, ...] = (PositionForm.LONG, PositionForm.SHORT)
    limits: BlockLimits = field(default_factory=lambda: BlockLimits(1, 0x800000))
    data: bytes = b""
    sent: list[int] = field(default_factory=list)
    cdbs: list[bytes] = field(default_factory=list)
    closed: int = 0
    most: int | None = None

    def execute(self, command: Command) -> Result:
        opcode = command.cdb[0]
        self.sent.append(opcode)
        self.cdbs.append(command.cdb)
        queue = self.script.get(Opcode(opcode))
        if queue:
            result = queue.pop(0)
            if result.transferred:
                self._deliver(command, self.data)
            return result
        if opcode == Opcode.MODE_SELECT_6:
            (piece,) = command.data_out
            assert isinstance(piece, Inline)
            self.block_length = ModeParameters.take_6(piece.data, select=True).descriptors[0].length
            return GOOD
        answer = self._answer(command.cdb)
        if answer is None:
            return REFUSED
        return Result(Status.GOOD, b"", self._deliver(command, answer))

    def _answer(self, cdb: bytes) -> bytes | None:
        match cdb[0]:
            case Opcode.READ_BLOCK_LIMITS:
                return self.limits.put()
            case Opcode.MODE_SENSE_6:
                block = BlockDescriptor(0x5E, 0, self.block_length)
                return ModeParameters(0, 0x90 if self.protected else 0x10, (block,)).put_6()
            case Opcode.READ_POSITION:
                if PositionForm(cdb[1]) not in self.forms:
                    return None
                if cdb[1] == PositionForm.LONG:
                    return LongPosition(self.number, self.file).put()
                return ShortPosition(self.number, self.number).put()
            case Opcode.READ_ATTRIBUTE:
                return None
        return b""

    def _deliver(self, command: Command, data: bytes) -> int:
        done = 0
        for place in command.data_in:
            assert isinstance(place, Inline)
            part = data[done:done + place.length]
            memoryview(place.data)[:len(part)] = part
            done += len(part)
        return done

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        self.closed += 1

    def times(self, opcode: Opcode) -> int:
        """How often a command was sent."""
        return self.sent.count(opcode)
