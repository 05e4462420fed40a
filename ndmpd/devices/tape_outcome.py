"""How tape operations end when nothing is broken: marks, ends and odd records are part of the trade."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from ndmpd.ports import SourceFault


class Stop(Enum):
    """Why less was done than asked for."""

    FILEMARK = auto()
    """A filemark was met; it has been crossed."""
    END_OF_DATA = auto()
    BEGINNING = auto()
    WRONG_LENGTH = auto()
    """A record of another length than asked for."""
    END_OF_MEDIUM = auto()
    """The physical end of the tape."""


@dataclass(frozen=True, slots=True)
class Written:
    """``records`` went onto the tape. ``early_warning``: the last of them met the early-warning zone.

    ``end_of_medium``: the record (or filemark) after them did not fit. ``faults``: what could not be read of
    the source and was written as zeros.
    """

    records: int
    early_warning: bool = False
    end_of_medium: bool = False
    faults: tuple[SourceFault, ...] = ()


def shifted(offset: int, faults: tuple[SourceFault, ...]) -> tuple[SourceFault, ...]:
    """The faults of one command, counted from the start of a transfer of which ``offset`` bytes came before.
    """
    return tuple(replace(fault, skipped=fault.skipped + offset) for fault in faults)


@dataclass(frozen=True, slots=True)
class Record:
    """One record read: as much of it as was asked for. ``length`` is its own, None where the drive did
    not say.

    With FILEMARK, END_OF_DATA or END_OF_MEDIUM there is no record and ``data`` is empty. ``stop`` is never
    WRONG_LENGTH: compare the lengths.
    """

    data: bytes
    length: int | None
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class ReadOutcome:
    """``records`` whole records came. After WRONG_LENGTH the tape stands before the odd record."""

    records: int
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Spaced:
    """``done`` records or filemarks were spaced over, the filemark of a FILEMARK stop not counted."""

    done: int
    stop: Stop | None = None
