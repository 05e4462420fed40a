"""``ndmpd release``: frees a drive or changer that another head, or a host, has left reserved."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from ndmpd.admin.question import Exit, of_a_server
from ndmpd.config import DEFAULT_FILE, Settings
from ndmpd.devices.errors import DeviceBusy, NoSuchDevice
from ndmpd.devices.opener import Opener
from ndmpd.errors import ConfigError, NdmpdError


@click.command()
@click.argument("device")
@of_a_server
@click.pass_context
def release(context: click.Context, device: str, config: Path | None, embedded: Path | None,
            as_json: bool) -> None:
    """Free DEVICE, a drive or changer, from whoever has it reserved, be it alive or dead.

    What that host does with the device is aborted, and fails: make sure that it is gone, or does not matter.
    A device that a session of this machine uses is not touched; see `ndmpd kill`. Exit status: 0 it is free,
    1 the configuration cannot be used, 3 there is no such device, 4 it is in use here or does not answer.
    """
    if config is not None and embedded is not None:
        raise click.UsageError("--config and --embedded exclude each other")
    if embedded is not None and not embedded.is_dir():
        raise click.UsageError(f"{embedded} is no folder; name that of the server")
    try:
        settings = Settings.embedded(os.path.abspath(embedded)) if embedded else Settings.load(
            config or DEFAULT_FILE)
    except ConfigError as error:
        click.echo(str(error), err=True)
        context.exit(Exit.NOT_RUNNING)
    opener = Opener(settings)
    try:
        (settings.server.state_dir / "run").mkdir(mode=0o700, exist_ok=True)
        held = opener.release(device)
    except (NdmpdError, OSError) as error:
        see = "; see `ndmpd sessions`" if isinstance(error, DeviceBusy) else ""
        click.echo(f"{error}{see}", err=True)
        context.exit(Exit.NO_SESSION if isinstance(error, NoSuchDevice) else Exit.NO_ANSWER)
    finally:
        opener.close()
    if as_json:
        click.echo(json.dumps({"device": device, "held_by": held}, indent=2))
    else:
        click.echo(f"{device} was held by {held}; it is free" if held else f"{device} was free")
