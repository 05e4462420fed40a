"""``ndmpd check``: whether a server could start with this configuration, and what it would find. Starts
nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import click

from ndmpd.config import DEFAULT_FILE, Auth, Settings, Unit
from ndmpd.config_types import Iscsi, Node, Virtual
from ndmpd.devices.errors import NoSuchDevice, TransportError
from ndmpd.devices.initiator import initiator_name
from ndmpd.devices.libiscsi import library
from ndmpd.devices.sysfs import Sysfs
from ndmpd.errors import ConfigError
from ndmpd.san import San
from ndmpd.san.errors import SanError


class Verdict(StrEnum):
    """``ERROR``: the server does not start. ``WARNING``: it does, and something will not work."""

    ERROR = "error"
    WARNING = "warning"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    text: str


@click.command()
@click.option("--config", "path", default=DEFAULT_FILE, show_default=True, type=click.Path(path_type=Path),
              help="The configuration to check.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
@click.pass_context
def check(context: click.Context, path: Path, as_json: bool) -> None:
    """Check a configuration without starting anything. Exit status 1 where the server would not start."""
    try:
        findings = list(examine(Settings.load(path)))
    except ConfigError as error:
        findings = [Finding(Verdict.ERROR, line) for line in str(error).split("\n")]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(f"{finding.verdict.value:8}{finding.text}", err=finding.verdict is Verdict.ERROR)
    context.exit(1 if any(finding.verdict is Verdict.ERROR for finding in findings) else 0)


def examine(settings: Settings) -> Iterator[Finding]:
    """What can be said of settings that were loaded, without opening a device."""
    server = settings.server
    yield Finding(Verdict.OK, f"server.listen: {server.listen.endpoint}")
    if server.metrics is not None:
        yield Finding(Verdict.OK, f"server.metrics: {server.metrics.endpoint}")
    yield from _state_dir(server.state_dir)
    for user in settings.user:
        if Auth.NONE in user.auth:
            yield Finding(Verdict.WARNING, f"user {user.name}: anybody who reaches the server gets in; write "
                          "auth = \"md5\" and a secret_file, or limit allow_from")
        elif Auth.TEXT in user.auth and settings.tls is None:
            yield Finding(Verdict.WARNING, f"user {user.name}: with auth \"text\" the password crosses the "
                          "network readably; leave it out, or add [tls]")
        else:
            yield Finding(Verdict.OK, f"user {user.name}: {', '.join(user.auth)}")
    for name, entry in sorted(settings.filesystem.items()):
        parts = [str(entry.path)] if entry.path else []
        parts += [f"disk {entry.disk}"] if entry.disk else []
        yield Finding(Verdict.OK, f"filesystem {name}: {' and '.join(parts)}")
    if not settings.filesystem:
        yield Finding(Verdict.WARNING, "filesystem: nothing is exported, so nothing can be backed up; add "
                      "[filesystem.\"/name\"] with path or disk")
    if not settings.drive:
        yield Finding(Verdict.WARNING, "drive: there is none, so data can only go to other servers' drives "
                      "(three-way)")
    yield from _units(settings)
    yield from _initiator(settings)


def _state_dir(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(Verdict.OK, f"server.state_dir: {path} is not there yet and will be made")
    elif not path.is_dir():
        yield Finding(Verdict.ERROR, f"server.state_dir: {path} is not a folder; name another")
    elif not os.access(path, os.W_OK | os.X_OK):
        yield Finding(Verdict.WARNING, f"server.state_dir: {path} cannot be written by this user; run the "
                      "check as the user of the server")
    else:
        yield Finding(Verdict.OK, f"server.state_dir: {path}")


def _units(settings: Settings) -> Iterator[Finding]:
    try:
        known = set(San.open(settings.server.state_dir / "san").units)
    except SanError:
        known = None  # it will be made at the first start
    units = list(settings.units)
    units += [("datamover", name, Unit(device=mover.device, online=mover.online))
              for name, mover in settings.datamover.items() if mover.device is not None]
    for table, name, unit in units:
        label = f"{table} {name}: {unit.device}"
        problem = _problem(unit, known)
        if not unit.online:
            yield Finding(Verdict.OK, f"{label}: offline by configuration")
        elif problem:
            yield Finding(Verdict.WARNING, f"{label}: {problem}")
        else:
            yield Finding(Verdict.OK, label)


def _problem(unit: Unit, virtual_units: set[str] | None) -> str:
    """Why a unit cannot be used now, as far as that shows without opening it; "" where nothing is wrong."""
    match unit.device:
        case Virtual(name) if virtual_units is not None and name not in virtual_units:
            return f"the embedded SAN has no such unit; it has {', '.join(sorted(virtual_units))}"
        case Node(path):
            try:
                generic = Sysfs().generic(path)
            except NoSuchDevice as failure:
                return str(failure)
            if not os.access(generic, os.R_OK | os.W_OK):
                return f"{generic} may not be opened by this user; run the check as the user of the server"
    return ""


def _initiator(settings: Settings) -> Iterator[Finding]:
    """What all iSCSI devices need, where there are any."""
    if not any(isinstance(device, Iscsi) for device in settings.devices):
        return
    yield Finding(Verdict.OK, f"initiator: {initiator_name(settings.initiator)}")
    try:
        library()
    except TransportError as failure:
        yield Finding(Verdict.WARNING, f"initiator: {failure}")
    targets = {device.target for device in settings.devices if isinstance(device, Iscsi)}
    for target in sorted(targets):
        chosen = settings.initiator.credentials(target)
        if chosen.user is None:
            yield Finding(Verdict.OK, f"target {target}: without CHAP")
        else:
            mutual = ", and has to prove itself" if chosen.target_user is not None else ""
            yield Finding(Verdict.OK, f"target {target}: CHAP as {chosen.user}{mutual}")
