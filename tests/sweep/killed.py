"""A copy manager of its own process, which kills itself in the middle of a copy and is started again.

``Keeper`` does what the server does for the process: it waits for its end and starts another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ndmpd.san.copymanager.ends import End
from ndmpd.san.copymanager.server import serve
from tests.services.copy_rig import Place, short_runs
from tests.services.rig import PATIENCE

FORK = multiprocessing.get_context("fork")
_REST = 0.005
"""Seconds until another is started."""


class Keeper:
    """``arm`` says when it is to happen."""

    def __init__(self, san_dir: Path) -> None:
        self._san_dir = san_dir
        self._left = FORK.Value("i", -1)
        self._delay = FORK.Value("d", 0.0)
        self._pid = FORK.Value("i", 0)
        self._begun = FORK.Value("i", 0)
        self._died = FORK.Value("i", 0)
        self._doomed = FORK.Value("b", 0)
        """It is to die in a moment, though the copy may be over by then."""
        self._over = FORK.Value("b", 0)
        self._process = FORK.Process(target=self._keep)
        self._process.start()
        self.wait()

    def arm(self, command: int, delay: float) -> None:
        """SIGKILL at this command of a copy to a unit, from 0, so many seconds after it began."""
        self._delay.value = delay
        self._left.value = command

    @property
    def deaths(self) -> int:
        """How many have died; one that is about to counts."""
        self.wait()
        return int(self._died.value)

    def wait(self) -> None:
        """Until one serves."""
        deadline = time.monotonic() + PATIENCE
        while self._doomed.value or self._begun.value <= self._died.value:
            assert time.monotonic() < deadline, "no copy manager comes up"
            time.sleep(0.001)

    def close(self) -> None:
        self._over.value = 1
        os.kill(self._pid.value, signal.SIGKILL)
        self._process.join(PATIENCE)
        assert not self._process.is_alive()

    # In the keeper, and in the copy manager.

    def _keep(self) -> None:
        while not self._over.value:
            child = os.fork()
            if not child:
                try:
                    self._serve()
                finally:
                    os._exit(1)
            self._pid.value = child
            os.waitpid(child, 0)
            self._died.value += 1
            self._doomed.value = 0
            time.sleep(_REST)

    def _serve(self) -> None:
        honest = End.send

        def send(end: End, *command: Any, **more: Any) -> Any:
            if self._left.value >= 0:
                self._left.value -= 1
                if self._left.value == -1:
                    self._die()
            return honest(end, *command, **more)

        patch = pytest.MonkeyPatch()
        patch.setattr(End, "send", send)
        short_runs(patch, 2048)
        serve(self._san_dir, self._ready)

    def _ready(self) -> None:
        self._begun.value += 1

    def _die(self) -> None:
        self._doomed.value = 1
        if not self._delay.value:
            os.kill(os.getpid(), signal.SIGKILL)

        def die() -> None:
            time.sleep(self._delay.value)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=die).start()


class KeptPlace(Place):
    """A SAN whose copy manager is kept."""

    def serve(self) -> None:
        self.keeper = Keeper(self.san.path)

    def stop(self) -> None:
        self.keeper.close()
