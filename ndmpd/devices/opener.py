"""Open configured units by name: the one place that knows which transport a device is reached by."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from functools import partial

from ndmpd.config import Datamover, Settings, Shared, Unit
from ndmpd.config_types import Iscsi, Virtual
from ndmpd.devices.claims import claim, left_owned
from ndmpd.devices.copymanager import ENDS_WITHIN, CopyManager
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import DeviceBusy, NoSuchDevice, UnitDown
from ndmpd.devices.foreign import TYPES, open_real
from ndmpd.devices.heads import Head
from ndmpd.devices.identity import verify
from ndmpd.devices.leases import abandoned, under_way
from ndmpd.devices.ownership import Borrowed, Exclusive
from ndmpd.errors import NdmpdError
from ndmpd.ports import Transport
from ndmpd.san.nexus import Nexus
from protocol.scsi.spc import DeviceType

log = logging.getLogger(__name__)

_LOOK = 0.02
"""Seconds between two looks whether a copy has ended."""


class Opener:
    """For one process: its commands share a nexus, which is made on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._run_dir = settings.server.state_dir / "run"
        self._nexus: Nexus | None = None
        self._head: Head | None = None

    def device(self, name: str) -> Transport:
        """A drive or changer, for this process alone (TAPE_OPEN, SCSI_OPEN).

        Raises NoSuchDevice, DeviceBusy where another session or head has it, DeviceError, TransportError.
        """
        owned = self._exclusive(name)
        try:
            owned.own()
            # In this order: a copy manager that is the unit itself answers nobody but its owner.
            self._fence(name)
        except BaseException:
            owned.close()
            raise
        return owned

    def release(self, name: str) -> str | None:
        """Free a drive or changer from whichever head or host holds it, and end what that does with it.

        Returns who it was, None for nobody. Raises as ``device``; DeviceBusy for a session of this head.
        """
        owned = self._exclusive(name)
        try:
            return owned.seize()
        finally:
            owned.close()

    def free_left(self) -> None:
        """Let other heads have the drives and changers that dead sessions of this one owned. What cannot be
        freed now is logged, and stays for the next who opens it.
        """
        for name in list(left_owned(self._run_dir)):
            try:
                self.device(name).close()
                log.info("%s: a session that died owned it; it is free", name)
            except NdmpdError as failure:
                log.warning("%s: a session that died owned it, and it cannot be freed yet: %s", name, failure)

    def borrow(self, name: str) -> Transport:
        """A drive that another session of this head owns and lends, for copies (see ``Borrowed``)."""
        unit, kind = self._shared(name)
        head = self.head
        return Borrowed(self._open(name, unit, kind), name, head)

    def await_copies(self, name: str) -> None:
        """Return once no session's copies move the tape of a drive that this one has lent. Raises DeviceBusy
        where one may go on.
        """
        deadline = time.monotonic() + ENDS_WITHIN
        while under_way(self._run_dir, name):
            if time.monotonic() > deadline:
                raise DeviceBusy(f"{name}: a copy by another session still uses it; see to it that it has "
                                 "ended before the tape is used again")
            time.sleep(_LOOK)
        self._fence(name)

    @property
    def head(self) -> Head:
        server = self._settings.server
        if self._head is None:
            self._head = Head.of(server.state_dir, server.name)
        return self._head

    def _shared(self, name: str) -> tuple[Shared, DeviceType]:
        kind = DeviceType.TAPE if name in self._settings.drive else DeviceType.CHANGER
        unit = self._settings.drive.get(name) or self._settings.changer.get(name)
        if unit is None or not unit.online:
            raise NoSuchDevice(f"there is no drive or changer {name!r}")
        return unit, kind

    def _exclusive(self, name: str) -> Exclusive:
        unit, kind = self._shared(name)
        head = self.head  # which may not be known: before there is a transport to close
        held = claim(self._run_dir, name)
        try:
            return Exclusive(self._open(name, unit, kind), held, name, head, unit.preempt)
        except BaseException:
            held.close()
            raise

    def _fence(self, drive: str) -> None:
        """See to the end of copies that a dead session left running on ``drive``. Raises DeviceBusy."""
        for left in abandoned(self._run_dir, drive=drive):
            try:
                with closing(CopyManager(partial(self.copy_manager, left.manager), left.manager)) as manager:
                    manager.make_sure_it_ended(left.list_id)
            except UnitDown:
                log.info("%s: the copy that %s was left with ended with it", drive, left.manager)
            except NdmpdError as failure:
                raise DeviceBusy(f"{drive}: a copy that a dead session left running may still use it: "
                                 f"{failure}") from failure
            left.end()

    def disk(self, name: str) -> Transport:
        """A disk; others may use it at the same time."""
        unit = self._settings.disk.get(name)
        if unit is None or not unit.online:
            raise NoSuchDevice(f"there is no disk {name!r}")
        return self._open(name, unit, DeviceType.DISK)

    def unit(self, name: str) -> Transport:
        """Any unit, to ask it who it is."""
        for table, found, unit in self._settings.units:
            if found == name:
                return self._open(name, unit, TYPES[table])
        raise NoSuchDevice(f"there is no device {name!r}")

    def copy_manager(self, name: str) -> Transport:
        """The unit that takes EXTENDED COPY for a data mover of type SCSI."""
        mover = self._settings.copy_managers.get(name)
        if mover is None:
            raise NoSuchDevice(f"there is no data mover {name!r} of type SCSI")
        return self._open(name, mover, None)

    def copy_key(self, name: str) -> int | None:
        """What ``CopyManager`` takes as ``key``: over iSCSI every transport is a nexus of its own."""
        mover = self._settings.copy_managers.get(name)
        return self.head.key if mover is not None and isinstance(mover.device, Iscsi) else None

    def _open(self, name: str, unit: Unit | Datamover, kind: DeviceType | None) -> Transport:
        """The unit that ``unit.device`` leads to, if it is the one that is meant."""
        if not isinstance(unit.device, Virtual):
            return open_real(name, unit, kind, self._settings.initiator)
        transport = self._embedded(unit.device.name)
        if unit.wwn is not None or unit.serial is not None:
            try:
                verify(transport, name, wwn=unit.wwn, serial=unit.serial, type=kind)
            except BaseException:
                transport.close()
                raise
        return transport

    def _embedded(self, unit_name: str) -> Transport:
        san = self._settings.server.state_dir / "san"
        if self._nexus is None:
            self._nexus = Nexus(san)
        return EmbeddedTransport(san, unit_name, self._nexus)

    def close(self) -> None:
        if self._nexus is not None:
            self._nexus.close()
            self._nexus = None

