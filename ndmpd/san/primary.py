"""The commands of every device type. SPC-4 clause 6; RESERVE and RELEASE of SPC-2.

Persistent reservations are in ``ndmpd.san.persistent``.
"""

from __future__ import annotations

from ndmpd.san.errors import Conflict
from ndmpd.san.modes import MODE_OPERATIONS
from ndmpd.san.persistent import PERSISTENT_OPERATIONS
from ndmpd.san.reservations import Access
from ndmpd.san.task import Operation, Task
from ndmpd.san.unit import Unit
from protocol.scsi import command as scsi
from protocol.scsi.logs import LogData, LogPage
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import ALL_SUBPAGES


def test_unit_ready(unit: Unit, task: Task) -> None:
    unit.check_ready()


def inquiry(unit: Unit, task: Task) -> None:
    field = task.field
    if field["evpd"]:
        data = unit.vpd_page(field["page"])
        if data is None:
            raise task.refuse("page")
    elif field["page"]:
        raise task.refuse("page")
    else:
        data = unit.inquiry().put()
    task.send(data, field["allocation"])


def request_sense(unit: Unit, task: Task) -> None:
    """Sense of a command is returned with its status; what is left to report is a unit attention."""
    code = unit.take_attention(task.nexus)
    sense = Sense(SenseKey.NO_SENSE) if code is None else Sense(SenseKey.UNIT_ATTENTION, code)
    data = sense.put_descriptor() if task.field["desc"] else sense.put_fixed()
    task.send(data, task.field["allocation"])


_ALL_KINDS, _WELL_KNOWN, _EVERYTHING = 0, 1, 2


def report_luns(unit: Unit, task: Task) -> None:
    """Every unit is LUN 0 of a target of its own."""
    if task.field["select"] not in (_ALL_KINDS, _WELL_KNOWN, _EVERYTHING):
        raise task.refuse("select")
    luns = b"" if task.field["select"] == _WELL_KNOWN else bytes(8)
    task.send(len(luns).to_bytes(4, "big") + bytes(4) + luns, task.field["allocation"])


def _left_to_registrants(unit: Unit, task: Task) -> bool:
    """Where there are registrations, RESERVE and RELEASE do nothing, and tell so those without access.

    SPC-2 5.5.1; SPC-4 5.13.3 for those that have access (CRH).
    """
    if not unit.registrants.keys:
        return False
    if not unit.registrants.gives_access(task.nexus):
        raise Conflict
    return True


def reserve(unit: Unit, task: Task) -> None:
    if not _left_to_registrants(unit, task):
        unit.reserve(task.nexus)


def release(unit: Unit, task: Task) -> None:
    if not _left_to_registrants(unit, task):
        unit.release(task.nexus)


_PREVENT, _PREVENT_ATTACHED = 1, 2


def prevent_allow(unit: Unit, task: Task) -> None:
    if task.field["prevent"] & _PREVENT_ATTACHED:
        raise task.refuse("prevent")
    unit.prevent(task.nexus, task.field["prevent"] == _PREVENT)


_THRESHOLD, _CUMULATIVE = 0, 1


def log_sense(unit: Unit, task: Task) -> None:
    field = task.field
    if field["sp"]:
        raise task.refuse("sp")
    if field["control"] not in (_THRESHOLD, _CUMULATIVE):
        raise task.refuse("control")
    if field["subpage"] not in (0, ALL_SUBPAGES):
        raise task.refuse("subpage")
    pages = unit.log_pages()
    if field["page"] == LogPage.SUPPORTED:
        codes = bytes(sorted((LogPage.SUPPORTED, *pages)))
        task.send(bytes((LogPage.SUPPORTED, 0)) + len(codes).to_bytes(2, "big") + codes, field["allocation"])
        return
    if field["page"] not in pages:
        raise task.refuse("page")
    kept = tuple(one for one in pages[field["page"]] if one.code >= field["parameter"])
    if not kept:
        raise task.refuse("parameter")
    task.send(LogData(field["page"], kept).put(), field["allocation"])


_ALL, _BY_OPCODE, _BY_ACTION, _EITHER = range(4)
_NOT_SUPPORTED, _AS_STANDARD = 1, 3
_CTDP, _CTDP_OF_ALL = 0x80, 0x02
_NO_TIMES = (10).to_bytes(2, "big") + bytes(10)
"""A command time-outs descriptor that specifies nothing (SPC-4 6.35.4)."""


def _usage(operation: Operation) -> bytes:
    """CDB usage data: operation code and service action by value, one bits for whatever else counts."""
    usage = bytearray(operation.cdb.layout.usage())
    usage[0] = operation.cdb.opcode
    if operation.cdb.action is not None:
        usage[1] = usage[1] & 0xE0 | operation.cdb.action
    return bytes(usage)


def report_supported_opcodes(unit: Unit, task: Task) -> None:
    """SPC-4 6.35. Where time-outs are asked for (RCTD), all are "not specified"."""
    field, table = task.field, unit.operations
    options, opcode, action = field["options"], field["requested_opcode"], field["requested_action"]
    if options == _ALL:
        flags, times = (_CTDP_OF_ALL, _NO_TIMES) if field["rctd"] else (0, b"")
        body = b"".join(
            bytes((one.cdb.opcode, 0)) + (one.cdb.action or 0).to_bytes(2, "big")
            + bytes((0, flags | (one.cdb.action is not None))) + one.cdb.size.to_bytes(2, "big") + times
            for one in table.all)
        task.send(len(body).to_bytes(4, "big") + body, field["allocation"])
        return
    if options > _EITHER:
        raise task.refuse("options")
    plain = table.find(opcode)
    if options == _BY_OPCODE and plain is None and table.has(opcode):
        raise task.refuse("requested_opcode")
    if options == _BY_ACTION and plain is not None:
        raise task.refuse("requested_opcode")
    found = plain if options == _BY_OPCODE or not action else None
    found = found or table.find(opcode, action)
    if found is None:
        task.send(bytes((0, _NOT_SUPPORTED, 0, 0)), field["allocation"])
    else:
        usage = _usage(found)
        flags, times = (_CTDP, _NO_TIMES) if field["rctd"] else (0, b"")
        task.send(bytes((0, flags | _AS_STANDARD)) + len(usage).to_bytes(2, "big") + usage + times,
                  field["allocation"])


PRIMARY_OPERATIONS = (
    Operation(scsi.TEST_UNIT_READY, test_unit_ready, Access.SHARED),
    Operation(scsi.REQUEST_SENSE, request_sense, Access.ALWAYS),
    Operation(scsi.INQUIRY, inquiry, Access.ALWAYS),
    Operation(scsi.REPORT_LUNS, report_luns, Access.ALWAYS),
    Operation(scsi.RESERVE_6, reserve),
    Operation(scsi.RELEASE_6, release, Access.SHARED),
    Operation(scsi.PREVENT_ALLOW_MEDIUM_REMOVAL, prevent_allow),
    Operation(scsi.LOG_SENSE, log_sense),
    Operation(scsi.REPORT_SUPPORTED_OPCODES, report_supported_opcodes),
    *MODE_OPERATIONS,
    *PERSISTENT_OPERATIONS,
)
