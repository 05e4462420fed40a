"""Data connections: listen, connect, and the upgrade to a local channel where both ends are this server.

Whoever listens on a TCP address also listens on a UNIX socket named after it in the server's run folder.
Whoever is to connect looks there first. The folder belongs to the server alone, and a socket in it whose
listener is gone refuses, so that no nonce is needed to prove that the other end is one of ours; the DMA sees
TCP in both cases.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ndmpd.net.watch import Watch
from ndmpd.services import channel
from protocol.ndmp.address import TcpAddress

CONNECT_TIMEOUT = 30.0
_LOCAL_TIMEOUT = 5.0
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


@dataclass(frozen=True, slots=True)
class Link:
    """A data connection. ``local``: a channel to this server's other side. ``peer``: what DMAs are shown."""

    connection: socket.socket
    local: bool
    peer: TcpAddress


@dataclass(frozen=True, slots=True)
class Where:
    """Where data connections are made. ``address``: what peers are told, of ``bind`` or of a firewall."""

    run_dir: Path
    bind: str
    address: str
    ports: Sequence[int] = (0,)


class Listener:
    """Waits for one peer, on TCP and on the local channel; the first that comes is it.

    Raises OSError where no port is free.
    """

    def __init__(self, reactor: Any, where: Where, accepted: Callable[[Link], None]) -> None:
        self._accepted = accepted
        self._tcp = _bound(where)
        port = self._tcp.getsockname()[1]
        self.address = TcpAddress(int(ipaddress.IPv4Address(where.address)), port)
        self._path = rendezvous(where.run_dir, self.address)
        self._local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            self._path.unlink()
        with short(self._path) as path:
            self._local.bind(path)
        self._local.listen(1)
        self._local.setblocking(False)
        self._watches = [Watch(reactor, self._tcp, self._from_tcp),
                         Watch(reactor, self._local, self._from_here)]

    def look(self) -> None:
        """Take a peer that is there already, before the reactor comes to tell of it."""
        self._from_here()
        self._from_tcp()

    def _from_tcp(self) -> None:
        try:
            connection, peer = self._tcp.accept()
        except OSError:
            return
        connection.setblocking(True)
        keep_alive(connection)
        self._finish(Link(connection, False, TcpAddress(int(ipaddress.IPv4Address(peer[0])), peer[1])))

    def _from_here(self) -> None:
        try:
            connection, _ = self._local.accept()
        except OSError:
            return
        connection.setblocking(True)
        channel.widen(connection)
        self._finish(Link(connection, True, self.address))

    def _finish(self, link: Link) -> None:
        self.close()
        self._accepted(link)

    def close(self) -> None:
        """Idempotent."""
        for watch in self._watches:
            watch.stop()
        self._tcp.close()
        if self._local.fileno() >= 0:
            self._local.close()
            with suppress(FileNotFoundError):
                self._path.unlink()


def rendezvous(run_dir: Path, address: TcpAddress) -> Path:
    """The UNIX socket beside a listening TCP address."""
    return run_dir / f"{ipaddress.IPv4Address(address.ip)}:{address.port}"


def connect(run_dir: Path, addresses: Iterable[TcpAddress]) -> Link:
    """Connect to the first of ``addresses`` that answers; raises the OSError of the last that was tried.

    Blocks, for ``CONNECT_TIMEOUT`` seconds in all: the DMA waits for the reply.
    """
    deadline = time.monotonic() + CONNECT_TIMEOUT
    failure: OSError = ConnectionRefusedError("no address was given to connect to")
    for address in addresses:
        with suppress(OSError):
            return Link(_to_ourselves(run_dir, address), True, address)
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            host = str(ipaddress.IPv4Address(address.ip))
            connection = socket.create_connection((host, address.port), timeout=left)
        except OSError as error:
            failure = error
            continue
        connection.settimeout(None)
        keep_alive(connection)
        return Link(connection, False, address)
    raise failure


def _to_ourselves(run_dir: Path, address: TcpAddress) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A listener that is full lets one wait for ever.
        end.settimeout(_LOCAL_TIMEOUT)
        with short(rendezvous(run_dir, address)) as path:
            end.connect(path)
    except OSError:
        end.close()
        raise
    end.settimeout(None)
    channel.widen(end)
    return end


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for ``path`` that fits the 107 bytes a UNIX socket's address has, wherever its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def keep_alive(connection: socket.socket) -> None:
    """Notice a peer that lost power within two minutes, so that its drive comes free."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _bound(where: Where) -> socket.socket:
    failure: OSError | None = None
    for port in where.ports:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((where.bind, port))
            listening.listen(1)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            failure = error
            continue
        return listening
    raise failure or OSError("data_ports holds no port; widen the range")
