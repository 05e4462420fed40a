"""ndmjob's own NDMP server: what the harness is proved against, and what the benchmarks compare with.

It takes any existing file for a tape, and any butype ``X`` whose formatter is a program ``wrap_X`` in PATH;
the formatters here are written for this purpose. User and password are ``ndmp``, whatever one would like.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.ndmjob import Agent
from tests.peers.server import Program, free_port

# A formatter gets -c (backup), -x (recover) or -t, its variables as -E NAME=VALUE, and for each selected
# name three arguments behind all options. The stream is its standard output or input; on descriptor 3 it
# says "DR OFFSET LENGTH" for the part of the stream that it wants to read, and "HF NAME ..." for a file's
# history.
_PROLOGUE = r"""#!/bin/sh
FILESYSTEM=/ PREFIX= HIST=n
while [ $# -gt 0 ]; do
    case "$1" in
    -c|-x|-t) mode=$1 ;;
    -E) shift; case "$1" in FILESYSTEM=*|PREFIX=*|HIST=*) export "$1" ;; esac ;;
    -*) ;;
    *) break ;;
    esac
    shift
done
"""

_TAR = (
    _PROLOGUE
    + r"""
options='--xattrs --xattrs-include=* --acls --numeric-owner'
case "$mode" in
-c)
    if [ "$HIST" = y ]; then echo 'HF / fd m0755 @0' >&3; fi
    exec tar --create --file=- --format=pax --sparse $options -C "$FILESYSTEM" . 3>&- ;;
-x)
    echo 'DR 0 -1' >&3
    exec tar --extract --file=- --same-owner -p $options -C "$PREFIX" ;;
esac
"""
)

_IMAGE = (
    _PROLOGUE
    + r"""
case "$mode" in
-c) exec dd if="$FILESYSTEM" bs=1M status=none 3>&- ;;
esac
"""
)


@dataclass(slots=True)
class ReferenceServer:
    """``ndmjob -o daemon`` with butypes ``tar`` and ``image``, and tapes ``TAPE0`` ... that are files in
    ``folder``.
    """

    program_file: Path
    folder: Path
    lifetime: float = 600
    port: int = field(default_factory=free_port)
    program: Program | None = None

    def start(self, timeout: float = 20) -> ReferenceServer:
        for name, text in (("wrap_tar", _TAR), ("wrap_image", _IMAGE)):
            formatter = self.folder / name
            formatter.write_text(text)
            formatter.chmod(0o755)
        settings = self.folder / "ndmjob.conf"
        settings.write_text("[butype tar]\nv4attr 0x281\n\n[butype image]\nv4attr 0\n")
        environment = {
            **os.environ,
            "NDMJOB_CONF": str(settings),
            "PATH": f"{self.folder}:{os.environ.get('PATH', os.defpath)}",
        }
        # timeout(1) bounds its life even if whoever started it is killed
        command = [
            "timeout",
            str(int(self.lifetime)),
            str(self.program_file),
            "-o",
            "daemon",
            "-p",
            str(self.port),
        ]
        self.program = Program.start(command, self.folder / "daemon.log", env=environment, cwd=self.folder)
        self.program.wait_for_port(self.port, timeout)
        return self

    def stop(self) -> None:
        if self.program is not None:
            self.program.stop()
            self.program = None

    def agent(self, version: int) -> Agent:
        return Agent(self.port, version)

    def tape(self, name: str = "TAPE0") -> Path:
        """A blank tape: an empty file. The lock that a lost DMA leaves beside it is taken away."""
        path = self.folder / name
        path.write_bytes(b"")
        path.with_name(name + ".lck").unlink(missing_ok=True)
        return path
