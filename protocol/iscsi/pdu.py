"""The basic header segments of all PDUs. RFC 7143 clause 11; the numbers below are its clauses.

Each PDU is declared once: its fields, and in ``form`` where they lie. ``put`` makes the 48 bytes, ``take``
reads them. The data segment, its length and the additional header segments are not part of these values: see
``Lengths`` and ``protocol.iscsi.segments``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError

BHS = 48
"""Bytes of a basic header segment."""
RESERVED_TAG = 0xFFFFFFFF
"""A task tag, or target transfer tag, that names nothing."""
CDB = 16
"""Bytes of a CDB that lie in the header; an additional header segment has the rest of a longer one."""
_CDB_AT = 32


class Opcode(IntEnum):
    """11.2.1.2. Those of the target have bit 5 set."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    R2T = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


_HEAD = Layout(8, immediate=Bits(0, 1, 6), opcode=Bits(0, 6), ahs=Bits(4, 8), data=Bits(5, 24))


@dataclass(frozen=True, slots=True)
class Lengths:
    """What every header says of what follows it: ``ahs`` and ``data`` in bytes, without padding."""

    opcode: int
    immediate: bool
    ahs: int
    data: int

    @classmethod
    def take(cls, header: Buffer) -> Lengths:
        field = _HEAD.take(header)
        return cls(field["opcode"], bool(field["immediate"]), field["ahs"] * 4, field["data"])


def bhs_form(**own: Bits) -> Layout:
    return Layout(BHS, opcode=Bits(0, 6), data_length=Bits(5, 24), task_tag=Bits(16, 32), **own)


_OUTER = frozenset({"opcode", "data_length"})
"""Fields of every form that are no part of the values."""


@dataclass(frozen=True, slots=True)
class Pdu:
    """Base: ``task_tag`` is the initiator task tag. A subclass names its ``opcode`` and its ``form``.

    Fields that are reserved are ignored when taken, as 11.2.1 demands, and zero when put.
    """

    opcode: ClassVar[Opcode]
    form: ClassVar[Layout]
    task_tag: int

    def put(self, data_length: int = 0) -> bytes:
        """The header, of a PDU with that many bytes of data."""
        return self.form.put(opcode=self.opcode, data_length=data_length,
                             **{name: getattr(self, name) for name in self.form.fields if name not in _OUTER})

    @classmethod
    def take(cls, header: Buffer) -> Self:
        """WireError where it is another PDU, or none."""
        found: dict[str, Any] = cls.form.take(header)
        if found.pop("opcode") != cls.opcode:
            raise WireError(f"opcode {header[0] & 0x3F:02X}h is not {cls.opcode.name}")
        del found["data_length"]
        return cls(**found)


class Attribute(IntEnum):
    """Task attributes, 11.3.1."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiCommand(Pdu):
    """11.3. ``length``: expected data transfer length. ``head``: the first 16 bytes of the CDB, as a number;
    ``cdb`` gives them.
    """

    opcode = Opcode.SCSI_COMMAND
    form = bhs_form(immediate=Bits(0, 1, 6), final=Bits(1, 1, 7), read=Bits(1, 1, 6), write=Bits(1, 1, 5),
                    attribute=Bits(1, 3), ahs=Bits(4, 8), lun=Bits(8, 64), length=Bits(20, 32),
                    cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32), head=Bits(_CDB_AT, CDB * 8))
    immediate: int = 0
    final: int = 1
    read: int = 0
    write: int = 0
    attribute: int = Attribute.SIMPLE
    ahs: int = 0
    lun: int = 0
    length: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    head: int = 0

    @property
    def cdb(self) -> bytes:
        return self.head.to_bytes(CDB, "big")


class Response(IntEnum):
    """11.4.3: whether the target has carried the command to a SCSI status at all."""

    COMPLETED = 0x00
    TARGET_FAILURE = 0x01


@dataclass(frozen=True, slots=True, kw_only=True)
class ScsiResponse(Pdu):
    """11.4. The data segment is sense data behind its own 2-byte length."""

    opcode = Opcode.SCSI_RESPONSE
    form = bhs_form(final=Bits(1, 1, 7), overflow=Bits(1, 1, 2), underflow=Bits(1, 1, 1), response=Bits(2, 8),
                    status=Bits(3, 8), snack_tag=Bits(20, 32), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32), exp_data_sn=Bits(36, 32), residual=Bits(44, 32))
    final: int = 1
    overflow: int = 0
    underflow: int = 0
    response: int = Response.COMPLETED
    status: int = 0
    snack_tag: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    exp_data_sn: int = 0
    residual: int = 0


class TaskFunction(IntEnum):
    """11.5.1."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest(Pdu):
    """Task management function request, 11.5. ``referenced``: the task tag that ABORT TASK means."""

    opcode = Opcode.TASK_REQUEST
    form = bhs_form(immediate=Bits(0, 1, 6), final=Bits(1, 1, 7), function=Bits(1, 7), lun=Bits(8, 64),
                    referenced=Bits(20, 32), cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32),
                    ref_cmd_sn=Bits(32, 32), exp_data_sn=Bits(36, 32))
    immediate: int = 1
    final: int = 1
    function: int = TaskFunction.ABORT_TASK
    lun: int = 0
    referenced: int = RESERVED_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0
    ref_cmd_sn: int = 0
    exp_data_sn: int = 0


class TaskAnswer(IntEnum):
    """11.6.1."""

    COMPLETE = 0
    NO_TASK = 1
    NO_LUN = 2
    STILL_ALLEGIANT = 3
    NO_REASSIGNMENT = 4
    NOT_SUPPORTED = 5
    NOT_AUTHORIZED = 6
    REJECTED = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResponse(Pdu):
    """11.6."""

    opcode = Opcode.TASK_RESPONSE
    form = bhs_form(final=Bits(1, 1, 7), response=Bits(2, 8), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32))
    final: int = 1
    response: int = TaskAnswer.COMPLETE
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOut(Pdu):
    """11.7. ``transfer_tag`` is that of the R2T it answers; all ones where nobody asked for it."""

    opcode = Opcode.DATA_OUT
    form = bhs_form(final=Bits(1, 1, 7), lun=Bits(8, 64), transfer_tag=Bits(20, 32), exp_stat_sn=Bits(28, 32),
                    data_sn=Bits(36, 32), offset=Bits(40, 32))
    final: int = 1
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    exp_stat_sn: int = 0
    data_sn: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DataIn(Pdu):
    """11.7. With ``has_status`` it ends the command as a response would, which must be without sense."""

    opcode = Opcode.DATA_IN
    form = bhs_form(final=Bits(1, 1, 7), acknowledge=Bits(1, 1, 6), overflow=Bits(1, 1, 2),
                    underflow=Bits(1, 1, 1), has_status=Bits(1, 1), status=Bits(3, 8), lun=Bits(8, 64),
                    transfer_tag=Bits(20, 32), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32), data_sn=Bits(36, 32), offset=Bits(40, 32),
                    residual=Bits(44, 32))
    final: int = 1
    acknowledge: int = 0
    overflow: int = 0
    underflow: int = 0
    has_status: int = 0
    status: int = 0
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data_sn: int = 0
    offset: int = 0
    residual: int = 0


_FINAL, _OVERFLOW, _UNDERFLOW, _HAS_STATUS = 0x80, 0x04, 0x02, 0x01
_DATA_IN = struct.Struct(">BBxBIQ8I")
_RESPONSE = struct.Struct(">BBBBIQ8I")


def put_data_in(task_tag: int, data_length: int, final: bool, offset: int, data_sn: int,
                numbers: tuple[int, int], stat_sn: int | None = None, residual: int = 0) -> bytes:
    """``DataIn(...).put(data_length)`` in a fifth of its time: it is the header of all that is ever read.

    ``numbers``: ExpCmdSN and MaxCmdSN. With ``stat_sn`` it ends the command with the status GOOD, and with
    ``residual``, which is negative for an overflow.
    """
    flags = _FINAL if final else 0
    if stat_sn is not None:
        flags |= _HAS_STATUS | _residual_flag(residual)
    return _DATA_IN.pack(Opcode.DATA_IN, flags, 0, data_length, 0, task_tag, RESERVED_TAG, stat_sn or 0,
                         *numbers, data_sn, offset, abs(residual))


def put_good(task_tag: int, numbers: tuple[int, int], stat_sn: int, residual: int) -> bytes:
    """``ScsiResponse(...).put()`` for the status GOOD, as ``put_data_in``: the end of all that is written."""
    return _RESPONSE.pack(Opcode.SCSI_RESPONSE, _FINAL | _residual_flag(residual), Response.COMPLETED, 0, 0,
                          0, task_tag, 0, stat_sn, *numbers, 0, 0, abs(residual))


def _residual_flag(residual: int) -> int:
    return 0 if not residual else _UNDERFLOW if residual > 0 else _OVERFLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class R2T(Pdu):
    """Ready to transfer, 11.8: the target asks for ``length`` bytes of data-out from ``offset``."""

    opcode = Opcode.R2T
    form = bhs_form(final=Bits(1, 1, 7), lun=Bits(8, 64), transfer_tag=Bits(20, 32), stat_sn=Bits(24, 32),
                    exp_cmd_sn=Bits(28, 32), max_cmd_sn=Bits(32, 32), r2t_sn=Bits(36, 32),
                    offset=Bits(40, 32), length=Bits(44, 32))
    final: int = 1
    lun: int = 0
    transfer_tag: int
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    r2t_sn: int = 0
    offset: int = 0
    length: int = 0


class AsyncEvent(IntEnum):
    """11.9.1."""

    SCSI = 0
    LOGOUT_REQUESTED = 1
    CONNECTION_DROPPED = 2
    SESSION_DROPPED = 3
    NEGOTIATE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AsyncMessage(Pdu):
    """11.9. ``task_tag`` is all ones."""

    opcode = Opcode.ASYNC_MESSAGE
    form = bhs_form(final=Bits(1, 1, 7), lun=Bits(8, 64), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32), event=Bits(36, 8), vendor_code=Bits(37, 8),
                    parameter_1=Bits(38, 16),
                    parameter_2=Bits(40, 16), parameter_3=Bits(42, 16))
    task_tag: int = RESERVED_TAG
    final: int = 1
    lun: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    event: int = AsyncEvent.SCSI
    vendor_code: int = 0
    parameter_1: int = 0
    parameter_2: int = 0
    parameter_3: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NopOut(Pdu):
    """11.18: a ping of the initiator, or its answer to one of the target's (task_tag all ones)."""

    opcode = Opcode.NOP_OUT
    form = bhs_form(immediate=Bits(0, 1, 6), final=Bits(1, 1, 7), lun=Bits(8, 64), transfer_tag=Bits(20, 32),
                    cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32))
    immediate: int = 1
    final: int = 1
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NopIn(Pdu):
    """11.19."""

    opcode = Opcode.NOP_IN
    form = bhs_form(final=Bits(1, 1, 7), lun=Bits(8, 64), transfer_tag=Bits(20, 32), stat_sn=Bits(24, 32),
                    exp_cmd_sn=Bits(28, 32), max_cmd_sn=Bits(32, 32))
    final: int = 1
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
