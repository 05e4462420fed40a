"""Places on the server: strangers keep nobody out who could log in, and are never many."""

from __future__ import annotations

import pytest

from ndmpd.net.places import FEWEST, LATE, Places

FLOOD, DMA = "192.0.2.66", "192.0.2.7"


def log_in(places: Places, number: int, now: float = 0.0) -> int | None:
    assert places.admits(DMA, now)
    told = places.enter(number, DMA, now)
    places.logged_in(number)
    return told


def flooded(places: Places) -> list[int]:
    """As many connections as come in from one address; those that were told to end."""
    told = []
    for number in range(1000, 2000):
        if not places.admits(FLOOD, 0.0):
            return told
        if (oldest := places.enter(number, FLOOD, 0.0)) is not None:
            told.append(oldest)
    raise AssertionError("there is no bound")


def test_sessions_are_as_many_as_are_allowed() -> None:
    places = Places(64)
    assert [log_in(places, number) for number in range(64)] == [None] * 64
    assert not places.admits(DMA, 100.0)
    places.leave(3)
    assert log_in(places, 64) is None
    assert len(places) == 64


def test_strangers_have_a_quarter_and_make_room_for_each_other_the_oldest_first() -> None:
    places = Places(64)
    assert flooded(places) == list(range(1000, 1016))
    assert len(places) == 32, "sixteen strangers, and sixteen that are leaving"


@pytest.mark.parametrize("most", [8, 64])
def test_a_dma_gets_in_past_a_flood_and_stays(most: int) -> None:
    places = Places(most)
    flooded(places)
    assert places.admits(DMA, 0.0)
    told = places.enter(1, DMA, 0.0)
    for number in range(1000, 2000):
        places.leave(number)
        if places.admits(FLOOD, 0.0):
            told = places.enter(number + 1000, FLOOD, 0.0)
            assert told != 1
    assert told is not None


def test_a_stranger_makes_room_for_the_last_place_but_a_session_does_not() -> None:
    places = Places(8)
    for number in range(7):
        log_in(places, number)
    assert places.enter(7, FLOOD, 10.0) is None
    assert not places.admits(DMA, 10.0 + LATE / 2), "it may have logged in just now"
    assert log_in(places, 8, 10.0 + LATE) == 7
    places.leave(7)
    assert not places.admits(DMA, 100.0)


def test_whoever_logs_in_at_the_last_moment_stays_and_counts() -> None:
    places = Places(FEWEST)
    for number in range(FEWEST):
        assert places.enter(number, DMA, 0.0) is None
    assert places.enter(FEWEST, DMA, LATE) == 0
    for number in range(FEWEST):
        places.logged_in(number)
    places.leave(FEWEST)
    assert len(places) == FEWEST and not places.admits(DMA, 100.0)
