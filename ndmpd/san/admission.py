"""Which commands a persistent reservation lets through. SPC-4 table 49; SBC-3, SSC-4 and SMC-3 alike.

A command that is not in the table is for those alone whom the reservation gives access.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from ndmpd.san.commands import (
    PRE_FETCH_10,
    PRE_FETCH_16,
    READ_12,
    SPACE_16,
    VERIFY_10,
    VERIFY_12,
    VERIFY_16,
)
from protocol.scsi import command as scsi
from protocol.scsi.command import Cdb
from protocol.scsi.reservations import RESERVE_IN, RESERVE_OUT


class Admission(IntEnum):
    """Whose command it may be while a persistent reservation stands."""

    ANYONE = 0
    READERS = 1
    """Also those without access, where the reservation is of a type that keeps only writers out."""
    HOLDERS = 2
    """Only those that have access."""


_ANYONE = (
    scsi.TEST_UNIT_READY, scsi.REQUEST_SENSE, scsi.INQUIRY, scsi.REPORT_LUNS, scsi.LOG_SENSE,
    scsi.READ_CAPACITY_10, scsi.READ_CAPACITY_16, scsi.READ_BLOCK_LIMITS, scsi.REPORT_DENSITY_SUPPORT,
    # These look for themselves whose they are.
    scsi.RESERVE_6, scsi.RELEASE_6, *RESERVE_IN.values(), *RESERVE_OUT.values())
_READERS = (
    scsi.MODE_SENSE_6, scsi.MODE_SENSE_10, scsi.REPORT_SUPPORTED_OPCODES, scsi.READ_ATTRIBUTE,
    scsi.READ_6_DISK, scsi.READ_10, READ_12, scsi.READ_16, VERIFY_10, VERIFY_12, VERIFY_16,
    PRE_FETCH_10, PRE_FETCH_16, scsi.GET_LBA_STATUS, scsi.READ_6_TAPE, scsi.READ_POSITION,
    scsi.REWIND, scsi.SPACE_6, SPACE_16, scsi.LOCATE_10, scsi.LOCATE_16)
_TABLE: dict[Cdb, Admission] = {**dict.fromkeys(_ANYONE, Admission.ANYONE),
                                **dict.fromkeys(_READERS, Admission.READERS)}


def _starts(field: dict[str, int]) -> bool:
    return bool(field["start"]) and not field["power"] and not field["loej"]


_HARMLESS: dict[Cdb, Callable[[dict[str, int]], bool]] = {
    scsi.PREVENT_ALLOW_MEDIUM_REMOVAL: lambda field: not field["prevent"],
    scsi.START_STOP_UNIT: _starts,
    # With CURDATA the changer must not look, and so moves nothing.
    scsi.READ_ELEMENT_STATUS: lambda field: bool(field["curdata"]),
}
"""Commands that anyone may send with these fields, and with others nobody but those that have access."""


def admission(cdb: Cdb, field: dict[str, int]) -> Admission:
    """Whose a command of this form and with these fields may be."""
    harmless = _HARMLESS.get(cdb)
    if harmless is not None and harmless(field):
        return Admission.ANYONE
    return _TABLE.get(cdb, Admission.HOLDERS)
