"""``ndmpd devices``: which drives, changers, disks and copy managers there are, and how to configure them.

It asks units who they are, and uses none; but for ``--release`` (``ndmpd.admin.release``).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from ndmpd.admin.release import release
from ndmpd.admin.which_server import of_a_server
from ndmpd.config import DEFAULT_FILE, MoverType, Settings
from ndmpd.config_initiator import Initiator
from ndmpd.config_types import ISCSI_PORT, Iscsi, Node
from ndmpd.devices.discovery import Copies, Found, embedded_units, examine, kernel_units, portal_units
from ndmpd.devices.errors import NoSuchDevice
from ndmpd.devices.opener import Opener
from ndmpd.devices.sysfs import Sysfs
from ndmpd.errors import ConfigError, NdmpdError
from protocol.scsi.spc import DeviceType

_KINDS = {DeviceType.DISK: ("disk", "disk"), DeviceType.TAPE: ("tape drive", "drive"),
          DeviceType.CHANGER: ("changer", "changer"), DeviceType.PROCESSOR: ("copy manager", "datamover")}
"""What people call a device type, and the table of the configuration that it belongs in."""
_STEMS = {"disk": "disk", "drive": "tape", "changer": "mc", "datamover": "copy"}


@dataclass(frozen=True, slots=True)
class Device:
    """``configured``: (table, name) by which the configuration has it, None where it has not."""

    found: Found
    configured: tuple[str, str] | None = None

    @property
    def kind(self) -> str:
        return _KINDS.get(DeviceType(self.found.type), ("", ""))[0] if self._known else "unit"

    @property
    def table(self) -> str:
        """Where it would be configured; "" for what this software has no use for."""
        found = self.found
        if not self._known or found.problem:
            return ""
        table = _KINDS[DeviceType(found.type)][1]
        return table if table != "datamover" or found.copies is not None else ""

    @property
    def _known(self) -> bool:
        return self.found.type in list(_KINDS)

    def document(self) -> dict[str, Any]:
        found = self.found
        return {**asdict(found), "device": str(found.device), "kind": self.kind,
                "configured": " ".join(self.configured) if self.configured else None}


def portal(context: click.Context, parameter: click.Parameter,
           values: tuple[str, ...]) -> list[tuple[str, int]]:
    """HOST, HOST:PORT or [ADDRESS]:PORT."""
    found = []
    for value in values:
        host, separator, port = value.rpartition(":")
        if not separator or value.endswith("]"):
            host, port = value, str(ISCSI_PORT)
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise click.BadParameter(f"{value!r} is not a portal; write HOST or HOST:PORT")
        found.append((host, int(port)))
    return found


@click.command()
@click.option("--portal", "portals", multiple=True, callback=portal, metavar="HOST[:PORT]",
              help="Look behind this iSCSI portal too. Those of configured devices are looked at anyway.")
@click.option("--release", "released", metavar="DEVICE",
              help="Only free this drive or changer from whoever has it reserved, be it alive or dead.")
@of_a_server
@click.pass_context
def devices(context: click.Context, portals: list[tuple[str, int]], released: str | None,
            config: Path | None, embedded: Path | None, as_json: bool) -> None:
    """List drives, changers, disks and copy managers: configured, of this machine, behind iSCSI portals, and
    of the embedded SAN. Ends with tables for the configuration, ready to paste, of those that it lacks.

    With --release nothing is listed. What the host that has DEVICE does with it is aborted, and fails: make
    sure that it is gone, or does not matter. A device that a session of this machine uses is not touched; see
    `ndmpd kill`. Exit status then: 0 it is free, 1 the configuration cannot be used, 3 there is no such
    device, 4 it is in use here or does not answer.
    """
    if portals and released is not None:
        raise click.UsageError("--portal and --release exclude each other")
    settings = _settings(config, embedded)
    if released is not None:
        if settings is None:
            raise click.ClickException(f"{DEFAULT_FILE} is not there; name the server's configuration with "
                                       "--config, or its folder with --embedded")
        release(context, settings, released, as_json)
        return
    remarks: list[str] = []
    listed = list(survey(settings, portals, remarks))
    if as_json:
        click.echo(json.dumps({"devices": [one.document() for one in listed], "remarks": remarks}, indent=2))
        return
    for one in listed:
        for line in described(one):
            click.echo(line)
    if not listed:
        click.echo("There are no devices. Name iSCSI portals with --portal; for SCSI devices of this machine "
                   "the kernel's module sg is needed.")
    for remark in remarks:
        click.echo(remark, err=True)
    text = "\n".join(stanzas(listed))
    if text:
        click.echo(f"\n# For the configuration:\n{text}", nl=False)


def _settings(config: Path | None, embedded: Path | None) -> Settings | None:
    """None where there is no configuration yet: then devices are looked for to write one."""
    if config is not None and embedded is not None:
        raise click.UsageError("--config and --embedded exclude each other")
    if embedded is not None and not embedded.is_dir():
        raise click.UsageError(f"{embedded} is no folder; name that of the server")
    if config is None and embedded is None and not DEFAULT_FILE.exists():
        return None
    try:
        if embedded is not None:
            return Settings.embedded(os.path.abspath(embedded))
        return Settings.load(config or DEFAULT_FILE)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def survey(settings: Settings | None, portals: Iterable[tuple[str, int]], remarks: list[str],
           sysfs: Sysfs | None = None) -> Iterator[Device]:
    """Configured devices first, then all others, each once. What cannot be looked at is added to
    ``remarks``.
    """
    sysfs = sysfs or Sysfs()
    listed: set[str] = set()
    wanted = dict.fromkeys(portals)
    if settings is not None:
        for one in _configured(settings):
            listed |= _names(one.found, sysfs)
            yield one
        wanted |= dict.fromkeys((device.host, device.port) for device in settings.devices
                                if isinstance(device, Iscsi))
    found = [*kernel_units(sysfs)]
    if settings is not None:
        found += embedded_units(settings.server.state_dir)
    for host, port in wanted:
        try:
            found += portal_units(settings.initiator if settings else Initiator(), host, port)
        except NdmpdError as failure:
            remarks.append(str(failure))
    yield from (Device(one) for one in found if not _names(one, sysfs) & listed)


def _configured(settings: Settings) -> Iterator[Device]:
    with closing(Opener(settings)) as opener:
        for table, name, unit in settings.units:
            found = Found(unit.device, problem="" if unit.online else "offline by configuration")
            yield Device(examine(partial(opener.unit, name), found) if unit.online else found, (table, name))
        for name, mover in settings.datamover.items():
            if mover.type is MoverType.SCSI and mover.device is not None:
                found = Found(mover.device, problem="" if mover.online else "offline by configuration")
                yield Device(examine(partial(opener.copy_manager, name), found) if mover.online else found,
                             ("datamover", name))


def _names(found: Found, sysfs: Sysfs) -> set[str]:
    """What says that two are one: the path, and for units of this machine their generic node."""
    names = {str(found.device).lower()}
    if isinstance(found.device, Node):
        try:
            names.add(sysfs.generic(found.device.path))
        except NoSuchDevice:
            pass
    return names


def described(one: Device) -> Iterator[str]:
    """Lines for people."""
    found = one.found
    title = " ".join(part for part in (found.vendor, found.product, found.revision) if part)
    yield f"{found.device}" + (f"  ({', '.join(found.nodes)})" if found.nodes else "")
    if found.problem:
        yield f"    not usable: {found.problem}"
    if title:
        yield f"    {one.kind}: {title}" + (f", serial number {found.serial}" if found.serial else "")
    if found.designators:
        yield f"    names: {', '.join(found.designators)}"
    if found.copies is not None:
        yield f"    copy manager: {copying(found.copies)}"
    if one.configured:
        yield f"    configured as [{'.'.join(one.configured)}]"


def copying(copies: Copies) -> str:
    """What a copy manager can do, on one line."""
    segments = " ".join(f"{one:02X}" for one in copies.segments)
    parts = [f"segments {segments}h" if segments else "does not say which segments it takes"]
    for number, text in ((copies.max_segments, "segments"), (copies.max_cscds, "units")):
        if number is not None:
            parts.append(f"at most {number} {text} a command")
    if copies.max_segment_length:
        parts.append(f"{copies.max_segment_length} bytes a segment")
    return ", ".join(parts)


def stanzas(listed: Iterable[Device]) -> Iterator[str]:
    """Tables of the configuration for what is not configured."""
    known = list(listed)
    taken = {one.configured[1] for one in known if one.configured}
    for one in known:
        if one.configured or not one.table:
            continue
        stem = _STEMS[one.table]
        name = next(name for name in (f"{stem}{number}" for number in range(len(known) + len(taken) + 1))
                    if name not in taken)
        taken.add(name)
        lines = [f"[{one.table}.{name}]"]
        if one.table == "datamover":
            lines.append('type = "SCSI"')
        lines.append(f"device = {_quoted(str(one.found.device))}")
        lines += [f"{key} = {_quoted(value)}" for key, value in (("wwn", one.found.wwn),
                                                                ("serial", one.found.serial)) if value]
        yield "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text)
