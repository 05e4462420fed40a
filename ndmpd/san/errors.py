"""What the embedded SAN raises besides sense data."""

from __future__ import annotations

from ndmpd.errors import NdmpdError
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Sense, SenseKey


class SanError(NdmpdError):
    """The embedded SAN's folder, or a name in it, cannot be used; the text says what to do."""


class UnitBusy(NdmpdError):
    """Another process kept the unit for longer than the command may take."""


class CopyManagerGone(NdmpdError):
    """The copy manager ended in the middle of a command; the text says what to do."""


class CopyManagerDown(CopyManagerGone):
    """The copy manager does not run, and so no copy of it does."""


class CheckCondition(Exception):
    """Ends a command with CHECK CONDITION and this sense. Never leaves ``ndmpd.san``."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense.text)
        self.sense = sense


class Conflict(Exception):
    """Ends a command with RESERVATION CONFLICT. Never leaves ``ndmpd.san``."""


def not_ready(code: int = Asc.MEDIUM_NOT_PRESENT) -> CheckCondition:
    return CheckCondition(Sense(SenseKey.NOT_READY, code))


def refused(code: int = Asc.INVALID_FIELD_IN_CDB, key_specific: int | None = None) -> CheckCondition:
    """ILLEGAL REQUEST."""
    return CheckCondition(Sense(SenseKey.ILLEGAL_REQUEST, code, key_specific=key_specific))
