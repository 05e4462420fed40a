"""THE table that decides whether a request may be acted on. Nothing else refuses by version, access or state.

Checks run in this order, and the first that fails names the error:

1. version   the message exists in the version spoken, and is implemented: NOT_SUPPORTED, in the header
2. access    NOT_AUTHORIZED; nothing of the body has been read yet
3. body      XDR_DECODE, in the header
4. arguments ILLEGAL_ARGS, for what is wrong in any state
5. state     ILLEGAL_STATE; DEVICE_BUSY where the mover uses the tape
6. device    DEV_NOT_OPEN, DEVICE_OPENED

What then depends on two things at once (the mode of the mover and how the tape was opened, a window and the
record size, both sides of a local connection) is refused by the handler: PERMISSION, PRECONDITION, CONNECT.
Arguments before device, and state before device, is what ndmjob's tests expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from ndmpd.session import arguments
from ndmpd.session.arguments import Check
from ndmpd.session.data import DATA, DataInput
from ndmpd.session.device import DeviceKind
from ndmpd.session.facts import ServerFacts
from ndmpd.session.mover import MOVER, MoverInput
from ndmpd.session.refused import Refused
from protocol.ndmp.codes import Code, DataState, Error, MoverState, Version
from protocol.ndmp.message import Message


class Access(Enum):
    ANYONE = auto()
    """2.11.3: before authentication, too."""
    AUTHORIZED = auto()


class Need(Enum):
    """What must be open (2.11.4)."""

    ANYTHING = auto()
    NO_DEVICE = auto()
    TAPE = auto()
    SCSI = auto()


_OFF_TAPE = frozenset(MoverState) - {MoverState.ACTIVE, MoverState.LISTEN}
_AT_REST = frozenset(MoverState) - {MoverState.ACTIVE}


@dataclass(frozen=True, slots=True)
class Rule:
    """One message. ``only``: the one version that has it. ``free``: mover states that spare the tape."""

    clause: str
    access: Access = Access.AUTHORIZED
    only: Version | None = None
    arguments: Check | None = None
    data: DataInput | None = None
    mover: MoverInput | None = None
    free: frozenset[MoverState] | None = None
    need: Need = Need.ANYTHING


_ANYONE, _V4 = Access.ANYONE, Version.V4
_D, _M = DataInput, MoverInput

RULES: dict[Code, Rule] = {
    Code.CONNECT_OPEN: Rule("3.1.1", _ANYONE),
    Code.CONNECT_CLIENT_AUTH: Rule("3.1.2", _ANYONE),
    Code.CONNECT_CLOSE: Rule("3.1.3", _ANYONE),
    Code.CONNECT_SERVER_AUTH: Rule("3.1.4"),

    Code.CONFIG_GET_HOST_INFO: Rule("3.2.1"),
    Code.CONFIG_GET_SERVER_INFO: Rule("3.2.2", _ANYONE),
    Code.CONFIG_GET_CONNECTION_TYPE: Rule("3.2.3"),
    Code.CONFIG_GET_AUTH_ATTR: Rule("3.2.4", _ANYONE),
    Code.CONFIG_GET_BUTYPE_INFO: Rule("3.2.5"),
    Code.CONFIG_GET_FS_INFO: Rule("3.2.6"),
    Code.CONFIG_GET_TAPE_INFO: Rule("3.2.7"),
    Code.CONFIG_GET_SCSI_INFO: Rule("3.2.8"),
    Code.CONFIG_GET_EXT_LIST: Rule("3.2.9", only=_V4),
    Code.CONFIG_SET_EXT_LIST: Rule("3.2.10", only=_V4),

    Code.SCSI_OPEN: Rule("3.3.1", need=Need.NO_DEVICE),
    Code.SCSI_CLOSE: Rule("3.3.2", need=Need.SCSI),
    Code.SCSI_GET_STATE: Rule("3.3.3", need=Need.SCSI),
    Code.SCSI_RESET_DEVICE: Rule("3.3.4", need=Need.SCSI),
    Code.SCSI_EXECUTE_CDB: Rule("3.3.5", need=Need.SCSI),

    Code.TAPE_OPEN: Rule("3.4.2", arguments=arguments.opens_tape, need=Need.NO_DEVICE),
    Code.TAPE_CLOSE: Rule("3.4.3", free=_OFF_TAPE, need=Need.TAPE),
    Code.TAPE_GET_STATE: Rule("3.4.4, 2.11.4: also while the mover is ACTIVE", need=Need.TAPE),
    Code.TAPE_MTIO: Rule("3.4.5, 2.11.4", arguments=arguments.moves_tape, free=_AT_REST, need=Need.TAPE),
    Code.TAPE_WRITE: Rule("3.4.6", free=_OFF_TAPE, need=Need.TAPE),
    Code.TAPE_READ: Rule("3.4.7", free=_OFF_TAPE, need=Need.TAPE),
    Code.TAPE_EXECUTE_CDB: Rule("3.4.8, 2.11.4", free=_AT_REST, need=Need.TAPE),

    Code.DATA_CONNECT: Rule("3.5.2.1", arguments=arguments.connects, data=_D.CONNECT),
    Code.DATA_LISTEN: Rule("3.5.2.2", arguments=arguments.listens, data=_D.LISTEN),
    Code.DATA_START_BACKUP: Rule("3.5.2.3", data=_D.START_BACKUP),
    Code.DATA_START_RECOVER: Rule("3.5.2.4", arguments=arguments.recovers, data=_D.START_RECOVER),
    Code.DATA_START_RECOVER_FILEHIST: Rule("3.5.2.5", data=_D.START_RECOVER_FILEHIST),
    Code.DATA_GET_STATE: Rule("3.5.2.6", data=_D.GET_STATE),
    Code.DATA_GET_ENV: Rule("3.5.2.7", data=_D.GET_ENV),
    Code.DATA_STOP: Rule("3.5.2.8", data=_D.STOP),
    Code.DATA_ABORT: Rule("3.5.2.9", data=_D.ABORT),

    Code.MOVER_SET_RECORD_SIZE: Rule(
        "3.6.2.1", arguments=arguments.sets_record_size, mover=_M.SET_RECORD_SIZE),
    Code.MOVER_SET_WINDOW: Rule("3.6.2.2", arguments=arguments.sets_window, mover=_M.SET_WINDOW),
    Code.MOVER_CONNECT: Rule(
        "3.6.2.3", arguments=arguments.mover_connects, mover=_M.CONNECT, need=Need.TAPE),
    Code.MOVER_LISTEN: Rule("3.6.2.4", arguments=arguments.mover_listens, mover=_M.LISTEN, need=Need.TAPE),
    Code.MOVER_READ: Rule("3.6.2.5", arguments=arguments.reads, mover=_M.READ),
    Code.MOVER_GET_STATE: Rule("3.6.2.6", mover=_M.GET_STATE),
    Code.MOVER_CONTINUE: Rule("3.6.2.7, 2.11.4", mover=_M.CONTINUE, need=Need.TAPE),
    Code.MOVER_CLOSE: Rule("3.6.2.8", mover=_M.CLOSE),
    Code.MOVER_ABORT: Rule("3.6.2.9", mover=_M.ABORT),
    Code.MOVER_STOP: Rule("3.6.2.10", mover=_M.STOP),
}
"""Not here, and so NOT_SUPPORTED in either version: what version 4 made obsolete (SCSI_SET_TARGET,
SCSI_RESET_BUS), posts sent the wrong way, extensions (2.5.4: none is offered)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the session stands when a request arrives."""

    version: Version
    authorized: bool
    data: DataState
    mover: MoverState
    device: DeviceKind


def find_rule(code: Code | int, version: Version) -> Rule:
    """Check 1."""
    rule = RULES.get(code) if isinstance(code, Code) else None
    if rule is None or rule.only not in (None, version):
        raise Refused(Error.NOT_SUPPORTED)
    return rule


def check_access(rule: Rule, authorized: bool) -> None:
    """Check 2."""
    if rule.access is not Access.ANYONE and not authorized:
        raise Refused(Error.NOT_AUTHORIZED)


def admit(rule: Rule, request: Message, standing: Standing, server: ServerFacts) -> None:
    """Checks 4 to 6, on a decoded request."""
    if rule.arguments is not None:
        rule.arguments(request, standing.version, server)
    _check_state(rule, standing)
    _check_device(rule.need, standing.device)


def _check_state(rule: Rule, standing: Standing) -> None:
    if rule.data is not None and DATA.step(standing.data, rule.data, standing.version) is None:
        raise Refused(Error.ILLEGAL_STATE)
    if rule.mover is not None and MOVER.step(standing.mover, rule.mover, standing.version) is None:
        raise Refused(Error.ILLEGAL_STATE)
    if rule.free is not None and standing.mover not in rule.free:
        raise Refused(Error.DEVICE_BUSY, "the mover uses the tape; wait for its pause or halt, or abort it")


def _check_device(need: Need, device: DeviceKind) -> None:
    match need:
        case Need.NO_DEVICE if device is not DeviceKind.NONE:
            raise Refused(Error.DEVICE_OPENED, f"this connection has {device.value} open; close it first")
        case Need.TAPE if device is not DeviceKind.TAPE:
            raise Refused(Error.DEV_NOT_OPEN)
        case Need.SCSI if device is not DeviceKind.SCSI:
            raise Refused(Error.DEV_NOT_OPEN)
        case _:
            pass
