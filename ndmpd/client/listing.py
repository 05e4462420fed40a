"""Listings on standard output: the contents of a backup, and what a server is and has."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from ndmpd.client.catalogue import Catalogue, Entry
from ndmpd.client.errors import CatalogueError
from ndmpd.client.history import History
from protocol.ndmp.codes import FileType

TYPE_BITS = {
    FileType.DIR: stat.S_IFDIR, FileType.FIFO: stat.S_IFIFO, FileType.CSPEC: stat.S_IFCHR,
    FileType.BSPEC: stat.S_IFBLK, FileType.REG: stat.S_IFREG, FileType.SLINK: stat.S_IFLNK,
    FileType.SOCK: stat.S_IFSOCK,
}


def printable(text: str) -> str:
    """A name as a terminal may have it: no control characters, no bytes that are no text."""
    return "".join(each if each.isprintable() else each.encode("utf-8", "surrogateescape").decode(
        "latin-1").encode("unicode_escape").decode() for each in text)


def print_listing(out: TextIO, catalogue: Catalogue, backup: int, path: str, as_json: bool) -> None:
    """Print the entries below ``path``, one by one as the catalogue gives them.

    Raises CatalogueError where there are none.
    """
    entries = History(catalogue, backup).entries(path)
    first = next(entries, None)
    if first is None:
        if catalogue.count(backup):
            raise CatalogueError(f"{path} is not in backup {backup}")
        raise CatalogueError(f"backup {backup} has no file history; read it from tape by naming the SERVER")
    if not as_json:
        out.write(line(first))
        for entry in entries:
            out.write(line(entry))
        return
    out.write(f'{{"backup": {backup}, "entries": [\n{json.dumps(document(first))}')
    for entry in entries:
        out.write(",\n" + json.dumps(document(entry)))
    out.write("\n]}\n")


def line(entry: Entry) -> str:
    mode = stat.filemode(TYPE_BITS.get(FileType(entry.type), 0) | (entry.mode or 0)) \
        if entry.type in TYPE_BITS else "??????????"
    when = "-" if entry.mtime is None else f"{datetime.fromtimestamp(entry.mtime, UTC):%F %T}"
    owner = f"{'-' if entry.owner is None else entry.owner}/{'-' if entry.group is None else entry.group}"
    size = "-" if entry.size is None else str(entry.size)
    return f"{mode} {owner:>11} {size:>14} {when:>19} {printable(entry.path)}\n"


def document(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path, "type": entry.type, "size": entry.size, "mtime": entry.mtime,
        "owner": entry.owner, "group": entry.group,
        "mode": None if entry.mode is None else f"{entry.mode:04o}", "node": entry.node,
        "fh_info": entry.fh_info,
    }


def show_query(console: Console, answer: dict[str, Any]) -> None:
    """``query``'s answer as tables."""
    host, product = answer["host"], answer["product"]
    console.print(f"[bold]{host['name'] or answer['server']}[/]  {host['os']} {host['version']}  "
                  f"[dim]{answer['server']}[/]", highlight=False)
    auth, meets = (", ".join(each).lower() for each in (product["auth"], answer["addresses"]))
    console.print(f"{product['vendor']} {product['name']} {product['revision']}, NDMP version "
                  f"{answer['ndmp_version']}, authentication {auth}, connections {meets}", highlight=False)
    _table(console, "backup types", ("name", "can", "default environment"),
           [(each["name"], ", ".join(each["attributes"]).lower(), _pairs(each["environment"]))
            for each in answer["butypes"]])
    _table(console, "file systems", ("name", "type", "size", "used", "environment", "status"),
           [(each["name"], each["type"], _size(each["total"]), _size(each["used"]),
             _pairs(each["environment"]), each["status"]) for each in answer["filesystems"]])
    for title, key in (("tape drives", "tapes"), ("media changers", "changers")):
        _table(console, title, ("name", "model", "capabilities"),
               [(each["name"], each["model"], _pairs(each["capabilities"])) for each in answer[key]])
    for request, error in answer["refused"].items():
        console.print(f"{request}: {error}", style="yellow")


def _pairs(values: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _size(value: int | None) -> str:
    return "-" if value is None else decimal(value)


def _table(console: Console, title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    if not rows:
        console.print(f"\n[bold]{title}[/]: none")
        return
    table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False,
                  header_style="dim")
    for row in rows:
        table.add_row(*(printable(each) for each in row))
    console.print()
    console.print(table, highlight=False)
