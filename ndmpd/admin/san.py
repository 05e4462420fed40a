"""``ndmpd san``: the embedded SAN on a network."""

from __future__ import annotations

from pathlib import Path

import click

from ndmpd import san_node
from ndmpd.config_types import Listen
from ndmpd.errors import NdmpdError
from ndmpd.san import create
from ndmpd.san.target.portal import Access


@click.group()
def san() -> None:
    """The embedded SAN as a node of a real one."""


@san.command()
@click.option("--embedded", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The folder of the embedded SAN, made at first start.")
@click.option("--listen", default="tcp:3260:interface=127.0.0.1", show_default=True,
              help="Where to listen, like tcp:3260:interface=192.0.2.1.")
def serve(embedded: Path, listen: str) -> None:
    """Serve the units as iSCSI targets, until told to stop."""
    try:
        san_node.serve(create(embedded), Listen.parse(listen), Access(), "INFO")
    except (NdmpdError, OSError, ValueError) as failure:
        raise click.ClickException(str(failure)) from failure
