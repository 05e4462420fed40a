"""A unit as all sessions of its target share it: one command at a time, and what resets mean to it."""

from __future__ import annotations

import threading

from ndmpd.ports import Command, Result
from ndmpd.san.errors import UnitBusy
from ndmpd.san.folder import San
from ndmpd.san.registry import open_unit
from protocol.scsi.asc import Asc

_PATIENCE = 10.0


class LogicalUnit:
    def __init__(self, san: San, name: str) -> None:
        self.name = name
        self._unit = open_unit(san, name)
        self._turn = threading.Lock()

    @property
    def third_party(self) -> bool:
        return self._unit.third_party

    def execute(self, nexus: str, command: Command) -> Result:
        """UnitBusy where others keep the unit for ``command.timeout`` seconds."""
        if not self._turn.acquire(timeout=command.timeout):
            raise UnitBusy(f"{self.name} had other commands for {command.timeout:g} s")
        try:
            return self._unit.execute(nexus, command)
        finally:
            self._turn.release()

    def lose(self, nexus: str) -> None:
        """The nexus ends, or begins anew: what it held is free (SAM-5 6.3.4)."""
        with self._turn, self._unit.exclusive(_PATIENCE):
            self._unit.lose(nexus)

    def reset(self) -> None:
        """SAM-5 6.3.3, for a LOGICAL UNIT RESET or a reset of the target."""
        with self._turn, self._unit.exclusive(_PATIENCE):
            self._unit.reset()

    def tell_cleared(self, nexus: str) -> None:
        """All but ``nexus`` learn that their commands are gone."""
        with self._turn, self._unit.exclusive(_PATIENCE):
            self._unit.alert(Asc.COMMANDS_CLEARED, but=nexus)

    def close(self) -> None:
        with self._turn:
            self._unit.close()
