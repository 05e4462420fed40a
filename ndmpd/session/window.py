"""Record and window arithmetic of the mover (2.3.5.1.3 to 2.3.5.1.6, 3.6.1.1). Pure; bytes and records.

A window is a byte range of the stream, cut into records of one size. ``ALL_ONES`` as length: to the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.session.spans import ALL_ONES


@dataclass(frozen=True, slots=True)
class Window:
    """[offset, offset + length) of the stream in records of ``record_size`` bytes."""

    record_size: int
    offset: int
    length: int

    @property
    def end(self) -> int | None:
        """The first stream byte behind the window, None where it has no end."""
        return None if self.length == ALL_ONES else self.offset + self.length

    @property
    def records(self) -> int | None:
        """Whole records that a backup may write, None where there is no bound."""
        return None if self.length == ALL_ONES else self.length // self.record_size

    @property
    def first_record(self) -> int:
        """The absolute number of the window's first record: DMAs compute bytes per tape from it."""
        return self.offset // self.record_size

    def holds(self, position: int) -> bool:
        """Whether the stream byte at ``position`` lies inside."""
        return self.offset <= position and (self.end is None or position < self.end)

    def locate(self, position: int) -> tuple[int, int]:
        """The record, counted from the window's first, that holds ``position``, and the offset inside it."""
        return divmod(position - self.offset, self.record_size)

    def whole_records(self, position: int, size: int) -> int:
        """How many whole records of the window the range [position, position + size) is made of.

        0 unless ``position`` is at the start of a record, and where it lies behind the window.
        """
        if (position - self.offset) % self.record_size:
            return 0
        if self.end is not None:
            size = min(size, self.end - position)
        return max(0, size // self.record_size)
