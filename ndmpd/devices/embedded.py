"""Transport to a unit of the embedded SAN: its commands are carried out in the calling process.

Third-party copy commands alone go to the SAN's copy manager, a process of its own.
"""

from __future__ import annotations

from pathlib import Path

from ndmpd.devices.errors import CommandTimeout, NoSuchDevice, TransportError, UnitDown
from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result
from ndmpd.san.copymanager.commands import OPCODES
from ndmpd.san.copymanager.link import Link
from ndmpd.san.errors import CopyManagerDown, CopyManagerGone, SanError, UnitBusy
from ndmpd.san.folder import San
from ndmpd.san.nexus import Nexus
from ndmpd.san.registry import open_unit


class EmbeddedTransport:
    """A path to ``unit_name`` of the SAN in ``san_dir``, for the commands of ``nexus``.

    The nexus is the caller's: several transports may share it, and it outlives them. NoSuchDevice where there
    is no such unit; CommandTimeout where a command finds the unit locked by another process for all of its
    time; TransportError where a copy is asked for and the copy manager does not run.
    """

    most: int | None = None

    def __init__(self, san_dir: str | Path, unit_name: str, nexus: Nexus) -> None:
        self._nexus = nexus
        try:
            self._unit = open_unit(San.open(san_dir), unit_name)
        except SanError as error:
            raise NoSuchDevice(str(error)) from error
        self._link = Link(san_dir, nexus.id) if self._unit.third_party else None

    def execute(self, command: Command) -> Result:
        try:
            if self._link is not None and command.cdb[:1] and command.cdb[0] in OPCODES:
                return self._link.execute(self._unit.name, command)
            return self._unit.execute(self._nexus.id, command)
        except UnitBusy as error:
            raise CommandTimeout(str(error)) from error
        except CopyManagerDown as error:
            raise UnitDown(str(error)) from error
        except CopyManagerGone as error:
            raise TransportError(str(error)) from error

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return self._unit.backing(lba, blocks)

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._unit.close()
