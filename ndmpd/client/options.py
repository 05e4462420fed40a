"""Options that the commands of ``ndmpc`` share, and what is made of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import click

from ndmpd.client.auth import find_password
from ndmpd.client.connection import Stop
from ndmpd.client.errors import UrlError
from ndmpd.client.jobs import Tapes
from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from protocol.ndmp.codes import AuthType, Version

PASSWORD_VARIABLE = "NDMPC_PASSWORD"
TAPE_PASSWORD_VARIABLE = "NDMPC_TAPE_PASSWORD"

F = TypeVar("F", bound=Callable[..., Any])

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)


def size(text: str) -> int:
    """A number of bytes as people write it: ``64KiB``, ``80MB``, ``8G``; K, M, G and T alone mean 1024s."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is no size; write it as 65536, 64KiB or 8GiB")
    number, unit, binary, byte = match.groups()
    base = 1000 if byte and not binary else 1024
    return int(float(number) * base ** " kmgt".index(unit.lower() or " "))


def pair(text: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.BadParameter(f"{text!r} is no variable; write it as NAME=VALUE")
    return name, value


def server_url(text: str) -> ServerUrl:
    """``ndmp://user@host:port``."""
    try:
        return ServerUrl.parse(text)
    except UrlError as problem:
        raise click.BadParameter(str(problem)) from None


SERVER_OPTIONS = (
    click.option("--password-file", metavar="FILE",
                 help="First line: the password. Else NDMPC_PASSWORD, else asked."),
    click.option("--auth", type=click.Choice(["md5", "text", "none"]), default="md5", show_default=True,
                 help="How to prove who you are; text sends the password as it is."),
    click.option("--ndmp-version", type=click.Choice(["3", "4"]),
                 help="Default: the highest that both sides know."),
)
OUTPUT_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary."),
    click.option("-v", "--verbose", is_flag=True, help="Show everything that the server logs."),
)
TAPE_OPTIONS = (
    click.option("--drive", "drives", multiple=True, metavar="NAME",
                 help="Tape drive (see query). Several: one cartridge in each, used in this order."),
    click.option("--changer", metavar="NAME", help="Media changer that brings cartridges to the drive."),
    click.option("--cartridge", "cartridges", multiple=True, metavar="TAG|@ELEMENT",
                 help="Cartridges for the changer, in the order of use."),
    click.option("--drive-element", "place", type=click.IntRange(0), metavar="N",
                 help="Which of the changer's drives it is, from 0. Default: as in the server's list."),
    click.option("--tape", "tape_server", type=server_url, metavar="URL",
                 help="Server of the tape, if another (or for a connection of its own to the same)."),
    click.option("--tape-password-file", metavar="FILE",
                 help="Its password. Else NDMPC_TAPE_PASSWORD, else asked."),
    click.option("--swap-connect", "swapped", is_flag=True, help="DATA listens and MOVER connects."),
    click.option("-E", "--env", "environment", type=pair, multiple=True, metavar="NAME=VALUE",
                 help="Variable for the server; goes before all others."),
)


def options(*groups: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """Add the options of ``groups`` to a command."""
    def add(command: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command
    return add


@dataclass(frozen=True, slots=True)
class Access:
    """The servers of a job and how to be let in."""

    data: Login
    tape: Login | None


def login(url: ServerUrl, chosen: Mapping[str, Any], file: str | None, variable: str) -> Login:
    method = AuthType[str(chosen["auth"]).upper()]
    version = Version(int(chosen["ndmp_version"])) if chosen["ndmp_version"] else None
    if method != AuthType.NONE and not url.user:
        raise UrlError(f"{url} names no user; write it as ndmp://USER@{url.place}")
    password = "" if method == AuthType.NONE else find_password(url, file, variable)
    return Login(url, password, method, version)


def access(server: ServerUrl, chosen: Mapping[str, Any]) -> Access:
    """Log-ins from the options in ``chosen``. The same user of the same server has the same password."""
    data = login(server, chosen, chosen["password_file"], PASSWORD_VARIABLE)
    other: ServerUrl | None = chosen.get("tape_server")
    if other is None:
        return Access(data, None)
    if other == server and not chosen["tape_password_file"]:
        return Access(data, data)
    return Access(data, login(other, chosen, chosen["tape_password_file"], TAPE_PASSWORD_VARIABLE))


def tapes(chosen: Mapping[str, Any]) -> Tapes:
    return Tapes(tuple(chosen["drives"]), chosen["changer"], tuple(chosen["cartridges"]), chosen["place"])


def merged(first: Sequence[tuple[str, str]], then: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Variables of both, a name in ``first`` keeping those of ``then`` out."""
    given = {name for name, _ in first}
    return (*first, *((name, value) for name, value in then if name not in given))


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Turn the first Ctrl-C (or SIGTERM) into a wish to stop; the second ends the program at once."""
    stop = Stop()

    def wish(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
