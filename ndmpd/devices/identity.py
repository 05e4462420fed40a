"""Whether a unit is the one that was meant. Paths change hands: what was a drive may be a disk tomorrow."""

from __future__ import annotations

from ndmpd.devices.errors import DeviceError, NoSuchDevice
from ndmpd.devices.unit import Unit
from ndmpd.ports import Transport
from protocol.scsi.spc import UNIT, DesignatorType, DeviceType

_NAMES = (DesignatorType.NAA, DesignatorType.EUI_64)


def verify(transport: Transport, name: str, *, wwn: str | None = None, serial: str | None = None,
           type: DeviceType | None = None) -> None:
    """See that there is a unit at all, of that type, with that world wide name (hexadecimal digits) and
    serial number, as far as they are given. NoSuchDevice where it is another; TransportError.
    """
    unit = Unit(transport, name)
    try:
        inquiry = unit.inquiry()
    except DeviceError as failure:
        raise NoSuchDevice(f"{name}: nothing answers there as a unit ({failure}); see what there is with: "
                           "ndmpd devices") from failure
    if inquiry.qualifier:
        raise NoSuchDevice(f"{name}: the target has no such logical unit; see what there is with: ndmpd "
                           "devices")
    if type is not None and inquiry.type != type:
        raise NoSuchDevice(f"{name}: {inquiry.vendor} {inquiry.product} is {_kind(inquiry.type)}, not "
                           f"{_kind(type)}; correct its device")
    if serial is not None and (found := unit.serial()) != serial:
        raise NoSuchDevice(f"{name}: the unit there has the serial number {found!r}, not {serial!r}; correct "
                           "device, or serial if the unit was replaced")
    if wwn is not None:
        names = [one.identifier.hex() for one in unit.designators()
                 if one.association == UNIT and one.type in _NAMES]
        if wwn not in names:
            raise NoSuchDevice(f"{name}: the unit there has the world wide name "
                               f"{', '.join(names) or '(none)'}, not {wwn}; correct device, or wwn if the "
                               "unit was replaced")


def _kind(type: int) -> str:
    try:
        return f"a {DeviceType(type).name.lower().replace('_', ' ')}"
    except ValueError:
        return f"a unit of type {type:02X}h"
