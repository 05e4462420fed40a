"""What a session says of itself when whoever runs the server asks: states, figures, devices, one document.

Made of counters and state tables alone, so that it costs no more than a glance while data moves. Texts of the
DMA are cut, and few of them are told: the document stays small whatever was sent.
"""

from __future__ import annotations

import ipaddress
import os
from enum import IntEnum
from typing import Any

from ndmpd.net.ledger import Ledger
from ndmpd.services.data import DataService
from ndmpd.services.jobs import Order
from ndmpd.services.mover import MoverService
from ndmpd.services.scsi import ScsiService
from ndmpd.services.tape import TapeService
from ndmpd.session.core import Session
from ndmpd.session.spans import ALL_ONES, reach
from protocol.ndmp.address import Address
from protocol.ndmp.codes import AddrType, DataState, DataUnsupported, MoverMode, MoverState
from protocol.ndmp.data import DataGetStateReply
from protocol.ndmp.mover import MoverGetStateReply

MOST_VARIABLES = 40
LONGEST_VALUE = 100
LONGEST_TEXT = 256
"""Bytes; the whole fits one packet of a UNIX socket, however a text has to be escaped."""
_UNKNOWN = 0xFFFFFFFF


def of(session: Session, data: DataService, mover: MoverService, tape: TapeService, scsi: ScsiService,
       ledger: Ledger) -> dict[str, Any]:
    """The account, of values that JSON knows. Bytes and bytes a second; None is not known, or not there.

    ``moved``: bytes of the job by the data mover that moved them, where this session has MOVER.
    """
    data_state, mover_state = session.describe()
    return {
        "pid": os.getpid(),
        "user": None if session.user is None else _text(session.user),
        "logged_in": session.authorized,
        "version": int(session.version),
        "data": _data(data_state, data.order),
        "mover": _mover(mover_state),
        "drive": tape.device,
        "tape": _position(tape),
        "changer": scsi.device,
        "moved": {name: count for name, count in mover.shares().items() if count},
        "rate": round(ledger.rate),
    }


def _data(state: DataGetStateReply, order: Order | None) -> dict[str, Any]:
    known = not state.unsupported & DataUnsupported.EST_BYTES_REMAIN
    return {
        "state": _name(state.state),
        "operation": _name(state.operation),
        "halt_reason": _name(state.halt_reason),
        "butype": _text(order.butype) if order is not None else None,
        "filesystem": _text(_filesystem(order)) if order is not None else None,
        "environment": [[_text(name, LONGEST_VALUE), _text(value, LONGEST_VALUE)]
                        for name, value in (order.environment[:MOST_VARIABLES] if order is not None else ())],
        "names": len(order.nlist) if order is not None else 0,
        "bytes": state.bytes_processed,
        "bytes_remain": state.est_bytes_remain if known else None,
        "connection": _address(state.data_connection_addr) if state.state != DataState.IDLE else None,
    }


def _mover(state: MoverGetStateReply) -> dict[str, Any]:
    return {
        "state": _name(state.state),
        "mode": MoverMode(state.mode).name,
        "pause_reason": _name(state.pause_reason),
        "halt_reason": _name(state.halt_reason),
        "record_size": state.record_size,
        "record": state.record_num,
        "bytes": state.bytes_moved,
        "bytes_left_to_read": state.bytes_left_to_read,
        "window_offset": state.window_offset,
        "window_length": None if reach(state.window_offset, state.window_length) == ALL_ONES
                         else state.window_length,
        "connection": _address(state.data_connection_addr) if state.state != MoverState.IDLE else None,
    }


def _position(tape: TapeService) -> dict[str, int | None] | None:
    """Tape file and record of the open drive."""
    if tape.drive is None:
        return None
    state = tape.get_state()
    return {"file": None if state.file_num == _UNKNOWN else state.file_num,
            "record": None if state.blockno == _UNKNOWN else state.blockno}


def _filesystem(order: Order) -> str:
    """Of a variable sent twice the first counts."""
    return next((value for name, value in order.environment if name == "FILESYSTEM"), "")


def _name(value: IntEnum | int) -> str:
    return value.name if isinstance(value, IntEnum) else str(value)


def _address(address: Address) -> str:
    if address.addr_type == AddrType.TCP and address.tcp:
        return f"{ipaddress.IPv4Address(address.tcp[0].ip)}:{address.tcp[0].port}"
    return "local"


def _text(text: str, longest: int = LONGEST_TEXT) -> str:
    """Printable, and not long; bytes that are no text are shown as such."""
    shown = text.encode("utf-8", "surrogateescape")[:longest].decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode()
                   for letter in shown)
