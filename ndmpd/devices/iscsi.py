"""Transport to a logical unit of an iSCSI target.

A lost connection is made again when the next command comes, with the same identifier, so that the target
sees the same I_T nexus. What was under way when it was lost raises TransportError. What came of the unit
meanwhile nobody knows: the first command afterwards is answered with the unit attention I_T NEXUS LOSS
OCCURRED, whether or not the target has one of its own to tell, and drive logic draws its conclusions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from ndmpd.devices import libiscsi
from ndmpd.devices.errors import TransportError
from ndmpd.devices.iscsi_login import Login, isids
from ndmpd.devices.iscsi_session import Session
from ndmpd.devices.staging import Staging
from ndmpd.pieces import FileExtent
from ndmpd.ports import Command, Result, Transport
from protocol.scsi.asc import Asc
from protocol.scsi.command import Opcode, Status
from protocol.scsi.sense import Sense, SenseKey

MOST = 1 << 20
"""Bytes for one command: these stay in a processor's own cache from the file to the socket, which on a fast
network makes a third of the speed.
"""
_SILENT = frozenset({Opcode.INQUIRY, Opcode.REPORT_LUNS, Opcode.REQUEST_SENSE})
"""Commands that are carried out although a unit attention is pending (SPC-4 5.14)."""


class IscsiTransport:
    """A path to ``lun`` of ``login.target``, logged in when made. ``verify`` is called after every login, to
    see that it is the right unit. Raises TransportError, NoSuchDevice.

    It belongs to the process that made it: a child can only close it. ``close`` may come from any thread, and
    ends a command that is under way with TransportError.
    """

    most: int | None = MOST

    def __init__(self, login: Login, lun: int, verify: Callable[[Transport], None] | None = None) -> None:
        self.login = login
        self.lun = lun
        self._verify = verify
        self._isid = isids.take()
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._staging = Staging()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._closed = False
        self._session: Session | None = None
        self._lost = False
        try:
            self._log_in()
        except BaseException:
            self.close()
            raise

    def _log_in(self) -> Session:
        self._session = Session(self.login, self._isid, self._wake)
        if self._verify is not None:
            try:
                self._verify(self)
            except BaseException:
                self._session.close()
                self._session = None
                raise
        return self._session

    def execute(self, command: Command) -> Result:
        if os.getpid() != self._process:
            raise TransportError(f"{self.login}: the session belongs to another process")
        with self._lock:
            session = self._standing()
            if self._lost and command.cdb[0] not in _SILENT:
                self._lost = False
                return Result(Status.CHECK_CONDITION, _NEXUS_LOST)
            if command.data_out:
                buffers = self._staging.outgoing(command.data_out, command.faults)
                direction = libiscsi.WRITE
            else:
                buffers = self._staging.incoming(command.data_in)
                direction = libiscsi.READ
            reply = session.execute(self.lun, command.cdb, direction, buffers, command.timeout)
            moved = sum(len(buffer) for buffer in buffers) - reply.residual
            if command.data_in:
                self._staging.deliver(command.data_in, moved)
            return Result(reply.status, reply.sense, moved)

    def _standing(self) -> Session:
        """The session; a new one where it was lost, which is then told."""
        if self._closed:
            raise TransportError(f"{self.login}: closed")
        session = self._session
        if session is None or not session.alive:
            if session is not None:
                session.drop()
                self._session = None
            self._lost = True
            session = self._log_in()
        return session

    def backing(self, lba: int, blocks: int) -> FileExtent | None:
        return None

    def close(self) -> None:
        if os.getpid() != self._process:
            # The connection is the parent's; here it is only let go of.
            if self._session is not None:
                self._session.drop()
            return
        if self._closed:
            return
        self._closed = True
        os.eventfd_write(self._wake, 1)
        with self._lock:
            os.eventfd_read(self._wake)
            if self._session is not None:
                self._session.close()
                self._session = None
            os.close(self._wake)


_NEXUS_LOST = Sense(SenseKey.UNIT_ATTENTION, Asc.NEXUS_LOSS).put()


def targets(portal: Login) -> list[str]:
    """The targets that a portal lists (SendTargets). Raises TransportError."""
    wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        session = Session(portal, isids.take(), wake)
        try:
            return [name for name, _ in session.discover(time.monotonic() + portal.login_within)]
        finally:
            session.close()
    finally:
        os.close(wake)
