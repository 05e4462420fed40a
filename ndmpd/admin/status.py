"""``ndmpd status``: whether the server runs, and what it has done since it was started."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from ndmpd.admin.which_server import of_a_server, state_dir
from ndmpd.management.client import Document, Exit, Unanswered, ask

_PLAIN_WIDTH = 200
"""Columns where the output is no terminal: nothing is cut off for whoever reads a file."""


@click.command()
@of_a_server
@click.pass_context
def status(context: click.Context, config: Path | None, embedded: Path | None, as_json: bool) -> None:
    """Show whether the server runs, since when, and what it has done.

    Exit status: 0 it runs, 1 it does not, 4 that cannot be said, or it does not answer.
    """
    try:
        found = ask(state_dir(config, embedded), {"ask": "status"})
    except Unanswered as why:
        if as_json:
            click.echo(json.dumps({"running": False if why.exit_status is Exit.NOT_RUNNING else None,
                                   "error": str(why)}, indent=2))
        else:
            click.echo(str(why), err=True)
        context.exit(why.exit_status)
    if as_json:
        click.echo(json.dumps({"running": True, **found}, indent=2))
    else:
        show(plain_console(), found)


def plain_console() -> Console:
    """Standard output; no colours and all columns where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def when(moment: float) -> str:
    """A time as people here read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def show(console: Console, found: Document) -> None:
    sessions = found["sessions"]
    console.print(f"running since {when(found['since'])}, process {found['pid']}, listening on "
                  f"{found['listening']}")
    console.print(f"state in {found['state_dir']}", markup=False, soft_wrap=True)
    if found["metrics"]:
        console.print(f"metrics at {found['metrics']}", markup=False)
    if found["copy_manager"] is not None:
        console.print("copy manager of the embedded SAN: " +
                      ("running" if found["copy_manager"] else "not running; it is being started again"))
    console.print(f"sessions: {sessions['now']} now (at most {sessions['limit']}), {sessions['accepted']} "
                  f"since the start; {sessions['refused']} refused, {sessions['failed']} ended in failure, "
                  f"{sessions['failed_logins']} failed logins")
    console.print(_movers(found))
    if found["drives"]:
        console.print(_drives(found))


def _movers(found: Document) -> Table:
    table = Table("DATA MOVER", "TYPE", box=None)
    for title in ("BACKED UP", "RECOVERED", "JOBS DONE", "FAILED"):
        table.add_column(title, justify="right")
    for mover in found["datamovers"]:
        name = "this machine" if mover["type"] == "NAS" else mover["name"]
        table.add_row(escape(name) + ("" if mover["online"] else " (offline)"), mover["type"],
                      decimal(mover["backed_up"]), decimal(mover["recovered"]), str(mover["jobs_done"]),
                      str(mover["jobs_failed"]))
    return table


def _drives(found: Document) -> Table:
    table = Table("DRIVE", "DEVICE", "STATE", box=None)
    for drive in found["drives"]:
        state = {"free": "free", "offline": "offline", "held": f"held by session {drive['session']}",
                 "unknown": "not known: a session does not answer"}[drive["state"]]
        table.add_row(escape(drive["name"]), escape(drive["device"]), state)
    return table
