"""A forked child ends in its own code, whatever happens to it: never in that of the process it came from."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from types import FrameType

import pytest

from ndmpd.errors import Cancelled
from ndmpd.net import forkserver
from ndmpd.services import data_process

ESCAPED = 99


class Aborts(logging.Handler):
    """Has the process told to end at the very last moment, while its log is flushed."""

    def flush(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def raising(signum: int, frame: FrameType | None) -> None:
    raise RuntimeError("aborted")


def succeed() -> None:
    signal.signal(signal.SIGTERM, raising)


def fail() -> None:
    signal.signal(signal.SIGTERM, raising)
    raise ValueError("a job that fails")


def abort() -> None:
    signal.signal(signal.SIGTERM, raising)
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(("run", "status"), [(succeed, 0), (fail, 1), (abort, 1)])
def test_a_signal_at_the_end_of_a_child_does_not_lead_into_its_parents_code(
        run: Callable[[], None], status: int) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            logging.root.addHandler(Aborts())
            forkserver._become(run)
        finally:
            os._exit(ESCAPED)
    _, ended = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(ended) == status


def test_a_job_can_be_aborted_until_it_begins_to_end() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Cancelled), data_process._cancellable(None):  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
