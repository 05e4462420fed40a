"""``ndmpd san``: the embedded SAN on a network."""

from __future__ import annotations

from pathlib import Path

import click

from ndmpd import san_node
from ndmpd.config_node import NodeSettings
from ndmpd.config_san import ISCSI_PORT, Target
from ndmpd.config_types import Listen
from ndmpd.devices.foreign import foreign
from ndmpd.errors import NdmpdError
from ndmpd.san import create
from ndmpd.san.copymanager import __main__ as program
from ndmpd.san.outside import outside_disk, with_outside_disks
from ndmpd.san.target.authentication import ChapUser
from ndmpd.san.target.portal import Access

_LOOPBACK = Listen(ISCSI_PORT, "127.0.0.1")


def _access(target: Target) -> Access:
    """Who may come, as the target wants it."""
    users = {one.name: ChapUser(one.name, one.secret.get_secret_value().encode(), one.our_name or "",
                                one.our_secret.get_secret_value().encode()) for one in target.user}
    return Access(frozenset(target.allow), users)


@click.group()
def san() -> None:
    """The embedded SAN as a node of a real one."""


@san.command()
@click.option("--embedded", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The folder of the embedded SAN, made at first start.")
@click.option("--listen", help="Where to listen, like tcp:3260:interface=192.0.2.1 [default: what the "
                               "configuration says, and tcp:3260:interface=127.0.0.1 without one].")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False),
              help="A TOML file with tables of ndmpd.toml. [san.target]: who may come; [san.disk.NAME]: "
                   "files and block devices to serve; [disk.NAME], [drive.NAME], [initiator]: units of other "
                   "targets that the copy manager reaches too.")
def serve(embedded: Path, listen: str | None, config: Path | None) -> None:
    """Serve the units as iSCSI targets, until told to stop."""
    try:
        settings = NodeSettings() if config is None else NodeSettings.load(config)
        served = settings.san
        where = Listen.parse(listen) if listen else served.target.listen if config else _LOOPBACK
        disks = [outside_disk(name, str(disk.path), read_only=disk.read_only, block_length=disk.block_length)
                 for name, disk in served.disk.items()]
        node = create(embedded, capacity=served.tape_capacity, block_length=served.disk_block_length)
        san_node.serve(with_outside_disks(node, disks), where, _access(served.target), "INFO", config)
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
