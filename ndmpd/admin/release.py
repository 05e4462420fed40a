"""``ndmpd devices --release``: frees a drive or changer that another head, or a host, has left reserved."""

from __future__ import annotations

import json

import click

from ndmpd.config import Settings
from ndmpd.devices.errors import DeviceBusy, NoSuchDevice
from ndmpd.devices.opener import Opener
from ndmpd.management.client import Exit
from ndmpd.services.outcome import FAILURES


def release(context: click.Context, settings: Settings, device: str, as_json: bool) -> None:
    """Take ``device`` from whoever has it reserved, and let go of it. Says who that was; ends ``context``
    where it cannot be done.
    """
    opener = Opener(settings)
    try:
        (settings.server.state_dir / "run").mkdir(mode=0o700, exist_ok=True)
        held = opener.release(device)
    except FAILURES as error:
        see = "; see `ndmpd sessions`" if isinstance(error, DeviceBusy) else ""
        click.echo(f"{error}{see}", err=True)
        context.exit(Exit.NO_SESSION if isinstance(error, NoSuchDevice) else Exit.NO_ANSWER)
    finally:
        opener.close()
    if as_json:
        click.echo(json.dumps({"device": device, "held_by": held}, indent=2))
    else:
        click.echo(f"{device} was held by {held}; it is free" if held else f"{device} was free")
