"""The parts of one session, as its handlers share them."""

from __future__ import annotations

from dataclasses import dataclass

from ndmpd.session.data import Data
from ndmpd.session.device import Device
from ndmpd.session.effects import JoinLocal, MoverStart
from ndmpd.session.facts import ServerFacts
from ndmpd.session.figures import Figures
from ndmpd.session.joint import Joint
from ndmpd.session.mover import Mover
from ndmpd.session.outbox import Outbox
from protocol.ndmp.codes import Version
from protocol.ndmp.message import Reply


@dataclass(slots=True)
class Parts:
    server: ServerFacts
    figures: Figures
    outbox: Outbox
    joint: Joint
    device: Device

    @property
    def data(self) -> Data:
        return self.joint.data

    @property
    def mover(self) -> Mover:
        return self.joint.mover

    @property
    def version(self) -> Version:
        return self.outbox.version

    def join(self, reply: Reply) -> None:
        """Join the sides, reply, and let the mover run."""
        self.joint.join()
        self.outbox.do(JoinLocal())
        self.outbox.answer(reply)
        self.start_mover()

    def start_mover(self) -> None:
        mover = self.mover
        self.outbox.do(MoverStart(mover.mode, mover.record_size, mover.window_offset, mover.reach))
