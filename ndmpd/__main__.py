"""The ``ndmpd`` command."""

from __future__ import annotations

import click

from ndmpd.admin.check import check
from ndmpd.admin.demo import demo
from ndmpd.admin.devices import devices
from ndmpd.admin.kill import kill
from ndmpd.admin.release import release
from ndmpd.admin.san import san
from ndmpd.admin.serve import serve
from ndmpd.admin.sessions import sessions
from ndmpd.admin.status import status
from ndmpd.admin.tape import tape


@click.group()
@click.version_option(package_name="ndmpd")
def main() -> None:
    """An NDMP data server and mover for Linux filers."""


for command in (serve, check, devices, status, sessions, kill, release, tape, san, demo):
    main.add_command(command)

if __name__ == "__main__":
    main()
