"""``ndmpc copy``: disk to disk, on one server or between two."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import click

from ndmpd.client.commands import err, honest, observer, print_json
from ndmpd.client.copies import CopyReport
from ndmpd.client.disk_copy import DiskCopyOrder, copy_disk
from ndmpd.client.display import show_copy
from ndmpd.client.errors import ExitStatus, UrlError, WrongUsage
from ndmpd.client.options import (
    OUTPUT_OPTIONS,
    PASSWORD_VARIABLE,
    SERVER_OPTIONS,
    login,
    options,
    pair,
    stoppable,
)
from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl

TO_PASSWORD_VARIABLE = "NDMPC_TO_PASSWORD"


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a copy as it is written: ``ndmp://user@host:port/path``. ``server`` None: the other's."""

    server: ServerUrl | None
    path: str


def place(text: str) -> Place:
    """``ndmp://user@host:port/path``, or for the second end ``/path`` alone."""
    if text.startswith("/"):
        return Place(None, text)
    scheme, separator, rest = text.partition("://")
    host, slash, path = (rest if separator else scheme).partition("/")
    try:
        return Place(ServerUrl.parse(f"{scheme if separator else 'ndmp'}://{host}"),
                     unquote(slash + path) if path else "")
    except UrlError as problem:
        raise click.BadParameter(f"{problem}/PATH") from None


@click.command()
@click.argument("source", type=place)
@click.argument("destination", type=place)
@click.option("-B", "--butype", "--type", "butype", default="tar", show_default=True,
              help="Backup type (see query): image copies a disk, by a copy manager where there is one.")
@click.option("--swap-connect", "swapped", is_flag=True,
              help="The source listens and the destination connects.")
@click.option("-E", "--env", "environment", type=pair, multiple=True, metavar="NAME=VALUE",
              help="Variable for both servers; goes before all others.")
@click.option("--to-password-file", metavar="FILE",
              help=f"Password of the destination, if another. Else {TO_PASSWORD_VARIABLE}, else asked.")
@click.option("--allow-partial", is_flag=True, help="End with 0 even if files could not be copied.")
@options(SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def copy(source: Place, destination: Place, **chosen: Any) -> int:
    """Copy a file system or a disk of SOURCE to DESTINATION, without a tape.

    Both are written ndmp://user@host:port/PATH; a DESTINATION on the same server as /PATH.
    """
    if source.server is None:
        raise WrongUsage("SOURCE names no server; write it as ndmp://user@host:port/PATH")
    if not source.path or not destination.path:
        raise WrongUsage("SOURCE and DESTINATION need a path each: ndmp://user@host:port/PATH")
    sender = login(source.server, chosen, chosen["password_file"], PASSWORD_VARIABLE)
    taker = _other(sender, destination, chosen)
    order = DiskCopyOrder(chosen["butype"], source.path, destination.path, chosen["environment"],
                          chosen["swapped"])
    with stoppable() as stop, closing(sender.open(stop)) as one, closing(taker.open(stop)) as other, \
            observer(f"copy {source.path}", chosen) as bar:
        try:
            report = copy_disk(one, other, order, bar)
        finally:
            stop.heeded = False
    return conclude(report, chosen)


def _other(sender: Login, destination: Place, chosen: dict[str, Any]) -> Login:
    """How the destination's server lets us in: the same user of the same server has the same password."""
    if destination.server in (None, sender.url) and not chosen["to_password_file"]:
        return sender
    return login(destination.server or sender.url, chosen, chosen["to_password_file"], TO_PASSWORD_VARIABLE)


def conclude(report: CopyReport, chosen: dict[str, Any]) -> int:
    """Show the report; the exit status it deserves."""
    status = report.exit_status
    if status == ExitStatus.PARTIAL and chosen["allow_partial"]:
        status = ExitStatus.OK
    if chosen["as_json"]:
        print_json({**report.document(), "exit_status": int(status)})
    if not chosen["quiet"]:
        show_copy(err, report)
    return status
