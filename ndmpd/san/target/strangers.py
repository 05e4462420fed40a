"""Commands to logical units that are not there: every target has LUN 0 alone. SPC-4 6.6.1, SAM-5 4.7."""

from __future__ import annotations

from ndmpd.ports import Command, Result
from ndmpd.san.dataphase import scatter
from protocol.errors import WireError
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey

_ABSENT = 0x7F
"""Peripheral qualifier 011b, device type 1Fh."""
_INQUIRY = bytes((_ABSENT, 0, 6, 2, 31)) + bytes(31)
_LUNS = bytes((0, 0, 0, 8, 0, 0, 0, 0)) + bytes(8)
_NOBODY = Sense(SenseKey.ILLEGAL_REQUEST, Asc.LUN_NOT_SUPPORTED)


def answer_for_nobody(command: Command) -> Result:
    """How a target answers for a LUN that it does not have."""
    try:
        for cdb, data in ((scsi.INQUIRY, _INQUIRY), (scsi.REPORT_LUNS, _LUNS),
                          (scsi.REQUEST_SENSE, _NOBODY.put_fixed())):
            if cdb.matches(command.cdb):
                field = cdb.take(command.cdb)
                if field.get("evpd"):
                    break
                return Result(Status.GOOD, b"", scatter(data[:field["allocation"]], command.data_in))
    except WireError:
        pass  # not one of these in full
    return Result(Status.CHECK_CONDITION, _NOBODY.put())
