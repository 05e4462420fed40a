"""``ndmpc copy``: disk to disk, or tape to tape, on one server or between two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import click

from ndmpd.client.agents import TapeAgent
from ndmpd.client.commands import err, honest, observer, print_json
from ndmpd.client.connection import Stop
from ndmpd.client.copies import CopyReport
from ndmpd.client.disk_copy import DiskCopyOrder, copy_disk
from ndmpd.client.display import show_copy
from ndmpd.client.errors import ExitStatus, UrlError, WrongUsage
from ndmpd.client.jobs import Tapes
from ndmpd.client.media import TapeStation
from ndmpd.client.observer import Observer
from ndmpd.client.options import (
    OUTPUT_OPTIONS,
    PASSWORD_VARIABLE,
    SERVER_OPTIONS,
    login,
    options,
    pair,
    stoppable,
)
from ndmpd.client.servers import Login, Servers
from ndmpd.client.tape_copy import MoverSide, TapeCopy, TapeCopyOrder
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import MoverMode

TO_PASSWORD_VARIABLE = "NDMPC_TO_PASSWORD"


@dataclass(frozen=True, slots=True)
class Place:
    """One end of a copy as it is written: ``ndmp://user@host:port/path``. ``server`` None: the other's.

    ``path`` "": a tape.
    """

    server: ServerUrl | None
    path: str


def place(text: str) -> Place:
    """``ndmp://user@host:port/path``; for the second end ``/path`` alone, or ``=``."""
    if text == "=" or text.startswith("/"):
        return Place(None, text.removeprefix("="))
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
@click.option("--drive", "drives", multiple=True, metavar="NAME", help="Tape drive to read.")
@click.option("--to-drive", "to_drives", multiple=True, metavar="NAME",
              help="Tape drive to write. Several: a cartridge in each, used in this order.")
@click.option("--changer", metavar="NAME", help="Media changer that brings cartridges to both drives.")
@click.option("--cartridge", "cartridges", multiple=True, metavar="TAG|@ELEMENT", help="Cartridge to read.")
@click.option("--to-cartridge", "to_cartridges", multiple=True, metavar="TAG|@ELEMENT",
              help="Cartridges to write, in the order of use.")
@click.option("--files", type=click.IntRange(1), metavar="N", help="Copy N tape files. Default: all.")
@click.option("--skip-files", type=click.IntRange(0), default=0, metavar="N",
              help="Leave out the first N tape files.")
@click.option("--append", is_flag=True, help="Write behind all that the cartridge holds.")
@click.option("--to-password-file", metavar="FILE",
              help=f"Password of the destination, if another. Else {TO_PASSWORD_VARIABLE}, else asked.")
@click.option("--allow-partial", is_flag=True, help="End with 0 even if files could not be copied.")
@options(SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def copy(source: Place, destination: Place, **chosen: Any) -> int:
    """Copy SOURCE to DESTINATION, without a file on the way: a file system or a disk, or a tape.

    Disks are written ndmp://user@host:port/PATH, a DESTINATION on the same server as /PATH. Without paths a
    tape is copied: from --drive of SOURCE to --to-drive of DESTINATION; the same server is written = there.
    """
    if source.server is None:
        raise WrongUsage("SOURCE names no server; write it as ndmp://user@host:port/PATH")
    if bool(source.path) != bool(destination.path):
        raise WrongUsage("SOURCE and DESTINATION need a path each (disks), or none (tapes)")
    sender = login(source.server, chosen, chosen["password_file"], PASSWORD_VARIABLE)
    taker = _other(sender, destination, chosen)
    title = source.path or " ".join(chosen["drives"])
    with stoppable() as stop, Servers(sender, None, stop) as one, Servers(taker, None, stop) as other, \
            observer(f"copy {title}", chosen) as bar:
        report = (_disk(source, destination, one, other, chosen, bar) if source.path
                  else _tape(one, other, chosen, stop, bar))
    return conclude(report, chosen)


def _disk(source: Place, destination: Place, one: Servers, other: Servers, chosen: dict[str, Any],
          bar: Observer) -> CopyReport:
    order = DiskCopyOrder(chosen["butype"], source.path, destination.path, chosen["environment"],
                          chosen["swapped"])
    return copy_disk(one.data, other.data, order, bar)


def _tape(one: Servers, other: Servers, chosen: dict[str, Any], stop: Stop, bar: Observer) -> CopyReport:
    order = TapeCopyOrder(chosen["files"], chosen["skip_files"], chosen["append"], chosen["swapped"])
    shelves = (Tapes(chosen["drives"], chosen["changer"], chosen["cartridges"]).shelf(one),
               Tapes(chosen["to_drives"], chosen["changer"], chosen["to_cartridges"]).shelf(other))
    source, destination = (TapeStation(TapeAgent(servers.tape), shelf, stop, bar)
                           for servers, shelf in zip((one, other), shelves, strict=True))
    return TapeCopy(MoverSide(one.tape, MoverMode.WRITE), MoverSide(other.tape, MoverMode.READ),
                    (source, destination), order, bar).run()


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
