"""The running figures of both sides, which only the services know. Read when a state is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DataFigures:
    """3.5.1.1. Bytes of the stream so far; what is left in bytes and in seconds, None where unknown."""

    bytes_processed: int = 0
    est_bytes_remain: int | None = None
    est_time_remain: int | None = None


@dataclass(frozen=True, slots=True)
class MoverFigures:
    """3.6.1.1. ``record_num`` is absolute: the window's offset in records plus the records done since.

    ``bytes_moved`` leaves padding out. ``bytes_left_to_read`` counts from the moment a ``MoverRead`` is
    carried out, so that a second read is seen to be one too many.
    """

    record_num: int = 0
    bytes_moved: int = 0
    bytes_left_to_read: int = 0


class Figures(Protocol):
    """Asked on the reactor thread; answers at once, from counters that last until the side is released."""

    def data(self) -> DataFigures: ...

    def mover(self) -> MoverFigures: ...
