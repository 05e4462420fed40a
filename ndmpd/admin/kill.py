"""``ndmpd kill``: ends one session of a running server."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ndmpd.admin.which_server import of_a_server, state_dir
from ndmpd.management.client import PATIENCE, Document, Exit, Unanswered, ask
from ndmpd.management.requests import LONGEST_GRACE, REAPED

GRACE = 30
"""Seconds that a session has to end by itself, unless told otherwise: a drive may have a buffer to write."""


@click.command()
@click.argument("number", metavar="ID", type=int)
@click.option("--within", default=GRACE, show_default=True, type=click.IntRange(1, LONGEST_GRACE),
              help="Seconds that it may take to end by itself before its process is killed.")
@of_a_server
@click.pass_context
def kill(context: click.Context, number: int, within: int, config: Path | None, embedded: Path | None,
         as_json: bool) -> None:
    """End session ID: its job is aborted, what it wrote is flushed to tape, its devices are free for others.

    Exit status: 0 it is gone, 1 no server runs, 3 there is no session ID, 4 it is still there, or the server
    does not answer.
    """
    try:
        done = ask(state_dir(config, embedded), {"ask": "kill", "id": number, "within": within},
                   within + REAPED + PATIENCE)
    except Unanswered as why:
        click.echo(str(why), err=True)
        context.exit(why.exit_status)
    remains = done["how"] == "remains"
    if as_json:
        click.echo(json.dumps(done, indent=2))
    else:
        click.echo(told(done, within), err=remains)
    context.exit(Exit.NO_ANSWER if remains else Exit.OK)


def told(done: Document, within: int) -> str:
    """What was ended, and how."""
    session = done["session"]
    what = f"session {session['id']} from {session['peer']}"
    match done["how"]:
        case "ended":
            return f"{what} has ended within {done['seconds']:.1f} s{_left(session)}; the DMA was told"
        case "killed":
            return (f"{what} did not end within {within} s; its process was killed (SIGKILL)"
                    f"{_left(session)}, though what the drive had not yet written may be lost")
        case "failed":
            return f"{what} ended with status {done['status']}{_left(session)}; see the server's log"
        case _:
            return (f"{what} is still there: the system does not let its process end, which mostly waits for "
                    "a device then; look at the kernel's log")


def _left(session: Document) -> str:
    """What it was about, and holds no more."""
    if not session["answers"]:
        return ""
    data, mover, parts = session["data"], session["mover"], []
    if data["state"] == "ACTIVE":
        what = " ".join(filter(None, (data["operation"], data["butype"], data["filesystem"])))
        parts.append(f"its job ({what}) was aborted")
    elif mover["state"] in ("ACTIVE", "PAUSED"):
        parts.append("its mover was aborted")
    parts += [f"{name} is free" for name in (session["drive"], session["changer"]) if name]
    return ": " + ", ".join(parts) if parts else ""
