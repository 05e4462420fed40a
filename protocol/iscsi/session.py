"""The PDUs by which sessions begin, talk of themselves and end. RFC 7143 11.10 to 11.17."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.bits import Bits
from protocol.iscsi.pdu import RESERVED_TAG, Opcode, Pdu, bhs_form


class Stage(IntEnum):
    """11.12.3: the stages of a login phase."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRequest(Pdu):
    """11.12. ``tsih`` 0: a new session."""

    opcode = Opcode.LOGIN_REQUEST
    form = bhs_form(immediate=Bits(0, 1, 6), transit=Bits(1, 1, 7), go_on=Bits(1, 1, 6), stage=Bits(1, 2, 2),
                    next_stage=Bits(1, 2), version_max=Bits(2, 8), version_min=Bits(3, 8), isid=Bits(8, 48),
                    tsih=Bits(14, 16), cid=Bits(20, 16), cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32))
    immediate: int = 1
    transit: int = 0
    go_on: int = 0
    stage: int = Stage.SECURITY
    next_stage: int = 0
    version_max: int = 0
    version_min: int = 0
    isid: int = 0
    tsih: int = 0
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0


class LoginStatus(IntEnum):
    """11.13.5: status class and detail as one number."""

    SUCCESS = 0x0000
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    TARGET_REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE = 0x0208
    SESSION_TYPE = 0x0209
    NO_SESSION = 0x020A
    INVALID_REQUEST = 0x020B
    TARGET_ERROR = 0x0300
    UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginResponse(Pdu):
    """11.13."""

    opcode = Opcode.LOGIN_RESPONSE
    form = bhs_form(transit=Bits(1, 1, 7), go_on=Bits(1, 1, 6), stage=Bits(1, 2, 2), next_stage=Bits(1, 2),
                    version_max=Bits(2, 8), version_active=Bits(3, 8), isid=Bits(8, 48), tsih=Bits(14, 16),
                    stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32), max_cmd_sn=Bits(32, 32),
                    status=Bits(36, 16))
    transit: int = 0
    go_on: int = 0
    stage: int = Stage.SECURITY
    next_stage: int = 0
    version_max: int = 0
    version_active: int = 0
    isid: int = 0
    tsih: int = 0
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    status: int = LoginStatus.SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRequest(Pdu):
    """11.10. ``go_on``: the text continues in the next PDU."""

    opcode = Opcode.TEXT_REQUEST
    form = bhs_form(immediate=Bits(0, 1, 6), final=Bits(1, 1, 7), go_on=Bits(1, 1, 6), lun=Bits(8, 64),
                    transfer_tag=Bits(20, 32), cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32))
    immediate: int = 0
    final: int = 1
    go_on: int = 0
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    cmd_sn: int = 0
    exp_stat_sn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextResponse(Pdu):
    """11.11. Where it is not final, ``transfer_tag`` is what the initiator asks for more with."""

    opcode = Opcode.TEXT_RESPONSE
    form = bhs_form(final=Bits(1, 1, 7), go_on=Bits(1, 1, 6), lun=Bits(8, 64), transfer_tag=Bits(20, 32),
                    stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32), max_cmd_sn=Bits(32, 32))
    final: int = 1
    go_on: int = 0
    lun: int = 0
    transfer_tag: int = RESERVED_TAG
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0


class LogoutReason(IntEnum):
    """11.14.1."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    RECOVERY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutRequest(Pdu):
    """11.14."""

    opcode = Opcode.LOGOUT_REQUEST
    form = bhs_form(immediate=Bits(0, 1, 6), final=Bits(1, 1, 7), reason=Bits(1, 7), cid=Bits(20, 16),
                    cmd_sn=Bits(24, 32), exp_stat_sn=Bits(28, 32))
    immediate: int = 1
    final: int = 1
    reason: int = LogoutReason.CLOSE_SESSION
    cid: int = 0
    cmd_sn: int = 0
    exp_stat_sn: int = 0


class LogoutAnswer(IntEnum):
    """11.15.1."""

    CLOSED = 0
    NO_CONNECTION = 1
    NO_RECOVERY = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutResponse(Pdu):
    """11.15. Times in seconds."""

    opcode = Opcode.LOGOUT_RESPONSE
    form = bhs_form(final=Bits(1, 1, 7), response=Bits(2, 8), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32), time_to_wait=Bits(40, 16), time_to_retain=Bits(42, 16))
    final: int = 1
    response: int = LogoutAnswer.CLOSED
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    time_to_wait: int = 0
    time_to_retain: int = 0


class RejectReason(IntEnum):
    """11.17.1."""

    DATA_DIGEST = 0x02
    SNACK = 0x03
    PROTOCOL_ERROR = 0x04
    NOT_SUPPORTED = 0x05
    IMMEDIATE_COMMAND = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_FIELD = 0x09
    OUT_OF_RESOURCES = 0x0A
    NEGOTIATION_RESET = 0x0B
    WAITING_FOR_LOGOUT = 0x0C


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(Pdu):
    """11.17. The data segment is the header of the PDU that is rejected; ``task_tag`` is all ones."""

    opcode = Opcode.REJECT
    form = bhs_form(final=Bits(1, 1, 7), reason=Bits(2, 8), stat_sn=Bits(24, 32), exp_cmd_sn=Bits(28, 32),
                    max_cmd_sn=Bits(32, 32), data_sn=Bits(36, 32))
    task_tag: int = RESERVED_TAG
    final: int = 1
    reason: int
    stat_sn: int = 0
    exp_cmd_sn: int = 0
    max_cmd_sn: int = 0
    data_sn: int = 0
