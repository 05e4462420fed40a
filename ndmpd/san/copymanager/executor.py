"""One third-party copy command, from its CDB to its status."""

from __future__ import annotations

import logging
from collections.abc import Callable

from ndmpd.ports import Command
from ndmpd.san.copymanager.checks import judge_contents, judge_header
from ndmpd.san.copymanager.ends import Ends, Units
from ndmpd.san.copymanager.engine import Copy
from ndmpd.san.copymanager.moves import MOVES
from ndmpd.san.copymanager.operations import Operations, unknown
from ndmpd.san.copymanager.profile import MAX_PARAMETERS, load_profile
from ndmpd.san.copymanager.wire import Reply, Request
from ndmpd.san.errors import CheckCondition, UnitBusy, refused
from ndmpd.san.task import DATA_PHASE_ERROR
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.copyresults import RECEIVE_COPY_DATA, RECEIVE_COPY_STATUS, RECEIVE_OPERATING_PARAMETERS
from protocol.scsi.sense import ParameterError, Sense, SenseKey
from protocol.scsi.xcopy import COPY_OPERATION_ABORT, EXTENDED_COPY

_log = logging.getLogger(__name__)

_ABORTING = 60.0
"""Seconds in which a copy that was told to stop has stopped."""
_MAX_LIST_ID = 0xFF


class Executor:
    """For one connection. ``gone`` says whether the initiator is; it is asked while a copy runs."""

    def __init__(self, units: Units, operations: Operations, gone: Callable[[], bool]) -> None:
        self._units = units
        self._operations = operations
        self._gone = gone

    def execute(self, request: Request) -> Reply:
        """Never raises: whatever goes wrong is a status."""
        try:
            return self._execute(request)
        except CheckCondition as check:
            return _check(check.sense)
        except ParameterError as error:
            _log.info("%s: EXTENDED COPY refused: %s", request.unit, error)
            return _check(error.sense())
        except UnitBusy:
            return Reply(Status.BUSY)
        except Exception:
            _log.exception("%s: command %s failed", request.unit, request.cdb.hex(" "))
            return _check(Sense(SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE))

    def _execute(self, request: Request) -> Reply:
        if request.unit not in self._units.san.units:
            raise refused(Asc.LUN_NOT_SUPPORTED)
        if not request.cdb:
            ended = self._operations.clear((request.nexus, request.unit), min(request.timeout, _ABORTING))
            return Reply(Status.GOOD if ended else Status.BUSY)
        unit = self._units.get(request.unit)
        unit.admits_copies = True
        result = unit.execute(request.nexus, Command(request.cdb, timeout=request.timeout))
        if result.status != Status.GOOD:
            return Reply(result.status, result.sense)
        operation, field = unit.operations.parse(request.cdb)
        if operation.cdb is EXTENDED_COPY:
            return self._copy(request, field["length"])
        key = request.nexus, request.unit
        if operation.cdb is COPY_OPERATION_ABORT:
            if field["list_id"] > _MAX_LIST_ID:
                raise unknown()
            ended = self._operations.abort(key, field["list_id"], min(request.timeout, _ABORTING))
            return Reply(Status.GOOD if ended else Status.BUSY)
        allocation = field["allocation"]
        if operation.cdb is RECEIVE_OPERATING_PARAMETERS:
            data = load_profile(self._units.san, request.unit).stated.put()
        elif operation.cdb is RECEIVE_COPY_STATUS:
            data = self._operations.status(key, field["list_id"])
        elif operation.cdb is RECEIVE_COPY_DATA:
            data = self._operations.data(key, field["list_id"], allocation)
        else:
            data = self._operations.failure(key, field["list_id"], allocation)
        data = data[:min(allocation, request.room)]
        return Reply(Status.GOOD, data=data, transferred=len(data))

    def _copy(self, request: Request, length: int) -> Reply:
        if not length:
            return Reply(Status.GOOD)
        if length > MAX_PARAMETERS:
            raise refused(Asc.PARAMETER_LIST_LENGTH)
        if len(request.data) < length:
            raise CheckCondition(Sense(SenseKey.ABORTED_COMMAND, DATA_PHASE_ERROR))
        profile = load_profile(self._units.san, request.unit)
        data = request.data[:length]
        header = judge_header(data, profile)
        limits = profile.limits
        total = limits.total_concurrent if limits.snlid else limits.max_concurrent
        operation = self._operations.begin((request.nexus, request.unit), header.list_id, header.usage, total,
                                           limits.max_concurrent)
        sense, keep = b"", False
        try:
            found = judge_contents(data, header, profile)
            ends = Ends(self._units, request.nexus, request.unit, found)
            keep = True
            copy = operation.copy = Copy(found, profile, ends,
                                         lambda: operation.stop.is_set() or self._gone())
            failure = copy.run(MOVES)
            if failure is not None:
                # A residue that the fixed form has no room for needs the other one.
                sense = failure.put(wide=(failure.residue or 0) >> 32 > 0)
                _log.info("%s: EXTENDED COPY ended in segment %s: %s", request.unit, failure.segment,
                          failure.sense().text)
        except BaseException:
            keep = False
            raise
        finally:
            self._operations.end(operation, sense, keep=keep)
        if sense:
            return Reply(Status.CHECK_CONDITION, sense, transferred=length)
        return Reply(Status.GOOD, transferred=length)


def _check(sense: Sense) -> Reply:
    return Reply(Status.CHECK_CONDITION, sense.put())


