"""EXTENDED COPY by one copy manager: ready or not, a list identifier for each command, and what a failure
means for the next.

What every data path of TYPE=SCSI has in common, whatever its ends are. A path plans (``ndmpd.offload``), has
its commands carried out here, and finds out itself what a command has done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Protocol

from ndmpd.devices.copymanager import Copied, CopyGoesOn, CopyManager
from ndmpd.devices.leases import Lease, Leases, abandoned
from ndmpd.errors import NdmpdError
from ndmpd.offload.abilities import Abilities
from ndmpd.offload.ends import CannotCopy
from ndmpd.offload.plan import CopyCommand
from ndmpd.offload.resume import Progress
from ndmpd.ports import SourceFault
from protocol.ndmp.codes import LogType
from protocol.scsi.command import Status
from protocol.scsi.sense import SenseKey
from protocol.scsi.xcopy import ListIdUsage

log = logging.getLogger(__name__)

_TRIES = 3
"""Commands in a row that may end with nothing done and nothing wrong: unit attentions, a busy unit."""
_FREE = 0.05
"""Seconds between two looks for a free list identifier."""
_TRANSIENT = frozenset({Status.BUSY, Status.TASK_SET_FULL})


class PathFailed(NdmpdError):
    """This path cannot go on. ``records`` (bytes, between disks) were carried before, ``faults`` met on the
    way.
    """

    def __init__(self, reason: str, records: int = 0, faults: tuple[SourceFault, ...] = ()) -> None:
        super().__init__(reason)
        self.records = records
        self.faults = faults


class Run(Protocol):
    """What a path sees of the run that it serves."""

    @property
    def stopped(self) -> bool: ...

    def moving(self, size: int) -> None:
        """So many bytes of the command under way have been moved; 0 once it is over. From any thread."""

    def say(self, kind: LogType, text: str) -> None: ...


class Copying:
    """``batch``: bytes that one EXTENDED COPY moves at most."""

    def __init__(self, leases: Leases, make_manager: Callable[[], CopyManager], batch: int, run: Run) -> None:
        self.name = leases.manager
        self.batch = batch
        self.carried = 0
        """Bytes that were moved without passing through the head."""
        self._leases = leases
        self._make_manager = make_manager
        self._manager: CopyManager | None = None
        self._run = run
        self._abilities: Abilities | None = None
        self._tries = _TRIES

    def open_manager(self) -> Abilities:
        """What the copy manager can do; it is asked once. PathFailed where that is nothing for us."""
        try:
            if self._abilities is None:
                if self._manager is None:
                    self._manager = self._make_manager()
                if not self._manager.copies():
                    raise CannotCopy("it takes no EXTENDED COPY (3PC is not set in its INQUIRY data)")
                self._abilities = Abilities.of(*self._manager.limits())
        except (NdmpdError, ValueError) as failure:
            raise PathFailed(str(failure)) from failure
        return self._abilities

    def close(self) -> None:
        if self._manager is not None:
            with suppress(NdmpdError, OSError):
                self._manager.close()

    @contextmanager
    def _lease(self, *units: str) -> Iterator[Lease | None]:
        """A list identifier for one copy on ``units``; None where the run is to end before one is free.

        The death of this process, or a copy that does not end, leaves word that it may go on.
        """
        assert self._manager is not None
        while (held := self._leases.take()) is None:
            if self._run.stopped:
                yield None
                return
            for left in abandoned(self._leases.run_dir, manager=self.name):
                try:
                    self._manager.make_sure_it_ended(left.list_id)
                except CopyGoesOn as failure:
                    # Of other units: whoever opens such a drive is kept off it.
                    raise PathFailed(str(failure)) from failure
                left.end()
            time.sleep(_FREE)
        with closing(held):
            held.begin(*units)
            yield held

    def _send(self, command: CopyCommand, held: Lease) -> Copied:
        """One command, to its end. Raises CopyGoesOn."""
        assert self._manager is not None
        order = command.parameter_list(held.list_id, ListIdUsage.DISCARD)
        try:
            copied = self._manager.copy(order, stopped=lambda: self._run.stopped, moved=self._run.moving)
        finally:
            # From here on it is what the ends show that counts.
            self._run.moving(0)
        held.end()
        if copied.good:
            self._tries = _TRIES
        return copied

    def _judge(self, command: CopyCommand, copied: Copied, found: Progress) -> None:
        """A command failed: whether it is worth another try, by a plan that may do with less. PathFailed."""
        assert self._abilities is not None
        if self._run.stopped:
            return
        self._tries = _TRIES if found.records else self._tries - 1
        if _transient(copied) and self._tries:
            log.info("%s: %s; once more", self.name, copied.reason)
            return
        less = None if copied.sense is None else self._abilities.learn(copied.sense, command)
        if less is None:
            raise PathFailed(copied.reason or f"status {copied.status}", found.records)
        self._run.say(LogType.NORMAL, f"data mover {self.name} (SCSI): {copied.reason}; it goes on with "
                                      f"{self._abilities.narrowed(less)}")
        self._abilities = less


def _transient(copied: Copied) -> bool:
    if copied.status in _TRANSIENT:
        return True
    if copied.sense is None:
        return False
    if copied.sense.key is SenseKey.UNIT_ATTENTION:
        return True
    return any(report.status in _TRANSIENT
               or (report.sense is not None and report.sense.key is SenseKey.UNIT_ATTENTION)
               for report in (copied.source, copied.destination) if report is not None)
