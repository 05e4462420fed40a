"""Transport to a unit of this machine: the kernel's SCSI generic driver, ioctl SG_IO (version 3).

One command at a time; it blocks until the unit answers or the kernel's error handling has given it up, and
nothing can shorten that. Signals are kept away meanwhile: one would make the kernel forget the command, and
nobody would know how it ended.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import threading
from fcntl import ioctl

from ndmpd.datapath import length_of
from ndmpd.devices.errors import CommandTimeout, DeviceBusy, NoSuchDevice, TransportError
from ndmpd.devices.staging import Staging
from ndmpd.devices.sysfs import Sysfs
from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result

SG_IO = 0x2285
SG_SET_RESERVED_SIZE = 0x2275
SG_GET_RESERVED_SIZE = 0x2272
SG_GET_VERSION_NUM = 0x2282
BLKSECTGET = 0x1267
"""Asked of a generic node it is answered in bytes."""
_TO_UNIT, _FROM_UNIT, _NOTHING = -2, -3, -1
_DIRECT = 1
"""SG_FLAG_DIRECT_IO: no copy in the kernel, where the administrator allows it (/proc/scsi/sg/allow_dio)."""
_OLDEST = 30000
_SENSE = 252
"""Bytes of the longest sense data (SPC-4 4.5.1)."""
_RESERVE = 4 << 20
"""Bytes that the driver is asked to set aside, so that large commands do not depend on free memory."""
_LONGEST = 0xFFFFFFFF
_TIMED_OUT, _DRIVER_TIMED_OUT = 0x03, 0x06
_HOSTS = {
    0x01: "the unit does not answer; it may be switched off or gone", 0x02: "the bus stayed busy",
    0x04: "the unit is gone", 0x05: "the command was aborted", 0x06: "a parity error",
    0x07: "the host adapter failed", 0x08: "the bus or the unit was reset", 0x09: "an unexpected interrupt",
    0x0B: "the host adapter asks to try again", 0x0C: "the host adapter asks to try again",
    0x0D: "the host adapter asks to try again", 0x0E: "the path to the unit broke",
    0x0F: "the path to the unit failed", 0x12: "no memory for the command",
}
"""Host statuses (DID_*) after which nobody knows how the command ended. Others only colour a SCSI status."""


class Header(ctypes.Structure):
    """``struct sg_io_hdr``."""

    _fields_ = [
        ("interface_id", ctypes.c_int), ("direction", ctypes.c_int), ("cmd_len", ctypes.c_ubyte),
        ("mx_sb_len", ctypes.c_ubyte), ("iovec_count", ctypes.c_ushort), ("dxfer_len", ctypes.c_uint),
        ("dxferp", ctypes.c_void_p), ("cmdp", ctypes.c_void_p), ("sbp", ctypes.c_void_p),
        ("timeout", ctypes.c_uint), ("flags", ctypes.c_uint), ("pack_id", ctypes.c_int),
        ("usr_ptr", ctypes.c_void_p), ("status", ctypes.c_ubyte), ("masked_status", ctypes.c_ubyte),
        ("msg_status", ctypes.c_ubyte), ("sb_len_wr", ctypes.c_ubyte), ("host_status", ctypes.c_ushort),
        ("driver_status", ctypes.c_ushort), ("resid", ctypes.c_int), ("duration", ctypes.c_uint),
        ("info", ctypes.c_uint),
    ]


class SgTransport:
    """A path to the unit behind ``node``, a ``/dev/sgN``. NoSuchDevice, DeviceBusy, TransportError.

    ``most``: bytes that the unit's queue and its host adapter take with one command, None where the kernel
    does not say.
    """

    def __init__(self, node: str, sysfs: Sysfs | None = None) -> None:
        self.node = node
        self._sysfs = sysfs or Sysfs()
        self._lock = threading.Lock()
        self._staging = Staging()
        self._cdb = ctypes.create_string_buffer(16)
        self._sense = ctypes.create_string_buffer(_SENSE)
        try:
            # Without O_NONBLOCK, opening would wait for whoever has the node for himself.
            self._fd = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _not_opened(node, error) from error
        try:
            if self._number(SG_GET_VERSION_NUM) < _OLDEST:
                raise NoSuchDevice(f"{node} is no SCSI generic node; name /dev/sgN, /dev/nstN or a link to "
                                   "one")
            self.most: int | None = self._find_most()
        except BaseException:
            os.close(self._fd)
            raise

    def _find_most(self) -> int | None:
        queue = self._number(BLKSECTGET)
        self._number(SG_SET_RESERVED_SIZE, min(queue, _RESERVE) if queue else _RESERVE)
        # At worst no two pages of the memory that a command moves lie side by side.
        segments = (self._sysfs.segments(self.node) or 0) * mmap.PAGESIZE
        limits = [limit for limit in (queue, self._number(SG_GET_RESERVED_SIZE), segments) if limit > 0]
        return min(limits, default=None)

    def _number(self, request: int, given: int = 0) -> int:
        """An ioctl that takes or gives one number; 0 where the driver does not know it."""
        value = ctypes.c_int(given)
        try:
            ioctl(self._fd, request, value)
        except OSError:
            return 0
        return value.value

    def execute(self, command: Command) -> Result:
        with self._lock:
            if self._fd < 0:
                raise TransportError(f"{self.node}: closed")
            if command.data_out:
                room = self._staging.gather(command.data_out, command.faults)
                direction = _TO_UNIT
            else:
                room = self._staging.room(length_of(command.data_in))
                direction = _FROM_UNIT if len(room) else _NOTHING
            header = self._header(command, direction, room)
            self._issue(command, header)
            self._judge(command, header)
            moved = min(max(0, len(room) - max(0, header.resid)), len(room))
            if command.data_in:
                self._staging.scatter(command.data_in, moved)
            return Result(header.status, self._sense.raw[:header.sb_len_wr], moved)

    def _header(self, command: Command, direction: int, room: memoryview) -> Header:
        ctypes.memmove(self._cdb, command.cdb, len(command.cdb))
        size = len(room)
        data = ctypes.addressof(ctypes.c_char.from_buffer(room)) if size else None
        return Header(
            interface_id=ord("S"), direction=direction, cmd_len=len(command.cdb), mx_sb_len=_SENSE,
            dxfer_len=size, dxferp=data, cmdp=ctypes.addressof(self._cdb), sbp=ctypes.addressof(self._sense),
            timeout=min(_LONGEST, max(1, int(command.timeout * 1000))), flags=_DIRECT if size else 0)

    def _issue(self, command: Command, header: Header) -> None:
        doing = f"{self.node}: command {command.cdb[0]:02X}h"
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            ioctl(self._fd, SG_IO, header)
        except OSError as error:
            if error.errno in (errno.ENOMEM, errno.EINVAL) and header.dxfer_len > (self.most or 0):
                raise TransportError(f"{doing}: {header.dxfer_len} bytes are more than the kernel carries "
                                     f"with one command ({self.most or 'unknown'}); use smaller "
                                     "records") from error
            raise TransportError(f"{doing}: {error.strerror}; the unit may be gone") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _judge(self, command: Command, header: Header) -> None:
        """Raise where there is no SCSI status to go by."""
        doing = f"{self.node}: command {command.cdb[0]:02X}h"
        if header.host_status == _TIMED_OUT or header.driver_status & 0x0F == _DRIVER_TIMED_OUT:
            raise CommandTimeout(f"{doing} was not answered within {command.timeout:.0f} s")
        if header.host_status in _HOSTS:
            raise TransportError(f"{doing}: {_HOSTS[header.host_status]} (host status "
                                 f"{header.host_status:02X}h); how far it came is not known")
        if header.host_status and not header.status:
            raise TransportError(f"{doing}: host status {header.host_status:02X}h; how far it came is not "
                                 "known")

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        """Waits for a command that is under way: the kernel does not give it back earlier."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _not_opened(node: str, error: OSError) -> NoSuchDevice | DeviceBusy | TransportError:
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return NoSuchDevice(f"{node}: {error.strerror}; switch the device on, or see what there is with: "
                            "ndmpd devices")
    if error.errno in (errno.EBUSY, errno.EAGAIN):
        return DeviceBusy(f"{node} is in exclusive use by another program")
    if error.errno in (errno.EACCES, errno.EPERM):
        return TransportError(f"{node}: {error.strerror}; run the server as a user who may open it")
    return TransportError(f"{node} cannot be opened: {error.strerror}")
