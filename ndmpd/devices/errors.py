"""What goes wrong with a device. The texts are what operators read.

``ndmpd.services.outcome`` turns them into NDMP errors, and nothing else does.
"""

from __future__ import annotations

from ndmpd.errors import NdmpdError
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey


class TransportError(NdmpdError):
    """No status came back: the path to the unit is broken. What the unit did is not known."""


class CommandTimeout(TransportError):
    """No status came back in time. What the unit did, and whether it still does, is not known."""


class UnitDown(TransportError):
    """The unit is not running at all. Whatever it was told to do has ended, if not as it should."""


class NoSuchDevice(NdmpdError):
    """No device of that name is configured, or nothing answers there."""


class DeviceBusy(NdmpdError):
    """Somebody else holds the device."""


class PositionLost(NdmpdError):
    """The drive's account of its position contradicts what was done; nothing may be written on a guess."""


def status_name(status: int) -> str:
    """For people: "RESERVATION CONFLICT", or the number where SAM-5 has no name."""
    return Status(status).name.replace("_", " ") if status in list(Status) else f"status {status:02X}h"


class DeviceError(NdmpdError):
    """A command ended badly. ``doing`` says what was attempted, in words.

    ``records``: for transfers, how many whole records were done before the failure; None where not known.
    """

    def __init__(self, doing: str, status: int, sense: Sense | None = None,
                 records: int | None = None) -> None:
        self.doing = doing
        self.status = status
        self.sense = sense
        self.records = records
        super().__init__(f"{doing}: {sense.text if sense else status_name(status)}")

    @property
    def key(self) -> SenseKey | None:
        return self.sense.key if self.sense else None

    @property
    def no_medium(self) -> bool:
        """NOT READY because there is no cartridge, or none that is threaded."""
        return self.sense is not None and no_medium(self.sense)

    @property
    def write_protected(self) -> bool:
        return self.sense is not None and self.sense.key is SenseKey.DATA_PROTECT

    @property
    def busy(self) -> bool:
        return self.status in (Status.BUSY, Status.RESERVATION_CONFLICT, Status.TASK_SET_FULL)

    @property
    def refused(self) -> bool:
        """ILLEGAL REQUEST: the unit does not do this, and did nothing."""
        return self.sense is not None and self.sense.key is SenseKey.ILLEGAL_REQUEST


def no_medium(sense: Sense) -> bool:
    """NOT READY, and waiting alone will not help: no cartridge, or one that nobody loads."""
    return sense.key is SenseKey.NOT_READY and (
        sense.asc == Asc.MEDIUM_NOT_PRESENT >> 8
        or sense.code in (Asc.INITIALIZING_REQUIRED, Asc.MANUAL_INTERVENTION))
