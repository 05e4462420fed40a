"""How long one waits for portals that have been silent."""

from __future__ import annotations

import pytest

from ndmpd.devices import portals as module
from ndmpd.devices.portals import SHORT, Portals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_portal_is_given_its_full_time_until_it_falls_silent(clock: list[float]) -> None:
    portals = Portals()
    portals.silent("10.0.0.1:3260", 15)
    assert portals.patience("10.0.0.1:3260", 15) == SHORT
    assert portals.patience("10.0.0.1:3260", 1) == 1
    assert portals.patience("10.0.0.2:3260", 15) == 15


def test_a_sign_of_life_gives_it_its_full_time_again(clock: list[float]) -> None:
    portals = Portals()
    portals.silent("10.0.0.1:3260", 15)
    portals.heard("10.0.0.1:3260")
    portals.heard("10.0.0.3:3260")
    assert portals.patience("10.0.0.1:3260", 15) == 15


def test_one_that_needs_longer_than_that_is_not_lost_for_ever(clock: list[float]) -> None:
    portals = Portals()
    portals.silent("10.0.0.1:3260", 15)
    while portals.patience("10.0.0.1:3260", 15) == SHORT:
        clock[0] += SHORT
        assert clock[0] < 1070
        portals.silent("10.0.0.1:3260", SHORT)
