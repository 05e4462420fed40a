"""What units say of themselves: model, serial number, world wide name, capacity of a disk.

A drive in the middle of a long command may keep even an INQUIRY waiting, and the DMA that asks must not wait
with it. So units are asked in threads of their own, all at once; what has not answered in time is unknown
this time and known the next. Answers are kept: a unit does not change while a session lasts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result, Transport
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.command import Status
from protocol.scsi.sbc import Capacity
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import Designator, DeviceType, Inquiry, Vpd, VpdPage, best_designator, take_serial

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that all units together have to answer."""
_COMMAND = 30.0
"""Seconds after which a transport gives an INQUIRY up; nobody waits for it."""
_ATTENTIONS = 8


@dataclass(frozen=True, slots=True)
class Identity:
    """``model``: vendor and product. ``name``: the best designator (``naa.600...``). "" where the unit does
    not say.
    """

    type: int
    model: str
    revision: str
    serial: str
    name: str
    capacity: Capacity | None = None


OpenUnit = Callable[[str], Transport]
"""Opens a path to a configured unit by its name."""


class Identities:
    """Identities of configured units, by name. Starts threads: to be made after the process has forked."""

    def __init__(self, open_unit: OpenUnit, patience: float = PATIENCE) -> None:
        self._open = open_unit
        self._patience = patience
        self._known: dict[str, Identity] = {}
        self._asked: dict[str, threading.Thread] = {}

    def of(self, names: Iterable[str]) -> dict[str, Identity]:
        """Those that are known, or answer in time."""
        wanted = list(names)
        for name in wanted:
            thread = self._asked.get(name)
            if name not in self._known and (thread is None or not thread.is_alive()):
                thread = threading.Thread(target=self._ask, args=(name,), daemon=True)
                self._asked[name] = thread
                thread.start()
        deadline = time.monotonic() + self._patience
        for name in wanted:
            if name not in self._known:
                self._asked[name].join(max(0.0, deadline - time.monotonic()))
        return {name: self._known[name] for name in wanted if name in self._known}

    def _ask(self, name: str) -> None:
        try:
            transport = self._open(name)
            try:
                self._known[name] = identify(transport)
            finally:
                transport.close()
        except (NdmpdError, WireError, OSError) as error:
            log.info("%s does not say what it is: %s", name, error)


class _Refused(NdmpdError):
    """The unit does not answer the question."""


def identify(transport: Transport) -> Identity:
    """Ask one unit. NdmpdError or WireError where it gives no standard INQUIRY data."""
    inquiry = Inquiry.take(_answer(transport, command.INQUIRY.put(allocation=96), 96))
    serial, name = "", ""
    try:
        serial = take_serial(_vital(transport, Vpd.SERIAL_NUMBER))
    except (_Refused, WireError):
        pass
    try:
        page = VpdPage.take(_vital(transport, Vpd.IDENTIFICATION), Vpd.IDENTIFICATION)
        designator = best_designator(Designator.take_all(page.body))
        name = "" if designator is None else designator.text
    except (_Refused, WireError):
        pass
    capacity = None
    if inquiry.type == DeviceType.DISK:
        try:
            capacity = Capacity.take_16(_answer(transport, command.READ_CAPACITY_16.put(allocation=32), 32))
        except (_Refused, WireError):
            pass
    model = f"{inquiry.vendor} {inquiry.product}".strip()
    return Identity(inquiry.type, model, inquiry.revision, serial, name, capacity)


def _is_attention(result: Result) -> bool:
    try:
        sense = Sense.take(result.sense) if result.status == Status.CHECK_CONDITION else None
    except WireError:
        return False
    return sense is not None and sense.key is SenseKey.UNIT_ATTENTION


def _vital(transport: Transport, page: int) -> bytes:
    return _answer(transport, command.INQUIRY.put(evpd=1, page=page, allocation=1024), 1024)


def _answer(transport: Transport, cdb: bytes, size: int) -> bytes:
    """The data of one command. A unit attention only says that something happened before."""
    for _ in range(_ATTENTIONS):
        buffer = bytearray(size)
        result = transport.execute(Command(cdb, data_in=(Inline(buffer),), timeout=_COMMAND))
        if result.status == Status.GOOD:
            return bytes(buffer[:result.transferred])
        if not _is_attention(result):
            break
    raise _Refused(f"command {cdb[0]:02X}h ended with status {result.status:02X}h")
