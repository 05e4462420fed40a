"""Real units, reached over SG_IO or iSCSI; and those of them that a copy manager of our own may reach."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ndmpd.config import Datamover, Unit
from ndmpd.config_initiator import Initiator
from ndmpd.config_types import Iscsi, Node
from ndmpd.devices.errors import NoSuchDevice
from ndmpd.devices.identity import verify
from ndmpd.devices.initiator import login
from ndmpd.devices.iscsi import IscsiTransport
from ndmpd.devices.sgio import SgTransport
from ndmpd.devices.sysfs import Sysfs
from ndmpd.ports import Transport
from ndmpd.san.copymanager.contact import Foreign
from protocol.scsi.spc import DeviceType

TYPES = {"disk": DeviceType.DISK, "drive": DeviceType.TAPE, "changer": DeviceType.CHANGER}
"""What the tables of the configuration list."""


def open_real(name: str, unit: Unit | Datamover, kind: DeviceType | None, initiator: Initiator) -> Transport:
    """The unit that ``unit.device`` leads to, which is none of the embedded SAN, if it is the one meant.

    Raises NoSuchDevice, TransportError, DeviceBusy.
    """
    check = partial(verify, name=name, wwn=unit.wwn, serial=unit.serial, type=kind)
    match unit.device:
        case Iscsi(host, port, target, lun):
            return IscsiTransport(login(initiator, host, port, target), lun, check)
        case Node(path):
            transport = SgTransport(Sysfs().generic(path))
            try:
                check(transport)
            except BaseException:
                transport.close()
                raise
            return transport
    raise NoSuchDevice(f"{name} has no device")


def foreign(units: Iterable[tuple[str, str, Unit]], initiator: Initiator) -> list[Foreign]:
    """Of ``units``, as (table, name, unit), those that a copy manager reaches by a path of its own."""
    return [Foreign(name, TYPES[table], partial(open_real, name, unit, TYPES[table], initiator))
            for table, name, unit in units if unit.online and isinstance(unit.device, Iscsi | Node)]
