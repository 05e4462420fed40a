"""SCSI status codes, operation codes and CDBs. SAM-5, SPC-4, SBC-3, SSC-4, SMC-3.

A CDB is declared once as a ``Cdb``; its ``put`` makes it and its ``take`` reads it. Commands whose operation
code means different things to different device types carry the type in their name (``READ_6_TAPE``).
"""

from __future__ import annotations

from enum import IntEnum

from protocol.bits import Bits, Buffer, Layout
from protocol.errors import WireError


class Status(IntEnum):
    """SAM-5 5.3.1."""

    GOOD = 0x00
    CHECK_CONDITION = 0x02
    CONDITION_MET = 0x04
    BUSY = 0x08
    RESERVATION_CONFLICT = 0x18
    TASK_SET_FULL = 0x28
    ACA_ACTIVE = 0x30
    TASK_ABORTED = 0x40


class Opcode(IntEnum):
    """Operation codes; one that several device types share has the name of its older or commoner meaning."""

    TEST_UNIT_READY = 0x00
    REWIND = 0x01
    REQUEST_SENSE = 0x03
    READ_BLOCK_LIMITS = 0x05
    INITIALIZE_ELEMENT_STATUS = 0x07
    READ_6 = 0x08
    WRITE_6 = 0x0A
    WRITE_FILEMARKS_6 = 0x10
    SPACE_6 = 0x11
    INQUIRY = 0x12
    MODE_SELECT_6 = 0x15
    RESERVE_6 = 0x16
    RELEASE_6 = 0x17
    ERASE_6 = 0x19
    MODE_SENSE_6 = 0x1A
    LOAD_UNLOAD = 0x1B
    START_STOP_UNIT = 0x1B
    PREVENT_ALLOW_MEDIUM_REMOVAL = 0x1E
    READ_CAPACITY_10 = 0x25
    READ_10 = 0x28
    WRITE_10 = 0x2A
    LOCATE_10 = 0x2B
    POSITION_TO_ELEMENT = 0x2B
    READ_POSITION = 0x34
    SYNCHRONIZE_CACHE_10 = 0x35
    INITIALIZE_ELEMENT_STATUS_WITH_RANGE = 0x37
    UNMAP = 0x42
    REPORT_DENSITY_SUPPORT = 0x44
    LOG_SENSE = 0x4D
    MODE_SELECT_10 = 0x55
    MODE_SENSE_10 = 0x5A
    PERSISTENT_RESERVE_IN = 0x5E
    PERSISTENT_RESERVE_OUT = 0x5F
    EXTENDED_COPY = 0x83
    RECEIVE_COPY_RESULTS = 0x84
    READ_16 = 0x88
    WRITE_16 = 0x8A
    READ_ATTRIBUTE = 0x8C
    SYNCHRONIZE_CACHE_16 = 0x91
    LOCATE_16 = 0x92
    WRITE_SAME_16 = 0x93
    SERVICE_ACTION_IN_16 = 0x9E
    REPORT_LUNS = 0xA0
    MAINTENANCE_IN = 0xA3
    MOVE_MEDIUM = 0xA5
    EXCHANGE_MEDIUM = 0xA6
    READ_ELEMENT_STATUS = 0xB8


LENGTHS = {0: 6, 1: 10, 2: 10, 4: 16, 5: 12}
"""Group code (the opcode's top three bits) -> CDB length. SPC-4 4.2.5.1."""


class Cdb:
    """One command: its operation code, its service action where it has one, and where its fields lie.

    ``action`` is the service action; its field is five bits wide in byte 1.
    """

    __slots__ = ("action", "layout", "opcode")

    def __init__(self, opcode: Opcode, action: int | None = None, /, **fields: Bits) -> None:
        self.opcode = opcode
        self.action = action
        size = LENGTHS[opcode >> 5]
        if action is not None:
            fields["service_action"] = Bits(1, 5)
        self.layout = Layout(size, opcode=Bits(0, 8), **fields)

    @property
    def size(self) -> int:
        return self.layout.size

    def put(self, **fields: int) -> bytes:
        """The CDB with these fields. ValueError for one that does not fit."""
        if self.action is not None:
            fields["service_action"] = self.action
        return self.layout.put(opcode=self.opcode, **fields)

    def take(self, cdb: Buffer) -> dict[str, int]:
        """The fields of ``cdb``. WireError where it is another command or too short."""
        fields = self.layout.take(cdb)
        if fields["opcode"] != self.opcode or fields.get("service_action") != self.action:
            raise WireError(f"CDB {bytes(cdb[:16]).hex(' ')} is not {self.opcode.name}")
        return fields

    def matches(self, cdb: Buffer) -> bool:
        """Whether ``cdb`` is this command, by its operation code and service action."""
        return (len(cdb) >= self.size and cdb[0] == self.opcode
                and (self.action is None or cdb[1] & 0x1F == self.action))


def cdb_length(opcode: int) -> int | None:
    """The length that the operation code's group fixes; None for variable-length and vendor groups."""
    return LENGTHS.get(opcode >> 5 & 7)


# Any device type: SPC-4 clause 6, SPC-2 for RESERVE and RELEASE.
TEST_UNIT_READY = Cdb(Opcode.TEST_UNIT_READY)
REQUEST_SENSE = Cdb(Opcode.REQUEST_SENSE, desc=Bits(1, 1), allocation=Bits(4, 8))
INQUIRY = Cdb(Opcode.INQUIRY, evpd=Bits(1, 1), page=Bits(2, 8), allocation=Bits(3, 16))
MODE_SENSE_6 = Cdb(Opcode.MODE_SENSE_6, dbd=Bits(1, 1, 3), control=Bits(2, 2, 6), page=Bits(2, 6),
                   subpage=Bits(3, 8), allocation=Bits(4, 8))
MODE_SENSE_10 = Cdb(Opcode.MODE_SENSE_10, llbaa=Bits(1, 1, 4), dbd=Bits(1, 1, 3), control=Bits(2, 2, 6),
                    page=Bits(2, 6), subpage=Bits(3, 8), allocation=Bits(7, 16))
MODE_SELECT_6 = Cdb(Opcode.MODE_SELECT_6, pf=Bits(1, 1, 4), sp=Bits(1, 1), length=Bits(4, 8))
MODE_SELECT_10 = Cdb(Opcode.MODE_SELECT_10, pf=Bits(1, 1, 4), sp=Bits(1, 1), length=Bits(7, 16))
RESERVE_6 = Cdb(Opcode.RESERVE_6)
RELEASE_6 = Cdb(Opcode.RELEASE_6)
PREVENT_ALLOW_MEDIUM_REMOVAL = Cdb(Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, prevent=Bits(4, 2))
LOG_SENSE = Cdb(Opcode.LOG_SENSE, sp=Bits(1, 1), control=Bits(2, 2, 6), page=Bits(2, 6), subpage=Bits(3, 8),
                parameter=Bits(5, 16), allocation=Bits(7, 16))
REPORT_LUNS = Cdb(Opcode.REPORT_LUNS, select=Bits(2, 8), allocation=Bits(6, 32))
REPORT_SUPPORTED_OPCODES = Cdb(Opcode.MAINTENANCE_IN, 0x0C, rctd=Bits(2, 1, 7), options=Bits(2, 3),
                               requested_opcode=Bits(3, 8), requested_action=Bits(4, 16),
                               allocation=Bits(6, 32))
READ_ATTRIBUTE = Cdb(Opcode.READ_ATTRIBUTE, 0x00, partition=Bits(7, 8), first=Bits(8, 16),
                     allocation=Bits(10, 32))
EXTENDED_COPY_LID1 = Cdb(Opcode.EXTENDED_COPY, 0x00, length=Bits(10, 32))
RECEIVE_COPY_RESULTS = Cdb(Opcode.RECEIVE_COPY_RESULTS, action=Bits(1, 5), list_id=Bits(2, 8),
                           allocation=Bits(10, 32))

# Sequential access: SSC-4 clauses 5 to 7.
REWIND = Cdb(Opcode.REWIND, immed=Bits(1, 1))
READ_BLOCK_LIMITS = Cdb(Opcode.READ_BLOCK_LIMITS, mloi=Bits(1, 1))
READ_6_TAPE = Cdb(Opcode.READ_6, sili=Bits(1, 1, 1), fixed=Bits(1, 1), length=Bits(2, 24))
WRITE_6_TAPE = Cdb(Opcode.WRITE_6, fixed=Bits(1, 1), length=Bits(2, 24))
WRITE_FILEMARKS_6 = Cdb(Opcode.WRITE_FILEMARKS_6, immed=Bits(1, 1), count=Bits(2, 24))
SPACE_6 = Cdb(Opcode.SPACE_6, code=Bits(1, 4), count=Bits(2, 24))
ERASE_6 = Cdb(Opcode.ERASE_6, immed=Bits(1, 1, 1), long=Bits(1, 1))
LOAD_UNLOAD = Cdb(Opcode.LOAD_UNLOAD, immed=Bits(1, 1), hold=Bits(4, 1, 3), eot=Bits(4, 1, 2),
                  reten=Bits(4, 1, 1), load=Bits(4, 1))
LOCATE_10 = Cdb(Opcode.LOCATE_10, bt=Bits(1, 1, 2), cp=Bits(1, 1, 1), immed=Bits(1, 1), block=Bits(3, 32),
                partition=Bits(8, 8))
LOCATE_16 = Cdb(Opcode.LOCATE_16, dest_type=Bits(1, 3, 3), cp=Bits(1, 1, 1), immed=Bits(1, 1),
                partition=Bits(3, 8), block=Bits(4, 64))
READ_POSITION = Cdb(Opcode.READ_POSITION, action=Bits(1, 5), allocation=Bits(7, 16))
REPORT_DENSITY_SUPPORT = Cdb(Opcode.REPORT_DENSITY_SUPPORT, medium_type=Bits(1, 1, 1), media=Bits(1, 1),
                             allocation=Bits(7, 16))

# Direct access: SBC-3 clause 5.
READ_6_DISK = Cdb(Opcode.READ_6, lba=Bits(1, 21), blocks=Bits(4, 8))
WRITE_6_DISK = Cdb(Opcode.WRITE_6, lba=Bits(1, 21), blocks=Bits(4, 8))
READ_10 = Cdb(Opcode.READ_10, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3), lba=Bits(2, 32),
              blocks=Bits(7, 16))
WRITE_10 = Cdb(Opcode.WRITE_10, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3), lba=Bits(2, 32),
               blocks=Bits(7, 16))
READ_16 = Cdb(Opcode.READ_16, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3), lba=Bits(2, 64),
              blocks=Bits(10, 32))
WRITE_16 = Cdb(Opcode.WRITE_16, protect=Bits(1, 3, 5), dpo=Bits(1, 1, 4), fua=Bits(1, 1, 3), lba=Bits(2, 64),
               blocks=Bits(10, 32))
READ_CAPACITY_10 = Cdb(Opcode.READ_CAPACITY_10)
READ_CAPACITY_16 = Cdb(Opcode.SERVICE_ACTION_IN_16, 0x10, allocation=Bits(10, 32))
GET_LBA_STATUS = Cdb(Opcode.SERVICE_ACTION_IN_16, 0x12, lba=Bits(2, 64), allocation=Bits(10, 32))
SYNCHRONIZE_CACHE_10 = Cdb(Opcode.SYNCHRONIZE_CACHE_10, immed=Bits(1, 1, 1), lba=Bits(2, 32),
                           blocks=Bits(7, 16))
SYNCHRONIZE_CACHE_16 = Cdb(Opcode.SYNCHRONIZE_CACHE_16, immed=Bits(1, 1, 1), lba=Bits(2, 64),
                           blocks=Bits(10, 32))
START_STOP_UNIT = Cdb(Opcode.START_STOP_UNIT, immed=Bits(1, 1), power=Bits(4, 4, 4), loej=Bits(4, 1, 1),
                      start=Bits(4, 1))
UNMAP = Cdb(Opcode.UNMAP, anchor=Bits(1, 1), length=Bits(7, 16))
WRITE_SAME_16 = Cdb(Opcode.WRITE_SAME_16, protect=Bits(1, 3, 5), anchor=Bits(1, 1, 4), unmap=Bits(1, 1, 3),
                    ndob=Bits(1, 1), lba=Bits(2, 64), blocks=Bits(10, 32))

# Media changer: SMC-3 clause 6.
INITIALIZE_ELEMENT_STATUS = Cdb(Opcode.INITIALIZE_ELEMENT_STATUS)
INITIALIZE_ELEMENT_STATUS_WITH_RANGE = Cdb(Opcode.INITIALIZE_ELEMENT_STATUS_WITH_RANGE, fast=Bits(1, 1, 1),
                                           range=Bits(1, 1), first=Bits(2, 16), elements=Bits(6, 16))
POSITION_TO_ELEMENT = Cdb(Opcode.POSITION_TO_ELEMENT, transport=Bits(2, 16), destination=Bits(4, 16),
                          invert=Bits(8, 1))
MOVE_MEDIUM = Cdb(Opcode.MOVE_MEDIUM, transport=Bits(2, 16), source=Bits(4, 16), destination=Bits(6, 16),
                  invert=Bits(10, 1))
EXCHANGE_MEDIUM = Cdb(Opcode.EXCHANGE_MEDIUM, transport=Bits(2, 16), source=Bits(4, 16),
                      first_destination=Bits(6, 16), second_destination=Bits(8, 16),
                      invert_1=Bits(10, 1, 1), invert_2=Bits(10, 1))
READ_ELEMENT_STATUS = Cdb(Opcode.READ_ELEMENT_STATUS, voltag=Bits(1, 1, 4), type=Bits(1, 4),
                          first=Bits(2, 16), elements=Bits(4, 16), curdata=Bits(6, 1, 1), dvcid=Bits(6, 1),
                          allocation=Bits(7, 24))
