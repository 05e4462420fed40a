"""A copy manager's data path between disks (TYPE=SCSI): blocks go from one to the other by EXTENDED COPY.

A disk cannot be asked what was written to it. So only what is beyond doubt counts as done, and the rest is
copied again, which does no harm where no source lies under a destination.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import product

from ndmpd.devices.copymanager import CopyManager
from ndmpd.devices.leases import Leases
from ndmpd.offload.blocks import block_steps
from ndmpd.offload.ends import CannotCopy
from ndmpd.offload.plan import CopyCommand
from ndmpd.offload.resume import Outcome, progress
from ndmpd.pieces import LunExtent
from ndmpd.ports import Transport
from ndmpd.services.copy_ends import Disks
from ndmpd.services.copying import Copying, PathFailed, Run


@dataclass(frozen=True, slots=True)
class BlocksCopied:
    """``bytes``, from the first, are in place. ``leave``: so many of the next are for the head."""

    bytes: int
    leave: int = 0


class BlockPath(Copying):
    """``open_disk`` is to ask a disk who it is."""

    def __init__(self, leases: Leases, make_manager: Callable[[], CopyManager], batch: int,
                 open_disk: Callable[[str], Transport], run: Run) -> None:
        super().__init__(leases, make_manager, batch, run)
        self._disks = Disks(open_disk)

    def copy(self, sources: Sequence[LunExtent], destinations: Sequence[LunExtent]) -> BlocksCopied:
        """The bytes of ``sources`` to ``destinations``, which are as many. Fewer where the head is to copy
        some, where it is worth planning again, or stopped. Raises PathFailed; CopyGoesOn where a copy may
        still write to a disk.
        """
        assert self._abilities is not None
        if self._overlap(sources, destinations):
            return BlocksCopied(0, sum(piece.length for piece in sources))
        done = 0
        try:
            for step in block_steps(sources, destinations, self._disks, self._abilities, self.batch):
                if self._run.stopped:
                    break
                if not isinstance(step, CopyCommand):
                    return BlocksCopied(done, sum(piece.length for piece in step.sources))
                copied = self._copy(step)
                done += copied
                if copied < step.bytes:
                    break
        except PathFailed as failure:
            raise PathFailed(str(failure), done + failure.records) from failure
        except CannotCopy as failure:
            raise PathFailed(str(failure), done) from failure
        return BlocksCopied(done)

    def _copy(self, command: CopyCommand) -> int:
        """One command; the bytes that are certain to be in place."""
        pieces = [piece for piece in command.pieces if isinstance(piece, LunExtent)]
        units = {piece.disk for piece in (*pieces, *command.destinations)}
        with self._lease(*sorted(units)) as held:
            if held is None:
                return 0
            copied = self._send(command, held)
        found = progress(command, None, None, Outcome(copied.status, copied.sense))
        self.carried += found.records
        if not copied.good:
            self._judge(command, copied, found)
        return found.records

    def _overlap(self, sources: Sequence[LunExtent], destinations: Sequence[LunExtent]) -> bool:
        """Whether a destination lies on a source: repeated, such a copy would find its source changed."""
        read, written = ({self._unit(piece.disk) for piece in one} for one in (sources, destinations))
        shared = read & written
        return bool(shared) and any(
            one.lba < other.lba + other.blocks and other.lba < one.lba + one.blocks
            for one, other in product(sources, destinations)
            if self._unit(one.disk) == self._unit(other.disk))

    def _unit(self, name: str) -> Hashable:
        """The same for all names of one disk."""
        end = self._disks.get(name)
        return name if end is None else end.designator
