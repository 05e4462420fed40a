"""Faults of drive and disk as a copy manager meets them: at its own commands, with what they do to the units.

``FaultyTransport`` is put between the copy manager and its units; a fault that the drive carries out in part
has written or read as many records as its answer says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ndmpd.devices.leases import abandoned
from ndmpd.pieces import FileExtent, Piece
from ndmpd.ports import Command, Result, SourceFault
from ndmpd.san.copymanager.ends import End
from ndmpd.san.nexus import Nexus
from ndmpd.services.transfer import Mover
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.spc import DeviceType
from tests.san.conftest import TapeHost
from tests.services.copy_rig import CopyRig, Place, content, image
from tests.services.rig import PATIENCE
from tests.sweep.faults import FaultyTransport, Plan
from tests.sweep.jobs import padded

Answer = tuple[Result, list[SourceFault]]


class _Path:
    """One end of a copy as a transport."""

    def __init__(self, end: End) -> None:
        self.end = end

    def execute(self, command: Command) -> Result:
        result, faults = HONEST(self.end, command.cdb, command.data_out, command.data_in)
        command.faults += faults
        return result

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        pass


HONEST = End.send


class Silent(Plan):
    """What the fault does to the drive is done, and the drive left to tell of it by itself."""

    def due(self, opcode: int) -> bool:
        if super().due(opcode):
            assert self.fault is not None
            self.struck.append(opcode)
            self.act(self.fault.act, self.path)
        return False


class Units:
    """What goes wrong with the units of a copy. ``plan``: of the drive; None for none."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.disk: tuple[int, Result] | None = None
        """Command of the copy manager to a disk, from 0, and its answer instead of being carried out."""
        self.asked = 0
        self.struck = 0

    def send(self, end: End, cdb: bytes, out: Sequence[Piece] = (), into: Sequence[Piece] = ()) -> Answer:
        """``End.send``."""
        if end.unit is not None and end.kind is DeviceType.DISK and self.disk is not None:
            self.asked += 1
            if self.asked - 1 == self.disk[0]:
                self.struck += 1
                return self.disk[1], []
        if end.unit is None or end.kind is not DeviceType.TAPE or self.plan is None:
            return HONEST(end, cdb, out, into)
        command = Command(cdb, out, into)
        path = _Path(end)
        self.plan.path = path
        result = FaultyTransport(path, self.plan).execute(command)
        return result, list(command.faults)


class Acts:
    """What a drive does of its own, or another host to it, at the moment of a fault."""

    def __init__(self, place: Place, rig: CopyRig) -> None:
        self.place, self.rig = place, rig
        self.thief: Nexus | None = None

    def __call__(self, name: str, path: Any) -> None:
        unit = path.end.unit
        if name == "rewound":
            assert path.execute(Command(scsi.REWIND.put())).status == Status.GOOD
        with unit.exclusive(PATIENCE):
            state = unit.state
            if name == "taken":
                self.thief = Nexus(self.place.san.path)
                state.holder = self.thief.id
            elif name == "block length":
                state.block_length = 7 * 512
            elif name == "other cartridge":
                state.holder, state.preventing = None, []
            elif name == "power on, rewound":
                state.holder, state.block_length, state.place = None, 0, 0
                unit.alert(Asc.POWER_ON)
            elif name == "power on":
                state.holder, state.block_length = None, 0
                unit.alert(Asc.POWER_ON)
            else:
                state.holder, state.block_length = None, 0
        if name == "other cartridge":
            self.place.load(self.place.loaded + 1)

    def over(self) -> None:
        if self.thief is not None:
            self.thief.close()
            self.thief = None


NEXT = image([(5, 9), (40, 70)])
"""What a job backs up that comes after a case."""


def usable(place: Place) -> None:
    """Nothing is left locked, and the next job goes by the copy manager as if nothing had been."""
    left = [one.units for one in abandoned(place.run_dir)]
    assert not left, f"list identifiers left in use for {left}"
    place.load(0)
    host = TapeHost(place.san, "tape0")
    assert host.rewind().good and host.send(scsi.ERASE_6.put()).good
    host.close()
    with CopyRig(place, Mover.AUTO) as rig:
        (tape,), sent = rig.backup(NEXT, 1024)
        assert sent.finished and sent.used == "SCSI copy0", (sent, rig.log())
        assert tape == padded(content(NEXT), 1024)
