"""Where a tape stands, and how that changes with what is done. Values only.

None says that a number is not known; nothing is ever guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class TapePosition:
    """``file``: filemarks before the position. ``block``: records since the last of them.

    ``object``: logical object number (records and filemarks from the beginning of the partition).
    """

    file: int | None = None
    block: int | None = None
    object: int | None = None

    def records(self, count: int) -> TapePosition:
        """After ``count`` records read, written or spaced over; negative is backwards."""
        block = _plus(self.block, count)
        if block is not None and block < 0:
            block = None
        return TapePosition(self.file, block, _plus(self.object, count))

    def marks(self, count: int) -> TapePosition:
        """After ``count`` filemarks in a row written, or met one after the other; negative: backwards.

        How many records a file has that is entered from its end is not known, unless it is empty.
        """
        if not count:
            return self
        return TapePosition(_plus(self.file, count), 0 if count > 0 else None, _plus(self.object, count))

    def over_marks(self, count: int) -> TapePosition:
        """After ``count`` filemarks were crossed together with the records between them."""
        if not count:
            return self
        return replace(self.marks(count), object=None)

    def known_as(self, file: int | None, number: int | None) -> TapePosition:
        """As the drive reports it: what it leaves out is kept, what contradicts the count replaces it.

        Within file 0 the block number is the object number.
        """
        if number is None:
            return self if file is None else replace(self, file=file)
        if file is None:
            file = 0 if number == 0 else self.file if self.object in (None, number) else None
        block = self.block if number == self.object or self.object is None else None
        if file != self.file:
            block = None
        if file == 0:
            block = number
        return TapePosition(file, block, number)


BEGINNING = TapePosition(0, 0, 0)
UNKNOWN = TapePosition()


def _plus(number: int | None, count: int) -> int | None:
    """None where the sum would be negative: then the number was wrong all along."""
    if number is None or number + count < 0:
        return None
    return number + count
