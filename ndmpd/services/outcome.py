"""The one place that says which NDMP error a failure is. NDMPv4 2.8.1, reply errors of 3.3 and 3.4."""

from __future__ import annotations

from ndmpd.devices.errors import (
    CommandTimeout,
    DeviceBusy,
    DeviceError,
    NoSuchDevice,
    PositionLost,
    TransportError,
)
from ndmpd.errors import JobRefused, NdmpdError, SourceError, StreamError
from protocol.errors import WireError
from protocol.ndmp.codes import Error
from protocol.scsi.sense import SenseKey

_BY_CLASS: tuple[tuple[type[Exception], Error], ...] = (
    (NoSuchDevice, Error.NO_DEVICE),
    (DeviceBusy, Error.DEVICE_BUSY),
    (CommandTimeout, Error.TIMEOUT),
    (TransportError, Error.IO),
    (PositionLost, Error.IO),
    (JobRefused, Error.ILLEGAL_ARGS),
    (SourceError, Error.IO),
    (StreamError, Error.IO),
    (WireError, Error.IO),
    (OSError, Error.IO),
)
"""The first match counts."""

FAILURES = (NdmpdError, WireError, OSError)
"""What work on a device raises on purpose, and what a peer or the system makes it raise."""

_BY_SENSE = {
    SenseKey.BLANK_CHECK: Error.EOM,
    SenseKey.DATA_PROTECT: Error.WRITE_PROTECT,
    SenseKey.ILLEGAL_REQUEST: Error.ILLEGAL_ARGS,
}
"""What is not here is IO: the draft has no finer words. VOLUME OVERFLOW, the physical end, is IO by 3.4.6."""


def error_of(failure: BaseException) -> Error:
    """The NDMP error for ``failure``; UNDEFINED for what no one expected."""
    if isinstance(failure, DeviceError):
        if failure.no_medium:
            return Error.NO_TAPE_LOADED
        if failure.busy:
            return Error.DEVICE_BUSY
        return Error.IO if failure.key is None else _BY_SENSE.get(failure.key, Error.IO)
    return next((error for kind, error in _BY_CLASS if isinstance(failure, kind)), Error.UNDEFINED)
