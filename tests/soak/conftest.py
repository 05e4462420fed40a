"""A server with eight drives and room for 64 sessions, from a configuration."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ndmpd.san import create
from tests.peers.server import PASSWORD, REPOSITORY, USER, Program, free_port

DRIVES = 8
SESSIONS = 64
CAPACITY = 512 << 20


@dataclass(frozen=True, slots=True)
class ConfiguredServer:
    program: Program
    port: int
    state: Path
    exports: Path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ConfiguredServer]:
    state, exports, secret = tmp_path / "state", tmp_path / "exports", tmp_path / "secret"
    exports.mkdir()
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    create(state, drives=DRIVES, cartridges=DRIVES, capacity=CAPACITY)
    port = free_port()
    drives = "".join(f'[drive.tape{number}]\ndevice = "virtual:tape{number}"\n' for number in range(DRIVES))
    config = tmp_path / "ndmpd.toml"
    config.write_text(
        f'[server]\nlisten = "tcp:{port}:interface=127.0.0.1"\nstate_dir = "{state}"\n'
        f"max_sessions = {SESSIONS}\n"
        f'[[user]]\nname = "{USER}"\nsecret_file = "{secret}"\n'
        f'[filesystem."{exports}"]\npath = "{exports}"\n{drives}')
    config.chmod(0o600)
    command = [sys.executable, "-m", "ndmpd", "serve", "--config", str(config)]
    program = Program.start(command, tmp_path / "server.log", cwd=REPOSITORY)
    program.wait_for_port(port, 30)
    try:
        yield ConfiguredServer(program, port, state, exports)
    finally:
        print(program.log_tail(20))
        program.stop()
