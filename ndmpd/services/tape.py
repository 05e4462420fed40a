"""TAPE: the drive in the hands of the DMA. NDMPv4 3.4, and version 3 where it differs.

One reply for every request, and nothing is raised. What the session core has checked (authorised, device open
or not, mover not active) is not checked again; everything about the device is checked here.

Where the draft and the clients in the field disagree:

- 3.4.1 wants an implicit filemark before every MTIO but EOF and TUR. Clients space back over the record just
  written and expect no mark, so FSR and BSR write none; CLOSE, REW, OFF, FSF and BSF do. A mark is written
  only while the tape still stands behind the records that owe it: later it would cut off what follows.
- A read at the end of the data is EOM in version 4, EOF in version 3. A filemark met by a read, FSR or BSR is
  crossed in version 3; in version 4 the tape stays on the side it came from.
- Before a filemark that a read met, or that was crossed backwards, clients expect the block number to be
  unknown, even where it could be told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ndmpd.devices.errors import DeviceBusy, DeviceError, PositionLost
from ndmpd.devices.tape import TapeDrive
from ndmpd.devices.tape_outcome import Stop
from ndmpd.devices.tape_position import TapePosition
from ndmpd.devices.tape_unit import MAX_LENGTH
from ndmpd.services.outcome import FAILURES, error_of
from ndmpd.services.scsi import OpenDevice, execute_cdb
from protocol.errors import WireError
from protocol.ndmp.codes import (
    Error,
    TapeFlags,
    TapeMtioOp,
    TapeOpenMode,
    TapeUnsupported,
    Version,
)
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.tape import (
    TapeCloseReply,
    TapeCloseRequest,
    TapeExecuteCdbReply,
    TapeExecuteCdbRequest,
    TapeGetStateReply,
    TapeGetStateRequest,
    TapeMtioReply,
    TapeMtioRequest,
    TapeOpenReply,
    TapeOpenRequest,
    TapeReadReply,
    TapeReadRequest,
    TapeWriteReply,
    TapeWriteRequest,
)
from protocol.scsi.command import Opcode
from protocol.scsi.sense import Sense, SenseKey

log = logging.getLogger(__name__)

HOLDER_LEAVES = 5.0
"""Seconds that an open waits for a holder that is going away."""
_LOOK_AGAIN = 0.1
_UNKNOWN_32 = 0xFFFFFFFF
_UNKNOWN_64 = 0xFFFFFFFFFFFFFFFF
_TOO_LONG = 0x80000000
"""Counts from here on are negative numbers to their senders."""
_MEDIA = (SenseKey.MEDIUM_ERROR, SenseKey.HARDWARE_ERROR)
_HARMLESS = frozenset(bytes((opcode,)) for opcode in (
    Opcode.TEST_UNIT_READY, Opcode.REQUEST_SENSE, Opcode.INQUIRY, Opcode.LOG_SENSE, Opcode.MODE_SENSE_6,
    Opcode.MODE_SENSE_10, Opcode.READ_POSITION, Opcode.READ_BLOCK_LIMITS, Opcode.READ_ATTRIBUTE,
    Opcode.REPORT_DENSITY_SUPPORT))
"""Pass-through commands after which nothing about the drive needs asking anew."""


class TapeService:
    """At most one open drive. ``drive``, ``open_mode`` and ``device`` (its name) are None while none is open.

    The mover uses ``drive`` itself; it and ``perform`` must not run at the same time, ``get_state`` may.
    """

    def __init__(self, open_device: OpenDevice, version: Version) -> None:
        self._open_device = open_device
        self.version = version
        self.drive: TapeDrive | None = None
        self.open_mode: TapeOpenMode | None = None
        self.device: str | None = None
        self._end_pending = False
        """A write met early warning, and no one was told yet (3.4.6)."""
        self._end_told = False
        self._before_mark: TapePosition | None = None
        """Where a read met the next filemark, or a move backwards crossed it; see above."""
        self._media_error = False
        self._close_failed = False

    def perform(self, request: Message) -> Message:
        """Carry out one TAPE request; blocks as long as the device takes."""
        if isinstance(request, TapeGetStateRequest):
            return self.get_state()
        action, reply = self._ACTIONS[type(request)]
        if not isinstance(request, TapeCloseRequest):
            self._close_failed = False
        self._media_error = False
        try:
            if isinstance(request, TapeOpenRequest):
                return self._open(request)
            if self.drive is None:
                return reply(error=Error.DEV_NOT_OPEN)
            return action(self, self.drive, request)
        except FAILURES as failure:
            log.warning("%s: %s", type(request).__name__, failure)
            return reply(error=self._error(failure))
        except Exception:
            log.exception("%s failed", type(request).__name__)
            return reply(error=Error.UNDEFINED)

    def close(self) -> None:
        """The connection is gone: TAPE_CLOSE with all that belongs to it, whatever fails. Idempotent."""
        if self.drive is not None:
            try:
                self._mark_if_owed(self.drive)
            except FAILURES as failure:
                log.warning("%s: closing without the filemark that was owed: %s", self.device, failure)
        try:
            self._release()
        except FAILURES as failure:
            log.warning("%s: %s", self.device, failure)

    def end_told(self) -> None:
        """The DMA was told of the end of the medium in another way (the mover paused with EOM)."""
        self._end_pending, self._end_told = False, True

    def _error(self, failure: Exception) -> Error:
        self._media_error = isinstance(failure, PositionLost) or (
            isinstance(failure, DeviceError) and failure.key in _MEDIA)
        return error_of(failure)

    # Opening and closing.

    def _open(self, request: TapeOpenRequest) -> Reply:
        if request.mode not in (TapeOpenMode.READ, TapeOpenMode.RDWR, TapeOpenMode.RAW):
            return TapeOpenReply(error=Error.ILLEGAL_ARGS)
        mode = TapeOpenMode(request.mode)
        drive = self._claim(request.device)
        error = Error.NO_ERR
        if not drive.loaded and mode is not TapeOpenMode.RAW:
            error = Error.NO_TAPE_LOADED
        elif drive.write_protected and mode is TapeOpenMode.RDWR:
            error = Error.WRITE_PROTECT
        if error is not Error.NO_ERR:
            drive.close()
            return TapeOpenReply(error=error)
        self.drive, self.open_mode, self.device = drive, mode, request.device
        self._moved()
        return TapeOpenReply(error=Error.NO_ERR)

    def _claim(self, name: str) -> TapeDrive:
        """Open and reserve the drive; DeviceBusy where its holder stays."""
        deadline = time.monotonic() + HOLDER_LEAVES
        while True:
            try:
                transport = self._open_device(name)
                drive = TapeDrive(transport, name)
                try:
                    drive.open()
                except BaseException:
                    transport.close()
                    raise
                return drive
            except DeviceBusy:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOOK_AGAIN)

    def _close(self, drive: TapeDrive, request: TapeCloseRequest) -> Reply:
        """3.4.3: where the filemark cannot be written the drive stays open, and a second CLOSE closes it."""
        if not self._close_failed:
            try:
                self._mark_if_owed(drive)
            except FAILURES:
                self._close_failed = True
                raise
        try:
            self._release()
        except FAILURES as failure:
            log.warning("%s is closed, though it may be reserved yet: %s", drive.name, failure)
        return TapeCloseReply(error=Error.NO_ERR)

    def _release(self) -> None:
        drive, self.drive, self.open_mode = self.drive, None, None
        self._close_failed = False
        if drive is not None:
            drive.close()
        self.device = None

    def _mark_if_owed(self, drive: TapeDrive) -> None:
        """The implicit filemark. ``drive.unmarked`` knows of the mover's records too."""
        if drive.unmarked and self.open_mode is not TapeOpenMode.READ:
            drive.write_filemarks(1)

    # State.

    def get_state(self) -> TapeGetStateReply:
        """3.4.4, from counters alone: sends no command, so it may be called while the mover has the drive."""
        drive = self.drive
        if drive is None:
            return TapeGetStateReply(error=Error.DEV_NOT_OPEN)
        position, space, remaining = drive.position, drive.space, drive.remaining
        block = None if position == self._before_mark else position.block
        total = space.total if space is not None else None
        flags = TapeFlags.NOREWIND
        if drive.write_protected:
            flags |= TapeFlags.WR_PROT
        if self._media_error:
            flags |= TapeFlags.ERROR
        unsupported = TapeUnsupported(0)
        if total is None:
            unsupported |= TapeUnsupported.TOTAL_SPACE
        if remaining is None:
            unsupported |= TapeUnsupported.SPACE_REMAIN
        if self.version == Version.V3:
            # Version 3 calls the bits "invalid" and wants one for every value that is not known just now.
            unsupported |= TapeUnsupported.PARTITION
            if position.file is None:
                unsupported |= TapeUnsupported.FILE_NUM
            if block is None:
                unsupported |= TapeUnsupported.BLOCKNO
        return TapeGetStateReply(
            error=Error.NO_ERR, unsupported=unsupported, flags=flags, file_num=_or_unknown(position.file),
            soft_errors=drive.soft_errors & _UNKNOWN_32,
            # Records of any length can be read and written at any time: to the DMA the drive is variable.
            block_size=0, blockno=_or_unknown(block), total_space=_UNKNOWN_64 if total is None else total,
            space_remain=_UNKNOWN_64 if remaining is None else remaining)

    # Records.

    def _write(self, drive: TapeDrive, request: TapeWriteRequest) -> Reply:
        size = len(request.data_out)
        if self.open_mode is TapeOpenMode.READ:
            return TapeWriteReply(error=Error.PERMISSION)
        if size == 0:
            return TapeWriteReply(error=Error.NO_ERR)
        if not drive.limits.allow(size):
            return TapeWriteReply(error=Error.ILLEGAL_ARGS)
        if self._end_pending:
            self.end_told()
            return TapeWriteReply(error=Error.EOM)
        self._before_mark = None
        written = drive.write(request.data_out)
        if written.end_of_medium:
            return TapeWriteReply(error=Error.IO)
        self._end_pending = written.early_warning and not self._end_told
        return TapeWriteReply(error=Error.NO_ERR, count=size)

    def _read(self, drive: TapeDrive, request: TapeReadRequest) -> Reply:
        if request.count >= _TOO_LONG:
            return TapeReadReply(error=Error.ILLEGAL_ARGS)
        if request.count == 0:
            return TapeReadReply(error=Error.NO_ERR)
        before = drive.position
        # No record is longer than the drive can write, whatever the DMA has room for.
        record = drive.read(min(request.count, drive.limits.longest or MAX_LENGTH))
        self._before_mark = None
        if record.stop is Stop.FILEMARK:
            if self.version >= Version.V4:
                drive.uncross(before, backwards=True)
                self._before_mark = drive.position
            return TapeReadReply(error=Error.EOF)
        if record.stop is not None:
            return TapeReadReply(error=Error.EOM if self.version >= Version.V4 else Error.EOF)
        return TapeReadReply(error=Error.NO_ERR, data_in=record.data)

    # Motion.

    def _mtio(self, drive: TapeDrive, request: TapeMtioRequest) -> Reply:
        count = request.count
        try:
            operation = TapeMtioOp(request.tape_op)
        except ValueError:
            return TapeMtioReply(error=Error.ILLEGAL_ARGS)
        if operation is TapeMtioOp.TUR and self.version < Version.V4:
            return TapeMtioReply(error=Error.ILLEGAL_ARGS)
        if count == 0 and operation in self._COUNTED:
            return TapeMtioReply(error=Error.NO_ERR)
        try:
            left = self._MOTIONS[operation](self, drive, count)
        except FAILURES as failure:
            log.warning("%s: %s", operation.name, failure)
            return TapeMtioReply(error=self._error(failure), resid_count=count)
        if isinstance(left, TapeMtioReply):
            return left
        return TapeMtioReply(error=Error.NO_ERR, resid_count=left)

    def _moved(self) -> None:
        self._end_pending = self._end_told = False
        self._before_mark = None

    def _filemarks(self, drive: TapeDrive, count: int) -> int:
        """FSF, and with a negative count BSF; returns what is left of the count."""
        self._mark_if_owed(drive)
        self._moved()
        spaced = drive.space_filemarks(count)
        if count < 0 and spaced.stop is None:
            self._before_mark = drive.position
        return abs(count) - spaced.done

    def _back_filemarks(self, drive: TapeDrive, count: int) -> int:
        return self._filemarks(drive, -count)

    def _records(self, drive: TapeDrive, count: int) -> int:
        """FSR, and with a negative count BSR."""
        before = drive.position
        self._moved()
        spaced = drive.space_records(count)
        if spaced.stop is Stop.FILEMARK:
            if self.version >= Version.V4:
                drive.uncross(before.records(spaced.done if count > 0 else -spaced.done), backwards=count > 0)
            elif count < 0:
                self._before_mark = drive.position
        return abs(count) - spaced.done

    def _back_records(self, drive: TapeDrive, count: int) -> int:
        return self._records(drive, -count)

    def _rewind(self, drive: TapeDrive, count: int) -> int:
        self._mark_if_owed(drive)
        self._moved()
        drive.rewind()
        return 0

    def _write_filemarks(self, drive: TapeDrive, count: int) -> int | TapeMtioReply:
        if self.open_mode is TapeOpenMode.READ:
            return TapeMtioReply(error=Error.PERMISSION, resid_count=count)
        self._before_mark = None
        written = drive.write_filemarks(count)
        if written.end_of_medium:
            return TapeMtioReply(error=Error.IO, resid_count=count - written.records)
        return 0

    def _offline(self, drive: TapeDrive, count: int) -> int:
        self._mark_if_owed(drive)
        self._moved()
        drive.unload()
        return 0

    def _test_ready(self, drive: TapeDrive, count: int) -> int | TapeMtioReply:
        before = drive.position
        if not drive.ready():
            return TapeMtioReply(error=Error.NO_TAPE_LOADED)
        if not drive.loaded:
            drive.learn()
        if drive.position != before:
            self._moved()
        return 0

    # Pass-through.

    def _execute(self, drive: TapeDrive, request: TapeExecuteCdbRequest) -> Reply:
        """3.4.8. Whatever it did, what GET_STATE says afterwards is what the drive says."""
        surprised = True
        try:
            reply = execute_cdb(drive.transport, request, TapeExecuteCdbReply)
            surprised = _tells_news(reply.ext_sense)
        finally:
            if surprised or request.cdb[:1] not in _HARMLESS:
                drive.believe_nothing()
        return reply

    _COUNTED = frozenset({TapeMtioOp.FSF, TapeMtioOp.BSF, TapeMtioOp.FSR, TapeMtioOp.BSR, TapeMtioOp.EOF})
    _MOTIONS: dict[TapeMtioOp, Callable[..., int | TapeMtioReply]] = {
        TapeMtioOp.FSF: _filemarks, TapeMtioOp.BSF: _back_filemarks, TapeMtioOp.FSR: _records,
        TapeMtioOp.BSR: _back_records, TapeMtioOp.REW: _rewind, TapeMtioOp.EOF: _write_filemarks,
        TapeMtioOp.OFF: _offline, TapeMtioOp.TUR: _test_ready,
    }
    _ACTIONS: dict[type[Message], tuple[Callable[..., Message], type[Reply]]] = {
        TapeOpenRequest: (_open, TapeOpenReply),
        TapeCloseRequest: (_close, TapeCloseReply),
        TapeMtioRequest: (_mtio, TapeMtioReply),
        TapeWriteRequest: (_write, TapeWriteReply),
        TapeReadRequest: (_read, TapeReadReply),
        TapeExecuteCdbRequest: (_execute, TapeExecuteCdbReply),
    }


def _tells_news(sense: bytes) -> bool:
    """A unit attention went to the DMA: the drive, or what is in it, may not be what it was."""
    try:
        return bool(sense) and Sense.take(sense).key is SenseKey.UNIT_ATTENTION
    except WireError:
        return True


def _or_unknown(number: int | None) -> int:
    """All ones where not known, and where the field is too small."""
    return _UNKNOWN_32 if number is None or number > _UNKNOWN_32 else number
