"""The ``ndmpd`` command."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = ("serve", "check", "devices", "status", "sessions", "kill", "tape", "san", "demo")
"""Each is the function of that name in the module of that name in ``ndmpd.admin``."""


class _Commands(click.Group):
    """Imports a command when it is called: what a server does not use is not copied at each of its forks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"ndmpd.admin.{cmd_name}"), cmd_name)
        return found


@click.group(cls=_Commands)
@click.version_option(package_name="ndmpd")
def main() -> None:
    """An NDMP data server and mover for Linux filers."""


if __name__ == "__main__":
    main()
