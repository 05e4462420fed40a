"""``ndmpc``: a backup application for people and scripts."""

from __future__ import annotations

import click

from ndmpd.client.commands import backup, query, restore, toc
from ndmpd.client.copy_command import copy


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Back up, restore and copy what NDMP servers have.

    A server is written ndmp://user@host:port. The exit status is 0 only if nothing at all is missing; 1:
    finished, but files were lost or not restored (0 with --allow-partial); 2: wrong usage; 3: the job failed;
    4: the server refused a request; 5: it cannot be reached; 6: not let in; 7: no cartridge to go on with; 8:
    the catalogue cannot be used; 130: interrupted.
    """


for command in (backup, restore, toc, copy, query):
    main.add_command(command)

if __name__ == "__main__":
    main()
