"""Open configured units by name: the one place that knows which transport a device is reached by."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from ndmpd.config import Settings, Unit
from ndmpd.config_types import Virtual
from ndmpd.devices.embedded import EmbeddedTransport
from ndmpd.devices.errors import DeviceBusy, NoSuchDevice
from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result, Transport
from ndmpd.san.nexus import Nexus


class Exclusive:
    """A transport and the claim of this process on its unit, both given up by ``close``."""

    def __init__(self, transport: Transport, claim: int) -> None:
        self._transport = transport
        self._claim = claim

    def execute(self, command: Command) -> Result:
        return self._transport.execute(command)

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self._transport.backing(lba, blocks)

    def close(self) -> None:
        try:
            self._transport.close()
        finally:
            with suppress(OSError):
                os.close(self._claim)


class Opener:
    """For one process: its commands share a nexus, which is made on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._nexus: Nexus | None = None

    def device(self, name: str) -> Transport:
        """A drive or changer, for this process alone (TAPE_OPEN, SCSI_OPEN).

        Raises NoSuchDevice, DeviceBusy where another session has it, TransportError.
        """
        unit = self._settings.drive.get(name) or self._settings.changer.get(name)
        if unit is None or not unit.online:
            raise NoSuchDevice(f"there is no drive or changer {name!r}")
        claim = _claim(self._settings.server.state_dir / "run", name)
        try:
            return Exclusive(self._open(name, unit), claim)
        except BaseException:
            os.close(claim)
            raise

    def disk(self, name: str) -> Transport:
        """A disk; others may use it at the same time."""
        unit = self._settings.disk.get(name)
        if unit is None or not unit.online:
            raise NoSuchDevice(f"there is no disk {name!r}")
        return self._open(name, unit)

    def unit(self, name: str) -> Transport:
        """Any unit, to ask it who it is."""
        for _, found, unit in self._settings.units:
            if found == name:
                return self._open(name, unit)
        raise NoSuchDevice(f"there is no device {name!r}")

    def _open(self, name: str, unit: Unit) -> Transport:
        if not isinstance(unit.device, Virtual):
            raise NoSuchDevice(f"{name}: this version reaches devices of the embedded SAN alone; write "
                               "virtual:NAME as its device")
        san = self._settings.server.state_dir / "san"
        if self._nexus is None:
            self._nexus = Nexus(san)
        return EmbeddedTransport(san, unit.device.name, self._nexus)

    def close(self) -> None:
        if self._nexus is not None:
            self._nexus.close()
            self._nexus = None


def _claim(run_dir: Path, name: str) -> int:
    """Lock the unit's claim file; the kernel gives it up with the process. Raises DeviceBusy."""
    claim = os.open(run_dir / f"{name}.claim", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(claim)
        raise DeviceBusy(f"{name} is in use by another session") from error
    return claim
