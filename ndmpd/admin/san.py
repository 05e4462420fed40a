"""``ndmpd san``: the embedded SAN on a network."""

from __future__ import annotations

from pathlib import Path

import click

from ndmpd import san_node
from ndmpd.config_node import NodeSettings
from ndmpd.config_types import Listen
from ndmpd.devices.foreign import foreign
from ndmpd.errors import NdmpdError
from ndmpd.san import create
from ndmpd.san.copymanager import __main__ as program
from ndmpd.san.target.portal import Access


@click.group()
def san() -> None:
    """The embedded SAN as a node of a real one."""


@san.command()
@click.option("--embedded", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The folder of the embedded SAN, made at first start.")
@click.option("--listen", default="tcp:3260:interface=127.0.0.1", show_default=True,
              help="Where to listen, like tcp:3260:interface=192.0.2.1.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False),
              help="A TOML file with tables [disk.NAME], [drive.NAME] and [initiator] like ndmpd.toml: units "
                   "of other targets that the copy manager reaches too.")
def serve(embedded: Path, listen: str, config: Path | None) -> None:
    """Serve the units as iSCSI targets, until told to stop."""
    try:
        if config is not None:
            NodeSettings.load(config)
        san_node.serve(create(embedded), Listen.parse(listen), Access(), "INFO", config)
    except (NdmpdError, OSError, ValueError) as failure:
        raise click.ClickException(str(failure)) from failure


@san.command(hidden=True)
@click.argument("san_dir", type=click.Path(path_type=Path, file_okay=False))
@click.argument("config", type=click.Path(path_type=Path, dir_okay=False))
def copymanager(san_dir: Path, config: Path) -> None:
    """The process of the copy manager, which ``serve`` starts."""
    try:
        settings = NodeSettings.load(config)
        program.run(san_dir, foreign(settings.units, settings.initiator))
    except NdmpdError as failure:
        raise click.ClickException(str(failure)) from failure
