"""Which NDMP error a failure is."""

import pytest

from ndmpd.devices.errors import (
    CommandTimeout,
    DeviceBusy,
    DeviceError,
    NoSuchDevice,
    PositionLost,
    TransportError,
)
from ndmpd.errors import JobRefused
from ndmpd.services.outcome import error_of
from protocol.ndmp.codes import Error
from protocol.scsi.asc import Asc
from protocol.scsi.command import Status
from protocol.scsi.sense import Sense, SenseKey


@pytest.mark.parametrize(("key", "code", "error"), [
    (SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT, Error.NO_TAPE_LOADED),
    (SenseKey.NOT_READY, Asc.MEDIUM_NOT_PRESENT_TRAY_OPEN, Error.NO_TAPE_LOADED),
    (SenseKey.NOT_READY, Asc.INITIALIZING_REQUIRED, Error.NO_TAPE_LOADED),
    (SenseKey.NOT_READY, Asc.BECOMING_READY, Error.IO),
    (SenseKey.DATA_PROTECT, Asc.WRITE_PROTECTED, Error.WRITE_PROTECT),
    (SenseKey.BLANK_CHECK, Asc.END_OF_DATA, Error.EOM),
    (SenseKey.ILLEGAL_REQUEST, Asc.INVALID_FIELD_IN_CDB, Error.ILLEGAL_ARGS),
    (SenseKey.VOLUME_OVERFLOW, Asc.END_OF_MEDIUM, Error.IO),
    (SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR, Error.IO),
    (SenseKey.HARDWARE_ERROR, Asc.INTERNAL_FAILURE, Error.IO),
])
def test_sense_data_decides(key, code, error):
    assert error_of(DeviceError("doing", Status.CHECK_CONDITION, Sense(key, code))) is error


@pytest.mark.parametrize("status", [Status.RESERVATION_CONFLICT, Status.BUSY, Status.TASK_SET_FULL])
def test_a_unit_that_serves_others_is_busy(status):
    assert error_of(DeviceError("doing", status)) is Error.DEVICE_BUSY


@pytest.mark.parametrize(("failure", "error"), [
    (DeviceError("doing", Status.CHECK_CONDITION), Error.IO),
    (NoSuchDevice("no"), Error.NO_DEVICE),
    (DeviceBusy("busy"), Error.DEVICE_BUSY),
    (CommandTimeout("late"), Error.TIMEOUT),
    (TransportError("gone"), Error.IO),
    (PositionLost("where"), Error.IO),
    (JobRefused("no"), Error.ILLEGAL_ARGS),
    (OSError(5, "I/O"), Error.IO),
    (ValueError("a fault of our own"), Error.UNDEFINED),
])
def test_the_class_decides_where_there_is_no_sense_data(failure, error):
    assert error_of(failure) is error


def test_device_errors_say_what_was_attempted_and_what_came_of_it():
    sense = Sense(SenseKey.MEDIUM_ERROR, Asc.WRITE_ERROR)
    assert str(DeviceError("tape0: write a record", 2, sense)) == (
        "tape0: write a record: Medium Error, write error (0C/00)")
    assert str(DeviceError("tape0: rewind", 0x18)) == "tape0: rewind: RESERVATION CONFLICT"
    assert str(DeviceError("tape0: rewind", 0x55)) == "tape0: rewind: status 55h"
