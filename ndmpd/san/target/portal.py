"""Where initiators come in: accepts, logs in, and keeps what sessions share. RFC 7143 clauses 4.3, 6.3.5."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ndmpd.errors import NdmpdError
from ndmpd.san.errors import SanError
from ndmpd.san.folder import San
from ndmpd.san.nexus import Nexus
from ndmpd.san.target.authentication import ChapUser
from ndmpd.san.target.channel import Channel, Gone
from ndmpd.san.target.entrance import log_in
from ndmpd.san.target.executor import Seat
from ndmpd.san.target.logical_unit import LogicalUnit
from ndmpd.san.target.login import Login, LoginRefused, Rules
from ndmpd.san.target.session import Identity, Session
from ndmpd.san.target.texts import Texts
from protocol.errors import WireError
from protocol.iscsi.session import LoginStatus

_log = logging.getLogger(__name__)

PREFIX = "iqn.2026-11.io.ndmpd:"
MAX_CONNECTIONS = 256
MAX_STRANGERS = 32
"""Connections that have not logged in yet."""
LOGIN_TIME = 20.0
"""Seconds that a login phase may take."""
_REPLACING = 30.0
"""Seconds in which a session that is replaced has ended."""


@dataclass(frozen=True, slots=True)
class Access:
    """``initiators``: names of those that may come; empty for all. ``users``: see ``Rules``."""

    initiators: frozenset[str] = frozenset()
    users: Mapping[str, ChapUser] = field(default_factory=dict)


class Portal:
    """``accepted`` gives it connections; each is served by threads of its own until ``stop``."""

    def __init__(self, san: San, access: Access) -> None:
        self._san = san
        self._units = {PREFIX + name: LogicalUnit(san, name) for name in san.units}
        self._rules = Rules(lambda initiator, _: not access.initiators or initiator in access.initiators,
                            self._units.__contains__, access.users)
        self._guard = threading.Lock()
        self._ended = threading.Condition(self._guard)
        self._channels: set[Channel] = set()
        self._strangers = 0
        self._sessions: dict[int, Session] = {}
        self._nexuses: dict[str, tuple[Nexus, int]] = {}
        self._stopping = False
        self._last = 0

    @property
    def targets(self) -> list[str]:
        return sorted(self._units)

    def accepted(self, connection: socket.socket) -> None:
        """Serve a new connection, which is ours from now on."""
        with self._guard:
            full = (self._stopping or len(self._channels) >= MAX_CONNECTIONS
                    or self._strangers >= MAX_STRANGERS)
            if not full:
                try:
                    peer, own = connection.getpeername()[:2], connection.getsockname()[:2]
                    channel = Channel(connection)
                except OSError:
                    full = True  # it hung up already
                else:
                    self._channels.add(channel)
                    self._strangers += 1
        if full:
            connection.close()
            return
        threading.Thread(target=self._serve, args=(channel, peer, own), daemon=True, name="initiator").start()

    def stop(self, patience: float = 10.0) -> None:
        """End all sessions, and wait for what they have under way."""
        with self._guard:
            self._stopping = True
            channels = list(self._channels)
        for channel in channels:
            channel.hang_up()
        with self._guard:
            self._ended.wait_for(lambda: not self._channels, patience)
        for unit in self._units.values():
            unit.close()

    def _serve(self, channel: Channel, peer: tuple[str, int], own: tuple[str, int]) -> None:
        session: Session | None = None

        def enter(login: Login, cmd_sn: int, stat_sn: int) -> Session:
            nonlocal session
            session = self._enter(channel, own, login, cmd_sn, stat_sn)
            session.arrive()
            return session

        try:
            try:
                channel.deadline = time.monotonic() + LOGIN_TIME
                session = log_in(channel, self._rules, enter)
                channel.deadline = None
            finally:
                with self._guard:
                    self._strangers -= 1
            identity = session.identity
            where = identity.target or "discovery"
            _log.info("%s from %s logged in to %s", identity.initiator, peer[0], where)
            session.run()
            _log.info("%s left %s", identity.initiator, where)
        except LoginRefused as refused:
            _log.warning("%s may not log in: %s", peer[0], refused)
        except (Gone, WireError) as error:
            _log.info("connection of %s ends: %s", peer[0], error)
        except Exception:
            _log.exception("connection of %s", peer[0])
        finally:
            # The initiator may come again only when nothing of this session is left.
            if session is not None:
                self._leave(session)
            channel.hang_up()
            channel.close()
            with self._guard:
                self._channels.discard(channel)
                self._ended.notify_all()

    # Sessions.

    def _enter(self, channel: Channel, own: tuple[str, int], login: Login, cmd_sn: int,
               stat_sn: int) -> Session:
        """A session for whoever has logged in; one that the same initiator port has with the same target is
        ended first (6.3.5).
        """
        with self._guard:
            if self._stopping:
                raise LoginRefused(LoginStatus.UNAVAILABLE, "the target is being stopped")
            if login.tsih:
                known = login.tsih in self._sessions
                raise LoginRefused(LoginStatus.TOO_MANY_CONNECTIONS if known else LoginStatus.NO_SESSION,
                                   f"{login.initiator} asks for a connection of session {login.tsih}")
            name = (login.initiator, login.isid, login.target)
            while (former := self._named(name)) is not None:
                former.end("it is replaced by a new one")
                if not self._ended.wait_for(lambda: self._named(name) is not former, _REPLACING):
                    raise LoginRefused(LoginStatus.OUT_OF_RESOURCES,
                                       f"the former session of {name} does not end")
            tsih = self._last = self._free_tsih()
            identity = Identity(login.initiator, login.isid, tsih, login.target)
            seat = None
            if not login.discovery:
                seat = Seat(self._san, self._units[login.target], self._hold(identity))
            texts = Texts(lambda: self.targets, login.target, address_text(own))
            session = Session(channel, identity, login.parameters, cmd_sn, stat_sn, seat,
                              lambda: self._peers(login.target), texts)
            self._sessions[tsih] = session
        return session

    def _named(self, name: tuple[str, int, str]) -> Session | None:
        if not name[2]:
            return None
        return next((one for one in self._sessions.values()
                     if (one.identity.initiator, one.identity.isid, one.identity.target) == name), None)

    def _free_tsih(self) -> int:
        found = self._last
        while (found := found % 0xFFFF + 1) in self._sessions:
            pass
        return found

    def _peers(self, target: str) -> list[Session]:
        with self._guard:
            return [one for one in self._sessions.values() if one.identity.target == target]

    def _leave(self, session: Session) -> None:
        unit = self._units.get(session.identity.target)
        if unit is not None:
            try:
                unit.lose(session.nexus)
            except (NdmpdError, OSError) as error:
                _log.error("%s keeps what %s held: %s", unit.name, session.nexus, error)
        with self._guard:
            del self._sessions[session.identity.tsih]
            if session.nexus:
                self._let_go(session.nexus)
            self._ended.notify_all()

    # Nexuses: an initiator port is one nexus to all units, whatever number of targets it is logged in to.

    def _hold(self, identity: Identity) -> str:
        name = f"{identity.initiator},i,0x{identity.isid:012x}"
        nexus, count = self._nexuses.get(name) or (None, 0)
        try:
            nexus = nexus or Nexus(self._san.path, name)
        except SanError as error:
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, str(error)) from error
        self._nexuses[name] = (nexus, count + 1)
        return name

    def _let_go(self, name: str) -> None:
        nexus, count = self._nexuses.pop(name)
        if count > 1:
            self._nexuses[name] = (nexus, count - 1)
        else:
            nexus.close()


def address_text(address: tuple[str, int]) -> str:
    host = address[0].removeprefix("::ffff:")
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"
