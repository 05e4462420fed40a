"""``ndmpd serve``: the server, in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from ndmpd import app
from ndmpd.config import DEFAULT_FILE, Settings
from ndmpd.errors import NdmpdError


@click.command()
@click.option("--config", type=click.Path(path_type=Path),
              help=f"The configuration [default: {DEFAULT_FILE}].")
@click.option("--embedded", type=click.Path(path_type=Path, file_okay=False),
              help="No configuration: an embedded SAN in this folder, made at first start.")
@click.option("--listen", help="With --embedded: where to listen, like tcp:10000:interface=127.0.0.1.")
@click.option("--user", help="With --embedded: the user's name [default: ndmp].")
@click.option("--password-file", type=click.Path(path_type=Path, dir_okay=False),
              help="With --embedded: the file whose first line is the password.")
@click.option("--export", "exports", multiple=True, type=click.Path(path_type=Path, file_okay=False),
              help="With --embedded: a folder to export under its own path. May be repeated.")
@click.option("--tape-capacity", help="With --embedded: capacity of new cartridges, like 8GiB.")
def serve(config: Path | None, embedded: Path | None, listen: str | None, user: str | None,
          password_file: Path | None, exports: tuple[Path, ...], tape_capacity: str | None) -> None:
    """Run the server until it is told to stop."""
    given = {"listen": listen, "user": user, "password_file": password_file, "tape_capacity": tape_capacity}
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        if embedded is None:
            if chosen or exports:
                raise click.UsageError("--listen, --user, --password-file, --export and --tape-capacity go "
                                       "with --embedded; a configuration has them inside")
            settings = Settings.load(config or DEFAULT_FILE)
        elif config is not None:
            raise click.UsageError("--config and --embedded exclude each other")
        else:
            settings = Settings.embedded(embedded, exports=exports, **chosen)  # type: ignore[arg-type]
        app.serve(settings)
    except (NdmpdError, OSError) as failure:
        raise click.ClickException(str(failure)) from failure
