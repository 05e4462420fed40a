"""The server of the demonstration: ``ndmpd serve --embedded`` as a process of its own, in a temporary
folder."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ndmpd.client.servers import Login
from ndmpd.client.url import ServerUrl
from ndmpd.errors import NdmpdError

USER = "demo"
STARTING = 60.0
"""Seconds until the server must accept connections."""
STOPPING = 15.0
"""Seconds it may take to stop when asked."""
LOG_LINES = 15


class ServerFailed(NdmpdError):
    """The server did not come up, or went away; the text has the end of its log."""


class DemoServer:
    """A server with an embedded SAN in ``folder``/san, reachable on the loopback interface alone."""

    def __init__(self, folder: Path, exports: Sequence[Path], options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.disks = folder / "san" / "san" / "disks"
        self._exports = tuple(exports)
        self._options = tuple(options)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._password = secrets.token_hex(12)

    @property
    def login(self) -> Login:
        return Login(ServerUrl("127.0.0.1", self._port, USER), self._password)

    @property
    def pid(self) -> int:
        """Of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> DemoServer:
        password_file = self.folder / "password"
        with open(os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._password + "\n")
        command = [sys.executable, "-m", "ndmpd", "serve", "--embedded", str(self.folder / "san"),
                   "--listen", f"tcp:{self._port}:interface=127.0.0.1", "--user", USER,
                   "--password-file", str(password_file), *self._options]
        for export in self._exports:
            command += ["--export", str(export)]
        with self._log.open("wb") as log:
            # A session of its own keeps Ctrl-C away from it: the jobs are ended first, then the server.
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                             start_new_session=True)
        try:
            self._await_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _await_port(self) -> None:
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline:
            if self._process is not None and self._process.poll() is not None:
                status = self._process.returncode
                raise ServerFailed(f"the server ended with status {status}:\n{self.log_tail()}")
            try:
                socket.create_connection(("127.0.0.1", self._port), 1.0).close()
                return
            except OSError:
                time.sleep(0.05)
        raise ServerFailed(f"the server accepts no connections after {STARTING:.0f} s:\n{self.log_tail()}")

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log_tail(self) -> str:
        """The last lines that the server logged."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-LOG_LINES:])
