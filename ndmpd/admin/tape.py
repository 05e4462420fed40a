"""``ndmpd tape``: the cartridges of an embedded SAN, also while a server uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from ndmpd.san import San
from ndmpd.san.errors import SanError, UnitBusy
from ndmpd.san.exchange import Moved, export_image, import_image, survey_image
from ndmpd.san.maintenance import add, at_rest, holdings
from protocol.errors import WireError

_DEFAULT_CAPACITY = 8 << 30
_MAX_LABEL = 160
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@click.group()
@click.option("--embedded", "directory", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The folder of the embedded SAN, as given to `ndmpd serve --embedded`.")
@click.pass_context
def tape(context: click.Context, directory: Path) -> None:
    """Cartridges of the embedded SAN. One that a session uses is left alone."""
    with _told():
        context.obj = San.open(directory / "san")


@contextmanager
def _told() -> Iterator[None]:
    """Errors that people can do something about become messages, without a traceback."""
    try:
        yield
    except (SanError, UnitBusy, WireError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _size(count: int) -> str:
    """A size as people write it: "1.5 GiB"."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _said(moved: Moved) -> str:
    damaged = f", {moved.damaged} of them damaged when the image was made" if moved.damaged else ""
    return f"{moved.records} records{damaged}, {moved.marks} filemarks, {_size(moved.size)}"


@tape.command("list")
@click.option("--json", "as_json", is_flag=True, help="For scripts; sizes in bytes.")
@click.pass_obj
def list_cartridges(san: San, as_json: bool) -> None:
    """Show every cartridge: where it is and what is on it."""
    with _told():
        found = holdings(san)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    rows = [("CARTRIDGE", "PLACE", "USED", "CAPACITY", "RECORDS", "FILEMARKS", "LABEL")]
    rows += [(one.barcode, one.place, _size(one.used), _size(one.capacity), str(one.records), str(one.marks),
              one.label + (" (write protected)" if one.protected else "")) for one in found]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@tape.command("export")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export_cartridge(san: San, name: str, file: Path) -> None:
    """Write cartridge NAME to FILE as a SIMH tape image (.tap)."""
    with _told(), at_rest(san, name, changing=False) as medium:
        moved = export_image(medium, file)
    click.echo(f"{name} -> {file}: {_said(moved)}")


@tape.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.pass_obj
def import_cartridge(san: San, name: str, file: Path) -> None:
    """Make cartridge NAME what the SIMH tape image FILE holds; what was on it is gone.

    A NAME that the library does not have is a new cartridge, put into a mail slot.
    """
    with _told():
        found = survey_image(file)
        if name not in {one.barcode for one in holdings(san)}:
            add(san, name, max(_DEFAULT_CAPACITY, found.size + found.size // 8))
        with at_rest(san, name, changing=True) as medium:
            moved = import_image(medium, file)
    click.echo(f"{file} -> {name}: {_said(moved)}")


@tape.command("label")
@click.argument("name")
@click.argument("text", required=False)
@click.option("--protect/--unprotect", default=None, help="Slide the write-protect tab.")
@click.pass_obj
def label_cartridge(san: San, name: str, text: str | None, protect: bool | None) -> None:
    """Give cartridge NAME the label TEXT, or set its write-protect tab, or both. The tape stays as it is."""
    if text is None and protect is None:
        raise click.UsageError("nothing to do: give a text, --protect or --unprotect")
    if text is not None and (len(text) > _MAX_LABEL or not text.isprintable()):
        raise click.UsageError(f"a label is one line of at most {_MAX_LABEL} characters")
    with _told(), at_rest(san, name, changing=True) as medium:
        if text is not None:
            medium.change(label=text)
        if protect is not None:
            medium.change(protected=protect)
        facts = medium.facts
    click.echo(f"{name}: label {facts.label!r}, {'write protected' if facts.protected else 'writable'}")


@tape.command("erase")
@click.argument("name")
@click.pass_obj
def erase_cartridge(san: San, name: str) -> None:
    """Make cartridge NAME blank and give its disk space back."""
    with _told(), at_rest(san, name, changing=True) as medium:
        if medium.facts.protected:
            raise SanError(f"{name} is write protected; see `ndmpd tape label --help`")
        medium.truncate(0)
        medium.forget_tail()
    click.echo(f"{name} is blank")
