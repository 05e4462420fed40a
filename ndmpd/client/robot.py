"""A media changer, driven through the server's SCSI interface with SMC commands (draft 3.3 and appendix D.5).

The device is held only while cartridges are looked for and moved, so that several jobs can share a library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ndmpd.client.connection import DEVICE_TIMEOUT, Connection
from ndmpd.client.errors import ClientError, MediaError
from ndmpd.client.media import Loaded
from protocol.errors import WireError
from protocol.ndmp.codes import Code, ScsiDataDir
from protocol.ndmp.scsi import (
    ScsiCloseReply,
    ScsiCloseRequest,
    ScsiExecuteCdbReply,
    ScsiExecuteCdbRequest,
    ScsiOpenReply,
    ScsiOpenRequest,
)
from protocol.scsi.command import MOVE_MEDIUM, READ_ELEMENT_STATUS, Status
from protocol.scsi.sense import Sense, SenseKey
from protocol.scsi.smc import Element, ElementStatus, ElementType

STATUS_ROOM = 256 << 10
"""Bytes for READ ELEMENT STATUS: some 3,000 elements with volume tags."""
ATTEMPTS = 4
"""A command is repeated after a unit attention; a library that was just switched on has several waiting."""


class Robot:
    """One changer device of a server."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection = connection
        self._device = device

    @contextmanager
    def held(self) -> Iterator[Robot]:
        """The device open; closed again whatever happens, unless the connection is gone and with it the
        device."""
        self._connection.call(Code.SCSI_OPEN, ScsiOpenRequest(self._device), ScsiOpenReply,
                              timeout=DEVICE_TIMEOUT)
        try:
            yield self
        finally:
            try:
                self._connection.call(Code.SCSI_CLOSE, ScsiCloseRequest(), ScsiCloseReply)
            except ClientError:
                self._connection.drop()

    def elements(self) -> list[Element]:
        """Every slot, drive and port, with volume tags. ``held`` must be in force."""
        cdb = READ_ELEMENT_STATUS.put(voltag=1, type=ElementType.ALL, elements=0xFFFF, allocation=STATUS_ROOM)
        try:
            return list(ElementStatus.take(self._execute(cdb, STATUS_ROOM)).elements)
        except WireError as problem:
            raise MediaError(f"{self._device} reports elements not as SMC says: {problem}") from None

    def move(self, elements: Sequence[Element], source: int, destination: int) -> None:
        """Move a cartridge between two of ``elements``.

        By the first arm, named by its address: not every changer knows 0 for the default one (SMC-3 6.6).
        """
        arms = [each.address for each in elements if each.type == ElementType.TRANSPORT]
        arm = arms[0] if arms else 0
        self._execute(MOVE_MEDIUM.put(transport=arm, source=source, destination=destination))

    def _execute(self, cdb: bytes, expected: int = 0) -> bytes:
        flags = ScsiDataDir.DATA_IN if expected else ScsiDataDir(0)
        request = ScsiExecuteCdbRequest(flags, int(DEVICE_TIMEOUT * 1000), expected, cdb, b"")
        said = ""
        for _ in range(ATTEMPTS):
            reply = self._connection.call(Code.SCSI_EXECUTE_CDB, request, ScsiExecuteCdbReply,
                                          timeout=DEVICE_TIMEOUT)
            if reply.status == Status.GOOD:
                return reply.datain
            said = f"status {reply.status:02X}h"
            if reply.status == Status.CHECK_CONDITION:
                try:
                    sense = Sense.take(reply.ext_sense)
                except WireError:
                    break
                said = sense.text
                if sense.key == SenseKey.UNIT_ATTENTION:
                    continue
            break
        raise MediaError(f"the changer {self._device} refused a command: {said}")


class Library:
    """A changer that brings cartridges to one drive. See ``media.Shelf``.

    ``place``: which of the changer's data transfer elements the drive is, counted from 0. ``cartridges``:
    volume tags, or element addresses as ``@1025``, in the order of use. Without any, the first cartridge is
    the one that is in the drive.
    """

    moves = True

    def __init__(self, robot: Robot, drive: str, place: int, cartridges: Sequence[str]) -> None:
        self._robot = robot
        self._drive = drive
        self._place = place
        self._cartridges = tuple(cartridges)

    def bring(self, index: int, cartridge: str, drive: str) -> Loaded:
        wanted = self._cartridges[index] if index < len(self._cartridges) else cartridge
        with self._robot.held() as robot:
            elements = robot.elements()
            drives = [each for each in elements if each.type == ElementType.DATA_TRANSFER]
            if self._place >= len(drives):
                raise MediaError(f"the changer has {len(drives)} drive(s), --drive-element counts from 0")
            mine = drives[self._place]
            if not wanted:
                if index or not mine.full:
                    raise MediaError(f"cartridge {index + 1} is needed and none was named; "
                                     "name cartridges in their order with --cartridge")
                return Loaded(mine.barcode, self._drive)
            source = find(elements, wanted)
            if source.address != mine.address:
                if mine.full:
                    robot.move(elements, mine.address, home(elements, mine))
                robot.move(elements, source.address, mine.address)
            return Loaded(source.barcode, self._drive)


def find(elements: Sequence[Element], wanted: str) -> Element:
    """The full element that a volume tag or ``@ADDRESS`` names. MediaError lists what there is."""
    full = [each for each in elements if each.full and each.type != ElementType.TRANSPORT]
    for each in full:
        if each.barcode == wanted or (wanted.startswith("@") and wanted[1:] == str(each.address)):
            return each
    have = ", ".join(each.barcode or f"@{each.address}" for each in full) or "nothing"
    raise MediaError(f"cartridge {wanted} is not in the library, which holds {have}")


def home(elements: Sequence[Element], drive: Element) -> int:
    """Where the cartridge in ``drive`` goes: where it came from if that is free, else the first free slot."""
    free = [each.address for each in elements if each.type == ElementType.STORAGE and not each.full]
    if not free:
        raise MediaError("the drive holds a cartridge and no slot of the library is free; take one out")
    return drive.source if drive.source in free else free[0]
