"""What a job tells whoever watches it. The base class watches nothing; a progress bar overrides what it
shows."""

from __future__ import annotations

from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.mover import MoverGetStateReply


class Observer:
    """Called from within the job, so every method has to be quick. None of them may send requests."""

    def states(self, data: DataGetStateReply, mover: MoverGetStateReply) -> None:
        """Both sides were asked how they are."""

    def amount(self, moved: int, total: int, paused: bool = False) -> None:
        """A copy has moved so many bytes, of ``total``, 0 where that is not known."""

    def cartridge(self, name: str, drive: str) -> None:
        """A cartridge is in the drive and positioned; ``name`` "" where its volume tag is not known."""

    def doing(self, text: str) -> None:
        """Something that takes time began, such as moving a cartridge."""

    def message(self, kind: int, text: str) -> None:
        """A LOG_MESSAGE arrived."""

    def history(self, entries: int) -> None:
        """``entries`` of file history have arrived so far."""
