"""A media changer: what its elements hold, and moving cartridges between them. SMC-3."""

from __future__ import annotations

from ndmpd.devices.errors import DeviceError
from ndmpd.devices.unit import LONG, SHORT, Unit
from ndmpd.pieces import Inline
from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.command import Status
from protocol.scsi.smc import ChangerPage, Element, ElementAddresses, ElementStatus, ElementType
from protocol.scsi.spc import ModeParameters

_HEADER = 8
_MOST = 1 << 20
"""Bytes of element status that are asked for at most: some ten thousand elements."""


class Changer(Unit):
    """Element addresses are those of the changer itself."""

    def open(self) -> None:
        """Clear what unit attentions are pending, and wait for the robot. DeviceError if not ready."""
        if not self.ready(SHORT):
            raise DeviceError(self.saying("test unit ready, no magazine"), Status.CHECK_CONDITION)

    def close(self) -> None:
        self.transport.close()

    def addresses(self) -> ElementAddresses:
        """Which addresses there are, by kind (mode page 1Dh)."""
        cdb = command.MODE_SENSE_6.put(dbd=1, page=ChangerPage.ELEMENT_ADDRESSES, allocation=255)
        page = ModeParameters.take_6(self.ask("mode sense", cdb, 255)).page(ChangerPage.ELEMENT_ADDRESSES)
        if page is None:
            raise WireError(f"{self.name} does not say which element addresses it has")
        return ElementAddresses.take(page.body)

    def inventory(self, kind: ElementType = ElementType.ALL) -> tuple[Element, ...]:
        """All elements, or those of one kind, with barcodes where the changer reads them.

        DVCID (the drive's identity in its element) is asked for, and left out where the changer refuses it.
        """
        for fields in ({"voltag": 1, "dvcid": 1}, {"voltag": 1}, {}):
            try:
                return self._status(kind, fields)
            except DeviceError as error:
                if not error.refused or not fields:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _status(self, kind: ElementType, fields: dict[str, int]) -> tuple[Element, ...]:
        length = ElementStatus.take(self._report(kind, fields, _HEADER)).length
        status = ElementStatus.take(self._report(kind, fields, min(length, _MOST)))
        return status.elements

    def _report(self, kind: ElementType, fields: dict[str, int], size: int) -> bytes:
        cdb = command.READ_ELEMENT_STATUS.put(type=kind, elements=0xFFFF, allocation=size, **fields)
        buffer = bytearray(size)
        answer = self.must("read element status", cdb, into=(Inline(buffer),), timeout=LONG)
        return bytes(memoryview(buffer)[:answer.result.transferred])

    def move(self, source: int, destination: int, transport: int = 0) -> None:
        """Move a cartridge; ``transport`` 0 lets the changer choose its arm."""
        cdb = command.MOVE_MEDIUM.put(transport=transport, source=source, destination=destination)
        self.must(f"move from element {source} to {destination}", cdb, timeout=LONG)

    def initialize(self) -> None:
        """Look at every element anew; minutes on a large library."""
        self.must("initialize element status", command.INITIALIZE_ELEMENT_STATUS.put(), timeout=LONG)
