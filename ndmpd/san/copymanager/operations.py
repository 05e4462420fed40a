"""List identifiers: which copies run, and what is kept of those that have ended. SPC-4 5.17.4, 6.20 to 6.25.

An identifier belongs to one nexus and one unit. What is kept of a copy is its status, its held data and, of
one that failed, its sense data. Each of them goes when it has been read, or when the identifier is used
again; all of it goes with the nexus.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ndmpd.san.copymanager.engine import Copy
from ndmpd.san.errors import refused
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import NO_FAILURE, CopyState, CopyStatus, FailedSegment, HeldData
from protocol.scsi.sense import field_pointer
from protocol.scsi.xcopy import ListIdUsage

MAX_HELD = 64 << 20
"""Bytes of held data that are kept in all; beyond, the oldest are dropped."""
_LIST_ID_AT = 2

Key = tuple[str, str]
"""Nexus and unit."""


@dataclass(eq=False)
class Operation:
    """One copy. ``list_id`` None: it cannot be asked about."""

    key: Key
    list_id: int | None
    usage: ListIdUsage
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    copy: Copy | None = None
    sense: bytes = b""
    status: CopyStatus | None = None
    held: bytes | None = None
    details: bytes | None = None
    held_discarded: bool = False

    def progress(self, state: CopyState) -> CopyStatus:
        copy = self.copy
        segments = copy.number + 1 if copy and copy.list.segments else 0
        return CopyStatus.of_bytes(state, segments, copy.accounts.moved if copy else 0,
                                   held_discarded=self.held_discarded)


class Operations:
    """Of all nexuses. Every method may be called by any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Operation] = []
        self._ended: dict[tuple[Key, int], Operation] = {}

    def begin(self, key: Key, list_id: int, usage: ListIdUsage, total: int, identified: int) -> Operation:
        """A copy starts; ``total`` of them may run for the unit, and ``identified`` that have an identifier.

        CheckCondition where the identifier is in use, or too many run.
        """
        operation = Operation(key, None if usage is ListIdUsage.NONE else list_id, usage)
        with self._lock:
            mine = [one for one in self._running if one.key[1] == key[1]]
            if operation.list_id is not None:
                if self._find_running(key, operation.list_id):
                    raise refused(Asc.OPERATION_IN_PROGRESS)
                if sum(one.list_id is not None for one in mine) >= identified:
                    raise refused(Asc.INSUFFICIENT_RESOURCES)
                self._ended.pop((key, operation.list_id), None)
            if len(mine) >= total:
                raise refused(Asc.INSUFFICIENT_RESOURCES)
            self._running.append(operation)
        return operation

    def end(self, operation: Operation, sense: bytes, *, keep: bool = True) -> None:
        """The copy has ended: well, unless there is ``sense``. ``keep`` False: as if it had never been."""
        with self._lock:
            self._running.remove(operation)
            failed = bool(sense)
            if keep and operation.list_id is not None and (failed or operation.usage is ListIdUsage.HOLD):
                copy = operation.copy
                if copy is not None:
                    operation.held_discarded = copy.held.discarded
                    operation.held = bytes(copy.held.data) if copy.held.data else None
                operation.status = operation.progress(CopyState.FAILED if failed else CopyState.DONE)
                operation.details = FailedSegment(Status.CHECK_CONDITION, sense).put() if failed else None
                operation.copy = None
                self._ended[operation.key, operation.list_id] = operation
                self._bound_held()
        operation.ended.set()

    def _bound_held(self) -> None:
        excess = sum(len(one.held or b"") for one in self._ended.values()) - MAX_HELD
        for one in self._ended.values():
            if excess <= 0:
                break
            if one.held:
                excess -= len(one.held)
                self._drop_held(one)

    def _drop_held(self, operation: Operation) -> None:
        operation.held, operation.held_discarded = None, True
        if operation.status is not None:
            old = operation.status
            operation.status = CopyStatus(True, old.status, old.segments, old.units, old.count)

    def _find_running(self, key: Key, list_id: int) -> Operation | None:
        return next((one for one in self._running if (one.key, one.list_id) == (key, list_id)), None)

    def _forget_if_empty(self, operation: Operation) -> None:
        if operation.status is None and operation.held is None and operation.details is None:
            del self._ended[operation.key, operation.list_id or 0]

    def _known(self, key: Key, list_id: int) -> Operation:
        found = self._ended.get((key, list_id))
        if found is None:
            raise unknown()
        return found

    def status(self, key: Key, list_id: int) -> bytes:
        """COPY STATUS, of a copy that runs or has ended. CheckCondition where there is none."""
        with self._lock:
            running = self._find_running(key, list_id)
            if running is not None:
                return running.progress(CopyState.RUNNING).put()
            found = self._known(key, list_id)
            if found.status is None:
                raise unknown()
            data, found.status = found.status.put(), None
            self._forget_if_empty(found)
            return data

    def data(self, key: Key, list_id: int, allocation: int) -> bytes:
        """Held data; gone once all of it was asked for, or none."""
        with self._lock:
            found = self._known(key, list_id)
            held = found.held or b""
            data = HeldData(held, len(held)).put()
            if found.held and (not allocation or allocation >= len(data)):
                self._drop_held(found)
                self._forget_if_empty(found)
            return data

    def failure(self, key: Key, list_id: int, allocation: int) -> bytes:
        """Sense data of a copy that failed; gone once all of it was asked for, or none."""
        with self._lock:
            found = self._known(key, list_id)
            data = found.details or NO_FAILURE
            if found.details and (not allocation or allocation >= len(data)):
                found.details = None
                self._forget_if_empty(found)
            return data

    def abort(self, key: Key, list_id: int, timeout: float) -> bool:
        """Stop a copy and wait until it has stopped; False where that takes too long."""
        with self._lock:
            found = self._find_running(key, list_id)
            if found is None:
                raise unknown()
        found.stop.set()
        return found.ended.wait(timeout)

    def clear(self, key: Key, timeout: float) -> bool:
        """Stop all copies and wait until they have stopped; False where that takes too long."""
        with self._lock:
            found = [one for one in self._running if one.key == key]
            for one in found:
                one.stop.set()
        deadline = time.monotonic() + timeout
        return all(one.ended.wait(max(0.0, deadline - time.monotonic())) for one in found)

    def lose(self, nexus: str) -> None:
        """The nexus is gone, and with it what it started and what was kept for it."""
        with self._lock:
            for one in self._running:
                if one.key[0] == nexus:
                    one.stop.set()
            self._ended = {key: one for key, one in self._ended.items() if key[0][0] != nexus}


def unknown() -> Exception:
    """No copy has the identifier, or what was asked for is not there any more."""
    return refused(Asc.INVALID_FIELD_IN_CDB, field_pointer(_LIST_ID_AT, in_cdb=True))
