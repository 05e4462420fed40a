"""``ndmpd sessions``: who is connected, and what each is doing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ndmpd.admin.status import plain_console, when
from ndmpd.admin.which_server import of_a_server, state_dir
from ndmpd.management.client import Document, Unanswered, ask

_NOTHING = "-"
_HEAD = "NAS"


@click.command()
@click.argument("number", metavar="[ID]", type=int, required=False)
@of_a_server
@click.pass_context
def sessions(context: click.Context, number: int | None, config: Path | None, embedded: Path | None,
             as_json: bool) -> None:
    """Show all sessions, or everything that is known of session ID.

    Exit status: 0, 1 no server runs, 3 there is no session ID, 4 the server does not answer.
    """
    request: Document = {"ask": "sessions"} if number is None else {"ask": "session", "id": number}
    try:
        found = ask(state_dir(config, embedded), request)["sessions"]
        if number is not None and not found:
            # It ended while it was being asked.
            found = ask(state_dir(config, embedded), request)["sessions"]
    except Unanswered as why:
        click.echo(str(why), err=True)
        context.exit(why.exit_status)
    if as_json:
        click.echo(json.dumps(found if number is None else found[0], indent=2))
    elif number is not None:
        detail(plain_console(), found[0])
    elif found:
        plain_console().print(overview(found))
    else:
        click.echo("no session")


def overview(found: list[Document]) -> Table:
    """One line for each session."""
    table = Table("ID", "PEER", "USER", "SINCE", "DATA", "OPERATION", "FILE SYSTEM", "MOVER", "DRIVE",
                  box=None)
    table.add_column("BYTES", justify="right")
    table.add_column("RATE", justify="right")
    table.add_column("MOVED BY")
    for one in found:
        table.add_row(*map(Text, _row(one)))
    return table


def _row(one: Document) -> Iterator[str]:
    yield from (str(one["id"]), one["peer"])
    if not one["answers"]:
        yield from (_NOTHING, when(one["since"]), "does not answer", *[_NOTHING] * 7)
        return
    data, mover = one["data"], one["mover"]
    yield one["user"] or ("(anybody)" if one["logged_in"] else "(not logged in)")
    yield when(one["since"])
    yield data["state"]
    idle = data["operation"] == "NOACTION"
    yield _NOTHING if idle else f"{data['operation']} {data['butype'] or ''}".strip()
    yield data["filesystem"] or _NOTHING
    yield mover["state"] if mover["pause_reason"] == "NA" else f"{mover['state']} {mover['pause_reason']}"
    yield one["drive"] or one["changer"] or _NOTHING
    moved = bytes_of(one)
    yield decimal(moved) if moved else _NOTHING
    yield f"{decimal(one['rate'])}/s" if one["rate"] else _NOTHING
    yield moved_by(one)


def bytes_of(one: Document) -> int:
    """Of the stream, by the side that this session has."""
    return int(one["mover"]["bytes"] or one["data"]["bytes"])


def moved_by(one: Document) -> str:
    """The data movers that carry the job, as far as this session knows: its own MOVER's."""
    managers = [name for name in one["moved"] if name != _HEAD]
    if managers:
        return ", ".join(f"SCSI {name}" for name in managers)
    if one["moved"]:
        return _HEAD
    return "by its mover" if one["data"]["state"] == "ACTIVE" else _NOTHING


def detail(console: Console, one: Document) -> None:
    """All of one session, a line for each thing."""
    table = Table(box=None, show_header=False)
    for name, value in _lines(one):
        table.add_row(Text(name), Text(value))
    console.print(table)


def _lines(one: Document) -> Iterator[tuple[str, str]]:
    yield "session", f"{one['id']} from {one['peer']}, since {when(one['since'])}"
    if not one["answers"]:
        yield "state", f"does not answer; look at the server's log, or end it: ndmpd kill {one['id']}"
        return
    yield "user", one["user"] or ("anybody (auth \"none\")" if one["logged_in"] else "not logged in")
    yield "NDMP version", str(one["version"])
    yield "process", str(one["pid"])
    for side in ("data", "mover"):
        for name, value in one[side].items():
            if name != "environment" and value is not None:
                yield f"{side.upper()} {name.replace('_', ' ')}", _shown(name, value)
    for name, value in one["data"]["environment"]:
        yield f"  {name}", value
    if one["drive"]:
        place = one["tape"] or {}
        yield "drive", (f"{one['drive']}, tape file {_known(place.get('file'))}, record "
                        f"{_known(place.get('record'))}")
    if one["changer"]:
        yield "SCSI device", one["changer"]
    for name, count in one["moved"].items():
        yield ("bytes by the head" if name == _HEAD else f"bytes offloaded to {name}"), f"{count:,}"
    yield "rate", f"{decimal(one['rate'])}/s"


def _shown(name: str, value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and name != "names" else str(value)


def _known(value: int | None) -> str:
    return "not known" if value is None else str(value)
