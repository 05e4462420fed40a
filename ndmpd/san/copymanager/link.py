"""A nexus's connection to the copy manager: what transports of the embedded SAN use.

It is made at the first command. Where it ends, the copy that it carries is aborted, and with the last
connection of a nexus goes all that the copy manager kept for it; so a forked child must not hold it open.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ndmpd.datapath import length_of, read_bytes
from ndmpd.ports import Command, Result
from ndmpd.san.copymanager.profile import MAX_PARAMETERS
from ndmpd.san.copymanager.wire import Reply, Request, address
from ndmpd.san.dataphase import clip, scatter
from ndmpd.san.errors import CopyManagerDown, CopyManagerGone, UnitBusy
from protocol.errors import WireError
from protocol.scsi.command import Status
from protocol.scsi.xcopy import EXTENDED_COPY

_log = logging.getLogger(__name__)

_ENDING = 60.0
"""Seconds that copies are given to end after they were aborted for others."""
_CONNECTING = 5.0
_NOBODY = (FileNotFoundError, ConnectionRefusedError)
_links: weakref.WeakSet[Link] = weakref.WeakSet()


class Link:
    """One command at a time."""

    def __init__(self, san_dir: str | Path, nexus: str) -> None:
        self._san_dir = Path(san_dir)
        self._nexus = nexus
        self._socket: socket.socket | None = None
        self._cancelled = False
        _links.add(self)

    def execute(self, unit: str, command: Command) -> Result:
        """CopyManagerGone where it does not run, or dies; UnitBusy where it does not answer in time."""
        cdb, data = bytes(command.cdb), b""
        if EXTENDED_COPY.matches(cdb):
            length = min(EXTENDED_COPY.take(cdb)["length"], MAX_PARAMETERS)
            data = read_bytes(clip(command.data_out, length), command.faults)
        request = Request(self._nexus, unit, cdb, data, length_of(command.data_in), command.timeout)
        try:
            connection = self._send(request)
            if self._cancelled:
                _hang_up(connection)
            reply = _reply(connection, command.timeout)
        except TimeoutError as error:
            self.close()
            raise UnitBusy(f"the copy manager of the embedded SAN did not answer for {unit} within "
                           f"{command.timeout:g} s; what it was doing is aborted") from error
        except (OSError, WireError) as error:
            self.close()
            raise CopyManagerGone(
                f"the copy manager of the embedded SAN ended in the middle of a command for {unit} "
                f"({error}); see the server's log, and check the tape's position") from error
        taken = scatter(reply.data, command.data_in) if reply.data else reply.transferred
        return Result(reply.status, reply.sense, taken)

    def clear(self, unit: str, timeout: float) -> bool:
        """End all copies that the nexus has sent to ``unit``: whether they have. Raises as ``execute``."""
        return self.execute(unit, Command(b"", timeout=timeout)).status == Status.GOOD

    def _send(self, request: Request) -> socket.socket:
        if self._socket is not None:
            try:
                request.send(self._socket)
                return self._socket
            except BrokenPipeError:
                # It was restarted since the last command, and has not seen this one.
                self.close()
        connection = self._connect()
        request.send(connection)
        return connection

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(_CONNECTING)
            with address(self._san_dir) as name:
                connection.connect(name)
        except OSError as error:
            connection.close()
            gone = CopyManagerDown if isinstance(error, _NOBODY) else CopyManagerGone
            raise gone(f"the copy manager of the embedded SAN is not running in {self._san_dir} "
                       f"({error.strerror}); `ndmpd serve` starts it") from error
        self._socket = connection
        return connection

    def cancel(self) -> None:
        """Have the command that another thread has under way aborted; its ``execute`` returns as soon as
        nothing of it is being done any more.
        """
        self._cancelled = True
        connection = self._socket
        if connection is not None:
            _hang_up(connection)

    def close(self) -> None:
        """The nexus leaves; a later command makes a new connection."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()


def clear_copies(san_dir: Path, unit: str, nexuses: Iterable[str]) -> None:
    """See to it that no copy goes on that these nexuses have sent to ``unit``."""
    for nexus in nexuses:
        link = Link(san_dir, nexus)
        try:
            if not link.clear(unit, _ENDING):
                _log.warning("%s: a copy of nexus %s was aborted and has not ended yet", unit, nexus)
        except CopyManagerGone as gone:
            # Where there is no copy manager, there is no copy.
            _log.debug("%s: nexus %s has no copies: %s", unit, nexus, gone)
        except UnitBusy as busy:
            _log.warning("%s: %s", unit, busy)
        finally:
            link.close()


def _hang_up(connection: socket.socket) -> None:
    """Send nothing any more, and still hear the answer."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)


def _reply(connection: socket.socket, timeout: float) -> Reply:
    deadline = time.monotonic() + timeout
    connection.settimeout(timeout)
    try:
        return Reply.receive(connection)
    finally:
        connection.settimeout(max(_CONNECTING, deadline - time.monotonic()))


def _close_all_in_child() -> None:
    for link in list(_links):
        link.close()


os.register_at_fork(after_in_child=_close_all_in_child)
