"""Third-party sense data, by bytes written from SPC-4 5.17.7.4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import WireError
from protocol.scsi.asc import Asc
from protocol.scsi.sense import MAX_SENSE, CopySense, Reported, SegmentPointer, Sense, SenseKey
from tests.protocol.scsi.golden import read
from tests.protocol.scsi.mutation import raises_wire_error_only

GOLDEN = read("sense")
EARLY_WARNING = Sense(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, information=0, eom=True)
UNREADABLE = Sense(SenseKey.MEDIUM_ERROR, Asc.UNRECOVERED_READ_ERROR)
NO_TAPE = Sense(SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT)
WIDE_EARLY_WARNING = Sense(SenseKey.NO_SENSE, Asc.END_OF_MEDIUM, eom=True, wide=True)
VALUES = {
    "fixed: the tape met early warning": CopySense(
        Asc.THIRD_PARTY_DEVICE_FAILURE, 2, 10240, None, Reported(2, EARLY_WARNING.put()),
        SegmentPointer(6, in_segment=True)),
    "fixed: source and destination": CopySense(
        Asc.THIRD_PARTY_DEVICE_FAILURE, 1, None, Reported(2, UNREADABLE.put()), Reported(2, NO_TAPE.put()),
        SegmentPointer(16)),
    "descriptor: the tape met early warning": CopySense(
        Asc.THIRD_PARTY_DEVICE_FAILURE, 2, 10240, None, Reported(2, WIDE_EARLY_WARNING.put()),
        SegmentPointer(48)),
}


@pytest.mark.parametrize("name", VALUES)
def test_copy_sense_is_put_as_the_standard_draws_it(name):
    assert VALUES[name].put(wide=name.startswith("descriptor")).hex() == GOLDEN[name].hex()


@pytest.mark.parametrize("name", VALUES)
def test_copy_sense_is_taken_as_the_standard_draws_it(name):
    assert CopySense.take(GOLDEN[name]) == VALUES[name]


def test_what_a_unit_said_is_read_as_sense_data():
    both = VALUES["fixed: source and destination"]
    assert (both.source_sense.sense, both.destination_sense.sense) == (UNREADABLE, NO_TAPE)
    assert Reported(2, b"\0\0").sense is None


@pytest.mark.parametrize("wide", [False, True])
def test_a_copy_that_ended_in_segment_0_with_nothing_written_says_so(wide):
    sense = CopySense(Asc.UNREACHABLE_COPY_TARGET)
    assert CopySense.take(sense.put(wide=wide)) == sense
    assert (sense.segment, sense.residue) == (0, None)


def test_a_residue_above_two_gigabytes_stays_positive():
    sense = CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, 0, 0xFFFFFE00)
    assert CopySense.take(sense.put()).residue == 0xFFFFFE00


def test_a_residue_that_the_fixed_form_cannot_hold_is_left_out():
    sense = CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, 0, 1 << 32)
    assert CopySense.take(sense.put()).residue is None
    assert CopySense.take(sense.put(wide=True)).residue == 1 << 32


@pytest.mark.parametrize("specific", ["0000000000000007", "0000000700000000", "1225000700000000"])
def test_a_segment_number_is_found_on_either_side_of_a_wide_field(specific):
    data = bytes.fromhex("72 0a 0d01 000000 0c 010a0000" + specific)
    assert CopySense.take(data).segment == 7


def test_illegal_request_names_no_segment():
    assert CopySense.take(bytes.fromhex("70 00 05 00000000 0a 00000000 2606 00 800002")) == CopySense(
        Asc.TOO_MANY_TARGETS, None, pointer=SegmentPointer(2), key=SenseKey.ILLEGAL_REQUEST)
    assert CopySense.take(bytes.fromhex("72 05 2606 000000 00")).segment is None


def test_a_pointer_into_the_cdb_is_no_pointer_into_the_list():
    assert CopySense.take(bytes.fromhex("70 00 05 00000000 0a 00000000 2400 00 c0000a")).pointer is None


@pytest.mark.parametrize("places", ["0500", "ff00", "1300", "0013"])
def test_places_that_are_not_in_the_sense_data_are_as_if_none_were_given(places):
    data = bytes.fromhex(f"70 00 0a 00000000 0b {places}0001 0d01 00 000000 02")
    sense = CopySense.take(data)
    assert (sense.source_sense, sense.destination_sense, sense.segment) == (None, None, 1)


@pytest.mark.parametrize("wide", [False, True])
def test_sense_data_of_two_units_that_does_not_fit_is_cut_and_can_still_be_read(wide):
    long = Sense(SenseKey.HARDWARE_ERROR, Asc.WRITE_ERROR, extra=bytes(200)).put()
    both = CopySense(Asc.THIRD_PARTY_DEVICE_FAILURE, 5, 1, Reported(2, long), Reported(2, long))
    data = both.put(wide=wide)
    assert len(data) <= MAX_SENSE
    taken = CopySense.take(data)
    assert (taken.segment, taken.residue) == (5, 1)
    assert taken.source_sense.sense.code == Asc.WRITE_ERROR
    if not wide:
        assert taken.destination_sense.sense.code == Asc.WRITE_ERROR


@pytest.mark.parametrize("name", VALUES)
def test_damaged_copy_sense_is_a_wire_error_or_a_value(name):
    raises_wire_error_only(CopySense.take, GOLDEN[name], rounds=2000)


REPORTS = st.none() | st.builds(Reported, st.integers(1, 255), st.binary(min_size=18, max_size=40))
POINTERS = st.none() | st.builds(SegmentPointer, st.integers(0, 0xFFFF), st.booleans(),
                                 st.none() | st.integers(0, 7))


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.none() | st.integers(0, 0xFFFFFFFF), REPORTS,
       REPORTS, POINTERS, st.booleans())
def test_whatever_a_copy_manager_says_comes_back(code, segment, residue, source, destination, pointer, wide):
    sense = CopySense(code, segment, residue, source, destination, pointer)
    assert CopySense.take(sense.put(wide=wide)) == sense


@given(st.sampled_from([0x70, 0x72]), st.binary(max_size=300))
def test_any_bytes_are_a_wire_error_or_a_value(response, rest):
    try:
        sense = CopySense.take(bytes((response,)) + rest)
    except WireError:
        return
    assert sense.segment is None or sense.segment <= 0xFFFF
