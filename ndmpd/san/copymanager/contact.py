"""A path to a unit of another target: the copy manager as an initiator of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ndmpd.errors import NdmpdError
from ndmpd.pieces import Inline
from ndmpd.ports import Command, Result, Transport
from protocol.errors import WireError
from protocol.scsi import command as scsi
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.reservations import RESERVE_OUT, OutAction, OutParameters
from protocol.scsi.sbc import TransferLimits
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.spc import UNIT, Designator, DeviceType, Vpd, VpdPage

_log = logging.getLogger(__name__)

MOST = 4 << 20
"""Bytes for one command to a unit of another target: more bring no speed, and are kept in memory."""
_SHORT = 30.0
_PAGE = 1024
_BUSY_FOR = 5.0
_BUSY_PAUSE = 0.02
_ATTENTIONS = 16
_RESETS = Asc.POWER_ON >> 8
"""ASC of power-on, resets and a lost nexus."""
_HARMLESS = (Asc.MODE_PARAMETERS_CHANGED, Asc.REPORTED_LUNS_CHANGED)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A unit of another target. ``open`` makes a path to it; NdmpdError where there is none.

    ``name`` is what messages call it.
    """

    name: str
    type: DeviceType
    open: Callable[[], Transport]


class Contact:
    """One path, open when made. Raises NdmpdError, OSError and WireError where it cannot be.

    ``broken``: commands get no answer, so that this path is not for another copy. ``key``: the reservation
    key that was registered by this path, 0 for none.
    """

    def __init__(self, unit: Foreign) -> None:
        self.unit = unit
        self.broken = False
        self.key = 0
        self._met = False
        self._lost = False
        self._transport = unit.open()
        try:
            self.designators = self._identify()
        except BaseException:
            self._transport.close()
            raise

    def _identify(self) -> tuple[Designator, ...]:
        body = self._vital(Vpd.IDENTIFICATION).body
        return tuple(one for one in Designator.take_all(body) if one.association == UNIT and one.identifier)

    def _vital(self, page: int) -> VpdPage:
        buffer = bytearray(_PAGE)
        cdb = scsi.INQUIRY.put(evpd=1, page=page, allocation=_PAGE)
        result = self._answer(Command(cdb, data_in=[Inline(buffer)], timeout=_SHORT))
        if result.status != Status.GOOD:
            raise NdmpdError(f"{self.unit.name}: no vital product data {page:02X}h (status "
                             f"{result.status:02X}h)")
        return VpdPage.take(bytes(buffer[:result.transferred]), page)

    @property
    def most(self) -> int:
        """Bytes that one command may move."""
        return min(self._transport.most or MOST, MOST)

    def longest(self) -> int:
        """Blocks that one command to a disk may move; 0 where it does not say."""
        try:
            return TransferLimits.take(self._vital(Vpd.BLOCK_LIMITS).body).longest
        except (NdmpdError, WireError):
            return 0

    def execute(self, command: Command) -> Result:
        """How the unit answers. A connection that was lost is made again once, for a disk: what is read or
        written twice is the same.

        Attentions of a unit that this path has not met say nothing; of a disk, neither do later ones that
        are of resets. All others are the initiator's to hear of: a tape may stand somewhere else since.
        """
        again = self.unit.type is DeviceType.DISK
        attentions = 0
        while True:
            try:
                result = self._answer(command)
            except (NdmpdError, OSError) as failure:
                if not again:
                    # A drive is given another chance on this path, which it may know by a registration.
                    self.broken = self._lost or self.unit.type is DeviceType.DISK
                    self._lost = True
                    raise
                _log.info("%s: %s; once more", self.unit.name, failure)
                again = False
                continue
            self._lost = False
            told = _attention(result)
            if told is not None and self._identify() != self.designators:
                self.broken = True
                raise NdmpdError(f"{self.unit.name}: the unit there is another one now")
            if told is None or attentions >= _ATTENTIONS or not self._says_nothing(told):
                self._met = self._met or result.status == Status.GOOD
                return result
            attentions += 1

    def _answer(self, command: Command) -> Result:
        patience = time.monotonic() + _BUSY_FOR
        while True:
            command.faults.clear()
            result = self._transport.execute(command)
            busy = result.status in (Status.BUSY, Status.TASK_SET_FULL)
            if not busy or time.monotonic() > patience:
                return result
            time.sleep(_BUSY_PAUSE)

    def _says_nothing(self, attention: Sense) -> bool:
        if self.unit.type is DeviceType.TAPE:
            return not self._met and attention.asc == _RESETS
        return attention.asc == _RESETS or attention.code in _HARMLESS

    def close(self) -> None:
        """Leave the unit, and no registration behind."""
        if self.key and not self.broken:
            with suppress(NdmpdError, OSError):
                data = OutParameters(self.key, 0).put()
                cdb = RESERVE_OUT[OutAction.REGISTER].put(length=len(data))
                self._answer(Command(cdb, [Inline(data)], timeout=_SHORT))
        with suppress(NdmpdError, OSError):
            self._transport.close()


def _attention(result: Result) -> Sense | None:
    """The unit attention that came instead of the command, if one did."""
    if result.status != Status.CHECK_CONDITION:
        return None
    try:
        sense = Sense.take(result.sense)
    except WireError:
        return None
    return sense if sense.key is SenseKey.UNIT_ATTENTION else None
