"""The settings of a server: one frozen, typed value, checked whole before anything starts.

``Settings.load`` reads a TOML file, ``Settings.embedded`` makes what a TOML file for a self-contained server
would say. Both raise ConfigError with one line for each mistake: ``file: key: what is wrong and what to
write``. ``conf/ndmpd.toml`` describes every key. Devices are not opened here: a drive that is switched off
must not keep the server from starting. No secret is ever part of a repr or a message.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import ssl
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ndmpd.config_files import PrivateFile, absolute, read_private, same_tree
from ndmpd.config_initiator import Initiator
from ndmpd.config_mistakes import checked, quoted, read_toml
from ndmpd.config_parts import Mistakes, Origin, Part, Table, no_rows
from ndmpd.config_san import San
from ndmpd.config_types import (
    At,
    Device,
    ExportName,
    Listen,
    ListenAt,
    Ports,
    Serial,
    Size,
    UnitName,
    Wwn,
)
from ndmpd.errors import ConfigError

DEFAULT_FILE = Path("/etc/ndmpd/ndmpd.toml")
NDMP_PORT = 10000
NDMPS_PORT = 30000
PASSWORD_BYTES = 32
"""Longest password: the MD5 digest takes no more (draft 3.1.2), and cutting one silently would be worse."""


class Auth(StrEnum):
    """How a DMA may prove who it is (``ndmp_auth_type``)."""

    NONE = "none"
    TEXT = "text"
    MD5 = "md5"


class MoverType(StrEnum):
    """Who moves the bytes: the head itself, or a copy manager on the SAN."""

    NAS = "NAS"
    SCSI = "SCSI"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _network(value: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network ({error}); write an address like \"192.0.2.7\" or a "
                         "network like \"192.0.2.0/24\"") from None


def _ipv4(value: Any) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{value!r} is not an IPv4 address, the only kind NDMP data "
                         "connections know") from None


Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
HeadName = Annotated[str, Field(min_length=1, max_length=255)]
AbsolutePath = Annotated[Path, BeforeValidator(absolute)]


def _on_loopback(listen: Listen) -> Listen:
    """Metrics are for this machine alone unless an interface is named."""
    return listen if listen.interface else Listen(listen.port, "127.0.0.1")


class Server(Part):
    """``[server]``. ``name``: what other heads that share devices call this one. ``data_ports`` and
    ``data_address`` are for data connections. ``metrics``: where they are served, if anywhere.
    """

    name: HeadName = Field(default_factory=socket.gethostname)
    listen: ListenAt = Field(default=f"tcp:{NDMP_PORT}", validate_default=True)
    state_dir: AbsolutePath = Path("/var/lib/ndmpd")
    max_sessions: int = Field(default=64, ge=1, le=4096)
    data_ports: Ports | None = None
    data_address: Annotated[ipaddress.IPv4Address, BeforeValidator(_ipv4)] | None = None
    log: LogLevel = LogLevel.INFO
    metrics: Annotated[ListenAt, AfterValidator(_on_loopback)] | None = None

    @model_validator(mode="after")
    def _two_places(self) -> Self:
        if self.metrics is not None and self.metrics.port and self.metrics.port == self.listen.port:
            raise Mistakes(("metrics", f"port {self.metrics.port} is where DMAs connect (listen); write "
                                       "another"))
        return self


class Tls(Part):
    """``[tls]``: the same protocol inside TLS. ``certificate`` (with its chain) and ``key`` are PEM files."""

    listen: ListenAt = Field(default=f"tcp:{NDMPS_PORT}", validate_default=True)
    certificate: AbsolutePath
    key: PrivateFile

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        try:
            # A key with a passphrase would ask the terminal for it; an empty one makes it fail instead.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password="")
        except OSError as error:  # which ssl.SSLError is
            raise Mistakes(("certificate", f"{self.certificate} and the key {self.key} cannot be used "
                                           f"together ({error.strerror or error}); write the PEM file of a "
                                           "certificate and that of its own key, without a "
                                           "passphrase")) from None
        return self


class User(Part):
    """``[[user]]``. ``secret`` is read from ``secret_file`` when the settings are loaded."""

    name: str = Field(min_length=1, max_length=63)
    secret_file: AbsolutePath | None = None
    auth: Annotated[tuple[Auth, ...], BeforeValidator(_one_or_more)] = (Auth.MD5,)
    allow_from: Annotated[tuple[Network, ...], BeforeValidator(_one_or_more)] = ()
    secret: SecretStr = Field(default=SecretStr(""), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _secret_is_not_a_key(cls, data: Any) -> Any:
        if isinstance(data, dict) and "secret" in data:
            raise Mistakes(("secret", "a password does not belong in this file; write it to a file of its "
                                      "own and name that as secret_file"))
        return data

    @model_validator(mode="after")
    def _read_secret(self, info: ValidationInfo) -> Self:
        if not self.auth:
            raise Mistakes(("auth", "is empty; write one or more of \"md5\", \"text\", or \"none\""))
        wants_secret = self.auth != (Auth.NONE,)
        if Auth.NONE in self.auth and wants_secret:
            raise Mistakes(("auth", "\"none\" lets this user in without a password, so nothing else can "
                                    "stand beside it; remove one"))
        if not wants_secret:
            if self.secret_file is not None:
                raise Mistakes(("secret_file", "is never read with auth = \"none\"; remove one of them"))
            return self
        if self.secret_file is None:
            raise Mistakes(("secret_file", "is missing; write the path of a file that holds the password "
                                           "and that only the server may read"))
        lenient = isinstance(info.context, Origin) and info.context.lenient
        try:
            secret = read_private(self.secret_file, lenient=lenient)
        except ValueError as error:
            raise Mistakes(("secret_file", str(error))) from None
        if not 1 <= len(secret.encode()) <= PASSWORD_BYTES:
            raise Mistakes(("secret_file", f"{self.secret_file} must hold a password of 1 to "
                                           f"{PASSWORD_BYTES} bytes on its first line, not "
                                           f"{len(secret.encode())}"))
        object.__setattr__(self, "secret", SecretStr(secret))
        return self

    def allows(self, peer: str) -> bool:
        """Whether this user may come from the address ``peer``."""
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(peer)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return not self.allow_from or any(address in network for network in self.allow_from)


class Filesystem(Part):
    """``[filesystem."/name"]``: one export, a folder, a disk of ``[disk]``, or both."""

    path: AbsolutePath | None = None
    disk: UnitName | None = None

    @field_validator("path")
    @classmethod
    def _is_a_folder(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_dir():
            raise ValueError(f"{path} is not a folder of this machine; create or mount it, or remove the "
                             "export")
        return path

    @model_validator(mode="after")
    def _exports_something(self) -> Self:
        if self.path is None and self.disk is None:
            raise ValueError("exports nothing; write path, disk, or both")
        return self


class Unit(Part):
    """``[disk.NAME]``, and what every unit has. ``wwn`` and ``serial`` identify it."""

    device: At
    wwn: Wwn | None = None
    serial: Serial | None = None
    online: bool = True


class Shared(Unit):
    """``[drive.NAME]``, ``[changer.NAME]``. ``preempt``: heads that it is taken from while they hold it."""

    preempt: Annotated[tuple[HeadName, ...], BeforeValidator(_one_or_more)] = ()


class Datamover(Part):
    """``[datamover.NAME]``. ``batchsize`` in bytes: what one EXTENDED COPY command moves."""

    type: MoverType
    device: At | None = None
    wwn: Wwn | None = None
    serial: Serial | None = None
    copythreads: int = Field(default=1, ge=1, le=255)
    batchsize: Size = Field(default=80_000_000, ge=10_000_000, le=1_000_000_000)
    online: bool = True

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.type is MoverType.SCSI and self.device is None:
            raise Mistakes(("device", "is missing; a data mover of type \"SCSI\" is a copy manager, so "
                                      "write where it is reached, like "
                                      "\"iscsi://gw1/iqn.2026-11.example:gw1/0\""))
        if self.type is MoverType.NAS and self.device is not None:
            raise Mistakes(("device", "a data mover of type \"NAS\" is this machine itself; remove it, or "
                                      "write type = \"SCSI\""))
        return self


class Settings(Part):
    """Everything a server is told. Field names are the tables of the file."""

    server: Server = Server()
    tls: Tls | None = None
    san: San = Field(default_factory=San)
    user: tuple[User, ...] = ()
    filesystem: Table[ExportName, Filesystem] = Field(default_factory=no_rows)
    disk: Table[UnitName, Unit] = Field(default_factory=no_rows)
    drive: Table[UnitName, Shared] = Field(default_factory=no_rows)
    changer: Table[UnitName, Shared] = Field(default_factory=no_rows)
    datamover: Table[UnitName, Datamover] = Field(default_factory=no_rows)
    initiator: Initiator = Field(default_factory=Initiator)

    @property
    def units(self) -> Iterator[tuple[str, str, Unit]]:
        """Every configured unit as (table, name, unit)."""
        for table in ("disk", "drive", "changer"):
            for name, unit in getattr(self, table).items():
                yield table, name, unit

    @property
    def devices(self) -> Iterator[Device]:
        """Where units and copy managers are reached, every one that is configured."""
        yield from (unit.device for _, _, unit in self.units)
        yield from (mover.device for mover in self.datamover.values() if mover.device is not None)

    @property
    def copy_managers(self) -> dict[str, Datamover]:
        """The data movers of type SCSI that are online, in the order in which they are tried."""
        return {name: mover for name, mover in self.datamover.items()
                if mover.type is MoverType.SCSI and mover.online}

    @property
    def auth_types(self) -> tuple[Auth, ...]:
        """What any user may log in with, strongest first."""
        return tuple(auth for auth in (Auth.MD5, Auth.TEXT, Auth.NONE)
                     if any(auth in user.auth for user in self.user))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        mistakes = tuple(self._mistakes())
        if mistakes:
            raise Mistakes(*mistakes)
        return self

    def _mistakes(self) -> Iterator[tuple[str, str]]:
        if not self.user:
            yield "user", "nobody could log in; add a [[user]] table with name and secret_file"
        names = [user.name for user in self.user]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "user", f"{name!r} stands there more than once; keep one"
        for export, filesystem in self.filesystem.items():
            key = f"filesystem.{quoted(export)}"
            if filesystem.disk is not None and filesystem.disk not in self.disk:
                yield f"{key}.disk", (f"there is no [disk.{filesystem.disk}]; add it or write one of: "
                                      f"{', '.join(self.disk) or '(no disk is configured)'}")
            if filesystem.path is not None and same_tree(self.server.state_dir, filesystem.path):
                yield f"{key}.path", (f"{filesystem.path} and server.state_dir {self.server.state_dir} lie "
                                      "in one another; a backup would hold the server's own state, so move "
                                      "one of them")
        if MoverType.NAS in self.datamover and self.datamover[MoverType.NAS].type is MoverType.SCSI:
            yield f"datamover.{MoverType.NAS}", "is the name of this machine's own data mover; choose another"
        yield from self.initiator.strangers(self.devices)
        names_seen: dict[str, str] = {}
        devices_seen: dict[str, str] = {}
        for table, name, unit in self.units:
            key, device = f"{table}.{quoted(name)}", str(unit.device)
            if name in names_seen:
                yield key, f"{names_seen[name]} has the same name; DMAs open units by name, so rename one"
            if device in devices_seen:
                yield f"{key}.device", f"{device} is {devices_seen[device]} already; keep one"
            names_seen.setdefault(name, key)
            devices_seen.setdefault(device, key)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Settings:
        """The settings of a TOML file. Raises ConfigError."""
        return checked(cls, _TABLES, read_toml(path), os.fspath(path))

    @classmethod
    def embedded(
        cls,
        directory: str | os.PathLike[str],
        *,
        listen: str | None = None,
        user: str | None = None,
        password_file: str | os.PathLike[str] | None = None,
        exports: Sequence[str | os.PathLike[str]] = (),
        tape_capacity: str | int | None = None,
    ) -> Settings:
        """The settings of a self-contained server that keeps everything, its SAN included, in ``directory``.

        Without a password file the password is made up once and kept in ``directory/password``, mode 0600. It
        listens on the loopback address only, unless told. Raises ConfigError.
        """
        home = Path(os.path.abspath(directory))
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            secret_file = Path(os.path.abspath(password_file)) if password_file else _generated_password(home)
        except OSError as error:
            raise ConfigError(f"{home}: cannot be used for the embedded SAN ({error.strerror}); "
                              "name a folder that can be written") from None
        data: dict[str, Any] = {
            "server": {"listen": listen or f"tcp:{NDMP_PORT}:interface=127.0.0.1", "state_dir": str(home)},
            "san": {} if tape_capacity is None else {"tape_capacity": tape_capacity},
            "user": [{"name": user or "ndmp", "secret_file": str(secret_file), "auth": ["md5", "text"]}],
            "disk": {name: {"device": f"virtual:{name}"} for name in ("disk0", "disk1")},
            "drive": {name: {"device": f"virtual:{name}"} for name in ("tape0", "tape1")},
            "changer": {"mc0": {"device": "virtual:mc0"}},
            "datamover": {"copy0": {"type": "SCSI", "device": "virtual:copy0"}},
            "filesystem": {f"/vol/{name}": {"disk": name} for name in ("disk0", "disk1")},
        }
        for export in exports:
            path = os.path.abspath(export)
            data["filesystem"].setdefault(path, {})["path"] = path
        return checked(cls, _TABLES, data, f"--embedded {home}", lenient=True)


def _generated_password(home: Path) -> Path:
    """``home/password``, with a fresh password in it if it was not there."""
    path = home / "password"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(12) + "\n")
    return path


_TABLES: dict[str, type[Part]] = {
    "server": Server, "tls": Tls, "san": San, "user": User, "filesystem": Filesystem,
    "disk": Unit, "drive": Shared, "changer": Shared, "datamover": Datamover, "initiator": Initiator,
}
