"""Claims on devices among the processes of one machine, and what those that die leave standing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ndmpd.devices.claims import claim, left_owned
from ndmpd.devices.errors import DeviceBusy


def test_a_unit_has_one_claim_at_a_time(tmp_path: Path) -> None:
    held = claim(tmp_path, "tape0")
    with pytest.raises(DeviceBusy, match="tape0 is in use by another session"):
        claim(tmp_path, "tape0")
    other = claim(tmp_path, "tape1")
    held.close()
    claim(tmp_path, "tape0").close()
    other.close()


def test_what_is_owned_and_in_use_is_nobodys_to_free(tmp_path: Path) -> None:
    held = claim(tmp_path, "tape0")
    held.own()
    assert list(left_owned(tmp_path)) == []
    held.disown()
    held.close()
    assert list(left_owned(tmp_path)) == []


def test_what_a_process_owned_when_it_was_killed_is_found_until_somebody_disowns_it(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        claim(tmp_path, "tape0").own()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    claim(tmp_path, "tape1").close()
    assert list(left_owned(tmp_path)) == ["tape0"]
    held = claim(tmp_path, "tape0")
    held.close()
    assert list(left_owned(tmp_path)) == ["tape0"]
    held = claim(tmp_path, "tape0")
    held.own()
    held.disown()
    held.close()
    assert list(left_owned(tmp_path)) == []
