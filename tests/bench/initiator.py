"""A loop of SCSI commands over libiscsi, so many of them in flight. What is read is not looked at."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from ndmpd.devices import libiscsi
from ndmpd.devices.iscsi_login import Login, isids
from ndmpd.devices.iscsi_session import Session
from ndmpd.devices.libiscsi import Pending, ended, ffi
from tests.bench.dma import JobFailed

_PATIENCE = 60.0
_UNIT_ATTENTIONS = 8


class Initiator:
    """A session with ``login.target``, for commands to ``lun``. A context manager."""

    def __init__(self, login: Login, lun: int) -> None:
        self._lun = lun
        self._wake = os.eventfd(0)
        self._session = Session(login, isids.take(), self._wake)
        self._lib, self._context = self._session._lib, self._session._context

    def __enter__(self) -> Initiator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._session.close()
        os.close(self._wake)

    @property
    def _said(self) -> str:
        return self._session._library.error(self._context)

    def command(self, cdb: bytes) -> None:
        """One without data, once the unit has told what it has to tell a newcomer."""
        for _ in range(_UNIT_ATTENTIONS):
            reply = self._session.execute(self._lun, cdb, libiscsi.READ, [], _PATIENCE)
            if reply.status == 0:
                return
        raise JobFailed(f"command {cdb.hex(' ')}: {reply}")

    def stream(self, cdbs: Iterator[bytes], direction: int, transfer: int, depth: int) -> float:
        """Seconds for all of these commands of ``transfer`` bytes, ``depth`` of them in flight."""
        slots = [_Slot(transfer) for _ in range(depth)]
        fd = self._lib.iscsi_get_fd(self._context)
        poll = select.poll()
        poll.register(fd, 0)
        began = time.perf_counter()
        busy = [slot for slot in slots if self._start(slot, cdbs, direction)]
        while busy:
            poll.modify(fd, self._lib.iscsi_which_events(self._context))
            ready = poll.poll(_PATIENCE * 1000)
            if not ready or self._lib.iscsi_service(self._context, ready[0][1]):
                raise JobFailed(f"the target is silent, or gone: {self._said}")
            for slot in [slot for slot in busy if slot.pending.ended]:
                self._end(slot)
                if not self._start(slot, cdbs, direction):
                    busy.remove(slot)
        return time.perf_counter() - began

    def _start(self, slot: _Slot, cdbs: Iterator[bytes], direction: int) -> bool:
        cdb = next(cdbs, None)
        if cdb is None:
            return False
        slot.pending = Pending()
        slot.task = task = self._lib.scsi_create_task(len(cdb), cdb, direction, len(slot.memory))
        attach = self._lib.scsi_task_set_iov_out if direction == libiscsi.WRITE else (
            self._lib.scsi_task_set_iov_in)
        attach(task, slot.vector, 1)
        if self._lib.iscsi_scsi_command_async(self._context, self._lun, task, ended, ffi.NULL,
                                              slot.pending.handle):
            raise JobFailed(self._said)
        return True

    def _end(self, slot: _Slot) -> None:
        status, residual = slot.pending.status, slot.task.residual_status
        self._lib.scsi_free_scsi_task(slot.task)
        if status or residual:
            raise JobFailed(f"a command ended with status {status}, residual {residual}")


class _Slot:
    """The place of one command in flight: its memory, written before."""

    def __init__(self, transfer: int) -> None:
        self.memory = bytearray(os.urandom(transfer))
        self.buffer = ffi.from_buffer("unsigned char[]", self.memory)
        self.vector = ffi.new("struct scsi_iovec[]", [(self.buffer, transfer)])
        self.pending = Pending()
        self.task: Any = None
