"""Which class answers for which device type."""

from __future__ import annotations

from ndmpd.san.changer import Changer
from ndmpd.san.copymanager.unit import CopyManagerUnit
from ndmpd.san.disk import Disk
from ndmpd.san.folder import San
from ndmpd.san.tape import TapeDrive
from ndmpd.san.unit import Unit
from protocol.scsi.spc import DeviceType

UNIT_CLASSES: dict[DeviceType, type[Unit]] = {
    DeviceType.TAPE: TapeDrive,
    DeviceType.CHANGER: Changer,
    DeviceType.DISK: Disk,
    DeviceType.PROCESSOR: CopyManagerUnit,
}


def open_unit(san: San, name: str) -> Unit:
    """The unit of that name, for this process. SanError where the SAN has none."""
    return UNIT_CLASSES[san.unit(name).type](san, name)
