"""What a tape drive is and where it stands: ownership, medium, mode, position. SSC-4.

Attributes are replaced whole, so that another thread may read them while a command is under way; only the
thread that owns the drive sends commands.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ndmpd.devices.errors import CommandTimeout, DeviceError, TransportError, no_medium
from ndmpd.devices.ownership import RESERVATION_LOST
from ndmpd.devices.tape_position import UNKNOWN, TapePosition
from ndmpd.devices.unit import SHORT, Answer, Unit
from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline, Piece
from ndmpd.ports import Transport
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.logs import Attribute, take_attributes
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import ALL_PAGES, BlockDescriptor, ModeParameters
from protocol.scsi.ssc import BlockLimits, LongPosition, PositionForm, ShortPosition, TapeSpecific

log = logging.getLogger(__name__)

SUCCESS = (SenseKey.NO_SENSE, SenseKey.RECOVERED_ERROR)
"""Sense keys of a CHECK CONDITION that only reports: a mark, an end, an odd length."""
READY_WAIT = 120.0
"""Seconds in which a drive threads a cartridge that was just put in."""
MAX_LENGTH = 0xFFFFFF
"""Largest record, and most records, that READ(6) and WRITE(6) can name."""
_MEBIBYTE = 1 << 20
RESET = Asc.POWER_ON >> 8
"""Additional sense code of every kind of reset."""
_ANYWHERE = frozenset({Opcode.TEST_UNIT_READY, Opcode.INQUIRY, Opcode.REWIND, Opcode.LOAD_UNLOAD,
                       Opcode.RESERVE_6, Opcode.RELEASE_6})
"""Commands that mean the same whatever the cartridge and wherever it stands."""
_MOVING = frozenset({Opcode.READ_6, Opcode.WRITE_6, Opcode.WRITE_FILEMARKS_6, Opcode.SPACE_6, Opcode.REWIND,
                     Opcode.LOCATE_10, Opcode.LOCATE_16, Opcode.LOAD_UNLOAD})
"""Commands after which the tape stands elsewhere."""
_ABSOLUTE = frozenset({Opcode.LOCATE_10, Opcode.LOCATE_16})
"""Commands that mean the same wherever this cartridge stands."""


@dataclass(frozen=True, slots=True)
class Space:
    """Native capacity in bytes: of the whole cartridge, and what was left after ``written`` bytes."""

    total: int | None
    remaining: int | None
    written: int


class TapeUnit(Unit):
    """The state of a drive. ``position`` and the rest are what the drive said last, counted on since.

    ``block_length``: of the current mode, 0 for variable, None where not known. ``unmarked``: the last thing
    done was to write records, so that a filemark is still owed. ``early_warning``: the tape stands in the
    zone before its end, as the last write met it or READ POSITION has it (EOP); None where it has moved since
    and has not been asked. ``written``: bytes since ``open``.
    """

    def __init__(self, transport: Transport, name: str) -> None:
        super().__init__(transport, name)
        self.position: TapePosition = UNKNOWN
        self.loaded = False
        self.write_protected = False
        self.unmarked = False
        self.early_warning: bool | None = False
        self.limits = BlockLimits(1, MAX_LENGTH)
        self.block_length: int | None = None
        self.space: Space | None = None
        self.written = 0
        self._mode = ModeParameters()
        self._first_block_length: int | None = None
        self._forms = [PositionForm.LONG, PositionForm.SHORT]
        self._tells_space = True
        self._learning = False

    # Ownership.

    def open(self) -> None:
        """Reserve the drive, take note of pending unit attentions, find out what is in it and
        where it stands.

        DeviceBusy where somebody else has it reserved. Without a cartridge it opens too: see ``loaded``.
        """
        try:
            self._learning = True
            try:
                self.reserve()
            finally:
                self._learning = False
            self.learn()
        except Exception:
            # RESERVE may have been carried out even where no status came back; RELEASE harms no other owner.
            with suppress(Exception):
                self.release()
            raise
        self._first_block_length = self.block_length

    def close(self) -> None:
        """Give the drive back as it was found, and close the transport, whatever goes wrong meanwhile."""
        try:
            first = self._first_block_length
            if first is not None and self.block_length is not None and self.block_length != first:
                try:
                    self.set_block_length(first)
                except (DeviceError, TransportError) as error:
                    # Whoever opens it next sets what it needs; a drive left reserved would serve nobody.
                    log.warning("the block length stays %s: %s", self.block_length, error)
            self.release()
        finally:
            self.transport.close()

    # What is in the drive.

    def learn(self, wait: float = READY_WAIT) -> None:
        """Ask the drive everything anew: readiness, limits, mode, position, space."""
        self._learning = True
        self.position = UNKNOWN
        self.unmarked = self.early_warning = False
        try:
            self.loaded = self.ready(wait)
            self._learn_limits()
            self._learn_mode()
            if self.loaded:
                self.find_position()
                self.find_space()
        finally:
            self._learning = False

    def _learn_limits(self) -> None:
        try:
            self.limits = BlockLimits.take(self.ask("read block limits", command.READ_BLOCK_LIMITS.put(), 6))
        except (DeviceError, WireError) as error:
            log.debug("no block limits: %s", error)
            self.limits = BlockLimits(1, MAX_LENGTH)

    def _learn_mode(self) -> None:
        cdb = command.MODE_SENSE_6.put(page=ALL_PAGES, allocation=255)
        try:
            mode = ModeParameters.take_6(self.ask("mode sense", cdb, 255))
        except (DeviceError, WireError) as error:
            log.debug("no mode parameters: %s", error)
            self.block_length = None
            return
        self._mode = mode
        self.write_protected = self.loaded and TapeSpecific.take(mode.specific).write_protected
        self.block_length = mode.descriptors[0].length if mode.descriptors else None

    def find_position(self) -> None:
        """Correct ``position`` by READ POSITION. A drive that cannot tell leaves it as counted."""
        self.position = self.position.known_as(*self.read_position())

    def read_position(self) -> tuple[int | None, int | None]:
        """READ POSITION: file and object number, as far as the drive can tell. That it stands between early
        warning and the end (EOP, SSC-4 7.6) is taken note of.

        Where it fails ``position`` is unknown: whoever asks has a reason to doubt it.
        """
        for form in tuple(self._forms):
            cdb = command.READ_POSITION.put(action=form)
            try:
                data = self.ask("read position", cdb, 32 if form is PositionForm.LONG else 20)
            except TransportError:
                self.position = UNKNOWN
                raise
            except DeviceError as error:
                if not error.refused:
                    self.position = UNKNOWN
                    raise
                self._forms.remove(form)
                continue
            if form is PositionForm.LONG:
                long = LongPosition.take(data)
                self.early_warning = bool(self.early_warning or long.eop)
                return long.file, long.object
            short = ShortPosition.take(data)
            self.early_warning = bool(self.early_warning or short.eop)
            return None, short.first
        self.early_warning = bool(self.early_warning)
        return None, None

    def find_space(self) -> None:
        """Ask how much the cartridge holds, where the drive can tell (READ ATTRIBUTE)."""
        if not self._tells_space:
            return
        self.space = None
        cdb = command.READ_ATTRIBUTE.put(allocation=1024)
        try:
            found = take_attributes(self.ask("read attributes", cdb, 1024))
        except DeviceError as error:
            if not error.refused:
                raise
            self._tells_space = False
            return
        total, left = found.get(Attribute.MAXIMUM_CAPACITY), found.get(Attribute.REMAINING_CAPACITY)
        self.space = Space(total.number * _MEBIBYTE if total else None,
                           left.number * _MEBIBYTE if left else None, self.written)

    @property
    def remaining(self) -> int | None:
        """Bytes left on the cartridge: what the drive said, less what was written since."""
        space = self.space
        if space is None or space.remaining is None:
            return None
        return max(0, space.remaining - (self.written - space.written))

    # Mode.

    def set_block_length(self, length: int) -> None:
        """MODE SELECT of the block length; 0 is variable. DeviceError where the drive refuses."""
        density = self._mode.descriptors[0].density if self._mode.descriptors else 0
        specific = replace(TapeSpecific.take(self._mode.specific), write_protected=False)
        wanted = ModeParameters(0, specific.put(), (BlockDescriptor(density, 0, length),)).put_6(select=True)
        self.must(f"set block length {length}", command.MODE_SELECT_6.put(pf=1, length=len(wanted)),
                  out=(Inline(wanted),))
        self.block_length = length

    # Surprises.

    def send(self, doing: str, cdb: bytes, *, out: Sequence[Piece] = (), into: Sequence[Piece] = (),
             timeout: float = SHORT) -> Answer:
        """As ``Unit.send``. Where it raises, ``position`` is what the drive says then, or unknown."""
        try:
            return super().send(doing, cdb, out=out, into=into, timeout=timeout)
        except (DeviceError, TransportError) as failure:
            waiting = isinstance(failure, DeviceError) and failure.status in (Status.BUSY,
                                                                              Status.TASK_SET_FULL)
            if cdb[0] in _MOVING and not waiting:
                # Nothing says how far the command came, and after a timeout it may still be under way.
                self.settle(ask=not isinstance(failure, CommandTimeout))
            raise

    def attention(self, doing: str, cdb: bytes, sense: Sense) -> None:
        """Medium changed, or reset: find out what is true now, and go on only where that does no harm.

        A command that relies on the cartridge or the position being what they were raises DeviceError, unless
        after a reset the position is the same. ``position`` is the true one in every case.
        """
        changed = sense.code == Asc.MEDIUM_MAY_HAVE_CHANGED
        reset = sense.asc == RESET
        if sense.code in RESERVATION_LOST and not self._learning:
            # Whoever took the drive may have used it and gone: nothing is sent again on what was known.
            raise DeviceError(self.saying(doing), Status.RESERVATION_CONFLICT, sense)
        block_length, in_blocks = self.block_length, cdb[0] in (Opcode.READ_6, Opcode.WRITE_6) and cdb[1] & 1
        if self._learning or not (changed or reset):
            if sense.code == Asc.MODE_PARAMETERS_CHANGED:
                self.block_length = None
                if in_blocks:
                    # Sent again as it is, it would move blocks of whatever length another host has set.
                    self.set_block_length(block_length or 0)
            return
        believed, had_medium, owed = self.position, self.loaded, self.unmarked
        if reset:
            self._learning = True
            try:
                # A reset ends reservations: whoever was quicker has the drive now.
                self.reserve()
            finally:
                self._learning = False
        self.learn()
        opcode = cdb[0]
        if changed:
            harmless = not had_medium
        else:
            same = believed.object is not None and believed.object == self.position.object
            harmless = same or opcode in _ABSOLUTE
            if same:
                self.position, self.unmarked = believed, owed
        if not harmless and opcode not in _ANYWHERE:
            raise DeviceError(self.saying(doing), Status.CHECK_CONDITION, sense)
        if in_blocks and self.block_length != block_length:
            self.set_block_length(block_length or 0)

    def failure(self, doing: str, answer: Answer, records: int | None = None) -> DeviceError:
        if answer.sense is not None and no_medium(answer.sense):
            self._emptied()
        return super().failure(doing, answer, records)

    def ready(self, wait: float = 0.0) -> bool:
        """As ``Unit.ready``; takes note of a cartridge that is gone."""
        there = super().ready(wait)
        if not there:
            self._emptied()
        return there

    def _emptied(self) -> None:
        self.loaded = self.write_protected = self.unmarked = False
        self.position = UNKNOWN
        self.space = None

    def believe_nothing(self) -> None:
        """Somebody else used the drive: ask it everything anew. Keeps what its position confirms."""
        believed, owed = self.position, self.unmarked
        try:
            self.learn(wait=0)
        except (NdmpdError, WireError) as error:
            log.warning("drive state unknown: %s", error)
            self.position, self.block_length = UNKNOWN, None
        if believed.object is not None and believed.object == self.position.object:
            self.position, self.unmarked = believed, owed

    def settle(self, *, ask: bool = True) -> None:
        """Find the position again after a failure, as far as the drive can tell; unknown without ``ask``."""
        self.position = UNKNOWN
        self.unmarked = False
        try:
            if ask:
                self.find_position()
        except (DeviceError, TransportError, WireError) as error:
            log.warning("position lost: %s", error)
