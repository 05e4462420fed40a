"""Sense data in both forms, by bytes assembled from SPC-4 4.5."""

import random

import pytest

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.sense import Forwarded, Sense, SenseKey, field_pointer, illegal

# 70h, VALID; FILEMARK, key 0; INFORMATION 3; additional length 10; 00/01.
FILEMARK_FIXED = bytes.fromhex("f0 00 80 00000003 0a 00000000 0001 00 000000")
FILEMARK = Sense(SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, information=3, filemark=True)

# 72h; information descriptor 00 0a 80 00 + 8 bytes; stream commands descriptor 04 02 00 80.
FILEMARK_DESCRIPTOR = bytes.fromhex("72 00 00 01 00 00 00 10  00 0a 80 00 0000000000000003  04 02 00 80")

# 71h (deferred write error, EOM) without INFORMATION.
DEFERRED = bytes.fromhex("71 00 43 00000000 0a 00000000 0c00 00 000000")

# ILLEGAL REQUEST 24/00 with field pointer: CDB, bit 3 of byte 1.
FIELD = bytes.fromhex("70 00 05 00000000 0a 00000000 2400 00 cb0001")

# 72h COPY ABORTED 0D/01: information 7, command specific, forwarded sense of the destination.
COPY = bytes.fromhex("72 0a 0d 01 00 00 00 2e"
                     "00 0a 80 00 0000000000000007"
                     "01 0a 00 00 0000000000000002"
                     "0c 14 02 02 f0 00 40 00000001 0a 00000000 0002 00 000000")

GOLDEN = {
    "filemark": (FILEMARK_FIXED, FILEMARK),
    "filemark, descriptor form": (FILEMARK_DESCRIPTOR, Sense(
        SenseKey.NO_SENSE, Asc.FILEMARK_DETECTED, information=3, filemark=True, wide=True)),
    "deferred": (DEFERRED, Sense(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR, eom=True, deferred=True)),
    "field pointer": (FIELD, illegal(key_specific=field_pointer(1, in_cdb=True, bit=3))),
    "copy": (COPY, Sense(
        SenseKey.COPY_ABORTED, Asc.THIRD_PARTY_DEVICE_FAILURE, information=7, command_specific=2, wide=True,
        forwarded=(Forwarded(2, 2, bytes.fromhex("f0 00 40 00000001 0a 00000000 0002 00 000000")),))),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_sense_is_put_as_the_standard_draws_it(name):
    data, sense = GOLDEN[name]
    assert sense.put() == data


@pytest.mark.parametrize("name", GOLDEN)
def test_sense_is_taken_as_the_standard_draws_it(name):
    data, sense = GOLDEN[name]
    assert Sense.take(data) == sense


def test_information_is_negative_where_a_record_was_longer_than_asked_for():
    longer = Sense.take(bytes.fromhex("f0 00 20 fffffe00 0a 00000000 0000 00 000000"))
    assert longer.ili
    assert longer.residue == -512
    wide = Sense.take(bytes.fromhex("72 00 00 00 00 00 00 0c 00 0a 80 00 fffffffffffffe00"))
    assert wide.residue == -512


def test_information_that_is_not_valid_is_none():
    assert Sense.take(bytes.fromhex("70 00 20 00000200 0a 00000000 0000 00 000000")).residue is None


def test_short_fixed_sense_of_old_devices_is_read_as_far_as_it_goes():
    sense = Sense.take(bytes.fromhex("70 00 02"))
    assert (sense.key, sense.code) == (SenseKey.NOT_READY, 0)


def test_forwarded_sense_that_does_not_fit_is_cut_and_says_so():
    sense = Sense(SenseKey.COPY_ABORTED, Asc.THIRD_PARTY_DEVICE_FAILURE, wide=True,
                  forwarded=(Forwarded(1, 2, bytes(252)),))
    data = sense.put()
    assert len(data) == 252
    assert data[10] & 0x80


def test_the_text_names_key_code_and_bits():
    assert FILEMARK.text == "No Sense, filemark detected, filemark (00/01)"
    assert Sense(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT).text == "Not Ready, medium not present (3A/00)"
    assert Sense(SenseKey.VENDOR_SPECIFIC, 0x9901).text == "Vendor Specific (99/01)"


@pytest.mark.parametrize("data", [b"", b"\x00" * 18, b"\x70", b"\x70\x00", b"\x72\x00\x00", b"\x7f" * 30])
def test_what_is_not_sense_data_is_a_wire_error(data):
    with pytest.raises(WireError):
        Sense.take(data)


@pytest.mark.parametrize("name", GOLDEN)
def test_mutated_and_cut_sense_data_gives_a_value_or_a_wire_error(name):
    data, _ = GOLDEN[name]
    dice = random.Random(7)
    for _ in range(500):
        bad = bytearray(data[:dice.randrange(len(data) + 1)])
        for _ in range(dice.randrange(4)):
            if bad:
                bad[dice.randrange(len(bad))] = dice.randrange(256)
        try:
            sense = Sense.take(bad)
        except WireError:
            continue
        assert sense.text
