"""Moving a tape: rewinding, spacing, locating, loading. SSC-4.

What a motion ends at decides what is known of the position; ``TapePosition`` keeps the count.
"""

from __future__ import annotations

from collections.abc import Callable

from ndmpd.devices.errors import PositionLost
from ndmpd.devices.tape_outcome import Spaced, Stop
from ndmpd.devices.tape_position import BEGINNING, UNKNOWN, TapePosition
from ndmpd.devices.tape_unit import SUCCESS, TapeUnit
from ndmpd.devices.unit import LONG
from protocol.scsi import command
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.ssc import MAX_SPACE, SpaceCode, put_space

_Passed = Callable[[TapePosition, int], TapePosition]


class TapeMotion(TapeUnit):
    """A drive that can be moved; ``TapeDrive`` adds the records."""

    def rewind(self) -> None:
        self._moving()
        self.must("rewind", command.REWIND.put(), timeout=LONG)
        self.position = BEGINNING
        self.early_warning = False

    def space_records(self, count: int) -> Spaced:
        """Forward over ``count`` records; negative is backward. A filemark stops it, and is crossed."""
        return self._space_all(SpaceCode.BLOCKS, count)

    def space_filemarks(self, count: int) -> Spaced:
        """Forward to behind the ``count``-th filemark; where negative, backward to before it."""
        return self._space_all(SpaceCode.FILEMARKS, count)

    def _space_all(self, code: SpaceCode, count: int) -> Spaced:
        done = 0
        while done < abs(count):
            step = min(abs(count) - done, MAX_SPACE)
            spaced = self._space(code, step if count > 0 else -step)
            done += spaced.done
            if spaced.stop is not None:
                return Spaced(done, spaced.stop)
        return Spaced(done)

    def _space(self, code: SpaceCode, count: int) -> Spaced:
        """One SPACE command; its CHECK CONDITION at a mark or an end is part of the trade."""
        before = self.position
        what = "records" if code is SpaceCode.BLOCKS else "filemarks"
        doing = f"space {count} {what}"
        self._moving()
        answer = self.send(doing, put_space(code, count), timeout=LONG)
        sense = answer.sense
        sign = 1 if count > 0 else -1
        passed = TapePosition.records if code is SpaceCode.BLOCKS else TapePosition.over_marks
        if sense is None or (self._space_stop(sense, count) is None and self.recovered(sense)):
            self.position = passed(before, count)
            if code is SpaceCode.FILEMARKS:
                self.find_position()
            return Spaced(abs(count))
        stop = self._space_stop(sense, count)
        if stop is None:
            self.settle()
            raise self.failure(doing, answer)
        done = abs(count) - abs(sense.residue) if sense.residue is not None else None
        if done is None or done < 0:
            done = self._measured_space(before, code, stop)
        self.position = self._space_end(before, passed, done, sign, stop, code)
        self.find_position()
        return Spaced(done, stop)

    def _space_stop(self, sense: Sense, count: int) -> Stop | None:
        if sense.key is SenseKey.BLANK_CHECK:
            return Stop.END_OF_DATA
        if sense.key in SUCCESS and sense.filemark:
            return Stop.FILEMARK
        if sense.eom and (sense.key in SUCCESS or sense.key is SenseKey.MEDIUM_ERROR):
            return Stop.BEGINNING if count < 0 else Stop.END_OF_MEDIUM
        return None

    @staticmethod
    def _space_end(before: TapePosition, passed: _Passed, done: int, sign: int, stop: Stop,
                   code: SpaceCode) -> TapePosition:
        """Where a SPACE that was stopped ended."""
        if stop is Stop.BEGINNING:
            return BEGINNING
        position = passed(before, sign * done)
        if stop is Stop.FILEMARK:
            return position.marks(sign)
        if code is SpaceCode.FILEMARKS:
            # At the end of data behind an unknown number of records.
            return TapePosition(position.file, None, None)
        return position

    def _measured_space(self, before: TapePosition, code: SpaceCode, stop: Stop) -> int:
        """How many were spaced over, by READ POSITION: for drives that give no INFORMATION."""
        file, number = self.read_position()
        then, now = (before.file, file) if code is SpaceCode.FILEMARKS else (before.object, number)
        if then is None or now is None:
            raise PositionLost(f"{self.name} does not say how far it spaced; position the tape anew")
        return abs(now - then) - (code is SpaceCode.BLOCKS and stop is Stop.FILEMARK)

    def uncross(self, before: TapePosition, *, backwards: bool) -> None:
        """Go back over the filemark that the last READ or SPACE of records crossed.

        ``before``: ``position`` as it was at the mark, before it was crossed; ``backwards``: where it lies.
        """
        self.space_filemarks(-1 if backwards else 1)
        now = self.position
        if before.object is not None and before.object == now.object:
            file = now.file if before.file is None else before.file
            self.position = TapePosition(file, before.block, now.object)

    def space_to_end(self) -> None:
        """To the end of the recorded data."""
        before = self.position
        self._moving()
        self.must("space to end of data", put_space(SpaceCode.END_OF_DATA, 0), timeout=LONG)
        self._jumped(before)

    def locate(self, number: int) -> None:
        """To the logical object ``number`` (see ``TapePosition.object``)."""
        before = self.position
        self._moving()
        wide = number >> 32 > 0
        cdb = command.LOCATE_16.put(block=number) if wide else command.LOCATE_10.put(block=number)
        self.must(f"locate object {number}", cdb, timeout=LONG)
        self._jumped(before)
        if self.position.object not in (None, number):
            raise PositionLost(f"{self.name}: located object {number} but stands at {self.position.object}")
        if self.position.object is None:
            self.position = BEGINNING if number == 0 else TapePosition(None, None, number)

    def _jumped(self, before: TapePosition) -> None:
        """The position is anywhere: ask, and count the block number on where the file is the same."""
        now = UNKNOWN.known_as(*self.read_position())
        same_file = now.file is not None and now.file == before.file
        if same_file and now.object is not None and before.object is not None and before.block is not None:
            now = before.records(now.object - before.object)
        self.position = now

    def load(self) -> None:
        self._moving()
        self.must("load", command.LOAD_UNLOAD.put(load=1), timeout=LONG)
        self.learn()

    def unload(self) -> None:
        """Rewind and eject; ``loaded`` is False afterwards."""
        self._moving()
        self.must("unload", command.LOAD_UNLOAD.put(), timeout=LONG)
        self._emptied()

    def _moving(self) -> None:
        """From here on a filemark that is owed cannot be written any more: it would cut off what follows."""
        self.unmarked = False
        self.early_warning = None
