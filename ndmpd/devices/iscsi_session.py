"""One iSCSI session with a target: log in, one command at a time, abort, log out. RFC 7143, by libiscsi.

The library's own reconnecting is switched off: it sends commands again that may have been carried out, which
on a tape is a record too many. What is lost here stays lost, and whoever uses the session decides.

Not for concurrent use, and for the process that made it alone.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ndmpd.devices import libiscsi
from ndmpd.devices.errors import CommandTimeout, NoSuchDevice, TransportError
from ndmpd.devices.iscsi_login import Login, refusal
from ndmpd.devices.libiscsi import Pending, ended, ffi, text
from ndmpd.devices.portals import portals

log = logging.getLogger(__name__)

ABORT_WITHIN = 5.0
"""Seconds that a target has to say that it has ended a task."""
_LOGOUT_WITHIN = 2.0
_MOST_HOPS = 4
"""Portals that refer to each other before one gives up."""
_TIMED_OUT = os.strerror(errno.ETIMEDOUT)
_LOGIN_STATUS = re.compile(r"Status: .*\((\d+)\)$")


@dataclass(frozen=True, slots=True)
class Reply:
    """How a command ended. ``residual``: bytes of its buffers that were not used."""

    status: int
    sense: bytes
    residual: int


class Late(Exception):
    """The deadline has passed."""


class Session:
    """``target`` None: a discovery session. ``wake``: a descriptor that is readable once whatever blocks here
    is to be given up. Raises TransportError, NoSuchDevice where the portal has no such target.
    """

    def __init__(self, login: Login, isid: tuple[int, int], wake: int) -> None:
        self._login = login
        self._library = libiscsi.library()
        self._lib = self._library.lib
        self._wake = wake
        self._kept: list[Any] = []
        self._ping: Pending | None = None
        self._heard = 0.0
        self._broken = False
        self._within = login.login_within
        self._context = self._lib.iscsi_create_context(login.initiator.encode())
        if self._context == ffi.NULL:
            raise TransportError("libiscsi cannot make a session; the machine may be short of memory")
        try:
            self._prepare(isid)
            self._within = portals.patience(login.portal, login.login_within)
            self._log_in(time.monotonic() + self._within)
        except BaseException:
            self.drop()
            raise

    # Login.

    def _prepare(self, isid: tuple[int, int]) -> None:
        lib, context, login = self._lib, self._context, self._login
        lib.iscsi_set_noautoreconnect(context, 1)
        lib.iscsi_set_isid_random(context, *isid)
        lib.iscsi_set_header_digest(context, libiscsi.CRC32C if login.header_digest else libiscsi.NO_DIGEST)
        lib.iscsi_set_tcp_user_timeout(context, int(login.silence * 1000))
        if login.target:
            lib.iscsi_set_targetname(context, login.target.encode())
        lib.iscsi_set_session_type(context, libiscsi.NORMAL if login.target else libiscsi.DISCOVERY)
        chap = login.chap
        if chap is not None:
            lib.iscsi_set_initiator_username_pwd(context, chap.user.encode(), chap.secret.encode())
            if chap.target_user:
                lib.iscsi_set_target_username_pwd(context, chap.target_user.encode(),
                                                  chap.target_secret.encode())

    def _log_in(self, deadline: float) -> None:
        portal = self._login.portal
        for _ in range(_MOST_HOPS):
            connected = self._pending()
            if self._lib.iscsi_connect_async(self._context, portal.encode(), ended, connected.handle) != 0:
                raise TransportError(self._unreachable(portal))
            os.set_inheritable(self._lib.iscsi_get_fd(self._context), False)
            self._through(connected, deadline, portal)
            if connected.status != 0:
                raise TransportError(self._unreachable(portal, connected.reason))
            logged_in = self._pending()
            if self._lib.iscsi_login_async(self._context, ended, logged_in.handle) != 0:
                raise TransportError(f"{self._login}: {self._library.error(self._context)}")
            self._through(logged_in, deadline, portal)
            if logged_in.status == 0:
                return
            elsewhere = text(self._lib.iscsi_get_target_address(self._context))
            if logged_in.status != libiscsi.REDIRECT or not elsewhere:
                raise self._refused(logged_in.reason)
            log.info("%s: the target is at %s", self._login, elsewhere)
            portal = elsewhere
            self._lib.iscsi_disconnect(self._context)
        raise TransportError(f"{self._login}: its portals refer to each other; correct the target")

    def _through(self, pending: Pending, deadline: float, portal: str) -> None:
        try:
            self._until(lambda: pending.ended, deadline)
        except Late:
            portals.silent(self._login.portal, self._within)
            raise TransportError(f"{self._login}: {portal} did not answer within {self._within:.0f} s; start "
                                 "the target, or correct host and port") from None
        except _Lost as lost:
            raise TransportError(self._unreachable(portal, pending.reason or str(lost))) from None

    def _unreachable(self, portal: str, said: str = "") -> str:
        reason = os_reason(said or self._library.error(self._context))
        return f"{self._login}: no iSCSI target at {portal} ({reason}); start it, or correct host and port"

    def _refused(self, said: str) -> TransportError | NoSuchDevice:
        found = _LOGIN_STATUS.search(said)
        return refusal(self._login, int(found[1]) if found else None, said)

    # Commands.

    def execute(self, lun: int, cdb: bytes, direction: int, buffers: Sequence[memoryview],
                timeout: float) -> Reply:
        """One command, its data from or into ``buffers``. CommandTimeout after the task was aborted, or the
        session dropped; TransportError where the connection was lost, with the session dropped.
        """
        length = sum(len(buffer) for buffer in buffers)
        task = self._lib.scsi_create_task(len(cdb), cdb, direction if length else 0, length)
        memory = [ffi.from_buffer("unsigned char[]", buffer) for buffer in buffers]
        vectors = ffi.new("struct scsi_iovec[]", [(one, len(one)) for one in memory])
        try:
            if memory and direction == libiscsi.WRITE:
                self._lib.scsi_task_set_iov_out(task, vectors, len(memory))
            elif memory:
                self._lib.scsi_task_set_iov_in(task, vectors, len(memory))
            return self._carry_out(lun, task, cdb, length, time.monotonic() + timeout)
        finally:
            self._lib.scsi_free_scsi_task(task)

    def _carry_out(self, lun: int, task: Any, cdb: bytes, length: int, deadline: float) -> Reply:
        pending = Pending()
        doing = f"{self._login}: command {cdb[0]:02X}h"
        try:
            if self._lib.iscsi_scsi_command_async(self._context, lun, task, ended, ffi.NULL,
                                                  pending.handle) != 0:
                raise _Lost(self._library.error(self._context))
            self._until(lambda: pending.ended, deadline)
        except Late:
            self._abort(task, pending)
            raise CommandTimeout(f"{doing} was not answered in time, and was aborted") from None
        except BaseException as failure:
            # The library lets go of the task, and of its buffers, as the session goes.
            self.drop()
            if isinstance(failure, _Lost):
                raise TransportError(f"{doing}: the connection was lost ({failure}); how far it came is not "
                                     "known") from None
            raise
        assert pending.status is not None
        if pending.status >= libiscsi.BROKEN:
            self.drop()
            raise TransportError(f"{doing}: the connection was lost ({os_reason(pending.reason)}); how far "
                                 "it came is not known")
        data = self._library.data_of(task) if pending.status == 2 else b""
        sense = data[2:2 + int.from_bytes(data[:2], "big")]
        residual = min(task.residual, length) if task.residual_status == libiscsi.UNDERFLOW else 0
        return Reply(pending.status, sense, residual)

    def _abort(self, task: Any, pending: Pending) -> None:
        """Have the target end ``task``, or end the session, which ends it too."""
        answered = Pending(lambda data: ffi.cast("uint32_t *", data)[0])
        try:
            self._kept.append(answered)
            if self._lib.iscsi_task_mgmt_abort_task_async(self._context, task, ended, answered.handle) == 0:
                self._until(lambda: answered.ended, time.monotonic() + ABORT_WITHIN)
                if not pending.ended:
                    self._lib.iscsi_scsi_cancel_task(self._context, task)
                idle = not self._lib.iscsi_queue_length(self._context) and not (
                    self._lib.iscsi_which_events(self._context) & select.POLLOUT)
                if idle and answered.answer in (libiscsi.COMPLETE, libiscsi.NO_SUCH_TASK):
                    return
        except (Late, _Lost, TransportError) as failure:
            log.info("%s: the task could not be aborted: %s", self._login, failure or "no answer")
        self.drop()

    def discover(self, deadline: float) -> list[tuple[str, tuple[str, ...]]]:
        """SendTargets: names of targets, and their portals as ``address:port,group``."""
        found = Pending(_take_targets)
        self._kept.append(found)
        if self._lib.iscsi_discovery_async(self._context, ended, found.handle) != 0:
            raise TransportError(f"{self._login}: {self._library.error(self._context)}")
        self._through(found, deadline, self._login.portal)
        if found.status != 0:
            raise TransportError(f"{self._login}: {self._library.error(self._context)}")
        return list(found.answer or ())

    # Service.

    @property
    def alive(self) -> bool:
        """Whether the connection stands, as far as that shows without sending anything."""
        if self._context is None:
            return False
        with suppress(TransportError, Late, _Lost):
            if self._hung_up():
                return False
            self._until(lambda: False, time.monotonic())
        return not self._broken

    def _hung_up(self) -> bool:
        """Whether the peer has closed the connection: with nothing under way the library would not say."""
        fd = self._lib.iscsi_get_fd(self._context)
        with socket.socket(fileno=os.dup(fd)) as connection:
            try:
                return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return False
            except OSError:
                return True

    def _until(self, done: Callable[[], bool], deadline: float) -> None:
        """Serve the connection until ``done``. Raises Late, _Lost, TransportError where woken."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        fd = -1
        self._heard = time.monotonic()
        self._ping = None
        silence = self._silence()
        while not done():
            if fd != self._lib.iscsi_get_fd(self._context):
                fd = self._lib.iscsi_get_fd(self._context)
                poll.register(fd, 0)
            poll.modify(fd, self._lib.iscsi_which_events(self._context))
            left = max(0.0, min(deadline - time.monotonic(), silence / 3))
            ready = dict(poll.poll(left * 1000))
            now = time.monotonic()
            if self._wake in ready:
                raise TransportError(f"{self._login}: closed while a command was under way")
            if fd in ready:
                if ready[fd] & select.POLLIN:
                    self._heard, self._ping = now, None
                    portals.heard(self._login.portal)
                if self._lib.iscsi_service(self._context, ready[fd]) != 0:
                    self._broken = True
                    reason = os_reason(self._library.error(self._context))
                    if reason == _TIMED_OUT:
                        portals.silent(self._login.portal, self._login.silence)
                    raise _Lost(reason)
            if now >= deadline and not done():
                raise Late
            if not ready:
                silence = self._silence()
                self._listen(now, silence)

    def _silence(self) -> float:
        """Seconds without a sign of life that are too many."""
        return portals.patience(self._login.portal, self._login.silence)

    def _listen(self, now: float, silence: float) -> None:
        """Nothing has come for a while: ask for a sign of life, and do not wait for ever for it."""
        if self._lib.iscsi_out_queue_length(self._context):
            return  # It has not been sent: the target takes no more commands for now.
        if self._ping is None:
            if self._heard + silence / 3 <= now:
                ping = self._pending()
                if self._lib.iscsi_nop_out_async(self._context, ended, ffi.NULL, 0, ping.handle) == 0:
                    self._ping = ping
        elif now - self._heard > silence:
            self._broken = True
            portals.silent(self._login.portal, silence)
            raise _Lost(f"nothing was heard for {silence:.0f} s")

    def _pending(self) -> Pending:
        """One whose handle lasts as long as the session: the library may come back to it at any time."""
        pending = Pending()
        self._kept.append(pending)
        return pending

    # The end.

    def close(self) -> None:
        """Log out, if the target is quick about it, and drop the connection. Idempotent."""
        if self._context is None:
            return
        out = self._pending()
        with suppress(Late, _Lost, TransportError):
            if self._lib.iscsi_logout_async(self._context, ended, out.handle) == 0:
                self._until(lambda: out.ended, time.monotonic() + _LOGOUT_WITHIN)
        self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word: the target ends what it has under way. Idempotent."""
        context, self._context = self._context, None
        if context is not None:
            self._lib.iscsi_destroy_context(context)
        self._kept.clear()


class _Lost(Exception):
    """The connection is gone; the text says why."""


def os_reason(said: str) -> str:
    """What the operating system said, out of a message of the library: ``Connection refused``."""
    found = re.search(r"(?:error|errno ?:)\s*([A-Z][A-Za-z ,]+)\(\d+\)", said)
    if found:
        return found[1]
    # Which is what the library says where it was told nothing by anybody.
    return "the target closed it" if not said or "reconnect" in said else said


def _take_targets(data: Any) -> list[tuple[str, tuple[str, ...]]]:
    """A copy of the library's list, which it keeps no longer than its callback lasts."""
    targets = []
    entry = ffi.cast("struct iscsi_discovery_address *", data)
    while entry != ffi.NULL:
        portals = []
        portal = entry.portals
        while portal != ffi.NULL:
            portals.append(text(portal.portal))
            portal = portal.next
        targets.append((text(entry.target_name), tuple(reversed(portals))))
        entry = entry.next
    return targets[::-1]
