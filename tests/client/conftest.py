"""Fixtures of the client's tests."""

from __future__ import annotations

import pytest

from ndmpd.client import movement


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience as always, in less time."""
    monkeypatch.setattr(movement, "GRACE", 0.6)
    monkeypatch.setattr(movement, "NOTICE", 2.0)
