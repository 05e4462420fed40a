"""Which data mover carries a job, by the DMA's DATAMOVER variable: NAS, SCSI, or AUTO (the default).

The head itself (NAS) can carry everything. A copy manager (SCSI) has its place here as a second candidate;
this version has none, so a job that allows nothing else is refused rather than carried by the head unasked.
"""

from __future__ import annotations

from enum import StrEnum

from ndmpd.errors import JobRefused
from ndmpd.formats.environment import Environment

VARIABLE = "DATAMOVER"
USED = "DATAMOVER_USED"
"""Comes back with the type of the mover that did it; ignored on input."""


class Mover(StrEnum):
    NAS = "NAS"
    SCSI = "SCSI"
    AUTO = "AUTO"


def choose(environment: Environment) -> Mover:
    """The mover for a job. Raises JobRefused where the DMA allows none that is there."""
    asked = environment.get(VARIABLE).strip().upper() or Mover.AUTO
    if asked == Mover.SCSI:
        raise JobRefused(f"{VARIABLE}=SCSI, but this server has no data mover of type SCSI; send AUTO or "
                         "NAS to let the head move the data")
    if asked not in (Mover.NAS, Mover.AUTO):
        raise JobRefused(f"{VARIABLE}={asked!r} is not a type of data mover; send NAS, SCSI or AUTO")
    return Mover.NAS
