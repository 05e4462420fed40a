"""The wiring: a server out of its parts, one function a process.

The listener accepts control connections and hands each to a session process; a session has data processes
made for its jobs. Both are forked from the fork server, which has everything imported and no reactor.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pickle
import resource
import secrets
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import twisted.internet.epollreactor  # noqa: F401  what the reactor needs, imported once for every fork

from ndmpd.config import Auth, Datamover, MoverType, Settings
from ndmpd.config_types import Listen, Virtual
from ndmpd.devices.claims import left_owned
from ndmpd.devices.copymanager import CopyManager
from ndmpd.devices.disk import Disk
from ndmpd.devices.foreign import foreign
from ndmpd.devices.leases import Leases
from ndmpd.devices.opener import Opener
from ndmpd.errors import ConfigError
from ndmpd.formats.registry import butypes
from ndmpd.management.poll import SessionPoll
from ndmpd.management.requests import Requests
from ndmpd.management.server import ManagementServer
from ndmpd.management.sessions import SessionTable
from ndmpd.net import forkserver
from ndmpd.net.control import Control
from ndmpd.net.dataconn import Where, keep_alive
from ndmpd.net.forkserver import ForkServer, SessionForks, Verb, Work
from ndmpd.net.places import Places
from ndmpd.net.shell import Shell
from ndmpd.net.watch import Watch
from ndmpd.san import create
from ndmpd.san.copymanager import server as copy_manager_server
from ndmpd.services import data_process
from ndmpd.services.block_path import BlockPath
from ndmpd.services.block_transfer import BlockTransfer, InterruptibleRun
from ndmpd.services.copy_path import CopyPath
from ndmpd.services.copying import Run
from ndmpd.services.head_path import HeadPath
from ndmpd.services.identities import Identities
from ndmpd.services.inventory import Inventory
from ndmpd.services.jobs import Counters
from ndmpd.services.lowering import Lowering
from ndmpd.services.tally import Tallies, Tally
from ndmpd.services.transfer import Mover, Transfer
from ndmpd.session.core import Session
from ndmpd.session.effects import Send
from ndmpd.session.facts import AuthPolicy, ServerFacts, User
from ndmpd.session.figures import DataFigures, MoverFigures
from ndmpd.volumes import ConfiguredVolumes
from protocol.ndmp.codes import AuthType, Version
from protocol.ndmp.message import Message, Reply
from protocol.ndmp.record import frame

log = logging.getLogger(__name__)

_AUTH = {Auth.NONE: AuthType.NONE, Auth.TEXT: AuthType.TEXT, Auth.MD5: AuthType.MD5}
_CHALLENGE = 64
_ORDER_CHUNK = 1 << 20
_MOST_ORDER = 256 << 20
BACKLOG = 128
_COPY_MANAGER = 0
"""The fork server's number for it; sessions count from 1."""
_REST = 0.5
"""Seconds before a copy manager that died is started again."""


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT. Raises ConfigError and OSError where it cannot start."""
    logging.basicConfig(level=settings.server.log.name, stream=sys.stderr,
                        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")
    lock = _prepare(settings)
    listening = _listening(settings.server.listen)
    tallies = Tallies([name for name, mover in settings.datamover.items() if mover.type is MoverType.SCSI],
                      Places(settings.server.max_sessions).bound)
    forks = ForkServer(Work(
        lambda connection, requests, row: run_session(settings, connection, requests, tallies.tally(row)),
        lambda session, connection, counters: run_job(settings, session, connection, counters),
        lambda: run_copy_manager(settings), lambda: run_cleaning(settings)))
    try:
        _Listener(settings, listening, forks, tallies).run()
    finally:
        listening.close()
        forks.close()
        os.close(lock)


def _prepare(settings: Settings) -> int:
    """The state folder, with nothing in it that a former server left running; the lock that makes it ours."""
    state = settings.server.state_dir
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    run = state / "run"
    run.mkdir(mode=0o700, exist_ok=True)
    os.chmod(run, 0o700)
    lock = os.open(run / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigError(f"{state}: a server runs on this state_dir; stop it, or choose another") from error
    for left in run.iterdir():
        if left.is_socket():
            left.unlink()
    if _has_san(settings):
        create(state, capacity=settings.san.tape_capacity, block_length=settings.san.disk_block_length)
    if settings.tls is not None:
        raise ConfigError("this version does not serve [tls]; remove it")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return lock


def _has_san(settings: Settings) -> bool:
    """Whether there is an embedded SAN, whose copy manager must run."""
    units = [unit.device for _, _, unit in settings.units]
    return any(isinstance(device, Virtual)
               for device in (*units, *(mover.device for mover in settings.datamover.values())))


def _listening(listen: Listen) -> socket.socket:
    host = listen.interface or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, listen.port), family=family, backlog=BACKLOG)


class _Listener:
    """Accepts control connections; keeps count of sessions, and answers whoever runs the server."""

    def __init__(self, settings: Settings, listening: socket.socket, forks: ForkServer,
                 tallies: Tallies) -> None:
        from twisted.internet import reactor

        self._reactor: Any = reactor
        self._settings = settings
        self._listening = listening
        self._forks = forks
        self._places = Places(settings.server.max_sessions)
        self._table = SessionTable(tallies, settings.server.max_sessions)
        self._requests = Requests(reactor, settings, "{} port {}".format(*listening.getsockname()[:2]),
                                  self._table, SessionPoll(reactor, self._ask), self._kill)
        self._last = 0

    def run(self) -> None:
        self._listening.setblocking(False)
        watches = [Watch(self._reactor, self._listening, self._accept),
                   Watch(self._reactor, self._forks.control, self._hear)]
        log.info("listening on %s port %d", *self._listening.getsockname()[:2])
        for watch in watches:
            # Before the reactor calls them off as lost: what is not there would be waited for.
            self._reactor.addSystemEventTrigger("before", "shutdown", watch.stop)
        if self._settings.server.metrics is not None:
            from ndmpd.management.metrics import serve_metrics, url  # a web server, for those who want one

            metrics = _listening(self._settings.server.metrics)
            self._table.metrics = url(metrics)
            serve_metrics(self._reactor, metrics, self._table)
        management = ManagementServer(self._reactor, self._settings.server.state_dir / "run",
                                      self._requests.answer)
        self._reactor.addSystemEventTrigger("before", "shutdown", management.stop)
        if _has_san(self._settings):
            self._start_copy_manager()
        self._clean()
        self._reactor.run()

    def _ask(self, session: int, answer: int) -> None:
        forkserver.send(self._forks.control, Verb.ASK, session, fds=(answer,))

    def _kill(self, session: int, within: int) -> None:
        log.warning("session %d is ended by an operator", session)
        forkserver.send(self._forks.control, Verb.KILL, session, within)

    def _start_copy_manager(self) -> None:
        try:
            forkserver.send(self._forks.control, Verb.COPY_MANAGER, _COPY_MANAGER)
            self._table.copy_manager = True
        except OSError as failure:
            log.error("no process can be made for the copy manager of the embedded SAN: %s", failure)

    def _accept(self) -> None:
        try:
            connection, peer = self._listening.accept()
        except OSError as failure:
            log.warning("accept: %s", failure)
            return
        with connection:
            if not self._places.admits(peer[0], time.monotonic()):
                self._table.refused += 1
                log.warning("%s refused: %d sessions are all that max_sessions allows", peer[0],
                            len(self._places))
                _refuse(connection)
                return
            self._last += 1
            log.info("session %d from %s", self._last, peer[0])
            row = self._table.enter(self._last, peer[0])
            try:
                forkserver.send(self._forks.control, Verb.SESSION, self._last, row, (connection.fileno(),))
            except OSError as failure:
                self._table.leave(self._last, 1)
                log.error("no process can be made for session %d: %s", self._last, failure)
            else:
                self._enter(self._last, peer[0])

    def _enter(self, session: int, address: str) -> None:
        oldest = self._places.enter(session, address, time.monotonic())
        if oldest is not None:
            try:
                forkserver.send(self._forks.control, Verb.DROP, oldest)
            except OSError as failure:
                log.error("session %d cannot be told to make room: %s", oldest, failure)

    def _hear(self) -> None:
        message = forkserver.receive(self._forks.control)
        if message is None:
            log.critical("the fork server died; stopping")
            self._reactor.stop()
            return
        verb, number, status, _ = message
        if verb is Verb.LOGGED_IN:
            self._places.logged_in(number)
            return
        if number == _COPY_MANAGER:
            self._table.copy_manager = False
            log.error("the copy manager of the embedded SAN ended with status %d; starting it again", status)
            self._reactor.callLater(_REST, self._start_copy_manager)
            return
        self._places.leave(number)
        self._table.leave(number, status)
        self._requests.ended(number, status)
        level = logging.INFO if status == 0 else logging.ERROR
        log.log(level, "session %d ended with status %d", number, status)
        self._clean()

    def _clean(self) -> None:
        """Free what sessions owned that are dead, this server's or a former one's."""
        if not any(left_owned(self._settings.server.state_dir / "run")):
            return
        try:
            forkserver.send(self._forks.control, Verb.CLEAN, 0)
        except OSError as failure:
            log.error("no process can be made to free the devices of a session that died: %s", failure)


class _NoFigures:
    def data(self) -> DataFigures:
        return DataFigures()

    def mover(self) -> MoverFigures:
        return MoverFigures()


def _refuse(connection: socket.socket) -> None:
    """Tell the peer that the server is full (2.11.2), if it takes it at once."""
    session = Session(ServerFacts(), AuthPolicy({}), _NoFigures(), lambda: bytes(_CHALLENGE))
    connection.setblocking(False)
    with suppress(OSError):
        for effect in session.refuse("the server has no room for another session; try later", time.time()):
            if isinstance(effect, Send):
                connection.send(frame(effect.record))


def run_session(settings: Settings, connection: socket.socket, requests: socket.socket,
                tally: Tally) -> None:
    """A session process: one control connection from greeting to end."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    try:
        peer, local = connection.getpeername()[0], connection.getsockname()[0]
        keep_alive(connection)
    except OSError:
        log.info("the peer hung up before its session began")
        return
    opener = Opener(settings)
    identities = Identities(opener.unit)
    forks = SessionForks(requests)
    inventories: dict[Version, Inventory] = {}

    def configure(request: Message, version: Version, authorized: bool) -> Reply:
        if version not in inventories:
            inventories[version] = Inventory(settings, version, butypes(Disk), identities)
        return inventories[version].perform(request, authorized=authorized)

    def make_shell(control: Control) -> Shell:
        return Shell(reactor, control, ServerFacts(), policy(settings, peer),
                     lambda: secrets.token_bytes(_CHALLENGE), where(settings, local), forks,
                     configure, opener.device, partial(make_transfer, settings, opener), tally)

    def ended() -> None:
        opener.close()
        if reactor.running:
            reactor.stop()

    def adopt() -> None:
        try:
            # Twisted duplicates the descriptor; ours would keep the connection open behind its back.
            with connection:
                reactor.adoptStreamConnection(connection.fileno(), connection.family, _Once(control))
        except OSError:
            log.info("the peer hung up before its session began")
            ended()

    def hear() -> None:
        match forks.told():
            case (Verb.ASK, [answer]):
                give_account(control, answer)
            case (Verb.DROP, _):
                control.drop_stranger("others wait for a place, and nobody has logged in here")
            case None:
                heard.stop()

    control = Control(reactor, make_shell, forks.logged_in, ended)
    heard = Watch(reactor, requests, hear)
    connection.setblocking(False)
    reactor.callWhenRunning(adopt)
    reactor.addSystemEventTrigger("before", "shutdown", control.finish)
    reactor.run()


def give_account(control: Control, answer: int) -> None:
    """To whoever has the other end of the socket ``answer``, which is closed. Waits for nobody."""
    with socket.socket(fileno=answer) as end, suppress(OSError):
        end.send(json.dumps(control.account()).encode(), socket.MSG_DONTWAIT)


class _Once:
    """A factory of one protocol."""

    def __init__(self, protocol: Control) -> None:
        self._protocol = protocol

    def buildProtocol(self, address: object) -> Control:
        return self._protocol

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""


def policy(settings: Settings, peer: str) -> AuthPolicy:
    """Who may log in from ``peer``."""
    users = {}
    methods: set[AuthType] = set()
    for user in settings.user:
        offered = frozenset(_AUTH[auth] for auth in user.auth)
        if user.allows(peer):
            methods |= offered
            if AuthType.NONE not in offered:
                users[user.name] = User(user.secret.get_secret_value().encode(), offered)
    return AuthPolicy(users, frozenset(methods or {AuthType.MD5}))


def where(settings: Settings, local: str) -> Where:
    """Data connections stay on the address that the control connection came to, unless told otherwise."""
    bind = local.removeprefix("::ffff:")
    ports = settings.server.data_ports
    address = str(settings.server.data_address or bind)
    tried = (0,) if ports is None else secrets.SystemRandom().sample(ports.ports, len(ports.ports))
    return Where(settings.server.state_dir / "run", bind, address, tried)


def make_transfer(settings: Settings, opener: Opener, asked: Mover, run: Run) -> Transfer:
    """The data paths that a run of the mover may take."""
    head = HeadPath(opener.disk)
    paths = [CopyPath(*_copy_manager(settings, opener, name, mover), head, opener.disk, run)
             for name, mover in settings.copy_managers.items()]
    return Transfer(asked, head, paths, run.say, opener)


def make_blocks(settings: Settings, opener: Opener, asked: Mover, lowering: Lowering,
                run: InterruptibleRun) -> BlockTransfer:
    """The data paths between two disks."""
    paths = [BlockPath(*_copy_manager(settings, opener, name, mover), opener.disk, run)
             for name, mover in settings.copy_managers.items()]
    return BlockTransfer(asked, lowering, paths, run)


def _copy_manager(settings: Settings, opener: Opener, name: str,
                  mover: Datamover) -> tuple[Leases, Callable[[], CopyManager], int]:
    """What a data path needs of a data mover of type SCSI: list identifiers, the unit, bytes of a command."""
    leases = Leases(settings.server.state_dir / "run", name, mover.copythreads)
    key = opener.copy_key(name)
    return leases, lambda: CopyManager(lambda: opener.copy_manager(name), name, key), mover.batchsize


def run_copy_manager(settings: Settings) -> None:
    """The process of the embedded SAN that carries out EXTENDED COPY; ps knows it by a name of its own.

    It reaches this head's disks on other targets too.
    """
    Path("/proc/self/comm").write_text(copy_manager_server.PROCESS_NAME)
    disks = [("disk", name, disk) for name, disk in settings.disk.items()]
    copy_manager_server.serve(settings.server.state_dir / "san", foreign=foreign(disks, settings.initiator))


def run_cleaning(settings: Settings) -> None:
    """A process that frees the drives and changers of sessions that died."""
    opener = Opener(settings)
    try:
        opener.free_left()
    finally:
        opener.close()


def run_job(settings: Settings, session: socket.socket, connection: socket.socket, counters: int) -> None:
    """A data process: the order comes first on ``session``, then it is all ours."""
    order = bytearray()
    while data := session.recv(_ORDER_CHUNK):
        order += data
        if len(order) > _MOST_ORDER:
            raise ValueError("an order without end")
    if not order:
        return
    opener = Opener(settings)
    try:
        data_process.run(pickle.loads(bytes(order)), session, connection, Counters(counters), butypes(Disk),
                         ConfiguredVolumes(settings), opener.disk, partial(make_blocks, settings, opener),
                         bool(settings.copy_managers))
    finally:
        opener.close()
