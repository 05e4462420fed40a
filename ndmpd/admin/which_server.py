"""Which running server a command is about: its options, and the folder that they lead to."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ndmpd.config import DEFAULT_FILE, Server
from ndmpd.config_files import absolute
from ndmpd.management.client import Exit, Unanswered

_F = TypeVar("_F", bound=Callable[..., Any])


def of_a_server(command: _F) -> _F:
    """Options that say which server is asked, and how the answer is to look."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For scripts; bytes, seconds since 1970."),
        click.option("--embedded", type=click.Path(path_type=Path, file_okay=False),
                     help="The folder of a server that was started with --embedded."),
        click.option("--config", type=click.Path(path_type=Path),
                     help=f"The server's configuration [default: {DEFAULT_FILE}]."),
    ):
        command = option(command)
    return command


def state_dir(config: Path | None, embedded: Path | None) -> Path:
    """Of the server that a command is about. Nothing else of its configuration needs to be in order."""
    if embedded is not None:
        if config is not None:
            raise click.UsageError("--config and --embedded exclude each other")
        return Path(os.path.abspath(embedded))
    path = config or DEFAULT_FILE
    try:
        with path.open("rb") as file:
            given = tomllib.load(file).get("server", {}).get("state_dir")
        return absolute(given) if given is not None else Path(Server.model_fields["state_dir"].default)
    except OSError as error:
        raise Unanswered(f"{path}: cannot be read ({error.strerror}); name the server's configuration with "
                         "--config, or its folder with --embedded", Exit.NO_ANSWER) from None
    except (ValueError, AttributeError) as error:
        raise Unanswered(f"{path}: does not say where the server's state is ({error}); see `ndmpd check`",
                         Exit.NO_ANSWER) from None
