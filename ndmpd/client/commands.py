"""The commands of ``ndmpc``. Each opens connections, runs a job, shows its report and ends with its exit
status."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from rich.console import Console

from ndmpd.client.backup import BackupOrder
from ndmpd.client.catalogue import Backup, Catalogue, Medium
from ndmpd.client.display import Bar, show_report
from ndmpd.client.errors import ClientError, ExitStatus, WrongUsage
from ndmpd.client.history import History
from ndmpd.client.jobs import Report, run_backup, run_restore, run_toc
from ndmpd.client.listing import print_listing, show_query
from ndmpd.client.movement import ALL
from ndmpd.client.options import (
    OUTPUT_OPTIONS,
    SERVER_OPTIONS,
    TAPE_OPTIONS,
    access,
    login,
    merged,
    options,
    server_url,
    size,
    stoppable,
    tapes,
)
from ndmpd.client.options import PASSWORD_VARIABLE as PASSWORD
from ndmpd.client.query import query as ask
from ndmpd.client.restore import RestoreOrder, Wanted, select
from ndmpd.client.servers import Servers
from ndmpd.client.url import ServerUrl

err = Console(stderr=True)


def honest(command: Callable[..., int]) -> Callable[..., None]:
    """End with the status that the command returns, or with the one of the error that stopped it."""
    @wraps(command)
    def run(**chosen: Any) -> None:
        try:
            status = command(**chosen)
        except ClientError as problem:
            status = problem.exit_status
            err.print(f"[bold red]✗[/] {click.get_current_context().info_name}: ", end="", highlight=False)
            err.print(str(problem), markup=False, highlight=False)
            if chosen.get("as_json"):
                print_json({"result": problem.exit_status.name.lower(), "problem": str(problem),
                            "exit_status": int(status)})
        except KeyboardInterrupt:
            err.print("[bold red]✗[/] interrupted; the server ends what was under way")
            status = ExitStatus.INTERRUPTED
        sys.exit(status)
    return run


def print_json(document: dict[str, Any]) -> None:
    json.dump(document, sys.stdout, indent=2)
    sys.stdout.write("\n")


def conclude(report: Report, chosen: dict[str, Any]) -> int:
    """Show the report; the exit status it deserves."""
    status = report.exit_status
    if status == ExitStatus.PARTIAL and chosen["allow_partial"]:
        status = ExitStatus.OK
    if chosen["as_json"]:
        print_json({**report.document(), "exit_status": int(status)})
    if not chosen["quiet"]:
        show_report(err, report)
    return status


def observer(title: str, chosen: dict[str, Any], total: int = 0) -> Bar:
    console = Console(stderr=True, quiet=True) if chosen["quiet"] else err
    return Bar(console, title, total, chosen["verbose"])


@click.command()
@click.argument("server", type=server_url)
@click.argument("filesystem")
@click.option("-B", "--butype", default="tar", show_default=True, help="Backup type (see query).")
@click.option("-c", "--catalogue", metavar="FILE", help="Catalogue to write, or to append to.")
@click.option("-b", "--record-size", type=size, default="256KiB", show_default=True,
              help="A multiple of 512 up to 1MiB.")
@click.option("--history", type=click.Choice(["y", "n", "f", "d"]), default="y", show_default=True,
              help="File history: y as the server likes, f paths, d directories and nodes, n none.")
@click.option("--level", default="0", show_default=True, help="Level of an incremental backup.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Names not to back up.")
@click.option("--limit", type=size, help="Put no more than this on one cartridge.")
@click.option("--skip-files", type=click.IntRange(0), default=0, metavar="N",
              help="Write behind N file marks.")
@click.option("--append", is_flag=True, help="Write behind all that the first cartridge holds.")
@click.option("--allow-partial", is_flag=True, help="End with 0 even if files could not be read.")
@options(TAPE_OPTIONS, SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def backup(server: ServerUrl, filesystem: str, **chosen: Any) -> int:
    """Back up FILESYSTEM of SERVER to tape.

    Whatever is on the cartridge is overwritten, unless --append or --skip-files says otherwise.
    """
    own = [("FILESYSTEM", filesystem), ("TYPE", chosen["butype"]), ("HIST", chosen["history"]),
           ("LEVEL", chosen["level"]), *(("EXCLUDE", pattern) for pattern in chosen["exclude"])]
    order = BackupOrder(chosen["butype"], merged(chosen["environment"], own), chosen["record_size"],
                        chosen["limit"], chosen["skip_files"], chosen["append"])
    granted = access(server, chosen)
    catalogue = Catalogue.open(chosen["catalogue"], create=True) if chosen["catalogue"] else None
    try:
        with stoppable() as stop, Servers(granted.data, granted.tape, stop) as servers, \
                observer(f"backup {filesystem}", chosen) as bar:
            report = run_backup(servers, tapes(chosen), order, stop=stop, observer=bar, catalogue=catalogue,
                                swapped=chosen["swapped"])
    finally:
        if catalogue is not None:
            catalogue.close()
    return conclude(report, chosen)


BACK_OPTIONS = (
    click.option("-c", "--catalogue", metavar="FILE", help="Catalogue that the backup wrote."),
    click.option("--backup", "number", type=int, metavar="N",
                 help="Which backup in it. Default: the latest whole one."),
    click.option("-B", "--butype", help="Backup type, if there is no catalogue.", metavar="NAME"),
    click.option("-b", "--record-size", type=size, help="Record size, if there is no catalogue."),
    click.option("--skip-files", type=click.IntRange(0), default=0, metavar="N",
                 help="File marks before the data, if there is no catalogue."),
)


def stored(catalogue: Catalogue | None, chosen: dict[str, Any]) -> tuple[Backup | None, list[Medium]]:
    """The backup to read back and its cartridges; without a catalogue, those on the command line."""
    if catalogue is not None:
        found = catalogue.backup(chosen["number"])
        return found, catalogue.media(found.id)
    if not chosen["butype"] or not chosen["record_size"]:
        raise WrongUsage("give the --catalogue of the backup, or --butype and --record-size")
    count = max(1, len(chosen["cartridges"]) if chosen["changer"] else len(chosen["drives"]))
    return None, [Medium("", "", chosen["skip_files"] if index == 0 else 0, 0, ALL) for index in range(count)]


def order_for(catalogue: Catalogue | None, chosen: dict[str, Any], wanted: tuple[Wanted, ...] = (),
              root: str = "", extra: tuple[tuple[str, str], ...] = ()) -> RestoreOrder:
    found, media = stored(catalogue, chosen)
    saved = catalogue.environment(found.id) if catalogue is not None and found is not None else []
    environment = merged(merged(chosen["environment"], extra), saved)
    return RestoreOrder(
        chosen["butype"] or (found.butype if found else ""), environment,
        chosen["record_size"] or (found.record_size if found else 0), tuple(media), wanted, root)


@click.command()
@click.argument("server", type=server_url)
@click.argument("names", nargs=-1, metavar="[[NEW=]OLD]...")
@click.option("--to", "root", default="", metavar="FOLDER", help="Restore below this folder of the server.")
@click.option("--no-direct", is_flag=True, help="Read all of it even if it is known where the files lie.")
@click.option("--allow-partial", is_flag=True, help="End with 0 even if files could not be restored.")
@options(BACK_OPTIONS, TAPE_OPTIONS, SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def restore(server: ServerUrl, names: tuple[str, ...], root: str, no_direct: bool, **chosen: Any) -> int:
    """Restore a backup, or the files OLD of it (under the name NEW, where one is given), from tape."""
    catalogue = Catalogue.open(chosen["catalogue"]) if chosen["catalogue"] else None
    try:
        found, _ = stored(catalogue, chosen)
        wanted = select(names, root, found.filesystem if found else "")
        extra: tuple[tuple[str, str], ...] = ()
        if catalogue is not None and found is not None and names:
            wanted = located(History(catalogue, found.id), wanted)
            if not no_direct and all(each.fh_info is not None for each in wanted):
                extra = (("DIRECT", "y"),)
        order = order_for(catalogue, chosen, tuple(wanted), root.rstrip("/"), extra)
        granted = access(server, chosen)
        total = (found.bytes or 0) if found and not extra else 0
        with stoppable() as stop, Servers(granted.data, granted.tape, stop) as servers, \
                observer("restore", chosen, total) as bar:
            report = run_restore(servers, tapes(chosen), order, stop=stop, observer=bar,
                                 swapped=chosen["swapped"])
    finally:
        if catalogue is not None:
            catalogue.close()
    return conclude(report, chosen)


def located(history: History, wanted: list[Wanted]) -> list[Wanted]:
    """``wanted`` with what the catalogue knows of each name."""
    result = []
    for each in wanted:
        entry = history.lookup(each.original)
        result.append(each if entry is None else
                      Wanted(each.original, each.destination, entry.fh_info, entry.node))
    return result


@click.command()
@click.argument("where", nargs=-1, metavar="[ndmp://SERVER] [PATH]")
@options(BACK_OPTIONS, TAPE_OPTIONS, SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def toc(where: tuple[str, ...], **chosen: Any) -> int:
    """List what a backup holds below PATH. With ndmp://SERVER, read it from tape into the catalogue first."""
    server = server_url(where[0]) if where and where[0].startswith("ndmp://") else None
    paths = where if server is None else where[1:]
    if len(paths) > 1:
        raise WrongUsage("one PATH can be listed at a time; a server is written ndmp://user@host:port")
    path = paths[0] if paths else "/"
    if server is None and not chosen["catalogue"]:
        raise WrongUsage("give a --catalogue to list, or a SERVER to read the tape")
    with Catalogue.open(chosen["catalogue"] or ":memory:", create=server is not None) as catalogue:
        status = int(ExitStatus.OK)
        if server is not None:
            number, report = read_toc(server, catalogue, chosen)
            status = report.exit_status
            if not chosen["quiet"]:
                show_report(err, report)
        else:
            number = catalogue.backup(chosen["number"]).id
        print_listing(sys.stdout, catalogue, number, path, chosen["as_json"])
    return status


def read_toc(server: ServerUrl, catalogue: Catalogue, chosen: dict[str, Any]) -> tuple[int, Report]:
    """Read the table of contents; returns the number of the backup in the catalogue, and how it went."""
    known = catalogue if catalogue.backups() else None
    order = order_for(known, chosen, extra=(("HIST", "y"),))
    granted = access(server, chosen)
    with stoppable() as stop, Servers(granted.data, granted.tape, stop) as servers, \
            observer("toc", chosen) as bar:
        if known is not None:
            number = known.backup(chosen["number"]).id
        else:
            number = catalogue.begin(
                data_server=servers.data.place, tape_server=servers.tape.place,
                ndmp_version=int(servers.data.version), butype=order.butype, filesystem="",
                record_size=order.record_size)
        report = run_toc(servers, tapes(chosen), order, stop=stop, observer=bar, catalogue=catalogue,
                         number=number, swapped=chosen["swapped"])
    if known is None:
        catalogue.set_environment(number, report.environment)
        for medium in report.media:
            catalogue.add_medium(number, medium)
        catalogue.finish(number, success=report.whole, size=report.size, data_halt=report.data_halt,
                         mover_halt=report.mover_halt)
    return number, report


@click.command()
@click.argument("server", type=server_url)
@options(SERVER_OPTIONS, OUTPUT_OPTIONS)
@honest
def query(server: ServerUrl, **chosen: Any) -> int:
    """Show what SERVER is and has: backup types, file systems, tape drives, changers."""
    with stoppable() as stop:
        connection = login(server, chosen, chosen["password_file"], PASSWORD).open(stop)
        try:
            answer = ask(connection)
        finally:
            stop.heeded = False
            connection.close()
    if chosen["as_json"]:
        print_json(answer)
    else:
        show_query(Console(), answer)
    return ExitStatus.OK
