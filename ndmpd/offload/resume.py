"""How far a copy has come: what READ POSITION shows, against what the copy manager claims.

A tape's position is the truth about the tape; residue, segment number and forwarded sense data are a third
party's account of it, checked against it. Where the two cannot both be right, nobody knows what is on the
tape, and the job must not go on as if it did: ``PositionInDoubt``.

End of medium: a write that ends with CHECK CONDITION and EOM has written its record (early warning, SSC-4
4.2.10), unless the key is VOLUME OVERFLOW. SPC-4 5.17.7.4 has the residue count it as written, and the copy
manager of the embedded SAN does: it ends the copy behind that record, so that the cartridge ends there as it
does when the head writes. Copy managers that count it as not written, or count an overflow as written, are
understood where the position shows which it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.errors import NdmpdError
from ndmpd.offload.plan import CopyCommand, Direction
from protocol.scsi.command import Status
from protocol.scsi.copyresults import FailedSegment
from protocol.scsi.sense import CopySense, Sense, SenseKey


class PositionInDoubt(NdmpdError):
    """What is on the tape cannot be known: rewind or reload the cartridge, and write this part again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How EXTENDED COPY ended: its status, and its sense data or what RECEIVE COPY RESULTS kept of them.

    ``status`` None: no status ever came (a reset, a lost connection).
    """

    status: int | None
    sense: Sense | None = None
    details: FailedSegment | None = None

    @property
    def reason(self) -> CopySense | None:
        """What the copy manager says of it; None where it says nothing that can be read."""
        if self.sense is not None:
            return CopySense.of(self.sense)
        return self.details.reason if self.details else None


@dataclass(frozen=True, slots=True)
class Progress:
    """``records`` of the command that are done for good (bytes, between disks); the rest is still to do.

    ``certain``: position and claims agree. Otherwise one of them was missing or wrong in a way that is
    understood, which ``reason`` tells; the number is as safe. After a restore that failed the tape is to be
    located to its first position and ``records``, since the records behind them are read again.
    """

    records: int
    certain: bool
    reason: str


def progress(command: CopyCommand, before: int | None, after: int | None, outcome: Outcome) -> Progress:
    """What ``command`` has done. ``before`` and ``after``: READ POSITION of the tape (of a copy between tapes
    the destination's) around it, None where it could not be had; between disks they count for nothing.

    Raises PositionInDoubt.
    """
    match command.direction:
        case Direction.BLOCKS:
            return _copied(command, outcome)
        case Direction.RESTORE:
            return _restored(command, before, after, outcome)
    if before is None or after is None:
        raise PositionInDoubt("the drive does not tell its position, and the copy manager's word alone is "
                              "not enough; rewind or reload the cartridge and write this part again")
    moved = after - before
    if not 0 <= moved <= command.records:
        raise _doubt(f"it is {moved} records from where the copy began", command)
    return _written(command, moved, outcome)


def _written(command: CopyCommand, moved: int, outcome: Outcome) -> Progress:
    if outcome.status == Status.GOOD:
        if moved != command.records:
            raise _doubt(f"the copy manager reports success and {moved} are written", command)
        return Progress(moved, True, "done")
    reason = outcome.reason
    if reason is not None and reason.key is SenseKey.ILLEGAL_REQUEST:
        if moved:
            raise _doubt(f"the copy manager refused the command, and {moved} are written", command)
        return Progress(0, True, "refused before it began")
    if reason is None or reason.key is not SenseKey.COPY_ABORTED or reason.segment is None:
        return Progress(moved, False, "by position alone: the copy manager does not say how far it came")
    return _against_claim(command, moved, reason)


def _against_claim(command: CopyCommand, moved: int, reason: CopySense) -> Progress:
    assert reason.segment is not None
    if reason.segment >= len(command.segments):
        raise _doubt(f"the copy manager names segment {reason.segment} of {len(command.segments)}", command)
    low, high = command.span(reason.segment)
    residue = reason.residue
    if residue is None:
        claimed: int | None = low
    else:
        left, odd = divmod(residue, command.record_size)
        claimed = None if odd or left > high - low else high - left
    if moved == claimed:
        return Progress(moved, True, "position and residue agree")
    if claimed is not None and (known := _end_of_medium(moved - claimed, reason)) and low <= moved <= high:
        return Progress(moved, False, known)
    if residue is None and low <= moved <= high:
        return Progress(moved, False, "by position: the copy manager gives no residue")
    if residue is not None and residue <= high - low and high - residue == moved:
        return Progress(moved, False, "by position: the copy manager counts its residue in records")
    raise _doubt(f"the copy manager claims segment {reason.segment}"
                 + ("" if residue is None else f" with a residue of {residue}")
                 + f", the drive has moved {moved} records", command)


def _end_of_medium(surplus: int, reason: CopySense) -> str | None:
    """Why a claim may differ from the position by a record: see the text of this module."""
    sense = reason.destination_sense.sense if reason.destination_sense else None
    if sense is None or not sense.eom:
        return None
    overflow = sense.key is SenseKey.VOLUME_OVERFLOW
    if surplus == 1 and not overflow:
        return "by position: the record that met the end of the medium is on it"
    if surplus == -1 and overflow:
        return "by position: the record that overflowed the medium is not on it"
    return None


def _restored(command: CopyCommand, before: int | None, after: int | None, outcome: Outcome) -> Progress:
    """Blocks cannot be asked whether they were written. Writing them again does no harm, so that only what
    is beyond doubt counts: segments before the one that failed, if as much of the tape has been read.
    """
    if before is None:
        raise PositionInDoubt("where the tape was when the copy began is not known, so that it cannot be "
                              "read again; position it and restore this part again")
    moved = None if after is None else after - before
    if outcome.status == Status.GOOD:
        if moved not in (None, command.records):
            raise _doubt(f"the copy manager reports success and {moved} are read", command)
        return Progress(command.records, moved is not None, "done")
    reason = outcome.reason
    if (moved is None or reason is None or reason.key is not SenseKey.COPY_ABORTED or reason.segment is None
            or reason.segment >= len(command.segments)):
        return Progress(0, False, "nothing is known for sure; all of it is read again")
    low, high = command.span(reason.segment)
    # A segment that ends inside a record has read the record that is complete only later.
    if not low <= moved <= min(high + 1, command.records):
        return Progress(0, False, "position and claims differ; all of it is read again")
    return Progress(low, True, f"the segments before {reason.segment} are done")


def _copied(command: CopyCommand, outcome: Outcome) -> Progress:
    if outcome.status == Status.GOOD:
        return Progress(command.records, True, "done")
    reason = outcome.reason
    if (reason is None or reason.key is not SenseKey.COPY_ABORTED or reason.segment is None
            or reason.segment >= len(command.segments)):
        return Progress(0, False, "nothing is known for sure; all of it is copied again")
    return Progress(command.starts[reason.segment], False, f"the segments before {reason.segment} are done")


def _doubt(what: str, command: CopyCommand) -> PositionInDoubt:
    return PositionInDoubt(f"the tape's position is in doubt after a copy of {command.records} records: "
                           f"{what}; rewind or reload the cartridge and write this part again")
