"""CDBs, by bytes assembled from the tables of SPC-4, SSC-4, SBC-3 and SMC-3."""

import pytest

from protocol.errors import WireError
from protocol.scsi import command
from protocol.scsi.command import Cdb, cdb_length

GOLDEN = [
    (command.TEST_UNIT_READY, {}, "00 00 00 00 00 00"),
    (command.INQUIRY, {"evpd": 1, "page": 0x83, "allocation": 252}, "12 01 83 00 fc 00"),
    (command.MODE_SENSE_6, {"dbd": 1, "control": 2, "page": 0x10, "allocation": 255}, "1a 08 90 00 ff 00"),
    (command.MODE_SENSE_10, {"page": 0x3F, "subpage": 0xFF, "allocation": 512},
     "5a 00 3f ff 00 00 00 02 00 00"),
    (command.MODE_SELECT_6, {"pf": 1, "length": 12}, "15 10 00 00 0c 00"),
    (command.LOG_SENSE, {"control": 1, "page": 0x2E, "allocation": 0x1234}, "4d 00 6e 00 00 00 00 12 34 00"),
    (command.READ_ATTRIBUTE, {"allocation": 64}, "8c 00 00 00 00 00 00 00 00 00 00 00 00 40 00 00"),
    (command.REPORT_SUPPORTED_OPCODES, {"options": 3, "requested_opcode": 0x83, "allocation": 20},
     "a3 0c 03 83 00 00 00 00 00 14 00 00"),
    (command.READ_6_TAPE, {"sili": 1, "length": 65536}, "08 02 01 00 00 00"),
    (command.WRITE_6_TAPE, {"fixed": 1, "length": 4096}, "0a 01 00 10 00 00"),
    (command.WRITE_FILEMARKS_6, {"count": 2}, "10 00 00 00 02 00"),
    (command.LOAD_UNLOAD, {"immed": 1, "load": 1}, "1b 01 00 00 01 00"),
    (command.LOCATE_10, {"block": 0x01020304}, "2b 00 00 01 02 03 04 00 00 00"),
    (command.LOCATE_16, {"dest_type": 1, "block": 5}, "92 08 00 00 00 00 00 00 00 00 00 05 00 00 00 00"),
    (command.READ_POSITION, {"action": 6}, "34 06 00 00 00 00 00 00 00 00"),
    (command.READ_6_DISK, {"lba": 0x12345, "blocks": 8}, "08 01 23 45 08 00"),
    (command.READ_16, {"fua": 1, "lba": 0x0102030405060708, "blocks": 0x10},
     "88 08 01 02 03 04 05 06 07 08 00 00 00 10 00 00"),
    (command.READ_CAPACITY_16, {"allocation": 32}, "9e 10 00 00 00 00 00 00 00 00 00 00 00 20 00 00"),
    (command.GET_LBA_STATUS, {"lba": 1, "allocation": 0x100},
     "9e 12 00 00 00 00 00 00 00 01 00 00 01 00 00 00"),
    (command.MOVE_MEDIUM, {"source": 0x1000, "destination": 0x0100}, "a5 00 00 00 10 00 01 00 00 00 00 00"),
    (command.READ_ELEMENT_STATUS, {"voltag": 1, "first": 1, "elements": 0xFFFF, "allocation": 0x10000},
     "b8 10 00 01 ff ff 00 01 00 00 00 00"),
    (command.RECEIVE_COPY_RESULTS, {"action": 3, "allocation": 0x400},
     "84 03 00 00 00 00 00 00 00 00 00 00 04 00 00 00"),
]


@pytest.mark.parametrize(("cdb", "fields", "data"), GOLDEN, ids=lambda value: getattr(value, "opcode", None))
def test_cdbs_are_put_as_the_standards_draw_them(cdb, fields, data):
    assert cdb.put(**fields) == bytes.fromhex(data)


@pytest.mark.parametrize(("cdb", "fields", "data"), GOLDEN, ids=lambda value: getattr(value, "opcode", None))
def test_cdbs_are_taken_as_the_standards_draw_them(cdb, fields, data):
    taken = cdb.take(bytes.fromhex(data))
    assert {name: taken[name] for name in fields} == fields
    assert cdb.matches(bytes.fromhex(data))


def test_the_control_byte_and_reserved_bits_do_not_matter():
    assert command.WRITE_FILEMARKS_6.take(bytes.fromhex("10 e0 00 00 02 ff"))["count"] == 2


def test_another_service_action_is_another_command():
    cdb = command.READ_CAPACITY_16.put(allocation=32)
    assert not command.GET_LBA_STATUS.matches(cdb)
    with pytest.raises(WireError):
        command.GET_LBA_STATUS.take(cdb)


@pytest.mark.parametrize("size", range(10))
def test_a_cdb_that_is_too_short_is_a_wire_error(size):
    cdb = command.READ_10.put(lba=1, blocks=1)[:size]
    assert not command.READ_10.matches(cdb)
    with pytest.raises(WireError):
        command.READ_10.take(cdb)


def test_every_declared_cdb_has_the_length_of_its_group():
    declared = [value for value in vars(command).values() if isinstance(value, Cdb)]
    assert len(declared) > 40
    assert all(one.size == cdb_length(one.opcode) == len(one.put()) for one in declared)


def test_vendor_and_variable_length_groups_fix_no_length():
    assert cdb_length(0x7F) is None
    assert cdb_length(0xC0) is None
